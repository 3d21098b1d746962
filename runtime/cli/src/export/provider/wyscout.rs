//! Wyscout's file, version 3: events, teams, players and formations of a match in one JSON object.
//!
//! Positions are in percent of the pitch, and times in full seconds, as the format requires.

use serde_json::{Map, Value, json};
use sideline_sport::tables::EventKind;

use super::{Match, MatchEvent, rounded, squad::Squad};

/// Returns the contents of the file.
pub fn document(game: &Match) -> Value {
    let by_team = |make: &dyn Fn(&Squad) -> Value| -> Value {
        game.squads.iter().map(|squad| (squad.id.to_string(), make(squad))).collect::<Map<_, _>>().into()
    };
    let mut events: Vec<Value> = game.events.iter().map(|event| event_row(game, event)).collect();
    if events.is_empty() {
        // Readers derive the version and the periods of a file from its events, so it must have one.
        events.push(final_whistle(game));
    }
    json!({
        "meta": {"stream": game.stream},
        "match": {
            "wyId": 1,
            "label": format!("{} - {}", game.squads[0].name, game.squads[1].name),
            "teamsData": by_team(&|squad| {
                let side = if squad.id == 1 { "home" } else { "away" };
                let row = |starts: bool| -> Vec<Value> {
                    let players = squad.players.iter().filter(|member| member.position.is_some() == starts);
                    players.map(|member| json!({"playerId": member.track, "shirtNumber": 0})).collect()
                };
                json!({"teamId": squad.id, "side": side, "formation": {"lineup": row(true), "bench": row(false)}})
            }),
        },
        "teams": by_team(&|squad| {
            json!({"team": {"wyId": squad.id, "name": squad.name, "officialName": squad.name}})
        }),
        "players": by_team(&|squad| {
            let player = |member: &super::squad::Member| {
                json!({"player": {
                    "wyId": member.track,
                    "shortName": member.name(),
                    "firstName": "Track",
                    "lastName": member.track.to_string(),
                }})
            };
            squad.players.iter().map(player).collect()
        }),
        "formations": by_team(&|squad| {
            let placed = squad.players.iter().filter_map(|member| {
                let position = member.position?;
                let mut player = Map::new();
                player.insert(member.track.to_string(), json!({"playerId": member.track, "position": position.code}));
                Some(Value::Object(player))
            });
            let players: Vec<Value> = placed.collect();
            let mut formation = Map::new();
            formation.insert(squad.formation.into(), json!({"scheme": squad.formation, "players": players}));
            json!({"1H": {"0": formation}})
        }),
        "coaches": {},
        "referees": [],
        "substitutions": {},
        "events": events,
    })
}

/// Returns the event of the final whistle.
fn final_whistle(game: &Match) -> Value {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{} end", game.stream).as_bytes());
    let mut row = common_attributes(game, 0, game.seconds, &id.to_string());
    row.insert("type".into(), json!({"primary": "game_interruption", "secondary": ["whistle"]}));
    row.into()
}

/// Returns the attributes common to all events; the optional ones are null.
fn common_attributes(game: &Match, team: usize, seconds: f64, id: &str) -> Map<String, Value> {
    let team_json = |squad: &Squad| json!({"id": squad.id, "name": squad.name, "formation": squad.formation});
    let full_seconds = seconds as u64;
    let row = json!({
        "id": id,
        "matchId": 1,
        "matchPeriod": "1H",
        "minute": full_seconds / 60,
        "second": full_seconds % 60,
        "matchTimestamp": format!("{:02}:{:02}:{:06.3}", full_seconds / 3600, full_seconds / 60 % 60, seconds % 60.0),
        "videoTimestamp": format!("{seconds:.3}"),
        "relatedEventId": null,
        "type": null,
        "location": null,
        "team": team_json(&game.squads[team]),
        "opponentTeam": team_json(&game.squads[1 - team]),
        "player": player(game, super::UNKNOWN_TRACK),
        "pass": null,
        "shot": null,
        "groundDuel": null,
        "aerialDuel": null,
        "infraction": null,
        "carry": null,
        "possession": {"id": null, "types": [], "team": team_json(&game.squads[team])},
    });
    match row {
        Value::Object(row) => row,
        _ => Map::new(),
    }
}

fn player(game: &Match, track: u32) -> Value {
    match game.player(track) {
        Some((_, member)) => json!({
            "id": member.track,
            "name": member.name(),
            "position": member.position.map_or("", |position| position.code).to_uppercase(),
        }),
        None => json!({"id": 0, "name": null, "position": null}),
    }
}

fn event_row(game: &Match, match_event: &MatchEvent) -> Value {
    let MatchEvent { event, team, seconds, from, to, .. } = match_event;
    let (primary, secondary): (&str, &[&str]) = match event.kind {
        EventKind::Interception => ("interception", &["recovery"]),
        EventKind::Loss => ("touch", &["loss"]),
        EventKind::Carry => ("touch", &["carry"]),
        EventKind::Shot => ("shot", &[]),
        EventKind::Corner => ("corner", &[]),
        EventKind::ThrowIn => ("throw_in", &[]),
        EventKind::GoalKick => ("goal_kick", &[]),
        EventKind::Pass => ("pass", &[]),
    };
    let [along, across] = game.displacement_m(*from, *to);
    let is_pass = matches!(event.kind, EventKind::Pass | EventKind::Corner | EventKind::ThrowIn | EventKind::GoalKick);
    let pass = is_pass.then(|| {
        let reached = game.player(event.to).filter(|(of, _)| event.complete && of == team).is_some();
        json!({
            "accurate": reached,
            "angle": rounded(across.atan2(along).to_degrees().into(), 0),
            "height": null,
            "length": rounded(along.hypot(across).into(), 1),
            "recipient": player(game, if reached { event.to } else { super::UNKNOWN_TRACK }),
            "endLocation": to_percent(*to),
        })
    });
    let shot = (event.kind == EventKind::Shot).then(|| {
        let zone = if event.to == 0 { "ot" } else { "bc" };
        json!({"bodyPart": null, "isGoal": false, "onTarget": false, "goalZone": zone, "xg": null, "postShotXg": null})
    });
    let carry = (event.kind == EventKind::Carry)
        .then(|| json!({"progression": rounded(along.into(), 1), "endLocation": to_percent(*to)}));
    let mut row = common_attributes(game, *team, *seconds, &event.id);
    row.insert("type".into(), json!({"primary": primary, "secondary": secondary}));
    row.insert("location".into(), to_percent(*from));
    row.insert("player".into(), player(game, event.track));
    row.insert("pass".into(), pass.into());
    row.insert("shot".into(), shot.into());
    row.insert("carry".into(), carry.into());
    row.into()
}

/// Converts a position, 0..1, to percent of the pitch.
fn to_percent(position: [f32; 2]) -> Value {
    let [x, y] = position.map(|part| rounded(f64::from(part.clamp(0.0, 1.0)) * 100.0, 1));
    json!({"x": x, "y": y})
}

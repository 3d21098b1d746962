//! Wyscout's file of version 3: events, teams, players and formations of a match in one object.
//!
//! Places are in percent of the pitch. Times are whole seconds: so the format has them.

use serde_json::{Map, Value, json};

use super::{Happening, Match, rounded, squad::Squad};

/// The file.
pub fn document(told: &Match) -> Value {
    let of_teams = |make: &dyn Fn(&Squad) -> Value| -> Value {
        told.squads.iter().map(|squad| (squad.id.to_string(), make(squad))).collect::<Map<_, _>>().into()
    };
    let mut events: Vec<Value> = told.events.iter().map(|happening| event(told, happening)).collect();
    if events.is_empty() {
        // Readers tell the version of a file, and its periods, by its events: there has to be one.
        events.push(final_whistle(told));
    }
    json!({
        "meta": {"stream": told.stream},
        "match": {
            "wyId": 1,
            "label": format!("{} - {}", told.squads[0].name, told.squads[1].name),
            "teamsData": of_teams(&|squad| {
                let side = if squad.id == 1 { "home" } else { "away" };
                let row = |starts: bool| -> Vec<Value> {
                    let players = squad.players.iter().filter(|member| member.position.is_some() == starts);
                    players.map(|member| json!({"playerId": member.track, "shirtNumber": 0})).collect()
                };
                json!({"teamId": squad.id, "side": side, "formation": {"lineup": row(true), "bench": row(false)}})
            }),
        },
        "teams": of_teams(&|squad| {
            json!({"team": {"wyId": squad.id, "name": squad.name, "officialName": squad.name}})
        }),
        "players": of_teams(&|squad| {
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
        "formations": of_teams(&|squad| {
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

/// The interruption that ends a match.
fn final_whistle(told: &Match) -> Value {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{} end", told.stream).as_bytes());
    let mut row = head(told, 0, told.seconds, &id.to_string());
    row.insert("type".into(), json!({"primary": "game_interruption", "secondary": ["whistle"]}));
    row.into()
}

/// Parts that every event has; of what it may have, nothing.
fn head(told: &Match, team: usize, seconds: f64, id: &str) -> Map<String, Value> {
    let side = |squad: &Squad| json!({"id": squad.id, "name": squad.name, "formation": squad.formation});
    let whole = seconds as u64;
    let row = json!({
        "id": id,
        "matchId": 1,
        "matchPeriod": "1H",
        "minute": whole / 60,
        "second": whole % 60,
        "matchTimestamp": format!("{:02}:{:02}:{:06.3}", whole / 3600, whole / 60 % 60, seconds % 60.0),
        "videoTimestamp": format!("{seconds:.3}"),
        "relatedEventId": null,
        "type": null,
        "location": null,
        "team": side(&told.squads[team]),
        "opponentTeam": side(&told.squads[1 - team]),
        "player": player(told, super::NOBODY),
        "pass": null,
        "shot": null,
        "groundDuel": null,
        "aerialDuel": null,
        "infraction": null,
        "carry": null,
        "possession": {"id": null, "types": [], "team": side(&told.squads[team])},
    });
    match row {
        Value::Object(row) => row,
        _ => Map::new(),
    }
}

fn player(told: &Match, track: u32) -> Value {
    match told.player(track) {
        Some((_, member)) => json!({
            "id": member.track,
            "name": member.name(),
            "position": member.position.map_or("", |position| position.code).to_uppercase(),
        }),
        None => json!({"id": 0, "name": null, "position": null}),
    }
}

fn event(told: &Match, happening: &Happening) -> Value {
    let Happening { event, team, seconds, from, to, .. } = happening;
    let (primary, secondary): (&str, &[&str]) = match event.kind.as_str() {
        "interception" => ("interception", &["recovery"]),
        "loss" => ("touch", &["loss"]),
        "carry" => ("touch", &["carry"]),
        "shot" => ("shot", &[]),
        "corner" => ("corner", &[]),
        "throw_in" => ("throw_in", &[]),
        "goal_kick" => ("goal_kick", &[]),
        _ => ("pass", &[]),
    };
    let [along, across] = told.metres(*from, *to);
    let passed = matches!(primary, "pass" | "corner" | "throw_in" | "goal_kick").then(|| {
        let reached = told.player(event.to).filter(|(of, _)| event.complete && of == team).is_some();
        json!({
            "accurate": reached,
            "angle": rounded(across.atan2(along).to_degrees().into(), 0),
            "height": null,
            "length": rounded(along.hypot(across).into(), 1),
            "recipient": player(told, if reached { event.to } else { super::NOBODY }),
            "endLocation": percent(*to),
        })
    });
    let shot = (primary == "shot").then(|| {
        let zone = if event.to == 0 { "ot" } else { "bc" };
        json!({"bodyPart": null, "isGoal": false, "onTarget": false, "goalZone": zone, "xg": null, "postShotXg": null})
    });
    let carry =
        (event.kind == "carry").then(|| json!({"progression": rounded(along.into(), 1), "endLocation": percent(*to)}));
    let mut row = head(told, *team, *seconds, &event.id);
    row.insert("type".into(), json!({"primary": primary, "secondary": secondary}));
    row.insert("location".into(), percent(*from));
    row.insert("player".into(), player(told, event.track));
    row.insert("pass".into(), passed.into());
    row.insert("shot".into(), shot.into());
    row.insert("carry".into(), carry.into());
    row.into()
}

fn percent(place: [f32; 2]) -> Value {
    let [x, y] = place.map(|part| rounded(f64::from(part.clamp(0.0, 1.0)) * 100.0, 1));
    json!({"x": x, "y": y})
}

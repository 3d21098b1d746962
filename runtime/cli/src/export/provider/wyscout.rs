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
    let events: Vec<Value> = told.events.iter().map(|happening| event(told, happening)).collect();
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
    let side = |squad: &Squad| json!({"id": squad.id, "name": squad.name, "formation": squad.formation});
    let player = |track: u32| match told.player(track) {
        Some((_, member)) => json!({
            "id": member.track,
            "name": member.name(),
            "position": member.position.map_or("", |position| position.code).to_uppercase(),
        }),
        None => json!({"id": 0, "name": null, "position": null}),
    };
    let whole = *seconds as u64;
    let [along, across] = told.metres(*from, *to);
    let passed = matches!(primary, "pass" | "corner" | "throw_in" | "goal_kick").then(|| {
        let reached = told.player(event.to).filter(|(of, _)| event.complete && of == team).is_some();
        json!({
            "accurate": reached,
            "angle": rounded(across.atan2(along).to_degrees().into(), 0),
            "height": null,
            "length": rounded(along.hypot(across).into(), 1),
            "recipient": player(if reached { event.to } else { 0 }),
            "endLocation": percent(*to),
        })
    });
    let shot = (primary == "shot").then(|| {
        let zone = if event.to == 0 { "ot" } else { "bc" };
        json!({"bodyPart": null, "isGoal": false, "onTarget": false, "goalZone": zone, "xg": null, "postShotXg": null})
    });
    let carry =
        (event.kind == "carry").then(|| json!({"progression": rounded(along.into(), 1), "endLocation": percent(*to)}));
    json!({
        "id": event.id,
        "matchId": 1,
        "matchPeriod": "1H",
        "minute": whole / 60,
        "second": whole % 60,
        "matchTimestamp": format!("{:02}:{:02}:{:06.3}", whole / 3600, whole / 60 % 60, seconds % 60.0),
        "videoTimestamp": format!("{seconds:.3}"),
        "relatedEventId": null,
        "type": {"primary": primary, "secondary": secondary},
        "location": percent(*from),
        "team": side(&told.squads[*team]),
        "opponentTeam": side(&told.squads[1 - team]),
        "player": player(event.track),
        "pass": passed,
        "shot": shot,
        "groundDuel": null,
        "aerialDuel": null,
        "infraction": null,
        "carry": carry,
        "possession": {"id": null, "types": [], "team": side(&told.squads[*team])},
    })
}

fn percent(place: [f32; 2]) -> Value {
    let [x, y] = place.map(|part| rounded(f64::from(part.clamp(0.0, 1.0)) * 100.0, 1));
    json!({"x": x, "y": y})
}

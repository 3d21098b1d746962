//! StatsBomb's files (Open Data Specification 1.1; events v4, lineups v2): a list of events, and who played.
//!
//! Places are in their pitch of 120 x 80, in cells of 0.1 that are named by their far corner.

use serde_json::{Map, Value, json};

use super::{Happening, Match, rounded, squad::Squad};

const PITCH: [f32; 2] = [120.0, 80.0];
/// Yards in a metre.
const YARDS: f32 = 1.0936;

/// The file of events.
pub fn events(told: &Match) -> Value {
    let mut list = vec![];
    for squad in &told.squads {
        let lineup: Vec<Value> = squad
            .players
            .iter()
            .filter_map(|member| {
                let position = member.position?;
                Some(json!({
                    "player": {"id": member.track, "name": member.name()},
                    "position": {"id": position.number, "name": position.name},
                    "jersey_number": 0,
                }))
            })
            .collect();
        let formation: u64 = squad.formation.replace('-', "").parse().unwrap_or_default();
        let mut row = head(told, squad, (35, "Starting XI"), 0.0, &format!("start {}", squad.name));
        row.insert("tactics".into(), json!({"formation": formation, "lineup": lineup}));
        list.push(row);
    }
    for squad in &told.squads {
        list.push(head(told, squad, (18, "Half Start"), 0.0, &format!("begin {}", squad.name)));
    }
    list.extend(told.events.iter().map(|happening| event(told, happening)));
    for squad in &told.squads {
        list.push(head(told, squad, (34, "Half End"), told.seconds, &format!("end {}", squad.name)));
    }
    let numbered = list.into_iter().zip(1..).map(|(mut row, index)| {
        row.insert("index".into(), Value::from(index));
        Value::Object(row)
    });
    numbered.collect()
}

/// The file of lineups.
pub fn lineups(told: &Match) -> Value {
    let player = |member: &super::squad::Member| {
        json!({
            "player_id": member.track,
            "player_name": member.name(),
            "player_nickname": null,
            "jersey_number": 0,
            "country": null,
            "cards": [],
            "positions": [],
        })
    };
    let team = |squad: &Squad| {
        let players: Vec<Value> = squad.players.iter().map(player).collect();
        json!({"team_id": squad.id, "team_name": squad.name, "lineup": players})
    };
    told.squads.iter().map(team).collect()
}

/// What every event has.
fn head(told: &Match, squad: &Squad, (number, name): (u32, &str), seconds: f64, id: &str) -> Map<String, Value> {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{} {id}", told.stream).as_bytes());
    let team = json!({"id": squad.id, "name": squad.name});
    let whole = seconds as u64;
    let row = json!({
        "id": id.to_string(),
        "period": 1,
        "timestamp": format!("{:02}:{:02}:{:06.3}", whole / 3600, whole / 60 % 60, seconds % 60.0),
        "minute": whole / 60,
        "second": whole % 60,
        "type": {"id": number, "name": name},
        "possession": 1,
        "possession_team": team,
        "play_pattern": {"id": 1, "name": "Regular Play"},
        "team": team,
        "duration": 0.0,
    });
    match row {
        Value::Object(row) => row,
        _ => Map::new(),
    }
}

fn event(told: &Match, happening: &Happening) -> Map<String, Value> {
    let Happening { event, team, seconds, duration, from, to } = happening;
    let pass = (30, "Pass");
    let kind = match event.kind.as_str() {
        "interception" => (10, "Interception"),
        "loss" => (3, "Dispossessed"),
        "shot" => (16, "Shot"),
        "carry" => (43, "Carry"),
        _ => pass,
    };
    let mut row = head(told, &told.squads[*team], kind, *seconds, &event.id);
    row.insert("id".into(), event.id.clone().into());
    row.insert("duration".into(), rounded(*duration, 3));
    row.insert("location".into(), cell(*from));
    if let Some((_, member)) = told.player(event.track) {
        row.insert("player".into(), json!({"id": member.track, "name": member.name()}));
        if let Some(position) = member.position {
            row.insert("position".into(), json!({"id": position.number, "name": position.name}));
        }
    }
    match event.kind.as_str() {
        "interception" => _ = row.insert("interception".into(), json!({"outcome": {"id": 4, "name": "Won"}})),
        "carry" => _ = row.insert("carry".into(), json!({"end_location": cell(*to)})),
        "loss" => {}
        "shot" => {
            let outcome = if event.to == 0 { (98, "Off T") } else { (96, "Blocked") };
            let shot = json!({
                "end_location": cell(*to),
                "outcome": {"id": outcome.0, "name": outcome.1},
                "type": {"id": 87, "name": "Open Play"},
            });
            row.insert("shot".into(), shot);
        }
        _ => _ = row.insert("pass".into(), passed(told, happening)),
    }
    row
}

/// What a pass has, also one that brings the ball back to the pitch.
fn passed(told: &Match, Happening { event, team, from, to, .. }: &Happening) -> Value {
    let [along, across] = told.metres(*from, *to);
    let mut pass = json!({
        "length": rounded((along.hypot(across) * YARDS).into(), 3),
        "angle": rounded(across.atan2(along).into(), 4),
        "end_location": cell(*to),
    });
    let restart = match event.kind.as_str() {
        "corner" => Some((61, "Corner")),
        "goal_kick" => Some((63, "Goal Kick")),
        "throw_in" => Some((67, "Throw-in")),
        _ => None,
    };
    if let Some((id, name)) = restart {
        pass["type"] = json!({"id": id, "name": name});
    }
    match told.player(event.to).filter(|(of, _)| event.complete && of == team) {
        Some((_, member)) => pass["recipient"] = json!({"id": member.track, "name": member.name()}),
        // Of who brings the ball back it is not judged whether it arrived.
        None if restart.is_some() && !event.complete => pass["outcome"] = json!({"id": 77, "name": "Unknown"}),
        None => pass["outcome"] = json!({"id": 9, "name": "Incomplete"}),
    }
    pass
}

/// The cell of a place.
fn cell(place: [f32; 2]) -> Value {
    let of = |axis: usize| {
        let cells = (place[axis].clamp(0.0, 1.0) * PITCH[axis] * 10.0).floor() + 1.0;
        rounded(f64::from(cells.min(PITCH[axis] * 10.0)) / 10.0, 1)
    };
    json!([of(0), of(1)])
}

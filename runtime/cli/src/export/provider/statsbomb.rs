//! StatsBomb's files (Open Data Specification 1.1; events v4, lineups v2): a list of events, and the lineups.
//!
//! Positions are on StatsBomb's pitch of 120 x 80 units, in cells of 0.1 unit that are named by their far corner.

use serde_json::{Map, Value, json};
use sideline_sport::tables::EventKind;

use super::{Match, MatchEvent, rounded, squad::Squad};

/// Length and width of StatsBomb's pitch, units.
const PITCH: [f32; 2] = [120.0, 80.0];
/// Yards per meter.
const YARDS_PER_M: f32 = 1.0936;

/// Returns the contents of the events file.
pub fn events(game: &Match) -> Value {
    let mut list = vec![];
    for squad in &game.squads {
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
        let mut row = common_attributes(game, squad, (35, "Starting XI"), 0.0, &format!("start {}", squad.name));
        row.insert("tactics".into(), json!({"formation": formation, "lineup": lineup}));
        list.push(row);
    }
    for squad in &game.squads {
        list.push(common_attributes(game, squad, (18, "Half Start"), 0.0, &format!("begin {}", squad.name)));
    }
    list.extend(game.events.iter().map(|event| event_row(game, event)));
    for squad in &game.squads {
        list.push(common_attributes(game, squad, (34, "Half End"), game.seconds, &format!("end {}", squad.name)));
    }
    let numbered = list.into_iter().zip(1..).map(|(mut row, index)| {
        row.insert("index".into(), Value::from(index));
        Value::Object(row)
    });
    numbered.collect()
}

/// Returns the contents of the lineups file.
pub fn lineups(game: &Match) -> Value {
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
    game.squads.iter().map(team).collect()
}

/// Returns the attributes common to all events.
fn common_attributes(
    game: &Match,
    squad: &Squad,
    (number, name): (u32, &str),
    seconds: f64,
    id: &str,
) -> Map<String, Value> {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{} {id}", game.stream).as_bytes());
    let team = json!({"id": squad.id, "name": squad.name});
    let full_seconds = seconds as u64;
    let row = json!({
        "id": id.to_string(),
        "period": 1,
        "timestamp": format!("{:02}:{:02}:{:06.3}", full_seconds / 3600, full_seconds / 60 % 60, seconds % 60.0),
        "minute": full_seconds / 60,
        "second": full_seconds % 60,
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

fn event_row(game: &Match, match_event: &MatchEvent) -> Map<String, Value> {
    let MatchEvent { event, team, seconds, duration, from, to } = match_event;
    let pass = (30, "Pass");
    let kind = match event.kind {
        EventKind::Interception => (10, "Interception"),
        EventKind::Loss => (3, "Dispossessed"),
        EventKind::Shot => (16, "Shot"),
        EventKind::Carry => (43, "Carry"),
        EventKind::Pass | EventKind::Corner | EventKind::ThrowIn | EventKind::GoalKick => pass,
    };
    let mut row = common_attributes(game, &game.squads[*team], kind, *seconds, &event.id);
    row.insert("id".into(), event.id.clone().into());
    row.insert("duration".into(), rounded(*duration, 3));
    row.insert("location".into(), to_cell(*from));
    if let Some((_, member)) = game.player(event.track) {
        row.insert("player".into(), json!({"id": member.track, "name": member.name()}));
        if let Some(position) = member.position {
            row.insert("position".into(), json!({"id": position.number, "name": position.name}));
        }
    }
    match event.kind {
        EventKind::Interception => _ = row.insert("interception".into(), json!({"outcome": {"id": 4, "name": "Won"}})),
        EventKind::Carry => _ = row.insert("carry".into(), json!({"end_location": to_cell(*to)})),
        EventKind::Loss => {}
        EventKind::Shot => {
            let outcome = if event.to == 0 { (98, "Off T") } else { (96, "Blocked") };
            let shot = json!({
                "end_location": to_cell(*to),
                "outcome": {"id": outcome.0, "name": outcome.1},
                "type": {"id": 87, "name": "Open Play"},
            });
            row.insert("shot".into(), shot);
        }
        _ => _ = row.insert("pass".into(), pass_attributes(game, match_event)),
    }
    row
}

/// Returns the attributes of a pass, including the restarts corner, goal kick and throw-in.
fn pass_attributes(game: &Match, MatchEvent { event, team, from, to, .. }: &MatchEvent) -> Value {
    let [along, across] = game.displacement_m(*from, *to);
    let mut pass = json!({
        "length": rounded((along.hypot(across) * YARDS_PER_M).into(), 3),
        "angle": rounded(across.atan2(along).into(), 4),
        "end_location": to_cell(*to),
    });
    let restart = match event.kind {
        EventKind::Corner => Some((61, "Corner")),
        EventKind::GoalKick => Some((63, "Goal Kick")),
        EventKind::ThrowIn => Some((67, "Throw-in")),
        _ => None,
    };
    if let Some((id, name)) = restart {
        pass["type"] = json!({"id": id, "name": name});
    }
    match game.player(event.to).filter(|(of, _)| event.complete && of == team) {
        Some((_, member)) => pass["recipient"] = json!({"id": member.track, "name": member.name()}),
        // The success of a restart is not evaluated.
        None if restart.is_some() && !event.complete => pass["outcome"] = json!({"id": 77, "name": "Unknown"}),
        None => pass["outcome"] = json!({"id": 9, "name": "Incomplete"}),
    }
    pass
}

/// Converts a position, 0..1, to the cell on StatsBomb's pitch.
fn to_cell(position: [f32; 2]) -> Value {
    let coordinate = |axis: usize| {
        let cells = (position[axis].clamp(0.0, 1.0) * PITCH[axis] * 10.0).floor() + 1.0;
        rounded(f64::from(cells.min(PITCH[axis] * 10.0)) / 10.0, 1)
    };
    json!([coordinate(0), coordinate(1)])
}

//! `summary.json`: the totals of a match.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sideline_sport::tables::{Formation, Role, TeamName, Unit};

use super::{StatsConfig, StatsState, Totals};
use crate::calibration::PitchDimensions;

/// Formation of a team in one period.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FormationSummary {
    shape: String,
    lines: Vec<f32>,
    width: f32,
    depth: f32,
    players: u16,
    confidence: f32,
}

impl FormationSummary {
    pub fn new(row: &Formation) -> Self {
        Self {
            shape: row.shape.clone(),
            lines: row.lines.clone(),
            width: row.width,
            depth: row.depth,
            players: row.players,
            confidence: row.confidence,
        }
    }
}

/// Maximum number of players in the summary: those visible longest.
const MAX_PLAYERS: usize = 100;
/// Minimum time visible for a player to be listed, s.
const MIN_VISIBLE_S: f64 = 1.0;
/// Share of frames with a ball below which the summary reports incomplete data.
const SPARSE_BALL_SHARE: f64 = 0.5;

/// Renders the file.
pub fn render(
    stream: &str,
    state: &StatsState,
    pitch: Option<PitchDimensions>,
    config: &StatsConfig,
    heat_maps: &BTreeMap<TeamName, String>,
) -> String {
    let is_metric = state.is_metric == Some(true);
    let total_frames = state.teams[0].controlled_frames + state.teams[1].controlled_frames;
    let mut teams = serde_json::Map::new();
    for (team, totals) in TeamName::TEAMS.iter().zip(&state.teams) {
        let mut entry = totals_json(totals, total_frames);
        // In alphabetical order.
        let events: BTreeMap<&str, u32> = totals.events.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        entry["events"] = json!(events);
        entry["heat_map"] = json!(heat_maps.get(team));
        let periods = state.formations.iter().filter(|((_, name), _)| name == team);
        entry["formations"] = periods.map(|((period, _), shape)| formation_json(*period, shape)).collect();
        teams.insert(team.to_string(), entry);
    }
    let mut visible: Vec<_> =
        state.players.iter().filter(|(_, p)| p.totals.distance.visible_s >= MIN_VISIBLE_S).collect();
    visible.sort_by(|a, b| b.1.totals.distance.visible_s.total_cmp(&a.1.totals.distance.visible_s).then(a.0.cmp(b.0)));
    visible.truncate(MAX_PLAYERS);
    visible.sort_by_key(|(track, player)| (player.team.is_none(), player.team, **track));
    let players: Vec<Value> = visible
        .into_iter()
        .map(|(track, player)| {
            let mut entry = json!({
                "track": track,
                "team": TeamName::from_index(player.team),
                "role": if player.is_goalkeeper { Role::Goalkeeper } else { Role::Player },
            });
            if let (Some(object), Value::Object(totals)) =
                (entry.as_object_mut(), totals_json(&player.totals, total_frames))
            {
                object.extend(totals);
            }
            entry
        })
        .collect();
    // In alphabetical order.
    let possession: BTreeMap<&str, u64> = state.possession_frames.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    let summary = json!({
        "stream": stream,
        "frames": state.frames,
        "seconds": rounded(state.last_frame - state.first_frame.unwrap_or(state.last_frame)),
        "unit": state.is_metric.map(|is_metric| if is_metric { Unit::Meters } else { Unit::Pixels }),
        "pitch": pitch.filter(|_| is_metric).map(|pitch| json!({"length": pitch.length, "width": pitch.width})),
        "speed_zones": config.zones.iter().map(|bound| rounded((*bound).into())).collect::<Vec<_>>(),
        "ball": {"frames": state.ball_frames},
        "possession": possession,
        "teams": teams,
        "players": players,
        "unknown": unknown_data(state, pitch),
    });
    // Serializing a JSON value cannot fail.
    serde_json::to_string_pretty(&summary).unwrap_or_default() + "\n"
}

fn totals_json(totals: &Totals, total_frames: u64) -> Value {
    let distance = &totals.distance;
    json!({
        "possession": if total_frames == 0 {
            Value::Null
        } else {
            rounded(totals.controlled_frames as f64 / total_frames as f64)
        },
        "passes": totals.passes,
        "completed": totals.completed,
        "interceptions": totals.interceptions,
        "shots": totals.shots,
        "distance_m": rounded(distance.total_m),
        "top_speed_m_s": rounded(distance.top_speed_m_s),
        "zones_m": distance.zones_m.map(rounded),
        "seconds": rounded(distance.visible_s),
    })
}

fn formation_json(period: u32, shape: &FormationSummary) -> Value {
    let number = |value: f32| rounded(value.into());
    json!({
        "period": period,
        "shape": shape.shape,
        "lines": shape.lines.iter().map(|depth| number(*depth)).collect::<Vec<_>>(),
        "width": number(shape.width),
        "depth": number(shape.depth),
        "players": shape.players,
        "confidence": number(shape.confidence),
    })
}

/// Returns sentences about the data that this run could not determine.
fn unknown_data(state: &StatsState, pitch: Option<PitchDimensions>) -> Vec<String> {
    let mut sentences: Vec<String> = vec![];
    let mut add = |text: &str| sentences.push(text.into());
    if state.is_metric != Some(true) {
        add(
            "There is no calibration: places, widths and depths are in pixels. Meters are estimated from the height of \
             people, distances towards and away from the camera are underestimated, and a moving camera adds its own \
             motion.",
        );
        add("Without a pitch there are no corners, throw-ins and goal-kicks; shots are reported only where the other \
             team's goalkeeper is known.");
    } else if pitch.is_none() {
        add("`stats` has no `calibration`: heat maps are drawn without the pitch.");
    }
    match (state.ball_frames, state.frames) {
        (0, _) => add("The ball was never seen: possession, passes and other events are unknown."),
        (seen, all) if (seen as f64) < SPARSE_BALL_SHARE * all as f64 => {
            add("The ball was seen in less than half of the frames: possession and events cover only those.");
        }
        _ => {}
    }
    match state.teams.iter().filter(|totals| totals.distance.visible_s > 0.0).count() {
        0 => add("No teams were distinguished."),
        1 => add("Only one team was seen: all possession is its own, and there are no interceptions."),
        _ => {}
    }
    if state.formations.values().all(|shape| shape.shape.is_empty()) {
        add("Too few players of a team were visible together to derive a formation.");
    }
    sentences
}

/// Rounds to three decimal places, which is more than the accuracy of the data.
fn rounded(value: f64) -> Value {
    if value.is_finite() { json!((value * 1000.0).round() / 1000.0) } else { Value::Null }
}

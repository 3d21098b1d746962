//! `summary.json`: a match in one file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sideline_api::tables::{Formation, METRES, PIXELS, Team};

use super::{StatsConfig, StatsState, Sum};
use crate::{calibration::Field, sides::name};

/// How a team stood in a period.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shape {
    shape: String,
    lines: Vec<f32>,
    width: f32,
    depth: f32,
    players: u16,
    confidence: f32,
}

impl Shape {
    pub fn of(row: &Formation) -> Self {
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

/// Players named in the summary at most: those seen longest.
const MOST_PLAYERS: usize = 100;
/// Seconds a player must have been seen to be named.
const LEAST: f64 = 1.0;
/// Part of the frames without a ball from which that is said.
const MISSING: f64 = 0.5;

/// The text of the file.
pub fn text(
    stream: &str,
    state: &StatsState,
    field: Option<Field>,
    config: &StatsConfig,
    heat_maps: &BTreeMap<String, String>,
) -> String {
    let metric = state.metric == Some(true);
    let all = state.teams[0].had_ball + state.teams[1].had_ball;
    let mut teams = serde_json::Map::new();
    for (team, sum) in Team::NAMES.iter().zip(&state.teams) {
        let mut told = figures(sum, all);
        told["events"] = json!(sum.events);
        told["heat_map"] = json!(heat_maps.get(*team));
        let periods = state.formations.iter().filter(|((_, of), _)| of == team);
        told["formations"] = periods.map(|((period, _), shape)| formation(*period, shape)).collect();
        teams.insert((*team).to_owned(), told);
    }
    let mut seen: Vec<_> = state.players.iter().filter(|(_, p)| p.sum.ways.seconds >= LEAST).collect();
    seen.sort_by(|a, b| b.1.sum.ways.seconds.total_cmp(&a.1.sum.ways.seconds).then(a.0.cmp(b.0)));
    seen.truncate(MOST_PLAYERS);
    seen.sort_by_key(|(track, player)| (player.team.is_none(), player.team, **track));
    let players: Vec<Value> = seen
        .into_iter()
        .map(|(track, player)| {
            let mut told = json!({
                "track": track,
                "team": name(player.team),
                "role": if player.goalkeeper { "goalkeeper" } else { "player" },
            });
            if let (Some(told), Value::Object(figures)) = (told.as_object_mut(), figures(&player.sum, all)) {
                told.extend(figures);
            }
            told
        })
        .collect();
    let summary = json!({
        "stream": stream,
        "frames": state.frames,
        "seconds": rounded(state.last - state.first.unwrap_or(state.last)),
        "unit": state.metric.map(|metric| if metric { METRES } else { PIXELS }),
        "pitch": field.filter(|_| metric).map(|field| json!({"length": field.length, "width": field.width})),
        "speed_zones": config.zones.iter().map(|bound| rounded((*bound).into())).collect::<Vec<_>>(),
        "ball": {"frames": state.with_ball},
        "possession": state.states,
        "teams": teams,
        "players": players,
        "unknown": unknown(state, field),
    });
    // Serialising a value that was just made cannot fail.
    serde_json::to_string_pretty(&summary).unwrap_or_default() + "\n"
}

fn figures(sum: &Sum, all: u64) -> Value {
    let ways = &sum.ways;
    json!({
        "possession": if all == 0 { Value::Null } else { rounded(sum.had_ball as f64 / all as f64) },
        "passes": sum.passes,
        "completed": sum.completed,
        "interceptions": sum.interceptions,
        "shots": sum.shots,
        "distance_m": rounded(ways.distance),
        "top_speed_m_s": rounded(ways.top_speed),
        "zones_m": ways.zones.map(rounded),
        "seconds": rounded(ways.seconds),
    })
}

fn formation(period: u32, shape: &Shape) -> Value {
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

/// What this run cannot know, in sentences.
fn unknown(state: &StatsState, field: Option<Field>) -> Vec<String> {
    let mut told: Vec<String> = vec![];
    let mut say = |text: &str| told.push(text.into());
    if state.metric != Some(true) {
        say(
            "There is no calibration: places, widths and depths are in pixels. Metres are estimated from how tall people \
             look, ways towards the camera and away from it come out too short, and a camera that moves adds its own way.",
        );
        say(
            "Without a pitch there are no corners, throw-ins and goal-kicks; shots are told only where the other team's \
             goalkeeper is known.",
        );
    } else if field.is_none() {
        say("`stats` has no `calibration`: heat maps are drawn without the pitch.");
    }
    match (state.with_ball, state.frames) {
        (0, _) => say("The ball was never seen: possession, passes and other events are not known."),
        (seen, all) if (seen as f64) < MISSING * all as f64 => {
            say("The ball was seen in less than half of the frames: possession and events hold for those alone.");
        }
        _ => {}
    }
    match state.teams.iter().filter(|sum| sum.ways.seconds > 0.0).count() {
        0 => say("No teams were told apart."),
        1 => say("Only one team was seen: possession is all its own, and there are no interceptions."),
        _ => {}
    }
    if state.formations.values().all(|shape| shape.shape.is_empty()) {
        say("Too few players of a team were seen together to tell a formation.");
    }
    told
}

/// Three digits behind the point are more than is known.
fn rounded(value: f64) -> Value {
    if value.is_finite() { json!((value * 1000.0).round() / 1000.0) } else { Value::Null }
}

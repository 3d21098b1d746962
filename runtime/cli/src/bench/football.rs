//! `sideline bench match`: all operators of a match but the detector, with 22 players, on one core.

use std::{sync::Arc, time::Instant};

use serde::Serialize;
use sideline_api::{
    Body, Color, Encoding, Frame, Header, Payload, Registry, Result, Table,
    tables::{Ball, Event, Formation, Place, Possession, Team, Track},
};
use sideline_match::bench::{PICTURE, scene};

use super::Spread;
use crate::stage::{Stage, Workshop};

const FRAMES: u64 = 1500;
/// The first frames fill memories.
const WARM_UP: u64 = 60;
/// What each frame goes through, in this order; `floor` reads and writes the tables alone.
const PARTS: [&str; 7] = ["team", "pitch", "possession", "events", "formation", "stats", "floor"];

/// The figures.
#[derive(Debug, Serialize)]
pub struct MatchCost {
    /// Players in every frame.
    pub players: usize,
    /// Size of the frames, px.
    pub picture: [f32; 2],
    /// Each operator, a frame.
    pub parts_us: Vec<(&'static str, Spread)>,
    /// All of them together, a frame, without the floor.
    pub all_us: Spread,
    /// Medians, all / floor: the floor packs and unpacks what they read.
    pub ratio: f64,
}

/// Measures the operators in turn, frame by frame, through the driver that a run uses.
///
/// # Errors
/// None in practice.
pub fn run(registry: &Registry) -> Result<MatchCost> {
    let workshop = Workshop::new(registry);
    let stage = |name: &'static str, inputs: &[&str]| {
        // The last part writes files: not here.
        let keys: &[(&str, serde_json::Value)] =
            if name == "stats" { &[("heat_maps", serde_json::Value::Bool(false))] } else { &[] };
        Stage::new(&workshop, name, name, inputs, keys)
    };
    let mut team = stage("team", &["frames", "tracks"])?;
    let mut pitch = stage("pitch", &["tracks", "ball"])?;
    let mut possession = stage("possession", &["places", "teams"])?;
    let mut events = stage("events", &["places", "possession", "teams"])?;
    let mut formation = stage("formation", &["places", "teams"])?;
    let mut stats = stage("stats", &["places", "teams", "possession", "events", "formation"])?;
    let picture = paint()?;
    let mut times: Vec<Vec<u64>> = vec![vec![]; PARTS.len()];
    let mut all = vec![];
    for frame in 0..FRAMES {
        let (tracks, teams, ball) = scene(frame);
        let pts = frame as i64 * 33_333_333;
        let header = Header::new("bench", frame, pts);
        let mut spent = [0; PARTS.len()];
        let mut part = |number: usize, work: &mut dyn FnMut() -> Result<()>| -> Result<()> {
            let began = Instant::now();
            work()?;
            spent[number] = began.elapsed().as_nanos() as u64;
            Ok(())
        };
        part(0, &mut || {
            team.send("frames", &header, Body::Data(Payload::Frame(Arc::clone(&picture))))?;
            team.rows("tracks", &header, &tracks)?;
            team.next_rows::<Team>("teams").map(|_| ())
        })?;
        let mut places: Vec<Place> = vec![];
        part(1, &mut || {
            pitch.rows("tracks", &header, &tracks)?;
            pitch.rows("ball", &header, &ball)?;
            places = pitch.next_rows("places")?.unwrap_or_default();
            Ok(())
        })?;
        let mut has: Vec<Possession> = vec![];
        part(2, &mut || {
            possession.rows("places", &header, &places)?;
            possession.rows("teams", &header, &teams)?;
            has = possession.next_rows("possession")?.unwrap_or_default();
            Ok(())
        })?;
        let mut happened: Vec<Event> = vec![];
        part(3, &mut || {
            events.rows("places", &header, &places)?;
            events.rows("possession", &header, &has)?;
            events.rows("teams", &header, &teams)?;
            happened = events.next_rows("events")?.unwrap_or_default();
            Ok(())
        })?;
        let mut shapes: Vec<Formation> = vec![];
        part(4, &mut || {
            formation.rows("places", &header, &places)?;
            formation.rows("teams", &header, &teams)?;
            shapes = formation.next_rows("formation")?.unwrap_or_default();
            Ok(())
        })?;
        part(5, &mut || {
            stats.rows("places", &header, &places)?;
            stats.rows("teams", &header, &teams)?;
            stats.rows("possession", &header, &has)?;
            stats.rows("events", &header, &happened)?;
            stats.rows("formation", &header, &shapes)?;
            stats.next("stats");
            Ok(())
        })?;
        part(6, &mut || {
            std::hint::black_box(Track::decode(&Track::encode(&tracks))?);
            std::hint::black_box(Ball::decode(&Ball::encode(&ball))?);
            // Four read what is placed, and who plays for whom.
            for _ in 0..4 {
                std::hint::black_box(Place::decode(&Place::encode(&places))?);
                std::hint::black_box(Team::decode(&Team::encode(&teams))?);
            }
            Ok(())
        })?;
        if frame >= WARM_UP {
            times.iter_mut().zip(spent).for_each(|(times, spent)| times.push(spent));
            all.push(spent[..PARTS.len() - 1].iter().sum());
        }
    }
    let parts_us: Vec<(&str, Spread)> =
        PARTS.into_iter().zip(times.iter_mut().map(|times| Spread::us(times))).collect();
    let all_us = Spread::us(&mut all);
    let floor = parts_us[PARTS.len() - 1].1.p50;
    Ok(MatchCost { players: 22, picture: PICTURE, parts_us, all_us, ratio: all_us.p50 / floor })
}

/// A frame that `team` looks at: its colours do not matter for what it costs.
fn paint() -> Result<Arc<Frame>> {
    let [width, height] = PICTURE.map(|side| side as u32);
    let bytes: Vec<u8> = (0..width * height * 3 / 2).map(|i| (i % 251) as u8).collect();
    Frame::from_packed(width, height, Encoding::I420, Color::assumed(height), bytes).map(Arc::new)
}

impl std::fmt::Display for MatchCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} players, microseconds a frame   {:>8} {:>8}", self.players, "p50", "p99")?;
        for (name, spread) in &self.parts_us {
            writeln!(f, "{name:<34} {:>8.1} {:>8.1}", spread.p50, spread.p99)?;
        }
        writeln!(f, "{:<34} {:>8.1} {:>8.1}", "all but the floor", self.all_us.p50, self.all_us.p99)?;
        write!(f, "ratio of medians to the floor {:.2}", self.ratio)
    }
}

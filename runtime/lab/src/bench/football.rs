//! `sideline-lab bench match`: time per frame of the football operators behind `tracker` and `ball`, for 22 players on one
//! core.
//!
//! The operators run one after the other, frame by frame, through the same driver as in a run. The floor to compare with
//! is the time to encode and decode the tables that they read, without any operator.

mod scene;

use std::{sync::Arc, time::Instant};

use serde::Serialize;
use sideline_api::{Body, Color, Encoding, Frame, Header, Payload, Registry, Result, Table};
use sideline_sport::tables::{Ball, Event, Formation, Place, Possession, Team, Track};

use super::Percentiles;
use crate::operator_runner::{OperatorFactory, OperatorRunner};
use scene::{PICTURE_SIZE, scene};

/// Frames of the measurement: 50 s at 30 frames per second.
const FRAMES: u64 = 1500;
/// Frames at the start that are not measured, while the operators allocate and fill their histories.
const WARM_UP_FRAMES: u64 = 60;
/// Media time between two frames, ns: 30 frames per second.
const FRAME_INTERVAL_NS: i64 = 33_333_333;
/// Number of operators that read positions and teams: possession, events, formation and stats.
const POSITION_READERS: usize = 4;
/// Stages of a frame, in the order in which they run. The last one is the floor.
const STAGES: [&str; 7] = ["team", "pitch", "possession", "events", "formation", "stats", "floor"];

/// Result of `sideline-lab bench match`.
#[derive(Debug, Serialize)]
pub struct MatchCost {
    /// Players in every frame.
    pub players: usize,
    /// Width and height of the frames, px.
    #[serde(rename = "picture")]
    pub frame_size: [f32; 2],
    /// Time per frame of each stage, microseconds.
    #[serde(rename = "parts_us")]
    pub stages_us: Vec<(&'static str, Percentiles)>,
    /// Time per frame of all operators together, without the floor, microseconds.
    #[serde(rename = "all_us")]
    pub operators_us: Percentiles,
    /// Median time of all operators divided by the median of the floor.
    pub ratio: f64,
}

/// Measures the operators of a match.
///
/// # Errors
/// An operator cannot be created or fails.
pub fn run(registry: &Registry) -> Result<MatchCost> {
    let mut operators = MatchOperators::new(registry)?;
    let image = test_image()?;
    let mut stage_times_ns = [(); STAGES.len()].map(|()| Vec::new());
    let mut operator_times_ns: Vec<u64> = Vec::new();
    for number in 0..FRAMES {
        let frame_ns = operators.process_frame(number, &image)?;
        if number >= WARM_UP_FRAMES {
            stage_times_ns.iter_mut().zip(frame_ns).for_each(|(times, ns)| times.push(ns));
            operator_times_ns.push(frame_ns[..STAGES.len() - 1].iter().sum());
        }
    }
    let stages_us = stage_times_ns.each_mut().map(|times| Percentiles::us_from_ns(times));
    let operators_us = Percentiles::us_from_ns(&mut operator_times_ns);
    let floor_us = stages_us[STAGES.len() - 1];
    Ok(MatchCost {
        players: 22,
        frame_size: PICTURE_SIZE,
        stages_us: STAGES.into_iter().zip(stages_us).collect(),
        operators_us,
        ratio: operators_us.p50 / floor_us.p50,
    })
}

/// The measured operators, each with the inputs that a flow gives it.
struct MatchOperators {
    team: OperatorRunner,
    pitch: OperatorRunner,
    possession: OperatorRunner,
    events: OperatorRunner,
    formation: OperatorRunner,
    stats: OperatorRunner,
}

impl MatchOperators {
    fn new(registry: &Registry) -> Result<Self> {
        let factory = OperatorFactory::new(registry);
        let runner = |name: &str, inputs: &[&str]| OperatorRunner::new(&factory, name, name, inputs, &[]);
        // Heat maps are image files, written at the end of a stream.
        let no_heat_maps = [("heat_maps", false.into())];
        let stats_inputs = ["places", "teams", "possession", "events", "formation"];
        Ok(Self {
            team: runner("team", &["frames", "tracks"])?,
            pitch: runner("pitch", &["tracks", "ball"])?,
            possession: runner("possession", &["places", "teams"])?,
            events: runner("events", &["places", "possession", "teams"])?,
            formation: runner("formation", &["places", "teams"])?,
            stats: OperatorRunner::new(&factory, "stats", "stats", &stats_inputs, &no_heat_maps)?,
        })
    }

    /// Runs all stages on a frame; returns the time of each of [`STAGES`], ns.
    fn process_frame(&mut self, number: u64, image: &Arc<Frame>) -> Result<[u64; STAGES.len()]> {
        let (tracks, teams, ball) = scene(number);
        let header = Header::new("bench", number, number as i64 * FRAME_INTERVAL_NS);
        let ((), team_ns) = timed(|| {
            self.team.send("frames", &header, Body::Data(Payload::Frame(Arc::clone(image))))?;
            self.team.send_rows("tracks", &header, &tracks)?;
            self.team.next_rows::<Team>("teams").map(|_| ())
        })?;
        let (places, pitch_ns) = timed(|| {
            self.pitch.send_rows("tracks", &header, &tracks)?;
            self.pitch.send_rows("ball", &header, &ball)?;
            Ok(self.pitch.next_rows::<Place>("places")?.unwrap_or_default())
        })?;
        let (possession, possession_ns) = timed(|| {
            self.possession.send_rows("places", &header, &places)?;
            self.possession.send_rows("teams", &header, &teams)?;
            Ok(self.possession.next_rows::<Possession>("possession")?.unwrap_or_default())
        })?;
        let (events, events_ns) = timed(|| {
            self.events.send_rows("places", &header, &places)?;
            self.events.send_rows("possession", &header, &possession)?;
            self.events.send_rows("teams", &header, &teams)?;
            Ok(self.events.next_rows::<Event>("events")?.unwrap_or_default())
        })?;
        let (formations, formation_ns) = timed(|| {
            self.formation.send_rows("places", &header, &places)?;
            self.formation.send_rows("teams", &header, &teams)?;
            Ok(self.formation.next_rows::<Formation>("formation")?.unwrap_or_default())
        })?;
        let ((), stats_ns) = timed(|| {
            self.stats.send_rows("places", &header, &places)?;
            self.stats.send_rows("teams", &header, &teams)?;
            self.stats.send_rows("possession", &header, &possession)?;
            self.stats.send_rows("events", &header, &events)?;
            self.stats.send_rows("formation", &header, &formations)?;
            self.stats.next("stats");
            Ok(())
        })?;
        let ((), floor_ns) = timed(|| copy_tables(&tracks, &ball, &places, &teams))?;
        Ok([team_ns, pitch_ns, possession_ns, events_ns, formation_ns, stats_ns, floor_ns])
    }
}

/// Encodes and decodes the tables that the operators read: tracks and ball once, positions and teams once for each reader.
/// Possession, events and formations have at most a few rows and are left out.
fn copy_tables(tracks: &[Track], ball: &[Ball], places: &[Place], teams: &[Team]) -> Result<()> {
    std::hint::black_box(Track::decode(&Track::encode(tracks))?);
    std::hint::black_box(Ball::decode(&Ball::encode(ball))?);
    for _ in 0..POSITION_READERS {
        std::hint::black_box(Place::decode(&Place::encode(places))?);
        std::hint::black_box(Team::decode(&Team::encode(teams))?);
    }
    Ok(())
}

/// Returns the result of `work` and the time that it took, ns.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let start = Instant::now();
    let result = work()?;
    Ok((result, start.elapsed().as_nanos() as u64))
}

/// Returns an image for `team` to sample jerseys from. Its content does not affect the cost.
fn test_image() -> Result<Arc<Frame>> {
    let [width, height] = PICTURE_SIZE.map(|side| side as u32);
    let bytes: Vec<u8> = (0..width * height * 3 / 2).map(|i| (i % 251) as u8).collect();
    Frame::from_packed(width, height, Encoding::I420, Color::default_for_height(height), bytes).map(Arc::new)
}

impl std::fmt::Display for MatchCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let title = format!("{} players, microseconds per frame", self.players);
        writeln!(f, "{title:<34} {:>8} {:>8}", "p50", "p99")?;
        let operators = ("all operators", self.operators_us);
        for (name, us) in self.stages_us.iter().copied().chain([operators]) {
            writeln!(f, "{name:<34} {:>8.1} {:>8.1}", us.p50, us.p99)?;
        }
        write!(f, "all operators / floor, medians: {:.2}", self.ratio)
    }
}

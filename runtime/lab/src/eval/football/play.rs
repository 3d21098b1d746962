//! Evaluation of teams, possession and formation of `sideline-lab eval football`.
//!
//! The rules of the labels are those of tests/README.md, implemented in `sideline_eval::football::play`: they use only
//! true boxes and positions, and share nothing with the operators. The players are painted, as the data contain no
//! images.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};
use sideline::program::outln;
use sideline_api::{Body, Color, Encoding, Failure, Frame, OrFail, Payload, Result};
use sideline_eval::{
    Random,
    football::{
        Match,
        play::{self, BallHolder, FORMATION_PERIOD_S, PlayCounts},
    },
    ratio,
};
use sideline_sport::tables::{Ball, Formation, Place, Possession, Team, Track, TrackState};

use super::{OperatorSetup, round::header};
use crate::{eval::format_metric, operator_runner::OperatorRunner};

/// Scores of teams, possession and formation.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PlayMetrics {
    /// Share of rows of tracks with a team whose team is correct, percent.
    pub team_purity: f64,
    /// Share of rows of players' tracks with a team, percent.
    pub team_coverage: f64,
    /// Share of labeled frames with the correct team, or correctly none, in possession, percent.
    pub possession_agreement: f64,
    /// Share of neighbors in depth that are correctly in the same or in different lines, percent.
    pub formation_agreement: f64,
}

impl PlayMetrics {
    /// Pools the counts of all rounds.
    pub fn from_counts<'a>(counts: impl Iterator<Item = &'a PlayCounts>) -> Self {
        let sum = counts.fold(PlayCounts::default(), |sum, counts| sum.sum(counts));
        let percent = |[correct, total]: [u64; 2]| 100.0 * ratio(correct as f64, total as f64);
        Self {
            team_purity: percent(sum.team_purity),
            team_coverage: percent(sum.team_coverage),
            possession_agreement: percent(sum.possession),
            formation_agreement: percent(sum.formation),
        }
    }
}

/// RGB colors of the kits of the first and the second team of a file, and of the grass.
const KITS: [[[f32; 3]; 2]; 3] = [
    [[200.0, 30.0, 40.0], [235.0, 235.0, 230.0]],
    [[30.0, 60.0, 170.0], [230.0, 200.0, 40.0]],
    [[25.0, 25.0, 30.0], [120.0, 180.0, 230.0]],
];
const GRASS: [f32; 3] = [70.0, 120.0, 55.0];

/// Runs the operators of a match on tracks and ball, and scores their output against the ground truth.
pub fn evaluate(
    game: &Match,
    tracks: &[Vec<Track>],
    balls: &[Vec<Ball>],
    seed: u64,
    setup: &OperatorSetup,
) -> Result<PlayCounts> {
    let calibration = CalibrationFile::from_match(game)?;
    let keys = |operator: &str| -> Vec<(&str, Value)> {
        let mut keys: Vec<(&str, Value)> = vec![];
        if let (Some(file), true) = (&calibration, operator != "team" && operator != "possession") {
            keys.push(("calibration", file.path.display().to_string().into()));
        }
        if operator == "formation" {
            keys.push(("period", json!(FORMATION_PERIOD_S)));
        }
        keys.extend(setup.keys(operator));
        keys
    };
    let runner = |operator: &'static str, inputs: &[&str]| {
        OperatorRunner::new(&setup.factory, operator, operator, inputs, &keys(operator))
    };
    let mut team = runner("team", &["frames", "tracks"])?;
    let mut pitch = runner("pitch", &["tracks", "ball"])?;
    let mut possession = runner("possession", &["places", "teams"])?;
    let mut formation = runner("formation", &["places", "teams"])?;
    let mut painter = Painter::new(game, seed);
    let (mut team_rows, mut possession_rows) = (vec![], vec![]);
    for (i, (tracks, ball)) in tracks.iter().zip(balls).enumerate() {
        let header = header(i as u64);
        team.send("frames", &header, painter.frame(game, i)?)?;
        team.send_rows("tracks", &header, tracks)?;
        let teams = team.next_rows::<Team>("teams")?.unwrap_or_default();
        pitch.send_rows("tracks", &header, tracks)?;
        pitch.send_rows("ball", &header, ball)?;
        let places = pitch.next_rows::<Place>("places")?.unwrap_or_default();
        for runner in [&mut possession, &mut formation] {
            runner.send_rows("places", &header, &places)?;
            runner.send_rows("teams", &header, &teams)?;
        }
        possession_rows.push(possession.next_rows::<Possession>("possession")?.unwrap_or_default());
        let _ = formation.next("formation");
        team_rows.push(teams);
    }
    formation.end(&header(tracks.len() as u64))?;
    let formations = match formation.next("formation") {
        Some(Body::Data(Payload::Table(table))) => <Formation as sideline_api::Table>::decode(&table)?,
        _ => vec![],
    };
    let boxes: Vec<Vec<play::TeamBox>> = tracks
        .iter()
        .zip(&team_rows)
        .map(|(tracks, teams)| {
            let visible = tracks.iter().filter(|track| track.state != TrackState::Lost);
            let team_row = |track: &Track| teams.iter().find(|row| row.track == track.track);
            visible
                .map(|track| play::TeamBox {
                    corners: [track.x1, track.y1, track.x2, track.y2].map(f64::from),
                    team: team_row(track).and_then(|row| row.team.index()),
                })
                .collect()
        })
        .collect();
    let holders: Vec<BallHolder> = possession_rows
        .iter()
        .map(|rows| rows.first().and_then(|row| row.team.index()).map_or(BallHolder::NoTeam, BallHolder::Team))
        .collect();
    let lines: Vec<(usize, usize, String)> =
        formations.into_iter().filter_map(|row| Some((row.team.index()?, row.period as usize, row.shape))).collect();
    Ok(play::evaluate(game, &boxes, &holders, &lines))
}

/// Temporary calibration file, removed when dropped.
struct CalibrationFile {
    path: PathBuf,
}

impl CalibrationFile {
    /// Writes point pairs from the players' feet in the first frame and their positions; `None` without positions.
    fn from_match(game: &Match) -> Result<Option<Self>> {
        let Some(positions) = game.positions.as_ref().and_then(|positions| positions.first()) else { return Ok(None) };
        let pairs = game.boxes.first().into_iter().flat_map(|boxes| boxes.players.iter().zip(&positions.players));
        let points = pairs.filter_map(|(rect, position)| {
            let (rect, [x, y]) = (rect.as_ref()?, position.as_ref()?);
            let (u, v) = (rect.x + rect.w / 2.0, rect.y + rect.h);
            Some(format!("  - {{pixel: [{u}, {v}], pitch: [{x}, {y}]}}\n"))
        });
        let text = format!("points:\n{}", points.collect::<String>());
        let path = std::env::temp_dir().join(format!("sideline-eval-{}-{}.yml", std::process::id(), game.first_frame));
        sideline_system::owner::write_private_file(&path, &text)
            .or_fail(Failure::Output, || path.display().to_string())?;
        Ok(Some(Self { path }))
    }
}

impl Drop for CalibrationFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Paints players at their true boxes: skin, jersey, shorts, with shade, noise and uneven grass.
struct Painter {
    kits: [[f32; 3]; 2],
    /// Brightness of each player, and right edge of the shade, px.
    light: Vec<f32>,
    shade: f64,
    random: Random,
    ground: Vec<u8>,
    teams: Vec<String>,
}

impl Painter {
    fn new(game: &Match, seed: u64) -> Self {
        let mut random = Random::for_item(seed, "kits", 0);
        let kits = KITS[random.below(KITS.len())];
        let light = game.players.iter().map(|_| random.between(0.8, 1.1) as f32).collect();
        let shade = random.between(0.2, 0.8) * game.size.0;
        let mut teams: Vec<String> = game.players.iter().map(|player| player.team.clone()).collect();
        teams.sort();
        teams.dedup();
        let [width, height] = [game.size.0, game.size.1].map(|length| length as usize);
        let mut ground = Vec::with_capacity(3 * width * height);
        for _ in 0..height {
            for x in 0..width {
                // Stripes of a mown pitch, and noise.
                let stripe = if x / 160 % 2 == 0 { 0.95 } else { 1.05 };
                let light = stripe * if (x as f64) < shade { 0.65 } else { 1.0 } * random.between(0.92, 1.08) as f32;
                ground.extend(GRASS.map(|value| (value * light) as u8));
            }
        }
        Self { kits, light, shade, random, ground, teams }
    }

    fn frame(&mut self, game: &Match, frame: usize) -> Result<Body> {
        let [width, height] = [game.size.0, game.size.1].map(|length| length as usize);
        let mut pixels = self.ground.clone();
        // Players nearer to the camera occlude those behind them.
        let mut order: Vec<usize> = (0..game.players.len()).collect();
        let feet = |i: &usize| game.boxes[frame].players[*i].map_or(0.0, |rect| rect.y + rect.h);
        order.sort_by(|a, b| feet(a).total_cmp(&feet(b)));
        for i in order {
            let Some(rect) = game.boxes[frame].players[i] else { continue };
            let kit = self.kits[self.teams.iter().position(|team| *team == game.players[i].team).unwrap_or(0).min(1)];
            let (x1, y1) = (rect.x.max(0.0) as usize, rect.y.max(0.0) as usize);
            let (x2, y2) = ((rect.x + rect.w).max(0.0) as usize, (rect.y + rect.h).max(0.0) as usize);
            for y in y1..y2.min(height) {
                for x in x1..x2.min(width) {
                    let (down, across) = ((y as f64 - rect.y) / rect.h, ((x as f64 - rect.x) / rect.w - 0.5).abs());
                    // Head, trunk, and legs with grass between them.
                    let color = match down {
                        d if d < 0.15 && across < 0.15 => [190.0, 140.0, 110.0],
                        d if (0.15..0.5).contains(&d) && across < 0.33 => kit,
                        d if (0.5..0.7).contains(&d) && across < 0.3 => [240.0, 240.0, 240.0],
                        d if d >= 0.7 && (0.08..0.25).contains(&across) => [190.0, 140.0, 110.0],
                        _ => continue,
                    };
                    let shade = if (x as f64) < self.shade { 0.65 } else { 1.0 };
                    let light = self.light[i] * shade * self.random.between(0.85, 1.15) as f32;
                    for (pixel, value) in pixels[3 * (y * width + x)..].iter_mut().zip(color) {
                        *pixel = (value * light).clamp(0.0, 255.0) as u8;
                    }
                }
            }
        }
        let color = Color::default_for_height(height as u32);
        let frame = Frame::from_packed(width as u32, height as u32, Encoding::Rgb8, color, pixels)?;
        Ok(Body::Data(Payload::Frame(frame.into())))
    }
}

/// Prints the scores.
pub fn print(metrics: &PlayMetrics) {
    outln!("\n{:<32} {:>10}", "match, players painted", "%");
    for (name, value) in [
        ("team_purity", metrics.team_purity),
        ("team_coverage", metrics.team_coverage),
        ("possession_agreement", metrics.possession_agreement),
        ("formation_agreement", metrics.formation_agreement),
    ] {
        outln!("{name:<32} {:>10}", format_metric(value, 1));
    }
}

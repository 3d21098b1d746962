//! The match's part of `sideline eval football`: who plays for whom, who has the ball, how the teams stand.
//!
//! The rules of the labels are those of tests/README.md, and lie in `sideline_eval::football::play`: they know true boxes
//! and places alone, and nothing of how the operators go about it. Players are painted, as the data has no pictures.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};
use sideline_api::{
    Body, Color, Encoding, Failure, Frame, OrFail, Payload, Result,
    tables::{Ball, Formation, Place, Possession, Team, Track},
};
use sideline_eval::{
    Random,
    football::{
        Match,
        play::{self, Counts, Has, PERIOD},
    },
    ratio,
};

use super::{Making, round::header};
use crate::{eval::figure, stage::Stage};

/// What was said, frame by frame, judged.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PlayFigures {
    /// Of the tracks' rows that name a team, those that name the right one, percent.
    pub team_purity: f64,
    /// Rows of players' tracks that name a team, percent.
    pub team_coverage: f64,
    /// Frames in which the right team, or rightly nobody, is said to have the ball, percent of those that have a label.
    pub possession_agreement: f64,
    /// Neighbours in depth of whom it is rightly said whether they stand in one line, percent.
    pub formation_agreement: f64,
}

impl PlayFigures {
    /// Of all rounds.
    pub fn of<'a>(all: impl Iterator<Item = &'a Counts>) -> Self {
        let sum = all.fold(Counts::default(), |sum, counts| sum.with(counts));
        let percent = |[right, all]: [u64; 2]| 100.0 * ratio(right as f64, all as f64);
        Self {
            team_purity: percent(sum.teams),
            team_coverage: percent(sum.named),
            possession_agreement: percent(sum.possession),
            formation_agreement: percent(sum.lines),
        }
    }
}

/// Kits of the first and of the second team of a file, and what the ground is.
const KITS: [[[f32; 3]; 2]; 3] = [
    [[200.0, 30.0, 40.0], [235.0, 235.0, 230.0]],
    [[30.0, 60.0, 170.0], [230.0, 200.0, 40.0]],
    [[25.0, 25.0, 30.0], [120.0, 180.0, 230.0]],
];
const GRASS: [f32; 3] = [70.0, 120.0, 55.0];

/// Puts tracks and ball through the operators of a match and compares what they say with the truth.
pub fn judge(game: &Match, tracks: &[Vec<Track>], balls: &[Vec<Ball>], seed: u64, making: &Making) -> Result<Counts> {
    let calibration = Calibrated::of(game)?;
    let keys = |operator: &str| -> Vec<(&str, Value)> {
        let mut keys: Vec<(&str, Value)> = vec![];
        if let (Some(file), true) = (&calibration, operator != "team" && operator != "possession") {
            keys.push(("calibration", file.path.display().to_string().into()));
        }
        if operator == "formation" {
            keys.push(("period", json!(PERIOD)));
        }
        keys.extend(making.keys(operator));
        keys
    };
    let stage = |operator: &'static str, inputs: &[&str]| {
        Stage::new(&making.workshop, operator, operator, inputs, &keys(operator))
    };
    let mut team = stage("team", &["frames", "tracks"])?;
    let mut pitch = stage("pitch", &["tracks", "ball"])?;
    let mut possession = stage("possession", &["places", "teams"])?;
    let mut formation = stage("formation", &["places", "teams"])?;
    let mut painter = Painter::new(game, seed);
    let (mut teams, mut has) = (vec![], vec![]);
    for (i, (tracks, ball)) in tracks.iter().zip(balls).enumerate() {
        let header = header(i as u64);
        team.send("frames", &header, painter.frame(game, i)?)?;
        team.rows("tracks", &header, tracks)?;
        let sides = team.next_rows::<Team>("teams")?.unwrap_or_default();
        pitch.rows("tracks", &header, tracks)?;
        pitch.rows("ball", &header, ball)?;
        let places = pitch.next_rows::<Place>("places")?.unwrap_or_default();
        for stage in [&mut possession, &mut formation] {
            stage.rows("places", &header, &places)?;
            stage.rows("teams", &header, &sides)?;
        }
        has.push(possession.next_rows::<Possession>("possession")?.unwrap_or_default());
        let _ = formation.next("formation");
        teams.push(sides);
    }
    formation.end(&header(tracks.len() as u64))?;
    let shapes = match formation.next("formation") {
        Some(Body::Data(Payload::Table(table))) => <Formation as sideline_api::Table>::decode(&table)?,
        _ => vec![],
    };
    let boxes: Vec<Vec<play::Tracked>> = tracks
        .iter()
        .zip(&teams)
        .map(|(tracks, teams)| {
            let shown = tracks.iter().filter(|track| track.state != "lost");
            let side = |track: &Track| teams.iter().find(|row| row.track == track.track);
            let number = |row: &Team| Team::number(&row.team);
            shown
                .map(|track| play::Tracked {
                    corners: [track.x1, track.y1, track.x2, track.y2].map(f64::from),
                    team: side(track).and_then(number),
                })
                .collect()
        })
        .collect();
    let said: Vec<Has> = has
        .iter()
        .map(|rows| rows.first().and_then(|row| Team::number(&row.team)).map_or(Has::Nobody, Has::Team))
        .collect();
    let lines: Vec<(usize, usize, String)> =
        shapes.into_iter().filter_map(|row| Some((Team::number(&row.team)?, row.period as usize, row.shape))).collect();
    Ok(play::judge(game, &boxes, &said, &lines))
}

/// A calibration file that is gone afterwards.
struct Calibrated {
    path: PathBuf,
}

impl Calibrated {
    /// From the players' feet in the first frame and their places; `None` where the places are not known.
    fn of(game: &Match) -> Result<Option<Self>> {
        let Some(places) = game.places.as_ref().and_then(|places| places.first()) else { return Ok(None) };
        let pairs = game.boxes.first().into_iter().flat_map(|boxes| boxes.players.iter().zip(&places.players));
        let points = pairs.filter_map(|(rect, place)| {
            let (rect, [x, y]) = (rect.as_ref()?, place.as_ref()?);
            let (u, v) = (rect.x + rect.w / 2.0, rect.y + rect.h);
            Some(format!("  - {{pixel: [{u}, {v}], pitch: [{x}, {y}]}}\n"))
        });
        let text = format!("points:\n{}", points.collect::<String>());
        let path = std::env::temp_dir().join(format!("sideline-eval-{}-{}.yml", std::process::id(), game.first));
        sideline_system::owner::write_private(&path, &text).or_fail(Failure::Output, || path.display().to_string())?;
        Ok(Some(Self { path }))
    }
}

impl Drop for Calibrated {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Paints players at their true boxes: skin, jersey, shorts, with shade, noise, and a grass that is not even.
struct Painter {
    kits: [[f32; 3]; 2],
    /// Light on each player, and how far the shade reaches from the left.
    light: Vec<f32>,
    shade: f64,
    random: Random,
    ground: Vec<u8>,
    teams: Vec<String>,
}

impl Painter {
    fn new(game: &Match, seed: u64) -> Self {
        let mut random = Random::of(seed, "kits", 0);
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
                // Stripes as they are mown, and noise.
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
        // Who stands nearer to the camera hides who is behind.
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
                    // A head, a trunk, legs with the ground between them.
                    let colour = match down {
                        d if d < 0.15 && across < 0.15 => [190.0, 140.0, 110.0],
                        d if (0.15..0.5).contains(&d) && across < 0.33 => kit,
                        d if (0.5..0.7).contains(&d) && across < 0.3 => [240.0, 240.0, 240.0],
                        d if d >= 0.7 && (0.08..0.25).contains(&across) => [190.0, 140.0, 110.0],
                        _ => continue,
                    };
                    let shade = if (x as f64) < self.shade { 0.65 } else { 1.0 };
                    let light = self.light[i] * shade * self.random.between(0.85, 1.15) as f32;
                    for (pixel, value) in pixels[3 * (y * width + x)..].iter_mut().zip(colour) {
                        *pixel = (value * light).clamp(0.0, 255.0) as u8;
                    }
                }
            }
        }
        let color = Color::assumed(height as u32);
        let frame = Frame::from_packed(width as u32, height as u32, Encoding::Rgb8, color, pixels)?;
        Ok(Body::Data(Payload::Frame(frame.into())))
    }
}

/// Prints what was measured.
pub fn print(figures: &PlayFigures) {
    outln!("\n{:<32} {:>10}", "match, players painted", "%");
    for (name, value) in [
        ("team_purity", figures.team_purity),
        ("team_coverage", figures.team_coverage),
        ("possession_agreement", figures.possession_agreement),
        ("formation_agreement", figures.formation_agreement),
    ] {
        outln!("{name:<32} {:>10}", figure(value, 1));
    }
}

//! Moves of generated bouts, found by `motion`, `interaction` and `fusion` as they stand in a flow. The models are played: of
//! each window they know which moves have their peak in it, and err.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use sideline_api::{
    Alignment, Values,
    tables::{Interaction, Motion, Move, Scores},
    testing::{Harness, Setup},
};
use sideline_eval::{
    Random,
    bout::{Bout, IDLE, LABELS, PoseNoise, Setting, Strike},
};
use sideline_fusion::Fusion;
use sideline_interaction::InteractionOperator;
use sideline_motion::MotionOperator;

const MODELS: [&str; 3] = ["lstm", "transformer", "tcn"];
/// Length of a played model's window, s, and from the peak that it is about to its end.
const WINDOW: f64 = 1.0;
const FOCUS: f64 = 0.3;
/// Share of the time in which each is wrong.
const WRONG: f64 = 0.05;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A model that is played: what it gives for a window's truth.
struct Played {
    name: &'static str,
    random: Random,
    /// Share of the time in which it is wrong.
    wrong: f64,
    /// Until when it errs the same way, and how: s, label.
    errs: Vec<(f64, Option<usize>)>,
}

impl Played {
    fn new(name: &'static str, seed: u64, wrong: f64) -> Self {
        Self { name, random: Random::of(seed, name, 0), wrong, errs: vec![(0.0, None); 2] }
    }

    /// Its opinion about the window of a fighter that ends at `time`.
    fn judge(&mut self, bout: &Bout, fighter: usize, time: f64, labels: &[&str]) -> Scores {
        let seen =
            |strike: &&Strike| strike.fighter == fighter && strike.peak <= time - 0.03 && strike.peak > time - WINDOW;
        let off = |strike: &Strike| (strike.peak - (time - FOCUS)).abs();
        let about = bout.strikes.iter().filter(seen).min_by(|a, b| off(a).total_cmp(&off(b)));
        let truth = labels.iter().position(|label| *label == about.map_or(IDLE, |strike| strike.label)).unwrap();
        let (until, _) = self.errs[fighter];
        if time >= until {
            let wrong = (self.random.share() < self.wrong).then(|| self.random.below(labels.len()));
            self.errs[fighter] = (time + self.random.between(0.1, 0.4), wrong);
        }
        let said = self.errs[fighter].1.unwrap_or(truth);
        let sure = self.random.between(0.5, 0.9);
        let other: Vec<f64> = labels.iter().map(|_| self.random.share()).collect();
        let all: f64 = other.iter().sum();
        let probabilities = other
            .iter()
            .enumerate()
            .map(|(label, p)| (if label == said { sure } else { 0.0 } + (1.0 - sure) * p / all) as f32)
            .collect();
        Scores {
            track: fighter as u32 + 1,
            fighter: format!("fighter_{}", fighter + 1),
            model: self.name.into(),
            labels: labels.join(" "),
            probabilities,
            unjudged: String::new(),
        }
    }
}

/// `fusion` with its inputs as in a flow.
fn fusion(values: Values, rate: f64) -> Harness<Fusion> {
    let names = ["motion", "interaction", "lstm", "transformer", "tcn"];
    let setup = Setup {
        inputs: Some(names.map(|name| (name, Alignment::Source(sideline_api::SourceId(0)))).to_vec()),
        search: vec![repository()],
        interval: interval(rate),
        ..Setup::default()
    };
    Harness::with(values, setup).unwrap()
}

fn interval(rate: f64) -> i64 {
    (1e9 / rate) as i64
}

/// What comes out of the three for a bout.
struct Found {
    scores: Vec<Vec<Scores>>,
    moves: Vec<Move>,
}

/// Runs a bout through all three; `models` may be fewer than three, or err more about one fighter.
fn run(bout: &Bout, rate: f64, models: &mut [Played], values: Values) -> Found {
    let setup = || Setup { interval: interval(rate), ..Setup::default() };
    let mut motion = Harness::<MotionOperator>::with(Values::default(), setup()).unwrap();
    let mut interaction = Harness::<InteractionOperator>::with(Values::default(), setup()).unwrap();
    let mut fusion = fusion(values, rate);
    let labels: Vec<&str> = [IDLE].into_iter().chain(LABELS).collect();
    let mut found = Found { scores: vec![], moves: vec![] };
    for (i, poses) in bout.frames.iter().enumerate() {
        motion.push("poses", poses).unwrap();
        interaction.push("poses", poses).unwrap();
        fusion.push("motion", &motion.expect::<Motion>("motion")).unwrap();
        fusion.push("interaction", &interaction.expect::<Interaction>("interaction")).unwrap();
        for name in MODELS {
            let model = models.iter_mut().find(|model| model.name == name);
            let time = i as f64 / rate;
            let rows: Vec<Scores> = match model {
                Some(model) => (0..poses.len()).map(|who| model.judge(bout, who, time, &labels)).collect(),
                None => vec![],
            };
            fusion.push(name, &rows).unwrap();
        }
        found.scores.push(fusion.expect("scores"));
        found.moves.extend(fusion.expect::<Move>("moves"));
    }
    fusion.end().unwrap();
    while let Some(message) = fusion.next_message("moves") {
        if let sideline_api::Body::Data(sideline_api::Payload::Table(rows)) = message.body {
            found.moves.extend(<Move as sideline_api::Table>::decode(&rows).unwrap());
        }
    }
    found
}

fn played(seed: u64, wrong: f64) -> Vec<Played> {
    MODELS.map(|name| Played::new(name, seed, wrong)).into()
}

/// Counts of rows held against the truth.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    /// Moves of the truth.
    truth: usize,
    /// Rows.
    rows: usize,
    /// Rows within 100 ms of the truth, each of one move.
    met: usize,
    /// Those with the right label.
    named: usize,
}

impl Tally {
    fn add(&mut self, bout: &Bout, moves: &[Move], rate: f64) {
        let mut taken = vec![false; moves.len()];
        for strike in &bout.strikes {
            let off = |row: &Move| (row.peak as f64 / rate - strike.peak).abs();
            let near = (0..moves.len())
                .filter(|i| !taken[*i] && moves[*i].track as usize == strike.fighter + 1 && off(&moves[*i]) <= 0.1)
                .min_by(|a, b| off(&moves[*a]).total_cmp(&off(&moves[*b])));
            if let Some(i) = near {
                taken[i] = true;
                self.met += 1;
                self.named += usize::from(moves[i].label == strike.label);
            }
        }
        self.truth += bout.strikes.len();
        self.rows += moves.len();
    }

    /// Recall, precision, and the share of those met that have the right label.
    fn figures(&self) -> [f64; 3] {
        [self.met as f64 / self.truth as f64, self.met as f64 / self.rows as f64, self.named as f64 / self.met as f64]
    }
}

/// Over bouts of these seeds at one frame rate.
fn over(seeds: std::ops::Range<u64>, rate: f64, noise: PoseNoise) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let bout = Bout::generate(&Setting { seed, rate, noise, ..Setting::default() });
        tally.add(&bout, &run(&bout, rate, &mut played(seed, WRONG), Values::new()).moves, rate);
    }
    tally
}

#[test]
fn moves_are_found_where_they_are_at_any_frame_rate() {
    let mut all = Tally::default();
    for rate in [25.0, 30.0, 60.0] {
        let one = over(301..311, rate, PoseNoise::USUAL);
        let [recall, precision, named] = one.figures();
        println!("{rate} frames a second: recall {recall:.3}, precision {precision:.3}, named rightly {named:.3}");
        assert!(recall > 0.9 && precision > 0.9 && named > 0.92, "{rate} frames a second: {one:?}");
        all.truth += one.truth;
        all.rows += one.rows;
        all.met += one.met;
        all.named += one.named;
    }
    let [recall, precision, named] = all.figures();
    assert!(recall > 0.92 && precision > 0.92 && named > 0.94, "{all:?}");
}

#[test]
fn without_noise_nearly_nothing_is_missed_or_invented() {
    let tally = over(301..311, 30.0, PoseNoise::NONE);
    let [recall, precision, named] = tally.figures();
    assert!(recall > 0.94 && precision > 0.95 && named > 0.96, "{tally:?}");
}

/// Straights and hooks in quick succession by one who trains alone.
fn combinations(seed: u64) -> Bout {
    let mut shares = [0.0; LABELS.len()];
    LABELS
        .iter()
        .zip(&mut shares)
        .filter(|(label, _)| ["jab", "cross", "hook"].contains(label))
        .for_each(|(_, s)| *s = 1.0);
    let noise = PoseNoise::USUAL;
    Bout::generate(&Setting { seed, fighters: 1, shares, combinations: 0.7, noise, ..Setting::default() })
}

#[test]
fn each_strike_of_a_combination_has_one_row() {
    let mut tally = Tally::default();
    for seed in 1..5 {
        let bout = combinations(seed);
        let moves = run(&bout, 30.0, &mut played(seed, WRONG), Values::new()).moves;
        tally.add(&bout, &moves, 30.0);
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for row in &moves {
            // A limb that strikes twice has to come back between.
            let before = last.insert(&row.limb, row.peak);
            assert!(before.is_none_or(|before| row.peak >= before + 6), "seed {seed}: {row:?}");
            assert!(row.start <= row.peak && row.peak <= row.end, "{row:?}");
        }
    }
    let [recall, precision, _] = tally.figures();
    assert!(recall > 0.88 && precision > 0.92, "{tally:?}");
}

#[test]
fn a_model_that_is_bad_for_one_fighter_loses_weight_for_that_one() {
    let seconds = 40.0;
    let bout = Bout::generate(&Setting { seed: 5, seconds, ..Setting::default() });
    let labels: Vec<&str> = [IDLE].into_iter().chain(LABELS).collect();
    let mut models = played(5, 0.02);
    // Wrong about the first fighter, whatever they do.
    models[2].errs[0] = (seconds, labels.iter().position(|label| *label == "headbutt"));
    let found = run(&bout, 30.0, &mut models, Values::new());
    let late = |fighter: u32| {
        let rows = found.moves.iter().filter(move |row| row.track == fighter && row.peak > 600);
        let weights: Vec<f32> = rows.map(|row| weight(row, "tcn")).collect();
        assert!(!weights.is_empty(), "fighter {fighter} does something");
        weights.iter().sum::<f32>() / weights.len() as f32
    };
    let (bad, good) = (late(1), late(2));
    assert!(bad < 0.08 && good > 0.25, "{bad} against {good}");
    // What the others say stands.
    let wrong = found.moves.iter().filter(|row| row.track == 1 && row.peak > 600 && row.label == "headbutt").count();
    let truly = bout.strikes.iter().filter(|s| s.fighter == 0 && s.peak > 20.0 && s.label == "headbutt").count();
    assert!(wrong <= truly);
}

fn weight(row: &Move, model: &str) -> f32 {
    assert!((row.weights.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{row:?}");
    row.models.split(' ').zip(&row.weights).find(|(name, _)| *name == model).map_or(0.0, |(_, weight)| *weight)
}

#[test]
fn a_missing_model_leaves_its_weight_to_the_others() {
    let bout = Bout::generate(&Setting { seed: 7, ..Setting::default() });
    let mut two: Vec<Played> = played(7, WRONG).into_iter().filter(|model| model.name != "transformer").collect();
    let found = run(&bout, 30.0, &mut two, Values::new());
    let mut tally = Tally::default();
    tally.add(&bout, &found.moves, 30.0);
    let [recall, precision, _] = tally.figures();
    assert!(recall > 0.85 && precision > 0.85, "{tally:?}");
    for row in &found.moves {
        assert_eq!(row.models, "lstm tcn");
        assert!(weight(row, "lstm") > 0.0);
    }
    for row in found.scores.iter().flatten() {
        assert!((row.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4 && row.model == "fusion", "{row:?}");
    }
}

#[test]
fn without_any_opinion_moves_are_unsure_and_scores_say_so() {
    let bout = Bout::generate(&Setting { seed: 7, noise: PoseNoise::NONE, ..Setting::default() });
    let found = run(&bout, 30.0, &mut [], Values::new());
    assert!(!found.moves.is_empty());
    assert!(found.moves.iter().all(|row| row.label == "unsure" && row.models.is_empty()));
    assert!(found.scores.iter().flatten().all(|row| row.probabilities.is_empty() && row.unjudged == "unscored"));
}

#[test]
fn a_bout_gives_the_same_rows_again_and_ids_of_their_own() {
    let bout = Bout::generate(&Setting { seed: 9, seconds: 15.0, ..Setting::default() });
    let rows = || run(&bout, 30.0, &mut played(9, WRONG), Values::new()).moves;
    let moves = rows();
    assert_eq!(moves, rows());
    let ids: BTreeSet<&str> = moves.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), moves.len());
    assert!(ids.iter().all(|id| id.as_bytes()[14] == b'5'), "version 5: {ids:?}");
}

#[test]
fn what_is_pending_when_the_stream_ends_comes_in_the_closing_message() {
    let mut bout = Bout::generate(&Setting { seed: 7, noise: PoseNoise::NONE, ..Setting::default() });
    let last = bout.strikes.iter().rfind(|strike| strike.label != "duck").unwrap().clone();
    // The recording breaks off a moment after the peak.
    bout.frames.truncate(last.peak_frame as usize + 6);
    let moves = run(&bout, 30.0, &mut played(7, 0.0), Values::new()).moves;
    let row = moves.last().unwrap();
    assert!(row.peak.abs_diff(last.peak_frame) <= 3 && row.track as usize == last.fighter + 1, "{row:?} for {last:?}");
}

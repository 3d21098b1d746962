//! Moves of generated bouts, detected by `motion`, `interaction` and `fusion` as connected in a flow. The sequence
//! models are simulated: they know the moves with a peak in each window, and make errors.

use std::collections::{BTreeMap, BTreeSet};

use sideline_api::{
    Alignment, Values,
    testing::{Harness, Setup},
};
use sideline_eval::{
    Random,
    bout::{Bout, BoutSettings, IDLE, LABELS, PoseNoise, Strike},
};
use sideline_fusion::Fusion;
use sideline_sport::tables::{Fighter, Interaction, Motion, Move, PredictionStatus, Scores};
use sideline_testkit::repository;

const MODELS: [&str; 3] = ["lstm", "transformer", "tcn"];
/// Length of a simulated model's window, s.
const WINDOW_S: f64 = 1.0;
/// Time from the peak that a window is about to its end, s.
const FOCUS_S: f64 = 0.3;
/// Fraction of the time in which each model is wrong.
const ERROR_RATE: f64 = 0.05;

/// Simulated model, which derives its prediction from the ground truth of a window.
struct SimulatedModel {
    name: &'static str,
    random: Random,
    /// Fraction of the time in which the model is wrong.
    error_rate: f64,
    /// Current error for each fighter: the time until which it lasts, s, and the wrong label, if any.
    errors: Vec<(f64, Option<usize>)>,
}

impl SimulatedModel {
    fn new(name: &'static str, seed: u64, error_rate: f64) -> Self {
        Self { name, random: Random::for_item(seed, name, 0), error_rate, errors: vec![(0.0, None); 2] }
    }

    /// Predicts the label of the window of a fighter that ends at `time`, s.
    fn predict(&mut self, bout: &Bout, fighter: usize, time: f64, labels: &[&str]) -> Scores {
        let is_in_window =
            |strike: &&Strike| strike.fighter == fighter && strike.peak <= time - 0.03 && strike.peak > time - WINDOW_S;
        let distance = |strike: &Strike| (strike.peak - (time - FOCUS_S)).abs();
        let focused = bout.strikes.iter().filter(is_in_window).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let truth = labels.iter().position(|label| *label == focused.map_or(IDLE, |strike| strike.label)).unwrap();
        let (until, _) = self.errors[fighter];
        if time >= until {
            let wrong = (self.random.uniform() < self.error_rate).then(|| self.random.below(labels.len()));
            self.errors[fighter] = (time + self.random.between(0.1, 0.4), wrong);
        }
        let predicted = self.errors[fighter].1.unwrap_or(truth);
        let confidence = self.random.between(0.5, 0.9);
        let other: Vec<f64> = labels.iter().map(|_| self.random.uniform()).collect();
        let all: f64 = other.iter().sum();
        let probabilities = other
            .iter()
            .enumerate()
            .map(|(label, p)| (if label == predicted { confidence } else { 0.0 } + (1.0 - confidence) * p / all) as f32)
            .collect();
        Scores {
            track: fighter as u32 + 1,
            fighter: Fighter::from_index(fighter),
            model: self.name.into(),
            labels: labels.join(" "),
            probabilities,
            unjudged: PredictionStatus::Present,
        }
    }
}

/// Creates `fusion` with its inputs as in a flow.
fn fusion_harness(values: Values, rate: f64) -> Harness<Fusion> {
    let names = ["motion", "interaction", "lstm", "transformer", "tcn"];
    let setup = Setup {
        inputs: Some(names.map(|name| (name, Alignment::Source(sideline_api::SourceId(0)))).to_vec()),
        search: vec![repository()],
        interval: interval(rate),
        ..Setup::default()
    };
    Harness::with(values, setup).unwrap()
}

/// Frame interval at a rate, ns.
fn interval(rate: f64) -> i64 {
    (1e9 / rate) as i64
}

/// Rows of `fusion` for a bout: scores of each frame, and moves.
struct FusionOutput {
    scores: Vec<Vec<Scores>>,
    moves: Vec<Move>,
}

/// Runs a bout through the three operators. `models` may lack some of the models.
fn run(bout: &Bout, rate: f64, models: &mut [SimulatedModel], values: Values) -> FusionOutput {
    let setup = || Setup { interval: interval(rate), ..Setup::default() };
    let mut motion = Harness::<sideline_motion::Motion>::with(Values::default(), setup()).unwrap();
    let inputs = Some(vec![("poses", Alignment::Source(sideline_api::SourceId(0)))]);
    let mut interaction =
        Harness::<sideline_interaction::Interaction>::with(Values::default(), Setup { inputs, ..setup() }).unwrap();
    let mut fusion = fusion_harness(values, rate);
    let labels: Vec<&str> = [IDLE].into_iter().chain(LABELS).collect();
    let mut found = FusionOutput { scores: vec![], moves: vec![] };
    for (i, poses) in bout.frames.iter().enumerate() {
        motion.push("poses", poses).unwrap();
        interaction.push("poses", poses).unwrap();
        fusion.push("motion", &motion.expect::<Motion>("motion")).unwrap();
        fusion.push("interaction", &interaction.expect::<Interaction>("interaction")).unwrap();
        for name in MODELS {
            let model = models.iter_mut().find(|model| model.name == name);
            let time = i as f64 / rate;
            let rows: Vec<Scores> = match model {
                Some(model) => (0..poses.len()).map(|fighter| model.predict(bout, fighter, time, &labels)).collect(),
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

/// Creates all models with the same error rate.
fn simulated_models(seed: u64, error_rate: f64) -> Vec<SimulatedModel> {
    MODELS.map(|name| SimulatedModel::new(name, seed, error_rate)).into()
}

/// Counts of detected moves compared with the ground truth.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    /// Moves of the ground truth.
    truth: usize,
    /// Detected moves.
    rows: usize,
    /// Detected moves within 100 ms of a true one, matched one to one.
    matched: usize,
    /// Matched moves with the right label.
    labeled: usize,
}

impl Tally {
    fn add(&mut self, bout: &Bout, moves: &[Move], rate: f64) {
        let mut taken = vec![false; moves.len()];
        for strike in &bout.strikes {
            let distance = |row: &Move| (row.peak as f64 / rate - strike.peak).abs();
            let nearest = (0..moves.len())
                .filter(|i| !taken[*i] && moves[*i].track as usize == strike.fighter + 1 && distance(&moves[*i]) <= 0.1)
                .min_by(|a, b| distance(&moves[*a]).total_cmp(&distance(&moves[*b])));
            if let Some(i) = nearest {
                taken[i] = true;
                self.matched += 1;
                self.labeled += usize::from(moves[i].label == strike.label);
            }
        }
        self.truth += bout.strikes.len();
        self.rows += moves.len();
    }

    /// Returns recall, precision, and the fraction of matched moves with the right label.
    fn rates(&self) -> [f64; 3] {
        [
            self.matched as f64 / self.truth as f64,
            self.matched as f64 / self.rows as f64,
            self.labeled as f64 / self.matched as f64,
        ]
    }
}

/// Evaluates bouts of these seeds at one frame rate.
fn evaluate_bouts(seeds: std::ops::Range<u64>, rate: f64, noise: PoseNoise) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let bout = Bout::generate(&BoutSettings { seed, rate, noise, ..BoutSettings::default() });
        tally.add(&bout, &run(&bout, rate, &mut simulated_models(seed, ERROR_RATE), Values::new()).moves, rate);
    }
    tally
}

#[test]
fn moves_are_detected_with_the_right_label_at_any_frame_rate() {
    let mut all = Tally::default();
    for rate in [25.0, 30.0, 60.0] {
        let one = evaluate_bouts(301..311, rate, PoseNoise::TYPICAL);
        let [recall, precision, labeled] = one.rates();
        println!("{rate} fps: recall {recall:.3}, precision {precision:.3}, right label {labeled:.3}");
        assert!(recall > 0.9 && precision > 0.9 && labeled > 0.92, "{rate} fps: {one:?}");
        all.truth += one.truth;
        all.rows += one.rows;
        all.matched += one.matched;
        all.labeled += one.labeled;
    }
    let [recall, precision, labeled] = all.rates();
    assert!(recall > 0.92 && precision > 0.92 && labeled > 0.94, "{all:?}");
}

#[test]
fn without_noise_few_moves_are_missed_or_false() {
    let tally = evaluate_bouts(301..311, 30.0, PoseNoise::NONE);
    let [recall, precision, labeled] = tally.rates();
    assert!(recall > 0.94 && precision > 0.95 && labeled > 0.96, "{tally:?}");
}

/// Generates straights and hooks in quick succession of a single fighter.
fn combinations(seed: u64) -> Bout {
    let mut shares = [0.0; LABELS.len()];
    LABELS
        .iter()
        .zip(&mut shares)
        .filter(|(label, _)| ["jab", "cross", "hook"].contains(label))
        .for_each(|(_, s)| *s = 1.0);
    let noise = PoseNoise::TYPICAL;
    Bout::generate(&BoutSettings { seed, fighters: 1, shares, combinations: 0.7, noise, ..BoutSettings::default() })
}

#[test]
fn each_strike_of_a_combination_has_one_row() {
    let mut tally = Tally::default();
    for seed in 1..5 {
        let bout = combinations(seed);
        let moves = run(&bout, 30.0, &mut simulated_models(seed, ERROR_RATE), Values::new()).moves;
        tally.add(&bout, &moves, 30.0);
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for row in &moves {
            // A limb has to return between two strikes.
            let before = last.insert(&row.limb, row.peak);
            assert!(before.is_none_or(|before| row.peak >= before + 6), "seed {seed}: {row:?}");
            assert!(row.start <= row.peak && row.peak <= row.end, "{row:?}");
        }
    }
    let [recall, precision, _] = tally.rates();
    assert!(recall > 0.88 && precision > 0.92, "{tally:?}");
}

#[test]
fn a_model_that_is_wrong_about_one_fighter_loses_weight_for_that_fighter() {
    let seconds = 40.0;
    let bout = Bout::generate(&BoutSettings { seed: 5, seconds, ..BoutSettings::default() });
    let labels: Vec<&str> = [IDLE].into_iter().chain(LABELS).collect();
    let mut models = simulated_models(5, 0.02);
    // The third model predicts a headbutt for the first fighter throughout the bout.
    models[2].errors[0] = (seconds, labels.iter().position(|label| *label == "headbutt"));
    let found = run(&bout, 30.0, &mut models, Values::new());
    let late = |fighter: u32| {
        let rows = found.moves.iter().filter(move |row| row.track == fighter && row.peak > 600);
        let weights: Vec<f32> = rows.map(|row| weight(row, "tcn")).collect();
        assert!(!weights.is_empty(), "fighter {fighter} has moves");
        weights.iter().sum::<f32>() / weights.len() as f32
    };
    let (bad, good) = (late(1), late(2));
    assert!(bad < 0.08 && good > 0.25, "{bad} against {good}");
    // The predictions of the other models prevail.
    let wrong = found.moves.iter().filter(|row| row.track == 1 && row.peak > 600 && row.label == "headbutt").count();
    let true_headbutts =
        bout.strikes.iter().filter(|s| s.fighter == 0 && s.peak > 20.0 && s.label == "headbutt").count();
    assert!(wrong <= true_headbutts);
}

/// Returns the weight of a model in a row; 0 if the model did not contribute.
fn weight(row: &Move, model: &str) -> f32 {
    assert!((row.weights.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{row:?}");
    row.models.split(' ').zip(&row.weights).find(|(name, _)| *name == model).map_or(0.0, |(_, weight)| *weight)
}

#[test]
fn the_weight_of_a_missing_model_goes_to_the_others() {
    let bout = Bout::generate(&BoutSettings { seed: 7, ..BoutSettings::default() });
    let mut two: Vec<SimulatedModel> =
        simulated_models(7, ERROR_RATE).into_iter().filter(|model| model.name != "transformer").collect();
    let found = run(&bout, 30.0, &mut two, Values::new());
    let mut tally = Tally::default();
    tally.add(&bout, &found.moves, 30.0);
    let [recall, precision, _] = tally.rates();
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
fn without_predictions_moves_are_unsure_and_scores_are_unscored() {
    let bout = Bout::generate(&BoutSettings { seed: 7, noise: PoseNoise::NONE, ..BoutSettings::default() });
    let found = run(&bout, 30.0, &mut [], Values::new());
    assert!(!found.moves.is_empty());
    assert!(found.moves.iter().all(|row| row.label == "unsure" && row.models.is_empty()));
    assert!(
        found
            .scores
            .iter()
            .flatten()
            .all(|row| row.probabilities.is_empty() && row.unjudged == PredictionStatus::Unscored)
    );
}

#[test]
fn moves_are_reproducible_and_have_unique_ids() {
    let bout = Bout::generate(&BoutSettings { seed: 9, seconds: 15.0, ..BoutSettings::default() });
    let rows = || run(&bout, 30.0, &mut simulated_models(9, ERROR_RATE), Values::new()).moves;
    let moves = rows();
    assert_eq!(moves, rows());
    let ids: BTreeSet<&str> = moves.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), moves.len());
    assert!(ids.iter().all(|id| id.as_bytes()[14] == b'5'), "version 5: {ids:?}");
}

#[test]
fn moves_that_are_pending_at_the_end_of_the_stream_are_sent_in_the_closing_message() {
    let mut bout = Bout::generate(&BoutSettings { seed: 7, noise: PoseNoise::NONE, ..BoutSettings::default() });
    let last = bout.strikes.iter().rfind(|strike| strike.label != "duck").unwrap().clone();
    // The recording ends six frames after the peak.
    bout.frames.truncate(last.peak_frame as usize + 6);
    let moves = run(&bout, 30.0, &mut simulated_models(7, 0.0), Values::new()).moves;
    let row = moves.last().unwrap();
    assert!(row.peak.abs_diff(last.peak_frame) <= 3 && row.track as usize == last.fighter + 1, "{row:?} for {last:?}");
}

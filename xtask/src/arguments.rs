//! Command line of `cargo xtask`.

/// Help text, printed by `cargo xtask` without arguments; at most 80 columns wide.
pub const HELP: &str = "\
Sets up a fresh clone and runs demos, tests and benchmarks.

Usage: cargo xtask COMMAND

  setup                     Install what the other commands need: system
                            packages (apt), .venv with the Python packages,
                            models and clips. Installed packages are kept.
  demo [NAME]               Set up, build, and run a flow on a clip; then list
                            the videos, tables and figures. NAME is
                            fight (default): two athletes; sound: two walkers
                            with a tone every second, which the video has too;
                            football: players, ball, teams, statistics;
                            autocam: a crop that follows the ball.
    --dora                  One process per node, under a private dora instance.
    --frames N              Stop after N frames (not with --dora).
  test [ARGS]               Set up, run all Python and Rust tests, and list the
                            tests that could not run. With ARGS, run only
                            `cargo test ARGS`. SIDELINE_REQUIRE=dora,models
                            makes tests fail instead of being skipped when they
                            lack one of these capabilities (dora, models, data,
                            ffmpeg, servers, python, training, sideline,
                            compiler, old-rustc, machine).
  fuzz [SECONDS] [NAME]     Set up, then run each fuzz target, or those with
                            NAME in their names, for SECONDS (600): the parsers
                            of files and messages on malformed input.
  soak runs                 Set up, then run random flows over dora, some of
                            them stopped at a random frame; check exit codes and
                            counts.
    --count N --seed S      Number of runs (200), seed of the first one (1).
  soak hour                 Set up, then run count.yml and fight.yml live over
                            dora, with operators that restart; check counts, and
                            that memory use stays flat.
    --minutes M             Total duration (60).
  bench [WHAT] [ARGS]       Set up, build, and run `sideline-lab bench WHAT
                            ARGS`: hops, preprocess, detect, pose, tracker,
                            match, moves, film, fight, or all (default).
  wheel                     Set up, build the Python package, test it with a
                            flow in a Python environment of its own, and pack
                            it into target/wheels.

Environment: CARGO_TARGET_DIR is the build folder (default: target). The logs of
each step are in its subfolder xtask-logs. Exit code 0: success; 1: failure, the
message gives its cause and the fix; 130: stopped by a signal. `demo` and
`bench` exit with the code of the program that they run.
";

/// Benchmarks of `sideline-lab bench` that `cargo xtask bench` runs.
pub const BENCHES: [&str; 9] = ["hops", "preprocess", "detect", "pose", "tracker", "match", "moves", "film", "fight"];

/// Names of all commands.
const COMMANDS: [&str; 7] = ["setup", "demo", "test", "bench", "fuzz", "soak", "wheel"];

/// Demo: a flow and the clip that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demo {
    /// Name on the command line.
    pub name: &'static str,
    /// Dataflow file.
    pub flow: &'static str,
    /// Video file.
    pub clip: &'static str,
    /// Video file from which `clip` is made by adding a tone every second; the clips that setup fetches are silent.
    pub tone_over: Option<&'static str>,
}

/// Demos; the first one is the default.
pub const DEMOS: [Demo; 4] = [
    Demo { name: "fight", flow: "dataflows/fight.yml", clip: "models/clips/athletes.mp4", tone_over: None },
    Demo {
        name: "sound",
        flow: "dataflows/fight.yml",
        clip: "models/clips/walker_tone.mp4",
        tone_over: Some("models/clips/walker.mp4"),
    },
    Demo { name: "football", flow: "dataflows/football.yml", clip: "models/clips/pedestrians.avi", tone_over: None },
    Demo { name: "autocam", flow: "dataflows/autocam.yml", clip: "models/clips/pedestrians.avi", tone_over: None },
];

/// Default duration of each fuzz target, s.
const DEFAULT_FUZZ_SECONDS: u64 = 600;

/// Parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the help.
    Help,
    /// Install the prerequisites.
    Setup,
    /// Run a demo.
    Demo {
        /// Demo to run.
        demo: Demo,
        /// Run under dora instead of in one process.
        dora: bool,
        /// Number of frames after which the run ends.
        frames: Option<u64>,
    },
    /// Run tests.
    Test {
        /// Arguments of `cargo test`.
        arguments: Vec<String>,
    },
    /// Run benchmarks.
    Bench {
        /// Benchmarks to run, in order.
        names: Vec<String>,
        /// Arguments of `sideline-lab bench`.
        arguments: Vec<String>,
    },
    /// Run fuzz targets.
    Fuzz {
        /// Duration of each target, s.
        seconds: u64,
        /// Substring of the names of the targets to run; `None` for all.
        target: Option<String>,
    },
    /// Run a soak test.
    Soak(Soak),
    /// Build and test the Python package.
    Wheel,
}

/// Soak test over dora.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Soak {
    /// Many short random runs.
    Runs {
        /// Number of runs.
        count: u64,
        /// Seed of the first run.
        seed: u64,
    },
    /// Few long live runs.
    Hour {
        /// Total duration of all runs, min.
        minutes: u64,
    },
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// When the arguments are invalid; the message lists the valid ones.
pub fn parse(arguments: &[String]) -> Result<Command, String> {
    let Some((command, rest)) = arguments.split_first() else { return Ok(Command::Help) };
    // `test` passes its arguments on, so `--help` after it is for cargo.
    if command != "test" && rest.iter().any(|a| a == "--help" || a == "-h") {
        return Ok(Command::Help);
    }
    match command.as_str() {
        "--help" | "-h" | "help" => Ok(Command::Help),
        "setup" | "wheel" => match rest.first() {
            None if command == "setup" => Ok(Command::Setup),
            None => Ok(Command::Wheel),
            Some(other) => Err(format!("`{command}` takes no arguments, but got `{other}`")),
        },
        "demo" => demo(rest),
        "test" => Ok(Command::Test { arguments: rest.to_vec() }),
        "bench" => bench(rest),
        "fuzz" => fuzz(rest),
        "soak" => soak(rest),
        other => Err(format!(
            "unknown command `{other}`; the commands are {} (see `cargo xtask --help`)",
            COMMANDS.join(", ")
        )),
    }
}

fn demo(rest: &[String]) -> Result<Command, String> {
    let (mut demo, mut dora, mut frames) = (None, false, None);
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        if argument == "--dora" {
            dora = true;
        } else if argument == "--frames" {
            frames = Some(number("--frames", rest.next())?);
        } else if let Some(value) = argument.strip_prefix("--frames=") {
            frames = Some(number("--frames", Some(&value.to_owned()))?);
        } else if let Some(named) = DEMOS.into_iter().find(|known| known.name == argument).filter(|_| demo.is_none()) {
            demo = Some(named);
        } else {
            let names = DEMOS.map(|demo| demo.name).join(", ");
            return Err(format!(
                "unknown argument `{argument}` of `demo`; it takes one of {names}, --dora and --frames N"
            ));
        }
    }
    if dora && frames.is_some() {
        return Err("`--frames` applies only to a run in one process: omit `--dora` or `--frames`".into());
    }
    Ok(Command::Demo { demo: demo.unwrap_or(DEMOS[0]), dora, frames })
}

/// Parses a positive whole number.
fn number(option: &str, text: Option<&String>) -> Result<u64, String> {
    let text = text.ok_or_else(|| format!("`{option}` needs a number, for example `{option} 50`"))?;
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`{option}` needs a positive whole number, not `{text}`")),
    }
}

fn fuzz(rest: &[String]) -> Result<Command, String> {
    let (mut seconds, mut target) = (None, None);
    for argument in rest {
        if argument.starts_with('-') {
            return Err(format!(
                "unknown argument `{argument}` of `fuzz`; it takes SECONDS and a part of a target's name"
            ));
        }
        let slot = if argument.starts_with(|c: char| c.is_ascii_digit()) { &mut seconds } else { &mut target };
        if slot.replace(argument).is_some() {
            return Err(format!("`fuzz` takes SECONDS and one NAME; `{argument}` is one argument too many"));
        }
    }
    let seconds = seconds.map_or(Ok(DEFAULT_FUZZ_SECONDS), |text| number("fuzz", Some(text)))?;
    Ok(Command::Fuzz { seconds, target: target.cloned() })
}

fn soak(rest: &[String]) -> Result<Command, String> {
    let Some((kind, rest)) = rest.split_first() else { return Err("`soak` needs `runs` or `hour`".into()) };
    let mut soak = match kind.as_str() {
        "runs" => Soak::Runs { count: 200, seed: 1 },
        "hour" => Soak::Hour { minutes: 60 },
        other => return Err(format!("unknown argument `{other}` of `soak`; it takes runs or hour")),
    };
    let mut rest = rest.iter();
    while let Some(option) = rest.next() {
        let target = match (&mut soak, option.as_str()) {
            (Soak::Runs { count, .. }, "--count") => count,
            (Soak::Runs { seed, .. }, "--seed") => seed,
            (Soak::Hour { minutes }, "--minutes") => minutes,
            _ => return Err(format!("unknown option `{option}` of `soak {kind}`; see `cargo xtask --help`")),
        };
        *target = number(option, rest.next())?;
    }
    Ok(Command::Soak(soak))
}

fn bench(rest: &[String]) -> Result<Command, String> {
    let all = || BENCHES.map(String::from).to_vec();
    let (names, arguments) = match rest.split_first() {
        Some((name, arguments)) if name == "all" => (all(), arguments),
        Some((name, arguments)) if BENCHES.contains(&name.as_str()) => (vec![name.clone()], arguments),
        Some((name, _)) if !name.starts_with('-') => {
            return Err(format!("unknown benchmark `{name}`; the benchmarks are {} and all", BENCHES.join(", ")));
        }
        _ => (all(), rest),
    };
    Ok(Command::Bench { names, arguments: arguments.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Command, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn no_arguments_print_the_help_which_fits_80_columns() {
        for line in ["", "--help", "-h", "help", "demo --help", "bench hops -h"] {
            assert_eq!(parse_line(line), Ok(Command::Help), "{line}");
        }
        for line in HELP.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn demo_takes_dora_or_frames_but_not_both() {
        let demo = DEMOS[0];
        assert_eq!(parse_line("demo"), Ok(Command::Demo { demo, dora: false, frames: None }));
        assert_eq!(parse_line("demo --dora"), Ok(Command::Demo { demo, dora: true, frames: None }));
        assert_eq!(parse_line("demo --frames 7"), Ok(Command::Demo { demo, dora: false, frames: Some(7) }));
        assert_eq!(parse_line("demo --frames=7"), parse_line("demo --frames 7"));
        for wrong in ["demo --frames", "demo --frames 0", "demo --frames x", "demo fast", "demo --dora --frames 7"] {
            assert!(parse_line(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_demo_is_selected_by_its_name_and_listed_in_the_help() {
        assert_eq!(parse_line("demo fight"), parse_line("demo"));
        for demo in DEMOS {
            let named = Command::Demo { demo, dora: true, frames: None };
            assert_eq!(parse_line(&format!("demo {} --dora", demo.name)), Ok(named.clone()));
            assert_eq!(parse_line(&format!("demo --dora {}", demo.name)), Ok(named));
            assert!(HELP.contains(demo.name), "{}", demo.name);
        }
        assert!(parse_line("demo fight sound").is_err(), "only one demo at a time");
        assert!(parse_line("demo fihgt").unwrap_err().contains("fight, sound"));
    }

    #[test]
    fn test_passes_all_arguments_on() {
        let Ok(Command::Test { arguments }) = parse_line("test -p sideline-graph -- --help") else { panic!() };
        assert_eq!(arguments, strings(&["-p", "sideline-graph", "--", "--help"]));
    }

    #[test]
    fn bench_runs_all_benchmarks_unless_one_is_named() {
        let all = Command::Bench { names: strings(&BENCHES), arguments: vec![] };
        assert_eq!(parse_line("bench"), Ok(all));
        assert_eq!(parse_line("bench all"), parse_line("bench"));
        let hops = Command::Bench { names: strings(&["hops"]), arguments: strings(&["--json"]) };
        assert_eq!(parse_line("bench hops --json"), Ok(hops));
        let Ok(Command::Bench { names, arguments }) = parse_line("bench --json") else { panic!() };
        assert_eq!((names.len(), arguments), (BENCHES.len(), strings(&["--json"])));
        assert!(parse_line("bench hop").unwrap_err().contains("hops, preprocess"));
    }

    #[test]
    fn unknown_commands_and_arguments_are_refused() {
        assert!(parse_line("setup --fast").is_err());
        assert!(parse_line("build").unwrap_err().contains("setup, demo, test, bench, fuzz, soak, wheel"));
        assert_eq!(parse_line("wheel"), Ok(Command::Wheel));
        assert!(parse_line("wheel fast").unwrap_err().contains("`wheel` takes no arguments"));
    }

    #[test]
    fn fuzz_takes_seconds_and_a_name_in_any_order() {
        let fuzz = |seconds, target: Option<&str>| Ok(Command::Fuzz { seconds, target: target.map(String::from) });
        assert_eq!(parse_line("fuzz"), fuzz(600, None));
        assert_eq!(parse_line("fuzz 30"), fuzz(30, None));
        assert_eq!(parse_line("fuzz yaml 30"), fuzz(30, Some("yaml")));
        for wrong in ["fuzz 0", "fuzz 3s", "fuzz --all", "fuzz a b", "fuzz 1 2"] {
            assert!(parse_line(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn soak_takes_only_the_options_of_its_kind() {
        assert_eq!(parse_line("soak runs"), Ok(Command::Soak(Soak::Runs { count: 200, seed: 1 })));
        let few = Command::Soak(Soak::Runs { count: 5, seed: 9 });
        assert_eq!(parse_line("soak runs --seed 9 --count 5"), Ok(few));
        assert_eq!(parse_line("soak hour --minutes 2"), Ok(Command::Soak(Soak::Hour { minutes: 2 })));
        for wrong in ["soak", "soak day", "soak hour --count 2", "soak runs --count", "soak runs --count 0"] {
            assert!(parse_line(wrong).is_err(), "{wrong}");
        }
    }
}

//! The command line.

/// What `cargo xtask` prints without arguments; at most 80 columns.
pub const HELP: &str = "\
From a fresh clone to a demo, tests and benchmarks.

Usage: cargo xtask COMMAND

  setup                     Put in place what the rest needs: system packages
                            (apt), .venv with the Python packages, models, clip.
                            What is there already is left alone.
  demo [NAME]               Set up, build, and run a flow on its clip; then say
                            where video, tables and figures are. NAME is
                            fight (default): two athletes; sound: two walkers
                            with a tone each second, which the video has too;
                            football: players, ball, teams, statistics;
                            autocam: a crop that follows the ball.
    --dora                  One process per node, under a dora of its own.
    --frames N              End after N frames (not with --dora).
  test [ARGS]               Set up, then all tests, Python's and Rust's, and a
                            list of those that could not run. With ARGS only
                            `cargo test ARGS`. SIDELINE_REQUIRE=dora,models
                            makes those fail that need what is missing (dora,
                            models, data, ffmpeg, servers, python, training,
                            machine).
  fuzz [SECONDS] [NAME]     Set up, then each fuzz target for so long (600), or
                            those with NAME in their names: what the readers of
                            files and messages make of odd input.
  soak runs                 Set up, then random flows over dora, some stopped
                            at a random frame; checks codes and counts.
    --count N --seed S      So many (200), from this seed (1).
  soak hour                 Set up, then count.yml and fight.yml, live over dora
                            with operators that restart; checks counts, and
                            that memory stays flat.
    --minutes M             For so long, together (60).
  bench [WHAT] [ARGS]       Set up, build, and run `sideline bench WHAT ARGS`:
                            hops, preprocess, pose, tracker, moves, film,
                            fight, or all (default).

Environment: CARGO_TARGET_DIR says where builds go (default: target). Logs of
each step are in xtask-logs there. Exit code 0: done; 1: the message says what
failed and how to mend it; 130: stopped. `demo` and `bench` give the code of
`sideline`.
";

/// What `sideline bench` can measure.
pub const BENCHES: [&str; 8] = ["hops", "preprocess", "pose", "tracker", "match", "moves", "film", "fight"];

/// Every command.
const COMMANDS: [&str; 6] = ["setup", "demo", "test", "bench", "fuzz", "soak"];

/// A demo: a flow, and the clip it is run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Show {
    /// As it is named on the command line.
    pub name: &'static str,
    /// The dataflow file.
    pub flow: &'static str,
    /// The video file.
    pub clip: &'static str,
    /// The video file that `clip` is made of, by laying a tone each second over it: the clips that setup fetches are silent.
    pub tone_over: Option<&'static str>,
}

/// Every demo; the first is run where none is named.
pub const SHOWS: [Show; 4] = [
    Show { name: "fight", flow: "dataflows/fight.yml", clip: "models/clips/athletes.mp4", tone_over: None },
    Show {
        name: "sound",
        flow: "dataflows/fight.yml",
        clip: "models/clips/walker_tone.mp4",
        tone_over: Some("models/clips/walker.mp4"),
    },
    Show { name: "football", flow: "dataflows/football.yml", clip: "models/clips/pedestrians.avi", tone_over: None },
    Show { name: "autocam", flow: "dataflows/autocam.yml", clip: "models/clips/pedestrians.avi", tone_over: None },
];

/// Seconds of each fuzz target where none are given.
const FUZZ_SECONDS: u64 = 600;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the help.
    Help,
    /// Put everything in place.
    Setup,
    /// Run a demo.
    Demo {
        /// Which one.
        show: Show,
        /// Under dora instead of in one process.
        dora: bool,
        /// End after so many frames.
        frames: Option<u64>,
    },
    /// Run tests.
    Test {
        /// For `cargo test`.
        arguments: Vec<String>,
    },
    /// Run benchmarks.
    Bench {
        /// Which ones, in order.
        what: Vec<String>,
        /// For `sideline bench`.
        arguments: Vec<String>,
    },
    /// Run fuzz targets.
    Fuzz {
        /// Seconds of each.
        seconds: u64,
        /// Part of the names of those that are wanted; all where it is not given.
        target: Option<String>,
    },
    /// Run flows over dora for long.
    Soak(Soak),
}

/// A long trial over dora.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Soak {
    /// Many short random runs.
    Runs {
        /// How many.
        count: u64,
        /// Seed of the first.
        seed: u64,
    },
    /// Few long live runs.
    Hour {
        /// Minutes of all of them together.
        minutes: u64,
    },
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// What is wrong, and what is possible instead.
pub fn parse(given: &[String]) -> Result<Command, String> {
    let Some((command, rest)) = given.split_first() else { return Ok(Command::Help) };
    // `test` hands its arguments on: `--help` after it is cargo's.
    if command != "test" && rest.iter().any(|a| a == "--help" || a == "-h") {
        return Ok(Command::Help);
    }
    match command.as_str() {
        "--help" | "-h" | "help" => Ok(Command::Help),
        "setup" => match rest.first() {
            None => Ok(Command::Setup),
            Some(other) => Err(format!("`setup` takes no arguments, `{other}` was given")),
        },
        "demo" => demo(rest),
        "test" => Ok(Command::Test { arguments: rest.to_vec() }),
        "bench" => bench(rest),
        "fuzz" => fuzz(rest),
        "soak" => soak(rest),
        other => Err(format!("unknown command `{other}`; there are {} (`cargo xtask --help`)", COMMANDS.join(", "))),
    }
}

fn demo(rest: &[String]) -> Result<Command, String> {
    let (mut show, mut dora, mut frames) = (None, false, None);
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        if argument == "--dora" {
            dora = true;
        } else if argument == "--frames" {
            frames = Some(number("--frames", rest.next())?);
        } else if let Some(value) = argument.strip_prefix("--frames=") {
            frames = Some(number("--frames", Some(&value.to_owned()))?);
        } else if let Some(named) = SHOWS.into_iter().find(|known| known.name == argument).filter(|_| show.is_none()) {
            show = Some(named);
        } else {
            let names = SHOWS.map(|show| show.name).join(", ");
            return Err(format!("`demo` does not know `{argument}`; it takes one of {names}, --dora and --frames N"));
        }
    }
    if dora && frames.is_some() {
        return Err("`--frames` goes only with a run in one process: leave out `--dora` or `--frames`".into());
    }
    Ok(Command::Demo { show: show.unwrap_or(SHOWS[0]), dora, frames })
}

fn number(option: &str, text: Option<&String>) -> Result<u64, String> {
    let text = text.ok_or_else(|| format!("`{option}` wants a number, as in `{option} 50`"))?;
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`{option}` wants a whole number above 0, not `{text}`")),
    }
}

fn fuzz(rest: &[String]) -> Result<Command, String> {
    let (mut seconds, mut target) = (None, None);
    for argument in rest {
        if argument.starts_with('-') {
            return Err(format!("`fuzz` does not know `{argument}`; it takes SECONDS and a part of a target's name"));
        }
        let slot = if argument.starts_with(|c: char| c.is_ascii_digit()) { &mut seconds } else { &mut target };
        if slot.replace(argument).is_some() {
            return Err(format!("`fuzz` takes SECONDS and one NAME; `{argument}` is too much"));
        }
    }
    let seconds = seconds.map_or(Ok(FUZZ_SECONDS), |text| number("fuzz", Some(text)))?;
    Ok(Command::Fuzz { seconds, target: target.cloned() })
}

fn soak(rest: &[String]) -> Result<Command, String> {
    let Some((kind, rest)) = rest.split_first() else { return Err("`soak` wants `runs` or `hour`".into()) };
    let mut soak = match kind.as_str() {
        "runs" => Soak::Runs { count: 200, seed: 1 },
        "hour" => Soak::Hour { minutes: 60 },
        other => return Err(format!("`soak` does not know `{other}`; there are runs and hour")),
    };
    let mut rest = rest.iter();
    while let Some(option) = rest.next() {
        let place = match (&mut soak, option.as_str()) {
            (Soak::Runs { count, .. }, "--count") => count,
            (Soak::Runs { seed, .. }, "--seed") => seed,
            (Soak::Hour { minutes }, "--minutes") => minutes,
            _ => return Err(format!("`soak {kind}` does not know `{option}`; see `cargo xtask --help`")),
        };
        *place = number(option, rest.next())?;
    }
    Ok(Command::Soak(soak))
}

fn bench(rest: &[String]) -> Result<Command, String> {
    let all = || BENCHES.map(String::from).to_vec();
    let (what, arguments) = match rest.split_first() {
        Some((name, arguments)) if name == "all" => (all(), arguments),
        Some((name, arguments)) if BENCHES.contains(&name.as_str()) => (vec![name.clone()], arguments),
        Some((name, _)) if !name.starts_with('-') => {
            return Err(format!("no benchmark is called `{name}`; there are {} and all", BENCHES.join(", ")));
        }
        _ => (all(), rest),
    };
    Ok(Command::Bench { what, arguments: arguments.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn help_is_the_answer_to_nothing_and_fits_80_columns() {
        for line in ["", "--help", "-h", "help", "demo --help", "bench hops -h"] {
            assert_eq!(parsed(line), Ok(Command::Help), "{line}");
        }
        for line in HELP.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn demo_takes_its_two_options_but_not_together() {
        let show = SHOWS[0];
        assert_eq!(parsed("demo"), Ok(Command::Demo { show, dora: false, frames: None }));
        assert_eq!(parsed("demo --dora"), Ok(Command::Demo { show, dora: true, frames: None }));
        assert_eq!(parsed("demo --frames 7"), Ok(Command::Demo { show, dora: false, frames: Some(7) }));
        assert_eq!(parsed("demo --frames=7"), parsed("demo --frames 7"));
        for wrong in ["demo --frames", "demo --frames 0", "demo --frames x", "demo fast", "demo --dora --frames 7"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_demo_is_run_by_its_name_and_the_help_knows_it() {
        assert_eq!(parsed("demo fight"), parsed("demo"));
        for show in SHOWS {
            let named = Command::Demo { show, dora: true, frames: None };
            assert_eq!(parsed(&format!("demo {} --dora", show.name)), Ok(named.clone()));
            assert_eq!(parsed(&format!("demo --dora {}", show.name)), Ok(named));
            assert!(HELP.contains(show.name), "{}", show.name);
        }
        assert!(parsed("demo fight sound").is_err(), "one at a time");
        assert!(parsed("demo fihgt").unwrap_err().contains("fight, sound"));
    }

    #[test]
    fn test_hands_everything_on() {
        let Ok(Command::Test { arguments }) = parsed("test -p sideline-graph -- --help") else { panic!() };
        assert_eq!(arguments, strings(&["-p", "sideline-graph", "--", "--help"]));
    }

    #[test]
    fn bench_runs_all_unless_one_is_named() {
        let all = Command::Bench { what: strings(&BENCHES), arguments: vec![] };
        assert_eq!(parsed("bench"), Ok(all));
        assert_eq!(parsed("bench all"), parsed("bench"));
        let hops = Command::Bench { what: strings(&["hops"]), arguments: strings(&["--json"]) };
        assert_eq!(parsed("bench hops --json"), Ok(hops));
        let Ok(Command::Bench { what, arguments }) = parsed("bench --json") else { panic!() };
        assert_eq!((what.len(), arguments), (BENCHES.len(), strings(&["--json"])));
        assert!(parsed("bench hop").unwrap_err().contains("hops, preprocess"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(parsed("setup --fast").is_err());
        assert!(parsed("build").unwrap_err().contains("setup, demo, test, bench, fuzz, soak"));
    }

    #[test]
    fn fuzz_takes_seconds_and_a_name_in_any_order() {
        let fuzz = |seconds, target: Option<&str>| Ok(Command::Fuzz { seconds, target: target.map(String::from) });
        assert_eq!(parsed("fuzz"), fuzz(600, None));
        assert_eq!(parsed("fuzz 30"), fuzz(30, None));
        assert_eq!(parsed("fuzz yaml 30"), fuzz(30, Some("yaml")));
        for wrong in ["fuzz 0", "fuzz 3s", "fuzz --all", "fuzz a b", "fuzz 1 2"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn soak_takes_the_options_of_its_kind() {
        assert_eq!(parsed("soak runs"), Ok(Command::Soak(Soak::Runs { count: 200, seed: 1 })));
        let few = Command::Soak(Soak::Runs { count: 5, seed: 9 });
        assert_eq!(parsed("soak runs --seed 9 --count 5"), Ok(few));
        assert_eq!(parsed("soak hour --minutes 2"), Ok(Command::Soak(Soak::Hour { minutes: 2 })));
        for wrong in ["soak", "soak day", "soak hour --count 2", "soak runs --count", "soak runs --count 0"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}

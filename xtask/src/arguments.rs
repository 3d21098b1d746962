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
  test [ARGS]               Set up, then all tests, Python's and Rust's. With
                            ARGS only `cargo test ARGS`.
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
        other => {
            Err(format!("unknown command `{other}`; there are setup, demo, test and bench (`cargo xtask --help`)"))
        }
    }
}

fn demo(rest: &[String]) -> Result<Command, String> {
    let (mut show, mut dora, mut frames) = (None, false, None);
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        if argument == "--dora" {
            dora = true;
        } else if argument == "--frames" {
            frames = Some(number(rest.next().ok_or("`--frames` wants a number, as in `--frames 50`")?)?);
        } else if let Some(value) = argument.strip_prefix("--frames=") {
            frames = Some(number(value)?);
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

fn number(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`--frames` wants a whole number above 0, not `{text}`")),
    }
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
        assert!(parsed("build").unwrap_err().contains("setup, demo, test and bench"));
    }
}

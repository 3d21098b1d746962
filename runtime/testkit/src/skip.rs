//! Skips: a test that cannot run here is counted, and fails where the machine is known to have what it needs.

use std::{
    fmt::{self, Display},
    io::Write,
    panic::Location,
    path::Path,
};

/// Variable with the capabilities that must be there, as `dora,models`: a test that lacks one of them fails.
const REQUIRE: &str = "SIDELINE_REQUIRE";
/// Variable with the file to which skips are appended: what a passing test prints is captured, a file is not.
const SKIPS: &str = "SIDELINE_SKIPS";

/// Something outside the repository that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// The program `dora`, in `.venv` or on PATH.
    Dora,
    /// Models and clips of `models/models.yml`, and ONNX Runtime, which runs them.
    Models,
    /// The folder `shared/data` beside the repository.
    Data,
    /// FFmpeg's programs `ffmpeg` and `ffprobe`.
    Ffmpeg,
    /// Servers of streams: nginx with RTMP, GStreamer's for RTSP.
    Servers,
    /// Python packages that only tests need.
    Python,
    /// What training the models needs.
    Training,
    /// A machine of another kind: with or without a GPU, a camera, a certain encoder.
    Machine,
}

impl Capability {
    /// All of them.
    pub const ALL: [Capability; 8] = [
        Capability::Dora,
        Capability::Models,
        Capability::Data,
        Capability::Ffmpeg,
        Capability::Servers,
        Capability::Python,
        Capability::Training,
        Capability::Machine,
    ];

    /// The name in `SIDELINE_REQUIRE` and in the summary.
    pub fn name(self) -> &'static str {
        match self {
            Capability::Dora => "dora",
            Capability::Models => "models",
            Capability::Data => "data",
            Capability::Ffmpeg => "ffmpeg",
            Capability::Servers => "servers",
            Capability::Python => "python",
            Capability::Training => "training",
            Capability::Machine => "machine",
        }
    }
}

impl Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Counts the running test as skipped, because this machine lacks `needs`; the test then returns.
///
/// It prints one line, `skipped: [NEEDS] TEST: REASON`, and appends it to the file that `SIDELINE_SKIPS` names, where
/// `cargo xtask test` reads it.
///
/// # Panics
/// When `SIDELINE_REQUIRE` names `needs`, or something that is no capability; when the file cannot be written.
#[track_caller]
pub fn skipped(needs: Capability, reason: impl Display) {
    let test = running_test(Location::caller());
    let required = std::env::var(REQUIRE).unwrap_or_default();
    let line = skip_line(needs, &test, &reason.to_string(), &required).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{line}");
    if let Some(file) = std::env::var_os(SKIPS) {
        append(Path::new(&file), &line).unwrap_or_else(|e| panic!("{SKIPS}: {}: {e}", file.display()));
    }
}

/// The line of a skip.
///
/// # Errors
/// When `needs` is required, or `required` holds a name that is not known.
fn skip_line(needs: Capability, test: &str, reason: &str, required: &str) -> Result<String, String> {
    for name in required.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !Capability::ALL.iter().any(|known| known.name() == name) {
            let known = Capability::ALL.map(Capability::name).join(", ");
            return Err(format!("{REQUIRE} names `{name}`; it takes {known}"));
        }
        if needs.name() == name {
            return Err(format!("{REQUIRE} names `{name}`, but {test} cannot run: {reason}"));
        }
    }
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(format!("skipped: [{needs}] {test}: {reason}"))
}

/// The test program and the test, as `dora::a_test`. A test on the main thread (`--test-threads=1`) goes by its place.
fn running_test(caller: &Location<'_>) -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
    let program = program.unwrap_or_else(|| "tests".into());
    // cargo appends a hash: `dora-1f2e...`.
    let program = program.rsplit_once('-').map_or(program.as_str(), |(name, _)| name);
    match std::thread::current().name() {
        Some(test) if test != "main" => format!("{program}::{test}"),
        _ => format!("{program}::{}:{}", caller.file(), caller.line()),
    }
}

/// Appends a line in one write, so that lines of programs that run at the same time do not mix.
fn append(file: &Path, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_one_line_with_capability_test_and_reason() {
        let line = skip_line(Capability::Data, "tud::scores", "no\n ../shared/data", "dora, models");
        assert_eq!(line.unwrap(), "skipped: [data] tud::scores: no ../shared/data");
    }

    #[test]
    fn a_required_capability_turns_a_skip_into_a_failure() {
        let failure = skip_line(Capability::Dora, "many::both", "not on PATH", "models,dora").unwrap_err();
        assert_eq!(failure, "SIDELINE_REQUIRE names `dora`, but many::both cannot run: not on PATH");
    }

    #[test]
    fn a_misspelled_requirement_fails_instead_of_requiring_nothing() {
        let failure = skip_line(Capability::Dora, "many::both", "", "dorra").unwrap_err();
        assert!(failure.contains("`dorra`; it takes dora, models, data"), "{failure}");
    }

    #[test]
    fn the_running_test_is_named_with_its_program() {
        let name = running_test(Location::caller());
        let alone = "sideline_testkit::runtime/testkit/src/skip.rs:"; // with `--test-threads=1`
        let named = name == "sideline_testkit::skip::tests::the_running_test_is_named_with_its_program";
        assert!(named || name.starts_with(alone), "{name}");
    }

    #[test]
    fn lines_of_several_tests_are_appended() {
        let file = std::env::temp_dir().join(format!("sideline-testkit-{}", std::process::id()));
        append(&file, "one").unwrap();
        append(&file, "two").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }
}

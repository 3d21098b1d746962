//! Skipped tests: a test that cannot run on this machine is counted, or fails if its capability is required here.

use std::{
    fmt::{self, Display},
    io::Write,
    panic::Location,
    path::Path,
};

/// Environment variable with the required capabilities, such as `dora,models`. A test that lacks one of them fails.
const REQUIRE_VARIABLE: &str = "SIDELINE_REQUIRE";
/// Environment variable with the file that skips are appended to. The output of a passing test is captured, a file is
/// not.
const SKIPS_VARIABLE: &str = "SIDELINE_SKIPS";

/// A dependency of a test that lies outside the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// The program `dora`, in `.venv` or on PATH.
    Dora,
    /// The models and clips of `models/models.yml`, and ONNX Runtime.
    Models,
    /// The folder `shared/data` beside the repository.
    Data,
    /// FFmpeg's programs `ffmpeg` and `ffprobe`.
    Ffmpeg,
    /// Stream servers: nginx with RTMP, GStreamer's for RTSP.
    Servers,
    /// Python packages that only tests need.
    Python,
    /// The packages for training the models.
    Training,
    /// The program `sideline`, in tests of another package.
    Sideline,
    /// The C compiler `gcc`.
    Compiler,
    /// The oldest compiler that `sideline-abi` supports: `/usr/bin/rustc` of Debian, or `SIDELINE_OLD_RUSTC`.
    OldRustc,
    /// Another kind of machine: with or without a GPU, a camera or a certain encoder.
    Machine,
}

impl Capability {
    /// All capabilities.
    pub const ALL: [Capability; 11] = [
        Capability::Dora,
        Capability::Models,
        Capability::Data,
        Capability::Ffmpeg,
        Capability::Servers,
        Capability::Python,
        Capability::Training,
        Capability::Sideline,
        Capability::Compiler,
        Capability::OldRustc,
        Capability::Machine,
    ];

    /// Returns the name used in `SIDELINE_REQUIRE` and in the summary of the test run.
    pub fn name(self) -> &'static str {
        match self {
            Capability::Dora => "dora",
            Capability::Models => "models",
            Capability::Data => "data",
            Capability::Ffmpeg => "ffmpeg",
            Capability::Servers => "servers",
            Capability::Python => "python",
            Capability::Training => "training",
            Capability::Sideline => "sideline",
            Capability::Compiler => "compiler",
            Capability::OldRustc => "old-rustc",
            Capability::Machine => "machine",
        }
    }
}

impl Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Counts the running test as skipped because this machine lacks `needs`. The test has to return after the call.
///
/// Prints one line, `skipped: [NEEDS] TEST: REASON`, and appends it to the file named by `SIDELINE_SKIPS`, which
/// `cargo xtask test` reads.
///
/// # Panics
/// When `SIDELINE_REQUIRE` names `needs` or an unknown capability, or the file cannot be written.
#[track_caller]
pub fn skip_test(needs: Capability, reason: impl Display) {
    let test = running_test(Location::caller());
    let required = std::env::var(REQUIRE_VARIABLE).unwrap_or_default();
    let line = skip_line(needs, &test, &reason.to_string(), &required).unwrap_or_else(|error| panic!("{error}"));
    println!("{line}");
    if let Some(file) = std::env::var_os(SKIPS_VARIABLE) {
        append(Path::new(&file), &line).unwrap_or_else(|e| panic!("{SKIPS_VARIABLE}: {}: {e}", file.display()));
    }
}

/// Formats the line of a skip.
///
/// # Errors
/// When `required` names `needs` or an unknown capability.
fn skip_line(needs: Capability, test: &str, reason: &str, required: &str) -> Result<String, String> {
    for name in required.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !Capability::ALL.iter().any(|capability| capability.name() == name) {
            let names = Capability::ALL.map(Capability::name).join(", ");
            return Err(format!("{REQUIRE_VARIABLE} names `{name}`; it takes {names}"));
        }
        if needs.name() == name {
            return Err(format!("{REQUIRE_VARIABLE} names `{name}`, but {test} cannot run: {reason}"));
        }
    }
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(format!("skipped: [{needs}] {test}: {reason}"))
}

/// Returns the test program and the test, such as `dora::a_test`. A test on the main thread (`--test-threads=1`) has no
/// thread name, so its file and line stand for it.
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

/// Appends a line in one write, so that the lines of concurrent programs do not interleave.
fn append(file: &Path, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_one_line_with_its_capability_test_and_reason() {
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
        let on_main_thread = "sideline_testkit::runtime/testkit/src/skip.rs:"; // with `--test-threads=1`
        let on_own_thread = "sideline_testkit::skip::tests::the_running_test_is_named_with_its_program";
        assert!(name == on_own_thread || name.starts_with(on_main_thread), "{name}");
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

//! Fuzzing on stable Rust: inputs generated from a seed or mutated from a corpus, passed to a parser that must return
//! a value or an error.
//!
//! A target is an ordinary test whose name begins with `fuzz_`. It fails if the parser panics, or if it allocates
//! memory in proportion to a number in the input. Every `cargo test` runs it for 0.2 s from the same seed; `cargo xtask
//! fuzz SECONDS` runs it longer, from another seed each time.
//!
//! ```
//! sideline_testkit::fuzz::text("numbers", &["1", "2,3"], &["-1", "1e9"], |text| {
//!     let _ = text.split(',').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>();
//! });
//! ```

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use crate::Random;

/// Environment variable with the duration of each target, in seconds.
const DURATION_VARIABLE: &str = "SIDELINE_FUZZ_S";
/// Environment variable with the seed of the first case.
const SEED_VARIABLE: &str = "SIDELINE_FUZZ_SEED";
/// Environment variable with a substring of the names of the targets to run; empty runs all.
const FILTER_VARIABLE: &str = "SIDELINE_FUZZ_ONLY";

/// Default duration of a target, in seconds: long enough to notice that a change broke a parser, and short enough for
/// every `cargo test`.
const DEFAULT_DURATION_S: f64 = 0.2;
/// Limit of the growth of resident memory in one case, in KiB (256 MiB).
const MAX_RESIDENT_GROWTH_KIB: u64 = 256 << 10;
/// Limit of the growth of virtual memory in one case, in KiB (2 GiB). Threads that start at the same time reserve less.
const MAX_VIRTUAL_GROWTH_KIB: u64 = 2 << 20;
/// Maximum number of mutations of one input.
const MAX_MUTATIONS: usize = 6;
/// Maximum length of an input in bytes: a longer input finds nothing that a short one does not.
const MAX_INPUT_BYTES: usize = 16 << 10;

/// Numbers at the limits of common types, which parsers often mishandle.
const EDGE_NUMBERS: [&str; 16] = [
    "0",
    "-1",
    "1e9",
    "-0.0",
    "1e-320",
    "1e308",
    "NaN",
    "inf",
    "-inf",
    ".nan",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "0.1",
];
/// Texts that parsers often mishandle: line endings, byte-order marks, multi-byte characters, deep nesting.
const EDGE_TEXTS: [&str; 12] =
    ["\u{feff}", "\0", "\r\n", "\n\n", "\t", "é", "😀", "\u{2028}", "\"", "'", "{}", "[[[[[[[["];

/// Fuzzes `target` with the texts of `corpus`, then with mutations of them that insert `words` of the format.
///
/// # Panics
/// When `target` panics or allocates too much memory. The input and its seed are printed first.
pub fn text(name: &str, corpus: &[&str], words: &[&str], target: impl Fn(&str)) {
    let bytes: Vec<&[u8]> = corpus.iter().map(|text| text.as_bytes()).collect();
    let generate = |random: &mut Random| String::from_utf8_lossy(&mutate_one_of(random, &bytes, words)).into_owned();
    run(name, corpus.iter().map(ToString::to_string), generate, |text| target(text));
}

/// Fuzzes `target` with the files of `corpus`, then with mutations of them that insert `words` of the format.
///
/// # Panics
/// When `target` panics or allocates too much memory. The input and its seed are printed first.
pub fn bytes(name: &str, corpus: &[&[u8]], words: &[&str], target: impl Fn(&[u8])) {
    run(
        name,
        corpus.iter().map(|file| file.to_vec()),
        |random| mutate_one_of(random, corpus, words),
        |bytes| target(bytes),
    );
}

/// Fuzzes `target` with the values that `generate` creates from random numbers.
///
/// # Panics
/// When `target` panics or allocates too much memory. The input and its seed are printed first.
pub fn values<I: Debug>(name: &str, generate: impl Fn(&mut Random) -> I, target: impl Fn(&I)) {
    run(name, [], generate, target);
}

/// Prints the current input and its seed when dropped by a panic of the target.
struct PanicReport<'a, I: Debug> {
    name: &'a str,
    seed: u64,
    input: &'a I,
}

impl<I: Debug> Drop for PanicReport<'_, I> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let PanicReport { name, seed, input } = self;
            eprintln!("fuzz: {name}: finding at {SEED_VARIABLE}={seed}: {input:?}");
        }
    }
}

/// Runs a target on the whole corpus, then on generated inputs, each from its own seed, until the time is up.
fn run<I: Debug>(
    name: &str,
    corpus: impl IntoIterator<Item = I>,
    generate: impl Fn(&mut Random) -> I,
    target: impl Fn(&I),
) {
    if std::env::var(FILTER_VARIABLE).is_ok_and(|filter| !name.contains(&filter)) {
        return;
    }
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<f64>().ok());
    let limit = Duration::from_secs_f64(number(DURATION_VARIABLE).unwrap_or(DEFAULT_DURATION_S));
    let first_seed = number(SEED_VARIABLE).map_or(1, |seed| seed as u64);
    let (begin, mut slowest, mut cases) = (Instant::now(), Duration::ZERO, 0);
    let mut memory = PeakMemory::read();
    let mut run_case = |seed, input: I| {
        let report = PanicReport { name, seed, input: &input };
        let start = Instant::now();
        target(&input);
        slowest = slowest.max(start.elapsed());
        memory = memory.check_growth(name);
        drop(report);
        cases += 1;
    };
    corpus.into_iter().for_each(|input| run_case(first_seed, input));
    for seed in (0..).map(|number| first_seed.wrapping_add(number)) {
        run_case(seed, generate(&mut Random::new(seed)));
        if begin.elapsed() >= limit {
            break;
        }
    }
    println!(
        "fuzz: {name}: {cases} cases in {:.0} s, slowest {:.1} ms",
        begin.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1e3
    );
}

/// PeakMemory memory use of this process, in KiB; zeros on systems without `/proc`.
#[derive(Clone, Copy, Default)]
struct PeakMemory {
    resident: u64,
    virtual_: u64,
}

impl PeakMemory {
    fn read() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        PeakMemory { resident: kib("VmHWM:"), virtual_: kib("VmPeak:") }
    }

    /// Reads the peak after a case and panics if it grew too much since `self`.
    fn check_growth(self, name: &str) -> Self {
        let now = PeakMemory::read();
        // The kernel counts in steps: a peak may be a little below the previous one.
        let resident = now.resident.saturating_sub(self.resident);
        let reserved = now.virtual_.saturating_sub(self.virtual_);
        assert!(
            resident < MAX_RESIDENT_GROWTH_KIB && reserved < MAX_VIRTUAL_GROWTH_KIB,
            "fuzz target `{name}`: one input took {resident} KiB of memory and reserved {reserved} KiB"
        );
        now
    }
}

/// Returns a mutation of a random input of the corpus.
fn mutate_one_of(random: &mut Random, corpus: &[&[u8]], words: &[&str]) -> Vec<u8> {
    let mut input = random.pick(corpus).to_vec();
    for _ in 0..random.between(1, MAX_MUTATIONS) {
        mutate(random, &mut input, corpus, words);
    }
    input.truncate(MAX_INPUT_BYTES);
    input
}

fn mutate(random: &mut Random, input: &mut Vec<u8>, corpus: &[&[u8]], words: &[&str]) {
    let from = random.below(input.len() + 1);
    let max_length = random.between(1, 64);
    let to = (from + random.below(max_length)).min(input.len());
    match random.below(10) {
        0 => drop(input.drain(from..to)),
        1 => input.truncate(from),
        2 => {
            let copies = input[from..to].repeat(random.between(1, 40));
            splice(input, from..from, &copies);
        }
        3 if from < input.len() => input[from] ^= 1 << random.below(8),
        4 => splice(input, from..to, random.pick(&EDGE_TEXTS).as_bytes()),
        5 => replace_number(random, input, from),
        6 => {
            let other = *random.pick(corpus);
            let at = random.below(other.len() + 1);
            let end = (at + random.below(200)).min(other.len());
            splice(input, from..to, &other[at..end]);
        }
        7 => swap_lines(random, input),
        _ if words.is_empty() => replace_number(random, input, from),
        _ => splice(input, from..to, random.pick(words).as_bytes()),
    }
}

fn splice(input: &mut Vec<u8>, range: std::ops::Range<usize>, with: &[u8]) {
    input.splice(range, with.iter().copied());
}

/// Replaces the next number after `from` with an edge-case number.
fn replace_number(random: &mut Random, input: &mut Vec<u8>, from: usize) {
    let number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let start = input[from..].iter().position(u8::is_ascii_digit).map_or(from, |at| from + at);
    let end = start + input[start..].iter().take_while(|byte| number(byte)).count();
    splice(input, start..end, random.pick(&EDGE_NUMBERS).as_bytes());
}

/// Swaps two lines, or overwrites one with a copy of the other.
fn swap_lines(random: &mut Random, input: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    if random.one_in(2) {
        lines.swap(one, other);
    } else {
        lines[one] = lines[other].clone();
    }
    *input = lines.join(&b'\n');
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[test]
    fn the_corpus_runs_first_and_then_its_mutations() {
        let seen = RefCell::new(Vec::new());
        text("corpus", &["a: 1\n", "b: [2, 3]\n"], &["<<: *a"], |text| {
            if seen.borrow().len() < 500 {
                seen.borrow_mut().push(text.to_owned());
            }
        });
        let seen = seen.into_inner();
        assert_eq!(seen[..2], ["a: 1\n", "b: [2, 3]\n"]);
        assert!(seen.iter().any(|text| text.contains("<<: *a")) && seen.iter().any(|text| text.contains("-1")));
    }

    #[test]
    fn a_panic_of_a_target_fails_the_test() {
        let cases = Cell::new(0);
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            text("panics", &["fine"], &["boom"], |text| {
                cases.set(cases.get() + 1);
                assert!(!text.contains("boom"), "found");
            });
        }));
        assert!(failed.is_err() && cases.get() > 1);
    }

    #[test]
    fn a_large_allocation_fails_the_test() {
        let failed = std::panic::catch_unwind(|| {
            bytes("allocates", &[b"300"], &[], |_| drop(std::hint::black_box(vec![1_u8; 300 << 20])));
        });
        assert!(failed.is_err());
    }

    #[test]
    fn peak_memory_is_parsed_from_the_status_file() {
        let peak = PeakMemory::parse("VmPeak:\t  2000 kB\nVmSize:\t 1 kB\nVmHWM:\t 30 kB\n");
        assert_eq!((peak.virtual_, peak.resident), (2000, 30));
        assert!(PeakMemory::read().resident > 0);
    }
}

//! Fuzzing on stable Rust: inputs made from a seed or mutated from a corpus, given to a reader that must answer or refuse.
//!
//! A target is an ordinary test whose name begins with `fuzz_`. It fails when the reader panics, or takes memory by a number
//! that only stands in its input. Every `cargo test` runs it for a fifth of a second from the same seed; `cargo xtask fuzz
//! SECONDS` runs it longer, from another seed each time.
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

/// Variable with the seconds that each target runs.
const SECONDS: &str = "SIDELINE_FUZZ_S";
/// Variable with the seed of the first case.
const SEED: &str = "SIDELINE_FUZZ_SEED";
/// Variable with a part of the names of the targets that run; all where it is empty.
const ONLY: &str = "SIDELINE_FUZZ_ONLY";

/// Seconds of a target where nothing else is said: enough to notice that a change broke a reader.
const SECONDS_IN_A_TEST: f64 = 0.2;
/// Memory that one case may touch, in KiB.
const RESIDENT_KIB: u64 = 256 << 10;
/// Memory that one case may ask for, in KiB; above what threads that start at the same time reserve.
const VIRTUAL_KIB: u64 = 2 << 20;
/// Mutations of one input, at most.
const MUTATIONS: usize = 6;
/// Length of an input in bytes, at most: a long one finds nothing that a short one does not.
const LONGEST: usize = 16 << 10;

/// Numbers at which readers go wrong.
const NUMBERS: [&str; 16] = [
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
/// Text at which readers go wrong: line ends, marks, and characters of several bytes.
const ODDITIES: [&str; 12] =
    ["\u{feff}", "\0", "\r\n", "\n\n", "\t", "é", "😀", "\u{2028}", "\"", "'", "{}", "[[[[[[[["];

/// Gives `target` the texts of `corpus`, then mutations of them into which `words` of the format are mixed.
///
/// # Panics
/// When `target` panics or takes too much memory; the input and its seed are printed before.
pub fn text(name: &str, corpus: &[&str], words: &[&str], target: impl Fn(&str)) {
    let bytes: Vec<&[u8]> = corpus.iter().map(|text| text.as_bytes()).collect();
    let make = |random: &mut Random| String::from_utf8_lossy(&mutated(random, &bytes, words)).into_owned();
    run(name, corpus.iter().map(ToString::to_string), make, |text| target(text));
}

/// Gives `target` the files of `corpus`, then mutations of them into which `words` of the format are mixed.
///
/// # Panics
/// When `target` panics or takes too much memory; the input and its seed are printed before.
pub fn bytes(name: &str, corpus: &[&[u8]], words: &[&str], target: impl Fn(&[u8])) {
    run(name, corpus.iter().map(|file| file.to_vec()), |random| mutated(random, corpus, words), |bytes| target(bytes));
}

/// Gives `target` what `make` makes of random numbers.
///
/// # Panics
/// When `target` panics or takes too much memory; the input and its seed are printed before.
pub fn values<I: Debug>(name: &str, make: impl Fn(&mut Random) -> I, target: impl Fn(&I)) {
    run(name, [], make, target);
}

/// Says which input was at work when a target panicked.
struct Culprit<'a, I: Debug> {
    name: &'a str,
    seed: u64,
    input: &'a I,
}

impl<I: Debug> Drop for Culprit<'_, I> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Culprit { name, seed, input } = self;
            eprintln!("fuzz: {name}: finding at {SEED}={seed}: {input:?}");
        }
    }
}

/// Runs a target on what is known, whatever the time, and then on what is made, each of a seed of its own.
fn run<I: Debug>(name: &str, known: impl IntoIterator<Item = I>, make: impl Fn(&mut Random) -> I, target: impl Fn(&I)) {
    if std::env::var(ONLY).is_ok_and(|only| !name.contains(&only)) {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<f64>().ok());
    let limit = Duration::from_secs_f64(number(SECONDS).unwrap_or(SECONDS_IN_A_TEST));
    let first = number(SEED).map_or(1, |seed| seed as u64);
    let (begin, mut slowest, mut cases) = (Instant::now(), Duration::ZERO, 0);
    let mut memory = Peak::now();
    let mut try_one = |seed, input: I| {
        let culprit = Culprit { name, seed, input: &input };
        let start = Instant::now();
        target(&input);
        slowest = slowest.max(start.elapsed());
        memory = memory.checked(name);
        drop(culprit);
        cases += 1;
    };
    known.into_iter().for_each(|input| try_one(first, input));
    for seed in (0..).map(|number| first.wrapping_add(number)) {
        try_one(seed, make(&mut Random::new(seed)));
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

/// The most memory that this process ever had, in KiB; zeros where the system does not say.
#[derive(Clone, Copy, Default)]
struct Peak {
    resident: u64,
    virtual_: u64,
}

impl Peak {
    fn now() -> Self {
        Self::of(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn of(status: &str) -> Self {
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Peak { resident: kib("VmHWM:"), virtual_: kib("VmPeak:") }
    }

    /// The peak after a case, which must not be far above the one before.
    fn checked(self, name: &str) -> Self {
        let now = Peak::now();
        // The kernel counts in steps: a peak may be a little below the one before.
        let resident = now.resident.saturating_sub(self.resident);
        let reserved = now.virtual_.saturating_sub(self.virtual_);
        assert!(
            resident < RESIDENT_KIB && reserved < VIRTUAL_KIB,
            "fuzz target `{name}`: one input took {resident} KiB of memory and reserved {reserved} KiB"
        );
        now
    }
}

/// A mutation of one of the corpus.
fn mutated(random: &mut Random, corpus: &[&[u8]], words: &[&str]) -> Vec<u8> {
    let mut input = random.pick(corpus).to_vec();
    for _ in 0..random.between(1, MUTATIONS) {
        mutate(random, &mut input, corpus, words);
    }
    input.truncate(LONGEST);
    input
}

fn mutate(random: &mut Random, input: &mut Vec<u8>, corpus: &[&[u8]], words: &[&str]) {
    let from = random.below(input.len() + 1);
    let longest = random.between(1, 64);
    let to = (from + random.below(longest)).min(input.len());
    match random.below(10) {
        0 => drop(input.drain(from..to)),
        1 => input.truncate(from),
        2 => {
            let again = input[from..to].repeat(random.between(1, 40));
            splice(input, from..from, &again);
        }
        3 if from < input.len() => input[from] ^= 1 << random.below(8),
        4 => splice(input, from..to, random.pick(&ODDITIES).as_bytes()),
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

/// Puts an odd number in the place of the next one after `from`.
fn replace_number(random: &mut Random, input: &mut Vec<u8>, from: usize) {
    let number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let start = input[from..].iter().position(u8::is_ascii_digit).map_or(from, |at| from + at);
    let end = start + input[start..].iter().take_while(|byte| number(byte)).count();
    splice(input, start..end, random.pick(&NUMBERS).as_bytes());
}

/// Swaps two lines: what stands in the wrong order, or twice.
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
    fn the_corpus_comes_first_and_then_what_is_near_it() {
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
    fn memory_taken_by_a_number_in_the_input_fails_the_test() {
        let failed = std::panic::catch_unwind(|| {
            bytes("takes", &[b"300"], &[], |_| drop(std::hint::black_box(vec![1_u8; 300 << 20])));
        });
        assert!(failed.is_err());
    }

    #[test]
    fn peaks_are_read_from_what_the_kernel_says() {
        let peak = Peak::of("VmPeak:\t  2000 kB\nVmSize:\t 1 kB\nVmHWM:\t 30 kB\n");
        assert_eq!((peak.virtual_, peak.resident), (2000, 30));
        assert!(Peak::now().resident > 0);
    }
}

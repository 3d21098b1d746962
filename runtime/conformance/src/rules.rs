//! The rules, in the order in which they are checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicUsize},
};

use serde_json::Value;
use sideline_api::{
    Body, Error, Failure, Header, Instance, Message, Payload, PortType, Random, Reason, Result, Values, WiredInput,
    arrow::array::Array,
    config::{Key, Kind, Origin},
    driver::Outcome,
};

use crate::{
    RecordedFrame, RecordedRows, RuleReport, Suite, Verdict,
    inputs::{self, Flavor},
    rig::{Bench, INTERVAL, Reloading, Step, Transcript, Wiring, headers},
};

/// Number of frames of a script.
const FRAMES: u64 = 12;

/// Names of the rules, in the order in which they are checked.
pub const RULES: [&str; 17] = [
    "describes itself",
    "refuses a wrong configuration",
    "keeps its schemas",
    "answers every frame",
    "ends each stream once",
    "passes skips on",
    "runs without optional inputs",
    "runs unread",
    "repeats itself",
    "ignores padding",
    "continues from a saved state",
    "keeps streams apart",
    "accepts empty tables",
    "accepts late and repeated frames",
    "survives extreme values",
    "applies live keys",
    "closes once",
];

type Rule = fn(&Check) -> Result<Verdict>;

/// Checks of the rules, in the order of [`RULES`].
const CHECKS: [Rule; 17] = [
    describes_itself,
    refuses_wrong_configuration,
    keeps_schemas,
    answers_every_frame,
    ends_each_stream_once,
    passes_skips_on,
    runs_without_optional_inputs,
    runs_unread,
    repeats_itself,
    ignores_padding,
    continues_from_saved_state,
    keeps_streams_apart,
    accepts_empty_tables,
    accepts_late_and_repeated_frames,
    survives_extreme_values,
    applies_live_keys,
    closes_once,
];

/// Operator under test with its inputs.
struct Check<'a> {
    bench: Bench,
    recorded: &'a BTreeMap<String, RecordedRows>,
    /// Names of the two streams of the scripts: those of the recording, where it has some.
    streams: [String; 2],
    /// True if an error on ordinary input is a failure.
    has_exceptions: bool,
}

pub fn run(suite: &Suite) -> Vec<RuleReport> {
    let bench = Bench::new(
        suite.factory.clone(),
        suite.values.clone(),
        suite.search.clone(),
        suite.models.clone(),
        suite.folder.clone(),
    );
    let check = match bench {
        Ok(bench) => Check::new(bench, &suite.recorded, suite.has_exceptions),
        Err(error) => return vec![RuleReport { rule: RULES[0], verdict: Verdict::Failed(error.message) }],
    };
    let is_source = check.bench.spec.is_source;
    let is_refused = !check.bench.factory.check(&check.bench.values).is_empty();
    let mut reports = vec![];
    for (i, (rule, check_rule)) in RULES.into_iter().zip(CHECKS).enumerate() {
        let verdict = match () {
            () if is_refused && i > 0 => Verdict::NotApplicable("its configuration is refused".into()),
            () if is_source && i > 1 => Verdict::NotApplicable("it is a source".into()),
            () => check_rule(&check).unwrap_or_else(|error| Verdict::Failed(error.message)),
        };
        reports.push(RuleReport { rule, verdict });
    }
    reports
}

fn failed(text: impl Into<String>) -> Result<Verdict> {
    Ok(Verdict::Failed(text.into()))
}

fn not_applicable(text: &str) -> Result<Verdict> {
    Ok(Verdict::NotApplicable(text.into()))
}

impl<'a> Check<'a> {
    fn new(bench: Bench, recorded: &'a BTreeMap<String, RecordedRows>, has_exceptions: bool) -> Self {
        let mut check = Check { bench, recorded, streams: ["a".into(), "b".into()], has_exceptions };
        let recorded: BTreeSet<String> = check.recorded_frames().map(|frame| frame.stream.clone()).collect();
        for (stream, name) in check.streams.iter_mut().zip(recorded) {
            *stream = name;
        }
        check
    }

    /// Iterates over the frames with recorded rows for one of the inputs.
    fn recorded_frames(&self) -> impl Iterator<Item = &'a RecordedFrame> {
        let inputs = self.bench.inputs(Wiring::All);
        let tables = inputs.into_iter().filter_map(|input| self.recorded_rows(&input));
        tables.flat_map(BTreeMap::keys)
    }

    /// Returns the recorded rows of an input's table, if they have its columns.
    fn recorded_rows(&self, input: &WiredInput) -> Option<&'a RecordedRows> {
        let PortType::Table(table) = input.ty else { return None };
        let rows = self.recorded.get(&table.description().name)?;
        rows.values().all(|rows| table.check(rows.data_type()).is_ok()).then_some(rows)
    }

    /// Returns a script of a stream: data on every input for each frame.
    fn script(&self, wiring: Wiring, stream: &str, flavor: Flavor) -> Vec<Step> {
        let inputs = self.bench.inputs(wiring);
        let mut random = Random::for_item(7, stream, flavor as i64);
        let first = self.recorded_frames().filter(|frame| frame.stream == stream).map(|frame| frame.frame).min();
        headers(stream, first.unwrap_or_default(), FRAMES)
            .into_iter()
            .map(|header| Step {
                bodies: inputs.iter().map(|input| Some(self.body(input, flavor, &header, &mut random))).collect(),
                header,
            })
            .collect()
    }

    /// Returns the recorded rows of a frame, an empty table for a frame without rows up to the last recorded one, and generated data
    /// otherwise.
    fn body(&self, input: &WiredInput, flavor: Flavor, header: &Header, random: &mut Random) -> Body {
        let recorded = self.recorded_rows(input).filter(|_| flavor == Flavor::Ordinary);
        let frame = RecordedFrame { stream: header.stream.to_string(), frame: header.frame };
        let is_recorded = || {
            let mut of_stream = self.recorded_frames().filter(|other| other.stream == frame.stream);
            of_stream.any(|other| other.frame >= frame.frame)
        };
        match (recorded, input.ty) {
            (Some(rows), PortType::Table(table)) if is_recorded() => {
                let rows = rows.get(&frame).cloned();
                Body::Data(Payload::Table(rows.unwrap_or_else(|| Arc::new(table.empty()))))
            }
            _ => inputs::body(&input.ty, flavor, header.frame, random),
        }
    }

    /// Runs the ordinary script of the first stream.
    fn ordinary(&self) -> Result<Transcript> {
        self.bench.run(Wiring::All, &self.script(Wiring::All, &self.streams[0], Flavor::Ordinary))
    }

    /// Checks that a transcript of ordinary inputs has an answer to every frame, no panic and no exception.
    fn answered(&self, transcript: &Transcript, frames: u64) -> Result<Verdict> {
        match transcript.error(|_| true).filter(|_| self.has_exceptions) {
            Some(error) => failed(error),
            None => self.accounted(transcript, frames),
        }
    }

    /// Checks that a transcript has an answer to every frame and no panic.
    fn accounted(&self, transcript: &Transcript, frames: u64) -> Result<Verdict> {
        if let Some(panic) = transcript.panic() {
            return failed(panic);
        }
        if transcript.outcomes.len() as u64 != frames {
            return failed(format!("{} of {frames} frames are accounted for", transcript.outcomes.len()));
        }
        for (output, messages) in self.bench.spec.outputs.iter().zip(&transcript.messages) {
            let answers = messages.iter().filter(|message| !message.header.is_closing).count() as u64;
            if answers != frames {
                return failed(format!("output `{}` answers {answers} of {frames} frames", output.name));
            }
            if let Some(at) = messages.iter().enumerate().position(|(i, message)| message.n != i as u64) {
                return failed(format!("output `{}`: message {at} has number {}", output.name, messages[at].n));
            }
        }
        Ok(Verdict::Passed)
    }
}

fn describes_itself(check: &Check) -> Result<Verdict> {
    let (factory, spec) = (&check.bench.factory, &check.bench.spec);
    let again = factory.spec(&check.bench.values)?;
    if format!("{spec:?}") != format!("{again:?}") {
        return failed("its ports differ from call to call");
    }
    if spec.name.is_empty() || spec.name.chars().any(|c| !c.is_ascii_alphanumeric() && !"_-".contains(c)) {
        return failed(format!("`{}` is no name of an operator: it has letters, digits, `_` and `-`", spec.name));
    }
    if factory.about().trim().is_empty() {
        return failed("it does not say what it is for");
    }
    for names in [
        spec.inputs.iter().map(|port| port.name).collect::<Vec<_>>(),
        spec.outputs.iter().map(|port| port.name).collect(),
        factory.keys().iter().map(|key| key.name).collect(),
    ] {
        let unique: BTreeSet<&str> = names.iter().copied().collect();
        if unique.len() != names.len() {
            return failed(format!("two of {} have one name", names.join(", ")));
        }
    }
    if let Some(key) = factory.keys().iter().find(|key| key.about.trim().is_empty()) {
        return failed(format!("key `{}` has no documentation", key.name));
    }
    if let Some(problem) = factory.check(&check.bench.values).first() {
        return failed(format!("its configuration is refused: {problem}; set keys with `--set`"));
    }
    Ok(Verdict::Passed)
}

/// Returns values that a key must refuse.
fn wrong_values(key: &Key) -> Vec<Value> {
    let mut wrong = match key.kind.non_optional() {
        Kind::Bool => vec!["perhaps".into()],
        Kind::Integer { .. } | Kind::Number => vec!["many".into(), Value::from(vec![1, 2, 3])],
        Kind::Choice(_) => vec!["no such choice".into()],
        Kind::Array(..) => vec![7.into()],
        Kind::List(inner) if matches!(**inner, Kind::Integer { .. } | Kind::Number) => vec!["many".into()],
        _ => vec![],
    };
    if let (Some((min, max)), Kind::Integer { .. } | Kind::Number) = (key.range, key.kind.non_optional()) {
        wrong.extend([min - 1.0, max + 1.0].into_iter().filter(|value| value.is_finite()).map(Value::from));
    }
    wrong
}

fn refuses_wrong_configuration(check: &Check) -> Result<Verdict> {
    let bench = &check.bench;
    let with = |key: &str, value: Value| {
        let mut values = bench.values.clone();
        values.set(key, value, Origin::CommandLine);
        values
    };
    let unknown = with("no_such_key", 1.into());
    if bench.factory.check(&unknown).is_empty() {
        return failed("an unknown key is accepted");
    }
    let resources = bench.resources(&bench.inputs(Wiring::All), true)?;
    if bench.factory.make(&unknown, &resources).is_ok() {
        return failed("an operator is made with an unknown key");
    }
    for key in bench.factory.keys() {
        for value in wrong_values(key) {
            let problems = bench.factory.check(&with(key.name, value.clone()));
            if !problems.iter().any(|problem| problem.key == key.name) {
                return failed(format!("key `{}` accepts {value}", key.name));
            }
        }
        let mut without: Values = bench.values.clone();
        without.remove(key.name);
        if key.default.is_none() && bench.factory.check(&without).is_empty() {
            return failed(format!("key `{}` has no default and may be left out", key.name));
        }
    }
    Ok(Verdict::Passed)
}

fn keeps_schemas(check: &Check) -> Result<Verdict> {
    if check.bench.spec.outputs.is_empty() {
        return not_applicable("it has no outputs");
    }
    let transcript = check.ordinary()?;
    for (output, messages) in check.bench.spec.outputs.iter().zip(&transcript.messages) {
        for Message { body, .. } in messages {
            let is_kept = match (&output.ty, body) {
                (PortType::Table(table), Body::Data(Payload::Table(rows))) => table.check(rows.data_type()).is_ok(),
                (PortType::Table(_), Body::Data(Payload::Frame(_))) => false,
                (PortType::Frame, Body::Data(Payload::Table(_))) => false,
                _ => true,
            };
            if !is_kept {
                return failed(format!("output `{}` sends another type than it declares", output.name));
            }
        }
    }
    Ok(Verdict::Passed)
}

fn answers_every_frame(check: &Check) -> Result<Verdict> {
    check.answered(&check.ordinary()?, FRAMES)
}

fn ends_each_stream_once(check: &Check) -> Result<Verdict> {
    if check.bench.spec.outputs.is_empty() {
        return not_applicable("it has no outputs");
    }
    let transcript = check.ordinary()?;
    if let Some(error) = transcript.end_errors.first().filter(|_| check.has_exceptions) {
        return failed(format!("error at the end of the stream: {error}"));
    }
    for (output, messages) in check.bench.spec.outputs.iter().zip(&transcript.messages) {
        let closing = messages.iter().filter(|message| message.header.is_closing);
        let kinds: Vec<&str> = closing.map(|message| message.body.kind()).collect();
        if !matches!(kinds[..], ["end"] | ["data", "end"]) {
            return failed(format!("output `{}` ends with the messages {}", output.name, kinds.join(", ")));
        }
    }
    Ok(Verdict::Passed)
}

fn passes_skips_on(check: &Check) -> Result<Verdict> {
    let inputs = check.bench.inputs(Wiring::All);
    if !inputs.iter().any(|input| input.required) {
        return not_applicable("it has no required inputs");
    }
    for (port, input) in inputs.iter().enumerate().filter(|(_, input)| input.alignment.is_aligned()) {
        let mut script = check.script(Wiring::All, &check.streams[0], Flavor::Ordinary);
        script[3].bodies[port] = Some(Body::Skipped(Reason::Damaged));
        let transcript = check.bench.run(Wiring::All, &script)?;
        if let verdict @ Verdict::Failed(_) = check.answered(&transcript, FRAMES)? {
            return Ok(verdict);
        }
        if !input.required || input.hold {
            continue;
        }
        if transcript.outcomes[3].outcome != Outcome::Skipped(Reason::Damaged) {
            let text = format!("it was called for a frame without data on the required input `{}`", input.name);
            return failed(text);
        }
        for (output, messages) in check.bench.spec.outputs.iter().zip(&transcript.messages) {
            if !matches!(&messages[3].body, Body::Skipped(Reason::Damaged)) {
                return failed(format!("output `{}` does not pass on the skip of `{}`", output.name, input.name));
            }
        }
    }
    Ok(Verdict::Passed)
}

fn runs_without_optional_inputs(check: &Check) -> Result<Verdict> {
    let required = check.bench.inputs(Wiring::Required);
    if required.len() == check.bench.inputs(Wiring::All).len() {
        return not_applicable("it has no optional inputs");
    }
    if required.is_empty() {
        return not_applicable("it has no required inputs, and a node without inputs does not run");
    }
    let rig = match check.bench.rig(Wiring::Required) {
        Err(error) if error.failure == Failure::Config => {
            return not_applicable("it refuses to be created without them");
        }
        rig => rig?,
    };
    check.answered(&rig.run(&check.script(Wiring::Required, &check.streams[0], Flavor::Ordinary))?, FRAMES)
}

fn runs_unread(check: &Check) -> Result<Verdict> {
    if check.bench.spec.outputs.is_empty() {
        return not_applicable("it has no outputs");
    }
    let rig = match check.bench.rig_with(check.bench.factory.clone(), Wiring::All, false) {
        Err(error) if error.failure == Failure::Config => return not_applicable("it refuses to be created unread"),
        rig => rig?,
    };
    check.answered(&rig.run(&check.script(Wiring::All, &check.streams[0], Flavor::Ordinary))?, FRAMES)
}

/// Checks that two transcripts of a stream are equal.
fn is_same(check: &Check, a: &Transcript, b: &Transcript, stream: &str, when: &str) -> Result<Verdict> {
    match a.difference(b, &check.bench.spec, stream) {
        Some(difference) => failed(format!("{when}: {difference}")),
        None => Ok(Verdict::Passed),
    }
}

fn repeats_itself(check: &Check) -> Result<Verdict> {
    is_same(check, &check.ordinary()?, &check.ordinary()?, &check.streams[0], "a second run with the same input")
}

fn ignores_padding(check: &Check) -> Result<Verdict> {
    let script = check.script(Wiring::All, &check.streams[0], Flavor::Ordinary);
    let mut padded = script.clone();
    let mut has_frames = false;
    for body in padded.iter_mut().flat_map(|step| &mut step.bodies).flatten() {
        if let Some(frame) = inputs::padded(body) {
            (*body, has_frames) = (frame, true);
        }
    }
    if !has_frames {
        return not_applicable("it reads no frames");
    }
    let (packed, padded) = (check.bench.run(Wiring::All, &script)?, check.bench.run(Wiring::All, &padded)?);
    is_same(check, &packed, &padded, &check.streams[0], "the same frames with padded rows")
}

fn continues_from_saved_state(check: &Check) -> Result<Verdict> {
    let states = Arc::new(AtomicUsize::new(0));
    let reloading = Arc::new(Reloading { inner: check.bench.factory.clone(), states: states.clone() });
    if check.bench.spec.outputs.is_empty() {
        return not_applicable("it has no outputs");
    }
    let rig = check.bench.rig_with(reloading, Wiring::All, true)?;
    let reloaded = rig.run(&check.script(Wiring::All, &check.streams[0], Flavor::Ordinary))?;
    let when = "saved, created again and loaded after every frame";
    is_same(check, &check.ordinary()?, &reloaded, &check.streams[0], when)
}

fn keeps_streams_apart(check: &Check) -> Result<Verdict> {
    let scripts = check.streams.each_ref().map(|stream| check.script(Wiring::All, stream, Flavor::Ordinary));
    let mixed: Vec<Step> = scripts[0].iter().zip(&scripts[1]).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    let mixed = check.bench.run(Wiring::All, &mixed)?;
    for (stream, script) in check.streams.iter().zip(&scripts) {
        let alone = check.bench.run(Wiring::All, script)?;
        let when = format!("stream `{stream}` alone, and together with another one");
        if let verdict @ Verdict::Failed(_) = is_same(check, &alone, &mixed, stream, &when)? {
            return Ok(verdict);
        }
    }
    Ok(Verdict::Passed)
}

fn accepts_empty_tables(check: &Check) -> Result<Verdict> {
    let inputs = check.bench.inputs(Wiring::All);
    if !inputs.iter().any(|input| matches!(input.ty, PortType::Table(_))) {
        return not_applicable("it reads no tables");
    }
    let mut script = check.script(Wiring::All, &check.streams[0], Flavor::Ordinary);
    for (i, step) in script.iter_mut().enumerate() {
        for (input, body) in inputs.iter().zip(&mut step.bodies) {
            if let PortType::Table(table) = input.ty
                && i % 3 != 1
            {
                *body = Some(Body::Data(Payload::Table(Arc::new(table.empty()))));
            }
        }
    }
    check.answered(&check.bench.run(Wiring::All, &script)?, FRAMES)
}

fn accepts_late_and_repeated_frames(check: &Check) -> Result<Verdict> {
    let mut script = check.script(Wiring::All, &check.streams[0], Flavor::Ordinary);
    let mut pts = 0;
    for (i, step) in script.iter_mut().enumerate() {
        pts += match i {
            // The same time again, an hour later, and one nanosecond later.
            2 | 3 => 0,
            6 => 3600 * 1_000_000_000,
            8 => 1,
            _ => INTERVAL,
        };
        let header = &mut step.header;
        *header = Header { pts, dropped: u64::from(i == 6) * 1000, session: u32::from(i >= 9), ..header.clone() };
    }
    let repeated = script[4].bodies.clone();
    script[5].bodies = repeated;
    check.answered(&check.bench.run(Wiring::All, &script)?, FRAMES)
}

fn survives_extreme_values(check: &Check) -> Result<Verdict> {
    let mut rig = check.bench.rig(Wiring::All)?;
    let mut frames = 0;
    for seed in 0..4 {
        // Streams of their own, so that what an extreme frame has left in a state does not hide the next.
        let stream = format!("extreme{seed}");
        let mut script = check.script(Wiring::All, &stream, Flavor::Extreme);
        let ordinary = check.script(Wiring::All, &stream, Flavor::Ordinary);
        for (step, ordinary) in script.iter_mut().zip(ordinary).skip(FRAMES as usize / 2) {
            *step = ordinary;
        }
        for step in &script {
            rig.push(step)?;
        }
        rig.end(&script)?;
        frames += FRAMES;
    }
    rig.driver.close()?;
    // Extreme frames may be refused, but not the ordinary ones after them.
    match rig.transcript.error(|at| at as u64 % FRAMES >= FRAMES / 2).filter(|_| check.has_exceptions) {
        Some(error) => failed(format!("after extreme values: {error}")),
        None => check.accounted(&rig.transcript, frames),
    }
}

/// Returns another valid value of a key.
fn other_value(key: &Key, current: &Value) -> Option<Value> {
    // A small step from the present value: the greatest one may be a day of work.
    let numbers = |is_whole: bool| -> Vec<Value> {
        let (min, max) = key.range.unwrap_or((f64::MIN, f64::MAX));
        let at = current.as_f64().unwrap_or(min.max(0.0));
        let step = if is_whole { 1.0 } else { (0.1 * at.abs()).max(0.01) };
        let in_range = [at + step, at - step, min, max].into_iter().filter(|value| (min..=max).contains(value));
        in_range.map(|value| if is_whole { Value::from(value as i64) } else { Value::from(value) }).collect()
    };
    let candidates = match key.kind.non_optional() {
        Kind::Bool => vec![true.into(), false.into()],
        Kind::Integer { .. } => numbers(true),
        Kind::Number => numbers(false),
        Kind::Choice(words) => words.iter().map(|word| (*word).into()).collect(),
        _ => vec![],
    };
    candidates.into_iter().find(|value| value.as_f64().zip(current.as_f64()).map_or(value != current, |(a, b)| a != b))
}

fn applies_live_keys(check: &Check) -> Result<Verdict> {
    let bench = &check.bench;
    let live: Vec<&Key> = bench.factory.keys().iter().filter(|key| key.live).collect();
    if live.is_empty() {
        return not_applicable("it has no live keys");
    }
    let resolved: BTreeMap<String, Value> = bench.factory.resolve(&bench.values).into_iter().collect();
    let script = check.script(Wiring::All, &check.streams[0], Flavor::Ordinary);
    for key in live {
        let current = resolved.get(key.name).cloned().unwrap_or_default();
        let Some(value) = other_value(key, &current) else { continue };
        let mut changed = bench.values.clone();
        changed.set(key.name, value.clone(), Origin::Live);
        if !bench.factory.check(&changed).is_empty() {
            // Other keys do not allow this value.
            continue;
        }
        let mut rig = bench.rig(Wiring::All)?;
        for step in &script[..4] {
            rig.push(step)?;
        }
        let place = |error: Error| error.at(format_args!("key `{}` = {value}", key.name));
        rig.driver.set(key.name, value.clone()).map_err(place)?;
        for step in &script[4..] {
            rig.push(step)?;
        }
        rig.end(&script)?;
        rig.driver.close()?;
        if let Verdict::Failed(text) = check.answered(&rig.transcript, FRAMES)? {
            return failed(format!("key `{}` = {value}: {text}", key.name));
        }
    }
    Ok(Verdict::Passed)
}

fn closes_once(check: &Check) -> Result<Verdict> {
    let bench = &check.bench;
    let resources = bench.resources(&bench.inputs(Wiring::All), true)?;
    let Instance::Operator(mut unused) = bench.factory.make(&bench.values, &resources)? else {
        return not_applicable("it is a source");
    };
    unused.close().0.map_err(|error| error.at("an operator that was never called"))?;
    drop(unused);
    let mut rig = bench.rig(Wiring::All)?;
    let script = check.script(Wiring::All, &check.streams[0], Flavor::Ordinary);
    for step in &script[..2] {
        rig.push(step)?;
    }
    // Streams that have not ended, as after a stop.
    rig.driver.close().map_err(|error| error.at("an operator with a stream that has not ended"))?;
    rig.driver.close()?;
    let stopped = rig.driver.counts().clone();
    if stopped.values().any(|count| *count > 1_000_000) {
        return failed(format!("its counters after two frames are {stopped:?}"));
    }
    Ok(Verdict::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        assert_eq!(RULES.iter().collect::<BTreeSet<_>>().len(), CHECKS.len());
    }
}

//! Each rule finds an operator that breaks it, and passes one that does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, DynOperator, Error, Fault, Inputs, Instance, Operator, OperatorFactory, Outputs, PortType,
    Resources, Result, Spec, Table, Values,
    config::{Key, Problem},
    factory, table,
    tables::Count,
};
use sideline_conformance::{RULES, RecordedFrame, Suite, Verdict, failures};

table! {
    /// Numbers to read.
    pub struct Number in "numbers" {
        /// Value.
        pub value: f32,
        /// Name.
        pub name: String,
    }
}

/// Fault of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Break {
    None,
    Random,
    HiddenState,
    SharedState,
    NeedsOptional,
    NanPanics,
    EmptyPanics,
    SessionPanics,
    RefusesLive,
    CloseFails,
    UnreadPanics,
    SkipPanics,
    SumsPadding,
}

/// Counts, and breaks a rule on request.
#[derive(Clone, Config)]
struct Keys {
    /// Rule to break.
    #[config(default = "none")]
    fault: Break,
    /// Step.
    #[config(default = 1, live, range(1, 10))]
    step: u32,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct State {
    frames: u64,
    session: u32,
}

struct Broken {
    keys: Keys,
    hidden: BTreeMap<String, u64>,
    shared: u64,
    has_optional: bool,
    is_read: bool,
}

static RANDOM: AtomicU64 = AtomicU64::new(0);

impl Operator for Broken {
    type Config = Keys;
    type State = State;

    fn spec() -> Spec {
        Spec::operator("broken")
            .required("frames", PortType::Frame)
            .optional("numbers", PortType::table::<Number>())
            .output("counts", PortType::table::<Count>())
    }

    fn new(keys: Keys, resources: &Resources) -> Result<Self> {
        let (has_optional, is_read) = (resources.is_wired("numbers"), resources.is_read("counts"));
        Ok(Broken { keys, hidden: BTreeMap::new(), shared: 0, has_optional, is_read })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut State, out: &mut Outputs) -> Result<()> {
        let numbers = input.rows::<Number>("numbers")?;
        state.frames += u64::from(self.keys.step);
        self.shared += 1;
        let hidden = self.hidden.entry(cx.header.stream.to_string()).or_default();
        *hidden += 1;
        let fault = self.keys.fault;
        let checksum = match fault {
            Break::Random => RANDOM.fetch_add(1, Ordering::Relaxed),
            Break::HiddenState => *hidden,
            Break::SharedState => self.shared,
            Break::SumsPadding => input.frame("frames")?.plane(0).0.iter().map(|byte| u64::from(*byte)).sum(),
            _ => 0,
        };
        assert!(fault != Break::NeedsOptional || self.has_optional, "`numbers` is not wired");
        assert!(fault != Break::UnreadPanics || self.is_read, "`counts` is not read");
        assert!(fault != Break::SkipPanics || !self.has_optional || numbers.is_some(), "`numbers` was skipped");
        if let Some(numbers) = numbers {
            assert!(fault != Break::EmptyPanics || !numbers.is_empty() || cx.header.frame == 0, "no numbers");
            assert!(fault != Break::NanPanics || numbers.iter().all(|row| !row.value.is_nan()), "NaN");
        }
        assert!(fault != Break::SessionPanics || cx.header.session == 0, "another session");
        out.rows("counts", &[Count { frames: state.frames, checksum }])
    }

    fn reconfigure(&mut self, keys: &Keys) -> Result<()> {
        if self.keys.fault == Break::RefusesLive {
            return Err(Error::other("the step cannot change"));
        }
        self.keys = keys.clone();
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        match self.keys.fault {
            Break::CloseFails => Err(Error::other("it cannot be closed")),
            _ => Ok(()),
        }
    }
}

fn broken_rules(factory: Arc<dyn OperatorFactory>, values: Values) -> Vec<(&'static str, String)> {
    let folder = tempfile::tempdir().unwrap();
    let reports = Suite::new(factory, folder.path()).with_values(values).run();
    assert_eq!(reports.iter().map(|report| report.rule).collect::<Vec<_>>(), RULES);
    let failed = reports.into_iter().filter_map(|report| match report.verdict {
        Verdict::Failed(text) => Some((report.rule, text)),
        Verdict::Passed | Verdict::NotApplicable(_) => None,
    });
    failed.collect()
}

#[test]
fn each_fault_breaks_its_rule() {
    let cases: [(&str, &[&str], &str); 13] = [
        ("none", &[], ""),
        ("random", &["repeats itself", "continues from a saved state", "keeps streams apart"], "differs at frame 0"),
        ("hidden_state", &["continues from a saved state"], "differs at frame 1"),
        ("shared_state", &["continues from a saved state", "keeps streams apart"], "differs at frame"),
        ("needs_optional", &["runs without optional inputs"], "`numbers` is not wired"),
        ("nan_panics", &["survives extreme values"], "NaN"),
        ("empty_panics", &["accepts empty tables"], "no numbers"),
        ("session_panics", &["accepts late and repeated frames"], "another session"),
        ("refuses_live", &["applies live keys"], "key `step` = 2: "),
        ("close_fails", &["closes once"], "it cannot be closed"),
        ("unread_panics", &["runs unread"], "`counts` is not read"),
        ("skip_panics", &["passes skips on"], "`numbers` was skipped"),
        ("sums_padding", &["ignores padding"], "the same frames with padded rows: output `counts` differs at frame 0"),
    ];
    for (fault, rules, text) in cases {
        let broken = broken_rules(Arc::new(factory::operator::<Broken>()), [("fault", fault)].into());
        for rule in rules {
            let found = broken.iter().find(|(broken, _)| broken == rule);
            assert!(found.is_some_and(|(_, why)| why.contains(text)), "{fault}: {rule}: {broken:?}");
        }
        if fault == "none" {
            assert_eq!(broken, []);
        }
    }
}

/// Takes one of two inputs, and is of no use unread.
struct Chooser;

impl Operator for Chooser {
    type Config = Keys;
    type State = ();

    fn spec() -> Spec {
        let numbers = PortType::table::<Number>();
        Spec::operator("chooser")
            .optional("left", numbers)
            .optional("right", numbers)
            .output("counts", PortType::table::<Count>())
    }

    fn new(_: Keys, resources: &Resources) -> Result<Self> {
        let wired = resources.inputs.len();
        if wired != 1 || !resources.is_read("counts") {
            return Err(Error::config(format!("{wired} of `left` and `right` are wired; it takes one of them")));
        }
        Ok(Chooser)
    }

    fn process(&mut self, _: &Context, input: &Inputs, (): &mut (), out: &mut Outputs) -> Result<()> {
        let rows = input.rows::<Number>("left")?.unwrap_or_default();
        out.rows("counts", &[Count { frames: rows.len() as u64, checksum: 0 }])
    }

    fn reconfigure(&mut self, _: &Keys) -> Result<()> {
        Ok(())
    }
}

#[test]
fn of_alternative_inputs_one_is_wired() {
    let folder = tempfile::tempdir().unwrap();
    let reports = Suite::new(Arc::new(factory::operator::<Chooser>()), folder.path()).run();
    for report in reports {
        match (report.rule, report.verdict) {
            ("runs without optional inputs" | "passes skips on" | "ignores padding", Verdict::NotApplicable(_)) => {}
            ("runs unread", Verdict::NotApplicable(text)) => assert_eq!(text, "it refuses to be created unread"),
            (_, Verdict::Passed) => {}
            (rule, verdict) => panic!("{rule}: {verdict:?}"),
        }
    }
}

/// Factory that breaks what no Rust operator can break.
struct Wrong {
    inner: Arc<dyn OperatorFactory>,
    fault: &'static str,
}

struct WrongOperator {
    inner: Box<dyn DynOperator>,
    fault: &'static str,
}

impl OperatorFactory for Wrong {
    fn spec(&self, values: &Values) -> Result<Spec> {
        let mut spec = self.inner.spec(values)?;
        if self.fault == "name" {
            spec.name = "no name";
        }
        Ok(spec)
    }
    fn about(&self) -> &str {
        self.inner.about()
    }
    fn keys(&self) -> &[Key] {
        self.inner.keys()
    }
    fn check(&self, values: &Values) -> Vec<Problem> {
        if self.fault == "check" { vec![] } else { self.inner.check(values) }
    }
    fn resolve(&self, values: &Values) -> Vec<(String, serde_json::Value)> {
        self.inner.resolve(values)
    }
    fn models(&self, values: &Values) -> Vec<String> {
        self.inner.models(values)
    }
    fn finite(&self, values: &Values) -> bool {
        self.inner.finite(values)
    }
    fn make(&self, values: &Values, resources: &Resources) -> Result<Instance> {
        let Instance::Operator(inner) = self.inner.make(values, resources)? else { panic!("an operator") };
        Ok(Instance::Operator(Box::new(WrongOperator { inner, fault: self.fault })))
    }
}

impl DynOperator for WrongOperator {
    fn process(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        match self.fault {
            "schema" => Ok(out.table("counts", Arc::new(Number::encode(&[])))?),
            "unwinds" => panic!("this panic is not caught"),
            _ => self.inner.process(cx, input, out),
        }
    }
    fn stream_ended(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        if self.fault == "closing" {
            return Ok(out.table("counts", Arc::new(Number::encode(&[])))?);
        }
        self.inner.stream_ended(cx, input, out)
    }
    fn snapshot(&mut self, stream: &str) -> Result<(), Fault> {
        self.inner.snapshot(stream)
    }
    fn roll_back(&mut self, stream: &str) -> Result<(), Fault> {
        self.inner.roll_back(stream)
    }
    fn save(&self, stream: &str, into: &mut Vec<u8>) -> Result<()> {
        self.inner.save(stream, into)
    }
    fn load(&mut self, stream: &str, bytes: &[u8]) -> Result<()> {
        self.inner.load(stream, bytes)
    }
    fn reconfigure(&mut self, values: &Values) -> Result<()> {
        self.inner.reconfigure(values)
    }
    fn close(&mut self) -> (Result<()>, Vec<(String, u64)>) {
        self.inner.close()
    }
}

#[test]
fn faults_of_an_operator_in_another_language_are_found() {
    for (fault, rule, text) in [
        ("name", "describes itself", "`no name` is no name of an operator"),
        ("check", "refuses a wrong configuration", "an unknown key is accepted"),
        ("schema", "keeps its schemas", "table `counts`"),
        ("unwinds", "answers every frame", "a panic was not contained"),
        ("closing", "ends each stream once", "table `counts`"),
    ] {
        let wrong = Wrong { inner: Arc::new(factory::operator::<Broken>()), fault };
        let broken = broken_rules(Arc::new(wrong), Values::new());
        let found = broken.iter().find(|(broken, _)| *broken == rule);
        assert!(found.is_some_and(|(_, why)| why.contains(text)), "{fault}: {broken:?}");
    }
}

/// Numbers that an operator has got, by stream and frame.
static SEEN: Mutex<BTreeMap<RecordedFrame, BTreeSet<Vec<u32>>>> = Mutex::new(BTreeMap::new());

/// Reads numbers.
#[derive(Clone, Config)]
struct NoKeys {}

struct Witness;

impl Operator for Witness {
    type Config = NoKeys;
    type State = ();

    fn spec() -> Spec {
        Spec::operator("witness")
            .required("numbers", PortType::table::<Number>())
            .required("counts", PortType::table::<Count>())
    }

    fn new(_: NoKeys, _: &Resources) -> Result<Self> {
        Ok(Witness)
    }

    fn process(&mut self, cx: &Context, input: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        let numbers = input.required_rows::<Number>("numbers")?.iter().map(|row| row.value as u32).collect();
        let frame = RecordedFrame { stream: cx.header.stream.to_string(), frame: cx.header.frame };
        SEEN.lock().unwrap().entry(frame).or_default().insert(numbers);
        Ok(())
    }
}

#[test]
fn recorded_rows_keep_the_numbers_of_their_frames_and_the_names_of_their_streams() {
    let frame = |stream: &str, frame| RecordedFrame { stream: stream.into(), frame };
    let number = |value| Arc::new(Number::encode(&[Number { value, name: String::new() }]));
    let numbers = [("left", 400, 1000.0), ("left", 403, 1001.0), ("right", 70, 1002.0)];
    let numbers = numbers.map(|(stream, at, value)| (frame(stream, at), number(value)));
    // A table whose first row is of another stream and of an earlier frame.
    let counts = [("right", 69), ("left", 399)]
        .map(|(stream, at)| (frame(stream, at), Arc::new(Count::encode(&[Count { frames: at, checksum: 0 }]))));
    let folder = tempfile::tempdir().unwrap();
    let suite = Suite::new(Arc::new(factory::operator::<Witness>()), folder.path())
        .with_recording("numbers", numbers.into())
        .with_recording("counts", counts.into());
    assert_eq!(failures(&suite.run()), Vec::<String>::new());
    let seen = SEEN.lock().unwrap();
    for (stream, at, expected) in [
        ("left", 399, vec![]),
        ("left", 400, vec![1000]),
        ("left", 401, vec![]),
        ("left", 402, vec![]),
        ("left", 403, vec![1001]),
        ("right", 69, vec![]),
        ("right", 70, vec![1002]),
    ] {
        assert!(seen[&frame(stream, at)].contains(&expected), "{stream} {at}: {:?}", seen[&frame(stream, at)]);
    }
    assert!(seen.keys().all(|frame| frame.stream != "a" && frame.frame != 0 || frame.stream.starts_with("extreme")));
    assert!(seen[&frame("left", 402)].iter().all(|numbers| numbers.is_empty()), "a frame without rows has none");
}

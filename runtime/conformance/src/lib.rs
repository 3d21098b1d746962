//! Conformance suite: the rules that every operator keeps, in whatever language it is written.
//!
//! The suite knows an operator by its [`OperatorFactory`] only, makes its inputs from the types of its ports, and runs it behind
//! the driver of a real run.
//!
//! ```
//! use std::sync::Arc;
//! use sideline_api::*;
//! use sideline_conformance::{Suite, Verdict};
//!
//! /// Does nothing.
//! #[derive(Clone, Config)]
//! struct Keys {}
//! struct Idle;
//! impl Operator for Idle {
//!     type Config = Keys;
//!     type State = ();
//!     fn spec() -> Spec {
//!         Spec::operator("idle").required("frames", PortType::Frame)
//!     }
//!     fn new(_: Keys, _: &Resources) -> Result<Self> {
//!         Ok(Idle)
//!     }
//!     fn process(&mut self, _: &Context, _: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! let suite = Suite::new(Arc::new(factory::operator::<Idle>()), std::env::temp_dir().join("idle"));
//! assert!(suite.run().iter().all(|report| !matches!(report.verdict, Verdict::Failed(_))));
//! ```
#![forbid(unsafe_code)]

mod inputs;
mod rig;
mod rules;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use sideline_api::{OperatorFactory, Values, arrow::array::StructArray, models::Models};

pub use rules::RULES;

/// Verdict on one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The operator keeps the rule.
    Passed,
    /// The rule says nothing about this operator, for this reason.
    NotApplicable(String),
    /// The operator breaks the rule, as described.
    Failed(String),
}

/// Verdict on a rule with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// Name of the rule, a short sentence about the operator: `repeats itself`.
    pub rule: &'static str,
    /// The verdict.
    pub verdict: Verdict,
}

/// Suite for one operator.
pub struct Suite {
    factory: Arc<dyn OperatorFactory>,
    values: Values,
    search: Vec<PathBuf>,
    models: Arc<Models>,
    folder: PathBuf,
    recorded: BTreeMap<String, RecordedRows>,
    has_exceptions: bool,
}

/// Recorded rows of one table.
pub type RecordedRows = BTreeMap<RecordedFrame, Arc<StructArray>>;

/// Frame of a recording.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordedFrame {
    /// Name of the stream.
    pub stream: String,
    /// Number of the frame.
    pub frame: u64,
}

impl Suite {
    /// Creates a suite. Operators write their files to folders in `folder`, which is created.
    pub fn new(factory: Arc<dyn OperatorFactory>, folder: impl Into<PathBuf>) -> Self {
        Self {
            factory,
            values: Values::new(),
            search: vec![PathBuf::from(".")],
            models: Arc::default(),
            folder: folder.into(),
            recorded: BTreeMap::new(),
            has_exceptions: false,
        }
    }

    /// Sets the configuration; keys that are not set have their defaults.
    pub fn with_values(mut self, values: Values) -> Self {
        self.values = values;
        self
    }

    /// Sets the installed models and the folders in which relative paths are looked up.
    pub fn with_models(mut self, models: Models, search: Vec<PathBuf>) -> Self {
        (self.models, self.search) = (Arc::new(models), search);
        self
    }

    /// Adds recorded rows of a table. The operator receives them with their stream names and frame numbers,
    /// beginning with the first frame that has rows of one of its inputs; frames after the last one have random rows.
    pub fn with_recording(mut self, table: &str, rows: RecordedRows) -> Self {
        self.recorded.insert(table.into(), rows);
        self
    }

    /// Treats an error on ordinary input as a failure, like a panic in Rust: in a language with exceptions, a mistake in the code
    /// raises one, which otherwise only skips a frame.
    pub fn with_exceptions(mut self) -> Self {
        self.has_exceptions = true;
        self
    }

    /// Checks every rule, in the order of [`RULES`].
    pub fn run(&self) -> Vec<RuleReport> {
        rules::run(self)
    }
}

/// Returns one line for each rule that an operator breaks.
pub fn failures(reports: &[RuleReport]) -> Vec<String> {
    let failed = reports.iter().filter_map(|report| match &report.verdict {
        Verdict::Failed(text) => Some(format!("{}: {text}", report.rule)),
        Verdict::Passed | Verdict::NotApplicable(_) => None,
    });
    failed.collect()
}

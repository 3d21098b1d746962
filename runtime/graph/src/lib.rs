//! Reads dataflow and module files, checks them, and plans threads and queues.
//!
//! A flow is an ordinary dora dataflow file. It is parsed twice: by dora-core's own `Descriptor` and module expansion,
//! so that it has the same meaning as under dora, and as a YAML tree with positions, so that every problem is reported
//! with its line and column. A fused node (`args: run modules/perception.yml`) is flattened by the same expansion as
//! the equivalent `module: modules/perception.yml`: both forms give the same graph with the same ids.
//!
//! [`Flow::read`] and [`Flow::from_descriptor`] read and check a flow; [`Flow::plan_embedded`] and
//! [`Flow::plan_for_node`] build the [`plan::Plan`] of one process; [`render_plan`] renders the output of `sideline
//! check`.
//!
//! With a source `numbers` and an operator `sum` in the registry:
//!
//! ```
//! # use std::sync::Arc;
//! # use sideline_api::*;
//! # use sideline_api::tables::Count;
//! # /// Counts to five.
//! # #[derive(Clone, Config)]
//! # struct NumbersConfig {}
//! # struct Numbers(u64);
//! # impl Source for Numbers {
//! #     type Config = NumbersConfig;
//! #     fn spec() -> Spec {
//! #         Spec::source("numbers").output("numbers", PortType::table::<Count>())
//! #     }
//! #     fn new(_: NumbersConfig, _: &Resources) -> Result<Self> {
//! #         Ok(Numbers(0))
//! #     }
//! #     fn next(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>> {
//! #         self.0 += 1;
//! #         let rows = Arc::new(Count::encode(&[Count { frames: self.0, checksum: 0 }]));
//! #         let outputs = vec![Body::Data(Payload::Table(rows))];
//! #         let captured_at = cx.clock.now();
//! #         let frame = CapturedFrame { stream: "main".into(), session: 0, pts: self.0 as i64, captured_at, outputs };
//! #         Ok((self.0 <= 5).then_some(frame))
//! #     }
//! # }
//! # /// Adds numbers.
//! # #[derive(Clone, Config)]
//! # struct SumConfig {
//! #     /// Added to each number. Higher makes the sum greater.
//! #     #[config(default = 0)]
//! #     offset: u64,
//! # }
//! # struct Sum;
//! # impl Operator for Sum {
//! #     type Config = SumConfig;
//! #     type State = u64;
//! #     fn spec() -> Spec {
//! #         Spec::operator("sum").required("numbers", PortType::table::<Count>())
//! #     }
//! #     fn new(_: SumConfig, _: &Resources) -> Result<Self> {
//! #         Ok(Sum)
//! #     }
//! #     fn process(&mut self, _: &Context, _: &Inputs, _: &mut u64, _: &mut Outputs) -> Result<()> {
//! #         Ok(())
//! #     }
//! # }
//! use sideline_graph::{Flow, Overrides, render_plan};
//!
//! let registry = Registry::new().source::<Numbers>().operator::<Sum>();
//! let file = tempfile::Builder::new().suffix(".yml").tempfile()?;
//! std::fs::write(&file, "\
//! nodes:
//!   - {id: numbers, path: sideline, args: run numbers, outputs: [numbers], inputs: {done_sum: sum/done}}
//!   - {id: sum, path: sideline, args: run sum, outputs: [done], inputs: {numbers: numbers/numbers}, env: {OFSET: 1}}
//! ")?;
//! let diagnostics = Flow::read(file.path(), &registry, &Overrides::default()).unwrap_err();
//! assert_eq!((diagnostics[0].place.line, diagnostics[0].node.as_deref()), (3, Some("sum")));
//! assert!(diagnostics[0].message.contains("did you mean `offset`?"));
//!
//! let text = std::fs::read_to_string(&file)?.replace("OFSET", "OFFSET");
//! std::fs::write(&file, text)?;
//! let flow = Flow::read(file.path(), &registry, &Overrides::default()).unwrap();
//! assert_eq!(flow.plan_embedded().unwrap().nodes.len(), 2);
//! println!("{}", render_plan(&flow));
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod attach;
mod diagnostic;
mod expand;
mod feed;
mod files;
mod flow;
mod memory;
mod names;
pub mod plan;
mod planner;
mod print;
mod replay;
mod settings;
mod sinks;
mod type_files;
mod wiring;

pub use diagnostic::{Diagnostic, Place, Severity};
pub use feed::{OutputIndex, RecordedTableName};
pub use files::{operator_targets, operator_targets_in};
pub use flow::{Flow, FlowNode, Module, Overrides, Process, ProcessKind, Sender};
pub use print::render_plan;
pub use type_files::{render_type_files, type_urn};

//! Node that passes the rows of tables to callbacks.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow_array::{Array, StructArray};
use sideline_api::{
    Body, Context, DynOperator, Fault, Header, Inputs, Instance, Message, Mode, OperatorFactory, Outputs, Payload,
    PortType, Resources, Result, Spec, Table, Values, WiredInput,
    config::{Key, Problem},
};

/// Name of the operator in the registry.
pub const TAP: &str = "tap";

/// Rows of one table for one frame.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Name of the table, or the output `NODE/OUTPUT`, as it was asked for.
    pub table: &'a str,
    /// Frame of the rows.
    pub header: &'a Header,
    /// Rows as an Arrow array.
    pub array: &'a Arc<StructArray>,
}

impl Batch<'_> {
    /// Decodes the rows.
    ///
    /// # Errors
    /// When `T` is not the row type of this table.
    pub fn rows<T: Table>(&self) -> Result<Vec<T>> {
        T::decode(self.array)
    }
}

/// Callback for batches of rows.
pub type BatchCallback = Arc<dyn Fn(&Batch<'_>, Mode) -> Result<()> + Send + Sync>;

/// Factory of the node. Its inputs are named `NUMBER:NAME,NAME`, with the names by which their rows were asked for.
pub struct Tap(BatchCallback);

/// The node.
struct Reader {
    callback: BatchCallback,
    mode: Mode,
}

impl Tap {
    /// Creates a node that calls `callback` with each batch, once for each name by which it was asked for.
    pub fn new(callback: impl Fn(&Batch<'_>, Mode) -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    /// Returns the name of an input, the `at`-th, whose rows were asked for by these names.
    pub(crate) fn input_name(at: usize, names: &[&str]) -> String {
        format!("{at}:{}", names.join(","))
    }
}

impl Reader {
    fn pass_on(&self, port: &WiredInput, message: &Message) -> Result<()> {
        let Body::Data(Payload::Table(array)) = &message.body else { return Ok(()) };
        if array.is_empty() {
            return Ok(());
        }
        let names = port.name.split_once(':').map_or(&*port.name, |(_, names)| names);
        let mut batches = names.split(',').map(|table| Batch { table, header: &message.header, array });
        batches.try_for_each(|batch| (self.callback)(&batch, self.mode))
    }

    fn pass_on_all(&self, input: &Inputs) -> Result<(), Fault> {
        let pass_on_all = || {
            for (port, message) in input.all() {
                if let Some(message) = message {
                    self.pass_on(port, message)?;
                }
            }
            let mut side = input.all_side();
            side.try_for_each(|(port, messages)| messages.iter().try_for_each(|message| self.pass_on(port, message)))
        };
        match catch_unwind(AssertUnwindSafe(pass_on_all)) {
            Ok(result) => result.map_err(Fault::Error),
            Err(panic) => Err(Fault::Panic(panic_text(&*panic))),
        }
    }
}

/// Returns the message of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
}

impl OperatorFactory for Tap {
    fn spec(&self, _: &Values) -> Result<Spec> {
        Ok(Spec::operator(TAP).heavy().any_inputs(PortType::Any))
    }
    fn about(&self) -> &str {
        "Passes rows to callbacks of a program."
    }
    fn keys(&self) -> &[Key] {
        &[]
    }
    fn check(&self, _: &Values) -> Vec<Problem> {
        vec![]
    }
    fn resolve(&self, _: &Values) -> Vec<(String, serde_json::Value)> {
        vec![]
    }
    fn models(&self, _: &Values) -> Vec<String> {
        vec![]
    }
    fn finite(&self, _: &Values) -> bool {
        true
    }
    fn make(&self, _: &Values, resources: &Resources) -> Result<Instance> {
        Ok(Instance::Operator(Box::new(Reader { callback: self.0.clone(), mode: resources.mode })))
    }
}

impl DynOperator for Reader {
    fn process(&mut self, _: &Context, input: &Inputs, _: &mut Outputs) -> Result<(), Fault> {
        self.pass_on_all(input)
    }
    fn stream_ended(&mut self, _: &Context, input: &Inputs, _: &mut Outputs) -> Result<(), Fault> {
        self.pass_on_all(input)
    }
    fn snapshot(&mut self, _: &str) -> Result<(), Fault> {
        Ok(())
    }
    fn roll_back(&mut self, _: &str) -> Result<(), Fault> {
        Ok(())
    }
    fn save(&self, _: &str, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
    fn load(&mut self, _: &str, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn reconfigure(&mut self, _: &Values) -> Result<()> {
        Ok(())
    }
    fn close(&mut self) -> (Result<()>, Vec<(String, u64)>) {
        (Ok(()), vec![])
    }
}

//! Node that passes the rows of tables to callbacks.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arrow_array::{Array, StructArray};
use sideline_api::{
    Body, Context, DynOperator, Fault, Header, Inputs, Instance, Message, OperatorFactory, Outputs, Payload, PortType,
    Resources, Result, Spec, Table, Values, WiredInput,
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
pub type BatchCallback = Arc<dyn Fn(&Batch<'_>) -> Result<()> + Send + Sync>;

/// Factory of the node: callbacks, each with the name of its table.
#[derive(Clone, Default)]
pub struct Tap {
    pub callbacks: Arc<Vec<(String, BatchCallback)>>,
    /// Set while a callback runs.
    pub is_held: Arc<AtomicBool>,
}

impl Tap {
    fn pass_on(&self, port: &WiredInput, message: &Message) -> Result<()> {
        let Body::Data(Payload::Table(array)) = &message.body else { return Ok(()) };
        if array.is_empty() {
            return Ok(());
        }
        // The inputs are named `NUMBER:TABLE`.
        let table = port.name.split_once(':').map_or(&*port.name, |(_, name)| name);
        let batch = Batch { table, header: &message.header, array };
        self.is_held.store(true, Ordering::Relaxed);
        let mut callbacks = self.callbacks.iter().filter(|(wanted, _)| wanted == table);
        let result = callbacks.try_for_each(|(_, callback)| callback(&batch));
        self.is_held.store(false, Ordering::Relaxed);
        result
    }

    fn pass_on_all(&self, input: &Inputs) -> Result<()> {
        for (port, message) in input.all() {
            if let Some(message) = message {
                self.pass_on(port, message)?;
            }
        }
        input
            .all_side()
            .try_for_each(|(port, messages)| messages.iter().try_for_each(|message| self.pass_on(port, message)))
    }
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
    fn make(&self, _: &Values, _: &Resources) -> Result<Instance> {
        Ok(Instance::Operator(Box::new(self.clone())))
    }
}

impl DynOperator for Tap {
    fn process(&mut self, _: &Context, input: &Inputs, _: &mut Outputs) -> Result<(), Fault> {
        Ok(self.pass_on_all(input)?)
    }
    fn stream_ended(&mut self, _: &Context, input: &Inputs, _: &mut Outputs) -> Result<(), Fault> {
        Ok(self.pass_on_all(input)?)
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

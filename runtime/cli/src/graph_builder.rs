//! Flows built in code, without YAML.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Flow built in code. It is the same graph as that of a YAML file, and is checked in the same way.
///
/// ```
/// use sideline::{Graph, Node};
///
/// let graph = Graph::new("count")
///     .node(Node::new("synthetic", "synthetic").set("frames", 30).set("width", 64).set("height", 48))
///     .node(Node::new("counter", "counter").input("frames", "synthetic/frames"));
/// assert!(graph.to_yaml().contains("\"args\": \"run counter\""));
/// ```
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) name: String,
    env: Map<String, Value>,
    nodes: Vec<Node>,
}

/// Node of a [`Graph`].
#[derive(Clone, Debug)]
pub struct Node {
    id: String,
    operator: String,
    env: Map<String, Value>,
    inputs: Map<String, Value>,
}

impl Graph {
    /// Creates an empty flow.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), env: Map::new(), nodes: vec![] }
    }

    /// Sets a variable of the whole flow, such as `SIDELINE_MODE`.
    pub fn set(mut self, variable: impl Into<String>, value: impl Into<Value>) -> Self {
        self.env.insert(variable.into(), to_variable(value.into()));
        self
    }

    /// Adds a node.
    pub fn node(mut self, node: Node) -> Self {
        self.nodes.push(node);
        self
    }

    /// Returns the flow as the text of a dataflow file: JSON, which is YAML. Each node lists the outputs that others read. To
    /// run over dora, a flow also needs the `done` inputs of its source, which `sideline check` names.
    pub fn to_yaml(&self) -> String {
        let mut outputs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for source in self.nodes.iter().flat_map(|node| node.inputs.values()) {
            if let Some((id, output)) = source.as_str().and_then(|source| source.split_once('/')) {
                let outputs = outputs.entry(id).or_default();
                if !outputs.contains(&output) {
                    outputs.push(output);
                }
            }
        }
        let nodes = self.nodes.iter().map(|node| {
            let outputs = outputs.get(node.id.as_str()).map_or(&[][..], Vec::as_slice);
            json!({
                "id": node.id,
                "path": "sideline",
                "args": format!("run {}", node.operator),
                "env": node.env,
                "inputs": node.inputs,
                "outputs": outputs,
            })
        });
        let flow = json!({ "env": self.env, "nodes": nodes.collect::<Vec<_>>() });
        format!("{flow:#}\n")
    }
}

impl Node {
    /// Creates a node that runs an operator: its name, or the path of a plugin.
    pub fn new(id: impl Into<String>, operator: impl Into<String>) -> Self {
        Self { id: id.into(), operator: operator.into(), env: Map::new(), inputs: Map::new() }
    }

    /// Sets a key of the operator.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.env.insert(key.to_uppercase(), to_variable(value.into()));
        self
    }

    /// Wires an input to an output `NODE/OUTPUT`.
    pub fn input(mut self, port: impl Into<String>, from: impl Into<String>) -> Self {
        self.inputs.insert(port.into(), Value::from(from.into()));
        self
    }
}

/// Converts a value to a variable of a dataflow: a number, a Boolean or text. A list or map is written as JSON text. `$`, by which
/// a file refers to the environment, stands for itself.
fn to_variable(value: Value) -> Value {
    match value {
        Value::String(text) => text.replace('$', "$$").into(),
        Value::Array(_) | Value::Object(_) => value.to_string().replace('$', "$$").into(),
        other => other,
    }
}

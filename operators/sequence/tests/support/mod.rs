//! ONNX models built for tests, whose outputs reveal the values of their inputs; and rows of motion for them.
#![allow(dead_code, reason = "each test file uses only some of the items")]

use std::path::{Path, PathBuf};

use sideline_api::{
    Failure,
    models::{Models, sha256},
    testing::{Harness, Setup},
};
use sideline_sequence::Sequence;
use sideline_sport::tables::{Interaction, JOINTS, Motion};
use sideline_testkit::{Capability, repository, skip_test};

/// Joint whose velocity along x the models read.
pub const WRIST: usize = 16;
/// Value that a model reads in place of NaN.
pub const NAN_VALUE: f32 = -3.0;

/// Starts ONNX Runtime; false, and the test is skipped, if its library is not installed.
pub fn start_onnx_runtime() -> bool {
    match sideline_inference::environment::start(&repository()) {
        Ok(_) => true,
        Err(error) => {
            skip_test(Capability::Models, error);
            false
        }
    }
}

/// Encodes a length-delimited field of a protobuf message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number) << 3 | 2);
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

/// Encodes a varint field of a protobuf message.
fn number_field(number: u8, value: u64) -> Vec<u8> {
    [varint(u64::from(number) << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// Input or output: name, number of the ONNX element type (1: f32, 7: i64), and shape, where 0 is a dynamic dimension.
#[derive(Clone)]
pub struct Port(pub &'static str, pub u64, pub Vec<u64>);

impl Port {
    fn bytes(&self) -> Vec<u8> {
        let dimension = |size: &u64| field(1, &if *size == 0 { field(2, b"N") } else { number_field(1, *size) });
        let shape: Vec<u8> = self.2.iter().flat_map(dimension).collect();
        let tensor = [number_field(1, self.1), field(2, &shape)].concat();
        [field(1, self.0.as_bytes()), field(2, &field(1, &tensor))].concat()
    }
}

fn tensor(name: &str, shape: &[u64], kind: u64, raw: Vec<u8>) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|size| number_field(1, *size)).collect();
    [dims, number_field(2, kind), field(8, name.as_bytes()), field(9, &raw)].concat()
}

fn floats(name: &str, shape: &[u64], values: &[f32]) -> Vec<u8> {
    tensor(name, shape, 1, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn node(kind: &str, inputs: &[&str], output: &str, attributes: &[(&str, i64)]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
    let attribute = |(name, value): &(&str, i64)| {
        field(5, &[field(1, name.as_bytes()), number_field(3, *value as u64), number_field(20, 2)].concat())
    };
    let attributes: Vec<u8> = attributes.iter().flat_map(attribute).collect();
    [inputs, field(2, output.as_bytes()), field(4, kind.as_bytes()), attributes].concat()
}

/// Description of a test model. Its four probabilities encode the input: ln(p1/p0) is the wrist's velocity along x in the
/// last sample of the window, ln(p2/p0) that in the first sample, and ln(p3/p0) one value of `interaction` in the last
/// sample; NaN is read as [`NAN_VALUE`].
#[derive(Clone)]
pub struct Model {
    pub length: u64,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub metadata: Vec<(&'static str, &'static str)>,
    /// Index of the value of `interaction` that is read, of six.
    pub interaction_index: usize,
    /// Factor on the probabilities; other than 1 their sum is wrong.
    pub scale: f32,
    /// Value that replaces NaN; NaN itself makes a model that does not accept NaN.
    pub nan_value: f32,
    /// Factor on the velocities; at 3e38 any velocity but 0 overflows f32.
    pub gain: f32,
}

impl Model {
    pub fn new(length: u64) -> Self {
        Self {
            length,
            inputs: vec![Port("motion", 1, vec![0, length, 198])],
            outputs: vec![Port("probabilities", 1, vec![0, 4])],
            metadata: vec![
                ("sideline.labels", "idle jab cross hook"),
                ("sideline.rate", "30"),
                ("sideline.model", "probe"),
                ("sideline.joints", "15 16"),
            ],
            interaction_index: 0,
            scale: 1.0,
            nan_value: NAN_VALUE,
            gain: 1.0,
        }
    }

    pub fn with_interaction(mut self, interaction_index: usize) -> Self {
        self.inputs.push(Port("interaction", 1, vec![0, self.length, 6]));
        Self { interaction_index, ..self }
    }

    /// Encodes the file, with ONNX opset 13.
    pub fn bytes(&self) -> Vec<u8> {
        let length = self.length as usize;
        let values = self.inputs.first().map_or(198, |port| *port.2.last().unwrap()) as usize;
        let interaction = self.inputs.iter().find(|port| port.0 == "interaction").map(|port| port.2[1] as usize);
        let (takes_interaction, samples) = (interaction.is_some(), interaction.unwrap_or(1));
        let mut weights = vec![0.0; length * values * 4];
        weights[((length - 1) * values + 3 * WRIST) * 4 + 1] = self.gain;
        weights[3 * WRIST * 4 + 2] = self.gain;
        let mut interaction_weights = vec![0.0; samples * 6 * 4];
        interaction_weights[((samples - 1) * 6 + self.interaction_index) * 4 + 3] = 1.0;

        let mut nodes = vec![];
        let mut add_input = |input: &str, weights: &str, output: &str| {
            let step = |name: &str| format!("{input}_{name}");
            nodes.push(node("Cast", &[input], &step("f32"), &[("to", 1)]));
            nodes.push(node("IsNaN", &[&step("f32")], &step("nan"), &[]));
            nodes.push(node("Where", &[&step("nan"), "nan_value", &step("f32")], &step("known"), &[]));
            nodes.push(node("Flatten", &[&step("known")], &step("flat"), &[("axis", 1)]));
            nodes.push(node("MatMul", &[&step("flat"), weights], output, &[]));
        };
        add_input(
            self.inputs.first().map_or("motion", |port| port.0),
            "weights",
            if takes_interaction { "own" } else { "sum" },
        );
        if takes_interaction {
            add_input("interaction", "interaction_weights", "theirs");
            nodes.push(node("Add", &["own", "theirs"], "sum", &[]));
        }
        nodes.push(node("Softmax", &["sum"], "shares", &[("axis", 1)]));
        let output = self.outputs.first().map_or("probabilities", |port| port.0);
        nodes.push(node("Mul", &["shares", "scale"], output, &[]));

        let (rows, columns) = (self.length * values as u64, 4);
        let constants = [
            floats("weights", &[rows, columns], &weights),
            floats("interaction_weights", &[samples as u64 * 6, columns], &interaction_weights),
            floats("nan_value", &[], &[self.nan_value]),
            floats("scale", &[], &[self.scale]),
        ];
        let graph: Vec<u8> = [
            nodes.iter().flat_map(|node| field(1, node)).collect::<Vec<u8>>(),
            field(2, b"moves"),
            constants.iter().flat_map(|tensor| field(5, tensor)).collect(),
            self.inputs.iter().flat_map(|port| field(11, &port.bytes())).collect(),
            self.outputs.iter().flat_map(|port| field(12, &port.bytes())).collect(),
        ]
        .concat();
        let entry =
            |(key, value): &(&str, &str)| field(14, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
        let metadata: Vec<u8> = self.metadata.iter().flat_map(entry).collect();
        [number_field(1, 8), field(7, &graph), field(8, &number_field(2, 13)), metadata].concat()
    }

    /// Writes the file `probe.onnx` to a folder.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("probe.onnx");
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

/// Creates the operator with a model file.
pub fn open(path: &Path) -> sideline_api::Result<Harness<Sequence>> {
    Harness::new([("model", path.to_str().unwrap())])
}

/// Returns the message with which a model file is rejected.
pub fn rejection(path: &Path) -> String {
    let error = open(path).err().unwrap();
    assert_eq!(error.failure, Failure::Model, "{error}");
    error.message
}

/// Creates a Sideline home whose models.yml has the model `probe`, as a model of the repository.
pub fn create_home(folder: &Path, model: &Model) -> Setup {
    std::fs::create_dir_all(folder.join("models")).unwrap();
    let checksum = sha256(&model.write(&folder.join("models"))).unwrap();
    let entry =
        format!("models:\n  - {{name: probe, registry: repository, path: models/probe.onnx, sha256: {checksum}}}\n");
    std::fs::write(folder.join("models/models.yml"), entry).unwrap();
    Setup { models: Models::open(folder).unwrap(), ..Setup::default() }
}

/// Builds a row of motion in which all joints have this velocity along x.
pub fn moving(track: u32, velocity: f32) -> Motion {
    Motion {
        track,
        velocity: [[velocity, 0.0, 0.0]; JOINTS],
        acceleration: [[0.0; 3]; JOINTS],
        joint_angles: [f32::NAN; 20],
        velocity_norm: 0.0,
    }
}

/// Builds a row of interaction at this distance.
pub fn interaction(track_a: u32, track_b: u32, distance: f32) -> Interaction {
    Interaction {
        track_a,
        track_b,
        distance,
        closing_speed: 0.0,
        facing_a: 0.1,
        facing_b: 0.2,
        reach_a: 1.0,
        reach_b: 2.0,
        ..Interaction::default()
    }
}

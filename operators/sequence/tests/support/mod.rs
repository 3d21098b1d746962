//! Models of moves made for a test, whose answers tell what they were shown; and rows of motion to show them.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};

use sideline_api::{
    Failure,
    models::{Models, sha256},
    tables::{Interaction, JOINTS, Motion},
    testing::{Harness, Setup},
};
use sideline_sequence::Sequence;
use sideline_testkit::{Capability, skipped};

/// The joint whose velocity along x the models read.
pub const WRIST: usize = 16;
/// What a model reads where it is shown NaN.
pub const UNSEEN: f32 = -3.0;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// False, and the test is skipped, where ONNX Runtime's library is not installed.
pub fn runtime() -> bool {
    match sideline_inference::environment::start(&root()) {
        Ok(_) => true,
        Err(error) => {
            skipped(Capability::Models, error);
            false
        }
    }
}

/// A field of a protobuf message: its number and its bytes, with their length before them.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number) << 3 | 2);
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

/// A field that is a number.
fn count(number: u8, value: u64) -> Vec<u8> {
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

/// An input or output: its name, ONNX's number of its type (1: f32, 7: i64) and its shape, 0 for a dimension left open.
#[derive(Clone)]
pub struct Port(pub &'static str, pub u64, pub Vec<u64>);

impl Port {
    fn bytes(&self) -> Vec<u8> {
        let dimension = |size: &u64| field(1, &if *size == 0 { field(2, b"N") } else { count(1, *size) });
        let shape: Vec<u8> = self.2.iter().flat_map(dimension).collect();
        let tensor = [count(1, self.1), field(2, &shape)].concat();
        [field(1, self.0.as_bytes()), field(2, &field(1, &tensor))].concat()
    }
}

fn tensor(name: &str, shape: &[u64], kind: u64, raw: Vec<u8>) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|size| count(1, *size)).collect();
    [dims, count(2, kind), field(8, name.as_bytes()), field(9, &raw)].concat()
}

fn floats(name: &str, shape: &[u64], values: &[f32]) -> Vec<u8> {
    tensor(name, shape, 1, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn node(kind: &str, inputs: &[&str], output: &str, attributes: &[(&str, i64)]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
    let attribute = |(name, value): &(&str, i64)| {
        field(5, &[field(1, name.as_bytes()), count(3, *value as u64), count(20, 2)].concat())
    };
    let attributes: Vec<u8> = attributes.iter().flat_map(attribute).collect();
    [inputs, field(2, output.as_bytes()), field(4, kind.as_bytes()), attributes].concat()
}

/// A model as a test wants it. Its four probabilities p are such that ln(p1/p0) is the wrist's velocity along x at the
/// window's last moment, ln(p2/p0) at its first, and ln(p3/p0) one value of `interaction` at the last; [`UNSEEN`] for NaN.
#[derive(Clone)]
pub struct Model {
    pub length: u64,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub metadata: Vec<(&'static str, &'static str)>,
    /// Which of the six values of `interaction` is read.
    pub reads: usize,
    /// What the probabilities are multiplied by.
    pub scale: f32,
    /// What it takes a NaN for: NaN for a model that cannot do without.
    pub unseen: f32,
    /// What velocities are multiplied by; with 3e38, any but 0 is more than f32 holds.
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
            reads: 0,
            scale: 1.0,
            unseen: UNSEEN,
            gain: 1.0,
        }
    }

    pub fn with_interaction(mut self, reads: usize) -> Self {
        self.inputs.push(Port("interaction", 1, vec![0, self.length, 6]));
        Self { reads, ..self }
    }

    /// The file: ONNX opset 13.
    pub fn bytes(&self) -> Vec<u8> {
        let length = self.length as usize;
        let values = self.inputs.first().map_or(198, |port| *port.2.last().unwrap()) as usize;
        let asked = self.inputs.iter().find(|port| port.0 == "interaction").map(|port| port.2[1] as usize);
        let (takes_interaction, moments) = (asked.is_some(), asked.unwrap_or(1));
        let mut weights = vec![0.0; length * values * 4];
        weights[((length - 1) * values + 3 * WRIST) * 4 + 1] = self.gain;
        weights[3 * WRIST * 4 + 2] = self.gain;
        let mut others = vec![0.0; moments * 6 * 4];
        others[((moments - 1) * 6 + self.reads) * 4 + 3] = 1.0;

        let mut nodes = vec![];
        let mut reading = |input: &str, weights: &str, output: &str| {
            let step = |name: &str| format!("{input}_{name}");
            nodes.push(node("Cast", &[input], &step("f32"), &[("to", 1)]));
            nodes.push(node("IsNaN", &[&step("f32")], &step("nan"), &[]));
            nodes.push(node("Where", &[&step("nan"), "unseen", &step("f32")], &step("known"), &[]));
            nodes.push(node("Flatten", &[&step("known")], &step("flat"), &[("axis", 1)]));
            nodes.push(node("MatMul", &[&step("flat"), weights], output, &[]));
        };
        reading(
            self.inputs.first().map_or("motion", |port| port.0),
            "weights",
            if takes_interaction { "own" } else { "sum" },
        );
        if takes_interaction {
            reading("interaction", "others", "theirs");
            nodes.push(node("Add", &["own", "theirs"], "sum", &[]));
        }
        nodes.push(node("Softmax", &["sum"], "shares", &[("axis", 1)]));
        let output = self.outputs.first().map_or("probabilities", |port| port.0);
        nodes.push(node("Mul", &["shares", "scale"], output, &[]));

        let (rows, columns) = (self.length * values as u64, 4);
        let constants = [
            floats("weights", &[rows, columns], &weights),
            floats("others", &[moments as u64 * 6, columns], &others),
            floats("unseen", &[], &[self.unseen]),
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
        let said =
            |(key, value): &(&str, &str)| field(14, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
        let metadata: Vec<u8> = self.metadata.iter().flat_map(said).collect();
        [count(1, 8), field(7, &graph), field(8, &count(2, 13)), metadata].concat()
    }

    /// Writes it to a folder.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("probe.onnx");
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

/// The operator over a file.
pub fn open(path: &Path) -> sideline_api::Result<Harness<Sequence>> {
    Harness::new([("model", path.to_str().unwrap())])
}

/// Why a file is refused; it is the model's fault.
pub fn refusal(path: &Path) -> String {
    let error = open(path).err().unwrap();
    assert_eq!(error.failure, Failure::Model, "{error}");
    error.message
}

/// A house whose models.yml names the file `probe`, as one of the repository.
pub fn house(folder: &Path, model: &Model) -> Setup {
    std::fs::create_dir_all(folder.join("models")).unwrap();
    let checksum = sha256(&model.write(&folder.join("models"))).unwrap();
    let entry =
        format!("models:\n  - {{name: probe, registry: repository, path: models/probe.onnx, sha256: {checksum}}}\n");
    std::fs::write(folder.join("models/models.yml"), entry).unwrap();
    Setup { models: Models::open(folder).unwrap(), ..Setup::default() }
}

/// Somebody whose joints all move with this velocity along x.
pub fn moving(track: u32, velocity: f32) -> Motion {
    Motion {
        track,
        fighter: format!("fighter_{track}"),
        velocity: [[velocity, 0.0, 0.0]; JOINTS],
        acceleration: [[0.0; 3]; JOINTS],
        joint_angles: [f32::NAN; 20],
        velocity_norm: 0.0,
    }
}

/// Two who stand to each other so.
pub fn standing(track_a: u32, track_b: u32, distance: f32) -> Interaction {
    Interaction {
        track_a,
        fighter_a: String::new(),
        track_b,
        fighter_b: String::new(),
        distance,
        closing_speed: 0.0,
        facing_a: 0.1,
        facing_b: 0.2,
        reach_a: 1.0,
        reach_b: 2.0,
    }
}

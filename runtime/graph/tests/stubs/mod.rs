//! Stub operators with ports and keys but no behavior, which is all that a plan needs, and flows in temporary folders.
#![allow(dead_code, missing_docs, reason = "each test file uses its part")]

use std::path::PathBuf;

use sideline_api::{
    CapturedFrame, Config, Context, Inputs, Operator, Outputs, PortType, Registry, Resources, Result, Source,
    SourceContext, Spec,
    tables::{Audio, Count},
};
use sideline_graph::{Diagnostic, Flow, Overrides};
use sideline_sport::tables::{Appearance, Detection, FighterName, Identity, Interaction, Motion, Pose, Track};
use tempfile::TempDir;

/// An operator without keys.
#[derive(Clone, Config)]
pub struct NoKeys {}

/// Reads a clip.
#[derive(Clone, Config)]
pub struct CaptureKeys {
    /// File or address.
    source: String,
    /// Frame size, such as 1280x720.
    #[config(default = None)]
    size: Option<String>,
    /// Name of the stream; empty for the node's id.
    #[config(default = "")]
    stream: String,
}

/// Generates frames of a configured size.
#[derive(Clone, Config)]
pub struct SyntheticKeys {
    /// Number of frames; 0 for an endless stream.
    #[config(default = 100)]
    frames: u64,
    /// Width in pixels.
    #[config(default = 640)]
    width: u32,
    /// Height in pixels.
    #[config(default = 480)]
    height: u32,
}

/// Estimates joints.
#[derive(Clone, Config)]
pub struct PoseKeys {
    /// Model variant.
    #[config(default = "lite")]
    model: String,
    /// Maximum number of people.
    #[config(default = 2, range(1, 10))]
    people: u32,
}

/// Tracks identities.
#[derive(Clone, Config)]
pub struct TrackerKeys {
    /// Number of frames that a lost track is kept.
    #[config(default = 30)]
    buffer: u32,
}

/// Names fighters.
#[derive(Clone, Config)]
pub struct FightersKeys {
    /// Number of fighters to name.
    #[config(default = 0)]
    fighters: u32,
    /// Time before the fighters are named, in seconds.
    #[config(default = 1.0)]
    warm_up: f32,
}

macro_rules! operators {
    ($($type:ident, $keys:ty, $spec:expr;)*) => {$(
        pub struct $type;
        impl Operator for $type {
            type Config = $keys;
            type State = ();
            fn spec() -> Spec {
                $spec
            }
            fn new(_: $keys, _: &Resources) -> Result<Self> {
                Ok($type)
            }
            fn process(&mut self, _: &Context, _: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> {
                Ok(())
            }
        }
    )*};
}

fn table<T: sideline_api::Table>() -> PortType {
    PortType::table::<T>()
}

operators! {
    Counter, NoKeys, Spec::operator("counter").required("frames", PortType::Frame).output("counts", table::<Count>());
    Tracker, TrackerKeys, Spec::operator("tracker").optional("detections", table::<Detection>())
        .optional("poses", table::<Pose>()).optional("appearance", table::<Appearance>())
        .output("tracks", table::<Track>()).output("tracked_poses", table::<Pose>())
        .output("identities", table::<Identity>());
    Fighters, FightersKeys, Spec::operator("fighters").required("tracks", table::<Track>())
        .optional("identities", table::<Identity>()).output("fighters", table::<FighterName>());
    Reid, NoKeys, Spec::operator("reid").required("frames", PortType::Frame).optional("poses", table::<Pose>())
        .output("appearance", table::<Appearance>());
    Steady, NoKeys, Spec::operator("smooth").required("poses", table::<Pose>())
        .output("smoothed_poses", table::<Pose>());
    Two, NoKeys, Spec::operator("interaction").required("poses", table::<Pose>())
        .optional("fighters", table::<FighterName>())
        .output("interaction", table::<Interaction>());
    Move, NoKeys, Spec::operator("motion").required("poses", table::<Pose>()).output("motion", table::<Motion>());
    Render, NoKeys, Spec::operator("render").heavy().required("frames", PortType::Frame)
        .optional("poses", table::<Pose>()).optional("tracks", table::<Track>()).optional("motion", table::<Motion>())
        .output("overlay", PortType::Frame);
    Encode, NoKeys, Spec::operator("encode").heavy().required("frames", PortType::Frame)
        .optional("audio", table::<Audio>());
    Recorder, NoKeys, Spec::operator("recorder").heavy().any_inputs(PortType::Any);
    Commentary, NoKeys, Spec::operator("commentary").heavy().optional("tracks", table::<Track>())
        .output("counts", table::<Count>());
    Fuse, NoKeys, Spec::operator("fuse").required("left", table::<Count>()).required("right", table::<Count>())
        .output("counts", table::<Count>());
    Pair, NoKeys, Spec::operator("pair").required("counts", table::<Count>()).optional("other", table::<Count>())
        .output("counts", table::<Count>());
    Judge, NoKeys, Spec::operator("judge").optional("motion", table::<Motion>()).any_inputs(table::<Count>());
    Learner, NoKeys, Spec::operator("learner").required("counts", table::<Count>())
        .optional("labels", table::<Count>()).feedback().output("counts", table::<Count>());
}

pub struct People;
impl Operator for People {
    type Config = PoseKeys;
    type State = ();
    fn spec() -> Spec {
        Spec::operator("pose").heavy().required("frames", PortType::Frame).output("poses", table::<Pose>())
    }
    fn models(config: &PoseKeys) -> Vec<String> {
        vec![format!("blazepose_{}", config.model)]
    }
    fn new(_: PoseKeys, _: &Resources) -> Result<Self> {
        Ok(People)
    }
    fn process(&mut self, _: &Context, _: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> {
        Ok(())
    }
}

pub struct Capture;
impl Source for Capture {
    type Config = CaptureKeys;
    fn spec() -> Spec {
        Spec::source("capture").output("frames", PortType::Frame).output("audio", table::<Audio>())
    }
    fn new(_: CaptureKeys, _: &Resources) -> Result<Self> {
        Ok(Capture)
    }
    fn next(&mut self, _: &SourceContext) -> Result<Option<CapturedFrame>> {
        Ok(None)
    }
}

pub struct Synthetic;
impl Source for Synthetic {
    type Config = SyntheticKeys;
    fn spec() -> Spec {
        Spec::source("synthetic").output("frames", PortType::Frame)
    }
    fn finite(config: &SyntheticKeys) -> bool {
        config.frames > 0
    }
    fn new(_: SyntheticKeys, _: &Resources) -> Result<Self> {
        Ok(Synthetic)
    }
    fn next(&mut self, _: &SourceContext) -> Result<Option<CapturedFrame>> {
        Ok(None)
    }
}

pub fn registry() -> Registry {
    Registry::new()
        .source::<Capture>()
        .source::<Synthetic>()
        .operator::<Counter>()
        .operator::<People>()
        .operator::<Reid>()
        .operator::<Tracker>()
        .operator::<Steady>()
        .operator::<Move>()
        .operator::<Fighters>()
        .operator::<Two>()
        .operator::<Render>()
        .operator::<Encode>()
        .operator::<Recorder>()
        .operator::<Commentary>()
        .operator::<Fuse>()
        .operator::<Pair>()
        .operator::<Judge>()
        .operator::<Learner>()
}

/// Returns the YAML of a Sideline node with this id and operator, followed by `rest`.
pub fn sideline_node(id: &str, operator: &str, rest: &str) -> String {
    format!("  - id: {id}\n    path: sideline\n    args: run {operator}\n{rest}")
}

/// Files in a temporary folder.
pub struct Folder(TempDir);

impl Folder {
    pub fn with(files: &[(&str, &str)]) -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.put(name, text);
        }
        folder
    }

    pub fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn read(&self, overrides: &Overrides) -> Result<Flow, Vec<Diagnostic>> {
        Flow::read(&self.path("flow.yml"), &registry(), overrides)
    }

    /// Returns the diagnostics of the flow as text, without the path of the folder.
    pub fn diagnostics(&self, overrides: &Overrides) -> Vec<String> {
        let diagnostics = match self.read(overrides) {
            Ok(flow) => flow.diagnostics,
            Err(diagnostics) => diagnostics,
        };
        let folder = format!("{}/", self.0.path().display());
        diagnostics.iter().map(|d| d.to_string().replace(&folder, "")).collect()
    }
}

/// Returns the path of a file or folder in the repository.
pub fn repository(relative_path: &str) -> PathBuf {
    sideline_testkit::repository().join(relative_path)
}

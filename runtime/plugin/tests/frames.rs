//! Ownership of frames at the border: frames that a plugin sends on, keeps, or gets on a side input.

mod support;

use std::sync::Arc;

use sideline_api::{
    Alignment, Body, Config, Context, Frame, Inputs, OnError, Operator, Outputs, Payload, PortType, Resources, Result,
    SourceId, Spec, Values, factory,
};
use sideline_plugin::{
    Export,
    load::{self, PluginFactory},
};
use sideline_testkit::{Capability, skip_test};
use support::{Plugin, Rig, frame};

/// Number of frames that a receiver holds: more than an operator may keep.
const WINDOW: usize = 100;

/// Pushes a window of frames through an operator, all of which its receiver holds, and checks that each is released once.
fn check_relay(name: &str, mut rig: Rig) {
    let pictures: Vec<Arc<Frame>> = (0..WINDOW).map(|_| frame()).collect();
    for picture in &pictures {
        rig.push(picture).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for (body, picture) in rig.received.bodies.iter().zip(&pictures) {
        let Body::Data(Payload::Frame(sent)) = body else { panic!("{name}: {body:?}") };
        assert_eq!(sent.plane(0).0.as_ptr(), picture.plane(0).0.as_ptr(), "{name}: not copied");
        assert_eq!(sent.plane(2).0, picture.plane(2).0, "{name}");
    }
    assert!(pictures.iter().all(|picture| Arc::strong_count(picture) > 1), "{name}: every frame is held");
    drop(rig);
    assert!(pictures.iter().all(|picture| Arc::strong_count(picture) == 1), "{name}: every frame is released");
}

#[test]
fn frames_that_a_plugin_sends_on_are_those_of_their_receiver() {
    check_relay("in Rust", Rig::new(Plugin::example("rehearse").factory(), Values::new(), OnError::Stop).unwrap());
    for way in ["lent", "bare", "retained", "released"] {
        let source = format!("#define WAY \"{way}\"\n{}", include_str!("relay.c"));
        let Some(plugin) = Plugin::compile("relay", &source) else {
            skip_test(Capability::Compiler, "there is no gcc");
            return;
        };
        load::describe(&plugin.path).unwrap();
        check_relay(way, Rig::new(plugin.factory(), Values::new(), OnError::Stop).unwrap());
    }
}

#[test]
fn a_plugin_that_keeps_frames_is_stopped() {
    let mut rig = Rig::new(Plugin::example("bare").factory(), [("fault", "keep")].into(), OnError::Stop).unwrap();
    let failed = (0..WINDOW).find_map(|_| rig.push(&frame()).err());
    let error = failed.expect("frames that are kept must be noticed");
    assert!(error.message.contains("the plugin keeps 65 frames, at most 64 are allowed"), "{error}");
}

/// Reads frames of a side input.
#[derive(Clone, Config)]
struct Keys {}

struct Aside;

impl Operator for Aside {
    type Config = Keys;
    type State = ();
    fn spec() -> Spec {
        Spec::operator("aside").required("frames", PortType::Frame).optional("others", PortType::Frame)
    }
    fn new(_: Keys, _: &Resources) -> Result<Self> {
        Ok(Aside)
    }
    fn process(&mut self, _: &Context, input: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        assert_eq!(input.side("others").len(), WINDOW);
        input.frame("frames").map(|_| ())
    }
}

#[test]
fn frames_of_a_side_input_are_not_kept_after_the_call() {
    static EXPORT: Export = Export::new();
    let linked = Arc::new(factory::operator::<Aside>());
    let plugin = Arc::new(PluginFactory::linked::<Aside>(&EXPORT).unwrap());
    for factory in [linked as Arc<dyn sideline_api::OperatorFactory>, plugin] {
        let alignment = |name: &str| match name {
            "others" => Alignment::Side { queue: WINDOW },
            _ => Alignment::Source(SourceId(0)),
        };
        let mut rig = Rig::wired(factory, Values::new(), OnError::Stop, alignment).unwrap();
        let picture = frame();
        for _ in 0..WINDOW {
            rig.send(1, &picture).unwrap();
        }
        rig.push(&frame()).unwrap();
        drop(rig);
        assert_eq!(Arc::strong_count(&picture), 1);
    }
}

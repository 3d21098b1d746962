//! Time of a call through the interface of plugins beside that of the same operator linked: `cargo test -p sideline-plugin
//! --bench border` prints both, in the profile of tests.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{sync::Arc, time::Instant};

use sideline_api::{OnError, Operator, OperatorFactory, Values, factory};
use sideline_plugin::{Export, load::PluginFactory};
use sideline_rehearse::Rehearse;
use support::{Rig, frame, relay};

/// Calls of one measurement.
const CALLS: usize = 20_000;
/// Measurements, of which the fastest counts: others were disturbed.
const ROUNDS: usize = 15;

fn main() {
    static TABLES: Export = Export::new();
    static FRAMES: Export = Export::new();
    let (rows, picture) = (relay::rows(), frame());
    measure::<relay::Relay>("small table", &TABLES, |rig| rig.push_rows(&rows).expect("the rows are relayed"));
    measure::<Rehearse>("frame", &FRAMES, |rig| rig.push(&picture).expect("the frame is relayed"));
}

/// Prints the times of an operator.
fn measure<O: Operator>(name: &str, export: &'static Export, push: impl Fn(&mut Rig)) {
    let linked: Arc<dyn OperatorFactory> = Arc::new(factory::operator::<O>());
    let plugin = PluginFactory::linked::<O>(export).expect("the operator can be described");
    let [linked, plugin] = [linked, Arc::new(plugin)].map(|factory| {
        let mut rig = Rig::new(factory, Values::new(), OnError::Stop).expect("the operator can be created");
        let mut fastest = f64::MAX;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            for _ in 0..CALLS {
                push(&mut rig);
                rig.received.bodies.clear();
                rig.received.outcomes.clear();
            }
            fastest = fastest.min(started.elapsed().as_secs_f64() / CALLS as f64);
        }
        fastest * 1e9
    });
    println!("{name}: linked {linked:.0} ns, plugin {plugin:.0} ns, difference {:.0} ns", plugin - linked);
}

//! Time of a call through the interface of plugins beside that of the same operator linked: `cargo test -p sideline-plugin
//! --bench border` prints both, in the profile of tests.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{sync::Arc, time::Instant};

use sideline_api::{OnError, OperatorFactory, Values, factory};
use sideline_plugin::{Export, load::PluginFactory};
use support::{Rig, relay};

/// Calls of one measurement.
const CALLS: usize = 20_000;
/// Measurements, of which the fastest counts: others were disturbed.
const ROUNDS: usize = 15;

fn main() {
    static EXPORT: Export = Export::new();
    let linked: Arc<dyn OperatorFactory> = Arc::new(factory::operator::<relay::Relay>());
    let plugin: Arc<dyn OperatorFactory> =
        Arc::new(PluginFactory::linked::<relay::Relay>(&EXPORT).expect("the operator can be described"));
    let [linked, plugin] = [linked, plugin].map(|factory| {
        let mut rig = Rig::new(factory, Values::new(), OnError::Stop).expect("the operator can be created");
        let rows = relay::rows();
        let mut fastest = f64::MAX;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            for _ in 0..CALLS {
                rig.push_rows(&rows).expect("the rows are relayed");
                rig.received.bodies.clear();
                rig.received.outcomes.clear();
            }
            fastest = fastest.min(started.elapsed().as_secs_f64() / CALLS as f64);
        }
        fastest * 1e9
    });
    println!("a call: linked {linked:.0} ns, plugin {plugin:.0} ns, difference {:.0} ns", plugin - linked);
}

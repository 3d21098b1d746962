//! Plugins in Rust and C keep the rules of the conformance suite, as the same operators do when they are linked.

mod support;

use std::sync::Arc;

use sideline_api::{OperatorFactory, factory};
use sideline_conformance::{RuleReport, Suite, failures};
use sideline_plugin::load;
use sideline_testkit::{Capability, skip_test};
use support::Plugin;

fn check(factory: Arc<dyn OperatorFactory>) -> Vec<RuleReport> {
    let folder = tempfile::tempdir().unwrap();
    let reports = Suite::new(factory, folder.path()).run();
    assert!(failures(&reports).is_empty(), "{}", failures(&reports).join("\n"));
    reports
}

#[test]
fn an_operator_keeps_the_same_rules_linked_and_loaded() {
    let linked = check(Arc::new(factory::operator::<sideline_counter::Counter>()));
    assert_eq!(check(Plugin::example("counter").factory()), linked);
    let linked = check(Arc::new(factory::operator::<sideline_rehearse::Rehearse>()));
    assert_eq!(check(Plugin::example("rehearse").factory()), linked);
}

#[test]
fn a_library_without_dependencies_keeps_the_rules() {
    check(Plugin::example("bare").factory());
}

#[test]
fn a_library_in_c_keeps_the_rules() {
    let Some(plugin) = Plugin::compile("brightness", include_str!("../examples/brightness.c")) else {
        skip_test(Capability::Compiler, "there is no gcc");
        return;
    };
    load::describe(&plugin.path).unwrap();
    let reports = check(plugin.factory());
    assert!(reports.iter().any(|report| report.rule == "applies live keys"), "{reports:?}");
}

//! Libraries that are no plugins, that do not fit, or that break the rules of the interface.

mod support;

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use sideline_api::{
    Body, Config, Context, Inputs, OnError, Operator, OperatorFactory, Outputs, Payload, PortType, Reason, Resources,
    Spec, Values,
    clock::{Clock, VirtualClock},
    driver::Outcome,
};
use sideline_plugin::{
    Export,
    load::{self, PluginFactory},
};
use sideline_testkit::{Capability, skip_test};
use support::{Plugin, Rig, frame};

fn refused(path: &Path) -> String {
    PluginFactory::read(path).err().expect("the library must be refused").message
}

#[test]
fn the_check_reads_the_description_and_loads_nothing() {
    let described = Plugin::example("counter");
    // The description of a plugin beside a library that cannot be loaded.
    let folder = tempfile::tempdir().unwrap();
    let plugin = Plugin { path: folder.path().join("libbroken.so"), folder };
    std::fs::write(&plugin.path, "no code at all").unwrap();
    std::fs::copy(described.description(), plugin.description()).unwrap();
    let factory = plugin.factory();
    assert_eq!(factory.spec(&Values::new()).unwrap().name, "counter");
    let problems = factory.check(&[("stepp", 3)].into());
    assert!(problems[0].message.contains("did you mean `step`?"), "{problems:?}");
    assert!(factory.check(&[("step", 0)].into())[0].message.contains("out of range, 1 to 4096"));
    let error = Rig::new(factory, Values::new(), OnError::Stop).err().unwrap();
    assert!(error.message.contains("cannot be loaded"), "{error}");
}

#[test]
fn a_description_that_is_missing_stale_or_of_another_build_is_refused() {
    let plugin = Plugin::example("counter");
    let file = plugin.description();
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to, expected) in [
        ("\"step\"", "\"stop\"", ""),
        ("\"SIDELINE\"", "\"SIDELONG\"", "`magic` is not `SIDELINE`"),
        ("\"unwind\"", "\"abort\"", "`panic = \"abort\"`, so a panic in it would end the whole run"),
        ("\"name\": \"counter\"", "\"nome\": \"counter\"", "damaged"),
        ("{", "[", "this is no description"),
    ] {
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        if expected.is_empty() {
            let error = Rig::new(plugin.factory(), Values::new(), OnError::Stop).err().unwrap();
            assert!(error.message.contains("was built since; write it with `sideline describe"), "{error}");
            continue;
        }
        let error = refused(&plugin.path);
        assert!(error.contains(expected), "{error}");
    }
    let mut description: serde_json::Value = serde_json::from_str(&text).unwrap();
    description["target"] = "riscv64-linux".into();
    std::fs::write(&file, description.to_string()).unwrap();
    let error = refused(&plugin.path);
    assert!(error.contains("built for riscv64-linux (by rustc ") && error.contains(", this is "), "{error}");
    description["abi"] = serde_json::json!([9, 0]);
    std::fs::write(&file, description.to_string()).unwrap();
    let error = refused(&plugin.path);
    assert!(error.contains("built for version 9 of the plugin interface, this is version 1"), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = refused(&plugin.path);
    assert!(error.contains("is missing: write ") && error.contains("sideline describe"), "{error}");
    assert!(refused(&plugin.folder.path().join("libnone.so")).contains("there is no such library"));
}

#[test]
fn a_library_that_is_no_plugin_is_refused() {
    let sources = [
        ("int something(void) { return 1; }", "it exports no function `sideline_plugin`"),
        ("const void *sideline_plugin(void) { return 0; }", "`sideline_plugin` returns nothing"),
        (
            "static const long words[40] = {320, 7}; const void *sideline_plugin(void) { return words; }",
            "`sideline_plugin` returns something else",
        ),
        (
            "#include \"sideline.h\"\nconst sideline_plugin_t *sideline_plugin(void) {\n\
             static sideline_plugin_t p = {.size = sizeof p, .magic = SIDELINE_MAGIC, .abi_major = 2};\nreturn &p; }",
            "built for version 2 of the plugin interface",
        ),
        (
            "#include \"sideline.h\"\nconst sideline_plugin_t *sideline_plugin(void) {\n\
             static sideline_plugin_t p = {.size = 40, .magic = SIDELINE_MAGIC, .abi_major = 1};\nreturn &p; }",
            "has no function `make`, which every operator needs",
        ),
    ];
    for (source, expected) in sources {
        let Some(plugin) = Plugin::compile("other", source) else {
            skip_test(Capability::Compiler, "there is no gcc");
            return;
        };
        let error = load::describe(&plugin.path).unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
}

#[test]
fn panics_and_errors_of_a_plugin_are_those_of_a_linked_operator() {
    let plugin = Plugin::example("rehearse");
    let error = Rig::new(plugin.factory(), [("fail_in_new", true)].into(), OnError::Stop).err().unwrap();
    assert!(error.message.contains("node `tested`: `fail_in_new` is set"), "{error}");
    let values: Values = [("panic_at", 1)].into();
    let mut rig = Rig::new(plugin.factory(), values.clone(), OnError::Skip).unwrap();
    for _ in 0..3 {
        rig.push(&frame()).unwrap();
    }
    assert!(
        matches!(&rig.received.outcomes[..], [Outcome::Done, Outcome::Panic(text), Outcome::Done] if text.contains("panic_at"))
    );
    assert!(matches!(rig.received.bodies[1], Body::Skipped(Reason::Panic)));
    let mut rig = Rig::new(plugin.factory(), [("error_at", 0)].into(), OnError::Stop).unwrap();
    let error = rig.push(&frame()).unwrap_err();
    assert!(error.message.contains("node `tested`, frame 0 of stream `a`: `error_at` is set"), "{error}");
    let mut rig = Rig::new(plugin.factory(), values, OnError::Restart).unwrap();
    for _ in 0..3 {
        rig.push(&frame()).unwrap();
    }
    assert!(matches!(rig.received.outcomes[2], Outcome::Done), "restarted: {:?}", rig.received.outcomes);
}

#[test]
fn what_breaks_the_interface_is_an_error_of_the_frame_and_nothing_leaks() {
    let plugin = Plugin::example("bare");
    for (fault, expected) in
        [("make", "this operator cannot be made"), ("no_operator", "made no operator and gave no reason")]
    {
        let error = Rig::new(plugin.factory(), [("fault", fault)].into(), OnError::Stop).err().unwrap();
        assert!(error.message.contains(expected), "{error}");
    }
    for (fault, expected) in [
        ("twice", "output `means` was set twice for one frame"),
        ("rows", "output `means`: column `frames`: it has 1 values, 5 are needed"),
        ("index", "there is no output 7: the operator has 1"),
        ("other_table", "the table has 1 columns, 2 are declared"),
        ("silent", "the plugin failed and gave no reason"),
        ("frame", "output `means` sends bare_means, not frame"),
    ] {
        let picture = frame();
        let mut rig = Rig::new(plugin.factory(), [("fault", fault)].into(), OnError::Skip).unwrap();
        rig.push(&picture).unwrap();
        assert!(
            matches!(&rig.received.outcomes[..], [Outcome::Error(text)] if text.contains(expected)),
            "{fault}: {:?}",
            rig.received.outcomes
        );
        assert!(matches!(rig.received.bodies[..], [Body::Skipped(Reason::Error)]), "{fault}");
        rig.received.bodies.clear();
        rig.driver.close().unwrap();
        assert_eq!(rig.driver.counts().get("unreleased_rows"), Some(&0), "{fault}: every array is released");
        // The driver holds the messages of the last frame.
        drop(rig);
        assert_eq!(Arc::strong_count(&picture), 1, "{fault}: every frame is released");
    }
}

#[test]
fn an_output_that_is_never_set_is_an_empty_table() {
    let mut rig = Rig::new(Plugin::example("bare").factory(), [("fault", "never")].into(), OnError::Stop).unwrap();
    rig.push(&frame()).unwrap();
    let [Body::Data(Payload::Table(rows))] = &rig.received.bodies[..] else { panic!("{:?}", rig.received.bodies) };
    assert_eq!(sideline_api::arrow::array::Array::len(&**rows), 0);
}

#[test]
fn counters_reach_the_report_and_live_keys_the_plugin() {
    let plugin = Plugin::example("counter");
    let mut rig = Rig::new(plugin.factory(), [("step", 1)].into(), OnError::Stop).unwrap();
    rig.push(&frame()).unwrap();
    rig.driver.set("step", 64.into()).unwrap();
    rig.push(&frame()).unwrap();
    let sums: Vec<u64> = rig.received.bodies.iter().map(checksum).collect();
    assert_eq!(sums, [64 * 48 * 100, 48 * 100]);
    assert!(rig.driver.set("step", 0.into()).unwrap_err().message.contains("out of range"));
    let mut rig = Rig::new(Plugin::example("bare").factory(), Values::new(), OnError::Stop).unwrap();
    rig.push(&frame()).unwrap();
    rig.driver.close().unwrap();
    assert_eq!(rig.driver.counts().get("rows"), Some(&1));
}

fn checksum(body: &Body) -> u64 {
    let Body::Data(Payload::Table(rows)) = body else { panic!("{body:?}") };
    <sideline_api::tables::Count as sideline_api::Table>::decode(rows).unwrap()[0].checksum
}

/// Compiles `wrong.c`; `None` without gcc.
fn wrong(gaps: &str, keys: &str, nulls: i64) -> Option<Plugin> {
    let source =
        format!("#define GAPS {gaps}\n#define KEYS {keys:?}\n#define NULLS {nulls}\n{}", include_str!("wrong.c"));
    let plugin = Plugin::compile("wrong", &source);
    if plugin.is_none() {
        skip_test(Capability::Compiler, "there is no gcc");
    }
    plugin
}

#[test]
fn a_table_of_functions_with_a_gap_is_refused_with_the_name_of_what_is_missing() {
    let live = r#"{"name": "step", "about": "Step.", "kind": "number", "default": 1, "live": true}"#;
    for (gaps, keys, expected) in [
        ("plugin.load = 0", "", "has a function `save` and no `load`"),
        ("plugin.save = 0", "", "has a function `load` and no `save`"),
        ("plugin.roll_back = 0", "", "has a function `snapshot` and no `roll_back`"),
        ("plugin.snapshot = 0", "", "has a function `roll_back` and no `snapshot`"),
        ("plugin.save = 0, plugin.load = 0", "", "has a function `snapshot` and no `save`"),
        ("plugin.drop = 0", "", "has no function `drop`"),
        ("(void)0", live, "the key `step` is live, and the plugin has no function `reconfigure`"),
    ] {
        let Some(plugin) = wrong(gaps, keys, 0) else { return };
        let error = load::describe(&plugin.path).unwrap_err();
        assert!(error.message.contains(expected), "{error}");
        assert!(!plugin.description().exists(), "nothing is written: {gaps}");
    }
}

#[test]
fn problems_of_a_plugin_are_shown_also_without_a_key() {
    let step = r#"{"name": "step", "about": "Step.", "kind": "number", "default": 1}"#;
    let Some(plugin) = wrong("(void)0", step, 0) else { return };
    load::describe(&plugin.path).unwrap();
    let error = Rig::new(plugin.factory(), Values::new(), OnError::Stop).err().unwrap();
    for expected in [
        "node `tested`: default: key `step`: it is odd",
        "node `tested`: there is no camera",
        "node `tested`: hint: plug it in",
    ] {
        assert!(error.message.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_schema_does_not_allow_nulls_that_the_description_forbids() {
    for (nulls, expected) in [(1, Some("column `number`: it has nulls, and is not declared with them")), (0, None)] {
        let Some(plugin) = wrong("plugin.check = 0", "", nulls) else { return };
        load::describe(&plugin.path).unwrap();
        let mut rig = Rig::new(plugin.factory(), Values::new(), OnError::Skip).unwrap();
        rig.push(&frame()).unwrap();
        match (expected, &rig.received.bodies[0]) {
            (Some(expected), _) => assert!(
                matches!(&rig.received.outcomes[..], [Outcome::Error(text)] if text.contains(expected)),
                "{:?}",
                rig.received.outcomes
            ),
            (None, Body::Data(Payload::Table(rows))) => assert!(!rows.fields()[0].is_nullable(), "{rows:?}"),
            (None, other) => panic!("{other:?}"),
        }
    }
}

/// Clock of an operator that has been dropped.
static CLOCK: OnceLock<Arc<dyn Clock>> = OnceLock::new();

/// Gives its clock to a thread of its own.
#[derive(Clone, Config)]
struct Keys {}

struct Detached;

impl Operator for Detached {
    type Config = Keys;
    type State = ();
    fn spec() -> Spec {
        Spec::operator("detached").required("frames", PortType::Frame)
    }
    fn new(_: Keys, resources: &Resources) -> sideline_api::Result<Self> {
        CLOCK.get_or_init(|| resources.clock.clone());
        Ok(Detached)
    }
    fn process(&mut self, _: &Context, _: &Inputs, (): &mut (), _: &mut Outputs) -> sideline_api::Result<()> {
        Ok(())
    }
}

#[test]
fn the_clock_of_an_operator_stands_when_it_was_dropped() {
    static EXPORT: Export = Export::new();
    let factory = PluginFactory::linked::<Detached>(&EXPORT).unwrap();
    let clock = Arc::new(VirtualClock::default());
    let resources = Resources { clock: clock.clone(), ..Resources::new("tested") };
    let operator = factory.make(&Values::new(), &resources).unwrap();
    clock.advance(5);
    let read = || std::thread::spawn(|| CLOCK.get().unwrap().now()).join().unwrap();
    assert_eq!(read(), 5);
    drop(operator);
    clock.advance(4);
    assert_eq!(read(), 5);
}

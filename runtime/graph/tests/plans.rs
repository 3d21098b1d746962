//! Plans of flows: order, lanes, alignment and sinks; the graph does not depend on the partition into processes.

mod stubs;

use std::path::PathBuf;

use dora_core::descriptor::{Descriptor, DescriptorExt};
use serde_json::json;
use sideline_api::{Alignment, Mode, OnError, SourceId, config::Origin};
use sideline_graph::{
    Flow, Overrides, Sender,
    plan::{Plan, PlanNode, Producer},
    render_plan,
};
use stubs::{Folder, registry, repository};

fn fight() -> String {
    std::fs::read_to_string(repository("runtime/graph/tests/flows/fight.yml")).unwrap()
}

/// Ids of the module's operators in the flat graph.
const PERCEPTION: [&str; 7] = [
    "perception.pose",
    "perception.reid",
    "perception.tracker",
    "perception.smooth",
    "perception.motion",
    "perception.fighters",
    "perception.interaction",
];

fn perception() -> String {
    std::fs::read_to_string(repository("dataflows/modules/perception.yml")).unwrap()
}

/// Returns fight.yml with its module expanded by dora instead of fused.
fn expanded() -> String {
    let flow = fight();
    let lines = "    path: sideline\n    args: run modules/perception.yml\n";
    assert!(flow.contains(lines));
    flow.replace(lines, "    module: modules/perception.yml\n")
        .replace("    outputs: [tracks, smoothed_poses, motion, interaction]\n", "")
}

fn read(flow: &str) -> Flow {
    let folder = Folder::with(&[("flow.yml", flow), ("modules/perception.yml", &perception())]);
    folder
        .read(&Overrides::default())
        .unwrap_or_else(|diagnostics| panic!("{}", diagnostics.iter().map(|d| format!("{d}\n")).collect::<String>()))
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.nodes.iter().map(|node| node.id.as_str()).collect()
}

fn node<'a>(plan: &'a Plan, id: &str) -> &'a PlanNode {
    plan.nodes.iter().find(|node| node.id == id).unwrap_or_else(|| panic!("no node {id} among {:?}", ids(plan)))
}

fn sinks(plan: &Plan) -> Vec<&str> {
    plan.nodes.iter().filter(|node| node.is_sink).map(|node| node.id.as_str()).collect()
}

/// Returns the node ids on each lane.
fn lanes(plan: &Plan) -> Vec<Vec<&str>> {
    (0..plan.lanes)
        .map(|lane| plan.nodes.iter().filter(|n| n.lane.0 == lane).map(|n| n.id.as_str()).collect())
        .collect()
}

/// Returns the values of a node without their origins.
fn values(node: &PlanNode) -> Vec<(String, String)> {
    node.values.iter().map(|(key, value, _)| (key.to_owned(), value.to_string())).collect()
}

#[test]
fn the_smallest_flow_of_the_repository_has_no_diagnostics() {
    // The other flows need the real operators; tests/check.rs reads them.
    let flow = Flow::read(&repository("dataflows/count.yml"), &registry(), &Overrides::default()).unwrap();
    assert_eq!(flow.diagnostics, []);
    flow.plan_embedded().unwrap();
    for process in &flow.processes {
        flow.plan_for_node(&process.id).unwrap();
    }
}

#[test]
fn a_fused_module_and_an_expanded_one_give_the_same_graph() {
    let (fused, expanded) = (read(&fight()), read(&expanded()));
    assert_eq!(fused.processes.len(), 5);
    assert_eq!(expanded.processes.len(), 11);
    let (fused, expanded) = (fused.plan_embedded().unwrap(), expanded.plan_embedded().unwrap());
    assert_eq!(
        ids(&fused),
        [
            "capture",
            "perception.pose",
            "perception.reid",
            "perception.tracker",
            "perception.smooth",
            "perception.motion",
            "perception.fighters",
            "perception.interaction",
            "render",
            "encode",
            "recorder"
        ]
    );
    assert_eq!(ids(&fused), ids(&expanded));
    for (a, b) in fused.nodes.iter().zip(&expanded.nodes) {
        let wired = |node: &PlanNode| node.inputs.iter().map(|i| (i.wired.clone(), i.producer)).collect::<Vec<_>>();
        assert_eq!(wired(a), wired(b), "{}", a.id);
        assert_eq!((a.lane, a.source, a.is_sink, &a.outputs), (b.lane, b.source, b.is_sink, &b.outputs), "{}", a.id);
        assert_eq!(values(a), values(b), "{}", a.id);
    }
    assert_eq!(sinks(&fused), ["encode", "recorder"]);
    assert_eq!(lanes(&fused), [vec!["capture"], PERCEPTION.to_vec(), vec!["render"], vec!["encode"], vec!["recorder"]]);
    assert_eq!(
        values(node(&fused, "perception.fighters")),
        [("fighters".to_owned(), "2".to_owned()), ("warm_up".to_owned(), "0.3".to_owned())]
    );
    assert_eq!(values(node(&fused, "perception.pose")), [], "keys of the host that it lacks are ignored");
    let poses = &node(&fused, "recorder").inputs[2];
    assert_eq!((poses.wired.name.as_str(), poses.wired.from.as_str()), ("poses", "perception.smooth/smoothed_poses"));
}

#[test]
fn each_process_has_its_part_of_the_plan() {
    let flow = read(&fight());
    let capture = flow.plan_for_node("capture").unwrap();
    assert_eq!(ids(&capture), ["capture"]);
    let outputs: Vec<&str> = capture.border_outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(outputs, ["audio", "frames"], "one output for both readers");
    let remote_sinks: Vec<_> =
        capture.remote_sinks.iter().map(|sink| (sink.input.as_str(), sink.node.as_str())).collect();
    assert_eq!(remote_sinks, [("done_encode", "encode"), ("done_recorder", "recorder")]);
    assert!(!capture.sends_done);

    let perception = flow.plan_for_node("perception").unwrap();
    assert_eq!(ids(&perception), PERCEPTION);
    assert_eq!(lanes(&perception).len(), 1);
    let inputs: Vec<_> =
        perception.border_inputs.iter().map(|b| (b.name.as_str(), b.from.as_str(), b.foreign)).collect();
    assert_eq!(inputs, [("frames", "capture/frames", false)]);
    let outputs: Vec<_> = perception
        .border_outputs
        .iter()
        .map(|b| (b.name.as_str(), perception.nodes[b.node.0].id.as_str(), b.output))
        .collect();
    assert_eq!(
        outputs,
        [
            ("interaction", "perception.interaction", 0),
            ("motion", "perception.motion", 0),
            ("smoothed_poses", "perception.smooth", 0),
            ("tracks", "perception.tracker", 0),
        ]
    );
    assert!(!perception.sends_done && perception.remote_sinks.is_empty());

    let render = flow.plan_for_node("render").unwrap();
    assert!(!render.sends_done && !node(&render, "render").is_sink);
    assert_eq!(
        render.border_inputs.iter().map(|b| b.from.as_str()).collect::<Vec<_>>(),
        ["capture/frames", "perception/smoothed_poses", "perception/tracks", "perception/motion"]
    );
    assert_eq!(node(&render, "render").inputs[1].producer, Producer::Border(1));
    let encode = flow.plan_for_node("encode").unwrap();
    assert!(encode.sends_done && node(&encode, "encode").is_sink);
    assert_eq!(
        flow.plan_for_node("rendr").unwrap_err()[0].message,
        "there is no Sideline node `rendr`; did you mean `render`?"
    );
}

#[test]
fn a_node_finds_its_part_in_the_descriptor_of_dora() {
    for text in [fight(), expanded()] {
        let folder = Folder::with(&[("flow.yml", &text), ("modules/perception.yml", &perception())]);
        let file = folder.read(&Overrides::default()).unwrap();
        let descriptor = Descriptor::parse(text.into_bytes()).unwrap().expand(&folder.path("")).unwrap();
        let from_dora =
            Flow::from_descriptor(&descriptor, "flow", &folder.path(""), &registry(), &Overrides::default()).unwrap();
        assert_eq!(from_dora.name, "flow");
        assert_eq!(from_dora.diagnostics, []);
        for process in &file.processes {
            let (a, b) = (file.plan_for_node(&process.id).unwrap(), from_dora.plan_for_node(&process.id).unwrap());
            assert_eq!((a.mode, a.window, a.lanes, a.sends_done), (b.mode, b.window, b.lanes, b.sends_done));
            assert_eq!(ids(&a), ids(&b));
            for (a, b) in a.nodes.iter().zip(&b.nodes) {
                let wired =
                    |node: &PlanNode| node.inputs.iter().map(|i| (i.wired.clone(), i.producer)).collect::<Vec<_>>();
                assert_eq!(wired(a), wired(b));
                assert_eq!(values(a), values(b), "{}", a.id);
            }
            let names = |plan: &Plan| {
                let inputs = plan.border_inputs.iter().map(|b| (b.name.clone(), b.from.clone()));
                let outputs = plan.border_outputs.iter().map(|b| (b.name.clone(), b.node.0.to_string()));
                let sinks = plan.remote_sinks.iter().map(|sink| (sink.input.clone(), sink.node.clone()));
                inputs.chain(outputs).chain(sinks).collect::<Vec<_>>()
            };
            assert_eq!(names(&a), names(&b), "{}", process.id);
        }
    }
}

#[test]
fn an_escaped_dollar_sign_stays_one_in_the_descriptor_of_dora() {
    let text = "nodes:
  - id: s
    path: sideline
    args: run capture
    env: {SOURCE: 'a$$b.mp4'}
    outputs: [frames]
";
    let folder = Folder::with(&[("flow.yml", text)]);
    let value = |plan: Plan| node(&plan, "s").values.get("source").unwrap().0.clone();
    assert_eq!(value(folder.read(&Overrides::default()).unwrap().plan_for_node("s").unwrap()), json!("a$b.mp4"));
    let descriptor = Descriptor::parse(text.as_bytes().to_vec()).unwrap();
    let from_dora =
        Flow::from_descriptor(&descriptor, "flow", &folder.path(""), &registry(), &Overrides::default()).unwrap();
    assert_eq!(value(from_dora.plan_for_node("s").unwrap()), json!("a$b.mp4"));
}

#[test]
fn a_name_that_looks_like_a_number_keeps_its_text() {
    let flow = |env: &str| {
        format!(
            "nodes:\n  - id: s\n    path: sideline\n    args: run capture\n    env: {{{env}}}\n    outputs: [frames]\n"
        )
    };
    let files = [("flow.yml", &*flow("CONFIG: c.yml")), ("c.yml", "source: a.mp4\nstream: 1.10\n")];
    let plan = Folder::with(&files).read(&Overrides::default()).unwrap().plan_embedded().unwrap();
    assert_eq!(node(&plan, "s").values.get("stream").unwrap().0, json!("1.10"));
    // dora parses `007` as a number and loses the text, so a run under dora would differ: a warning says so.
    let diagnostics =
        Folder::with(&[("flow.yml", &flow("SOURCE: a.mp4, STREAM: '007'"))]).diagnostics(&Overrides::default());
    assert_eq!(
        diagnostics,
        [
            "flow.yml:5:26: warning: node `s`: key `STREAM`: dora parses the text `007` as `7`: set it in a file named by CONFIG, or with --set"
        ]
    );
}

#[test]
fn a_misspelled_key_is_found_in_the_descriptor_of_dora() {
    let text = expanded().replace("FIGHTERS: 2", "FIGHTRS: 2");
    let folder = Folder::with(&[("modules/perception.yml", &perception())]);
    let descriptor = Descriptor::parse(text.into_bytes()).unwrap().expand(&folder.path("")).unwrap();
    let from_dora = Flow::from_descriptor(&descriptor, "flow", &folder.path(""), &registry(), &Overrides::default());
    let message = from_dora.unwrap_err()[0].to_string();
    assert!(message.contains("no operator of the module has such a key; did you mean `fighters`?"), "{message}");
    assert!(message.starts_with("flow: error:"), "a descriptor has no line numbers: {message}");
}

#[test]
fn a_cheap_operator_runs_on_the_lane_of_its_last_heavy_ancestor() {
    let flow = "nodes:
  - {id: s, path: sideline, args: run synthetic, outputs: [frames]}
  - {id: early, path: sideline, args: run counter, inputs: {frames: s/frames}, outputs: [counts]}
  - {id: pose, path: sideline, args: run pose, inputs: {frames: s/frames}, outputs: [poses]}
  - {id: more, path: sideline, args: run pose, inputs: {frames: s/frames}, outputs: [poses]}
  - {id: track, path: sideline, args: run tracker, inputs: {poses: more/poses}, outputs: [tracks, tracked_poses]}
  - {id: move, path: sideline, args: run motion, inputs: {poses: track/tracked_poses}}
";
    let plan = read(flow).plan_embedded().unwrap();
    assert_eq!(lanes(&plan), [vec!["s", "early"], vec!["pose"], vec!["more", "track", "move"]]);
    assert_eq!(sinks(&plan), ["early", "pose", "move"]);
}

#[test]
fn cheap_operators_without_a_heavy_ancestor_in_their_process_share_a_lane() {
    let module = "module: {name: m, inputs: [frames, poses], outputs: [counts, tracks]}
nodes:
  - {id: c, path: sideline, args: run counter, inputs: {frames: _mod/frames}, outputs: [counts]}
  - {id: again, path: sideline, args: run pose, inputs: {frames: _mod/frames}, outputs: [poses]}
  - {id: t, path: sideline, args: run tracker, inputs: {poses: _mod/poses}, outputs: [tracks]}
";
    let flow = "nodes:
  - {id: s, path: sideline, args: run synthetic, inputs: {done_m: m/done}, outputs: [frames]}
  - {id: p, path: sideline, args: run pose, inputs: {frames: s/frames}, outputs: [poses]}
  - {id: m, path: sideline, args: run m.yml, inputs: {frames: s/frames, poses: p/poses}, outputs: [counts, tracks, done]}
";
    let flow = Folder::with(&[("flow.yml", flow), ("m.yml", module)]).read(&Overrides::default()).unwrap();
    assert_eq!(flow.diagnostics, []);
    let plan = flow.plan_for_node("m").unwrap();
    assert_eq!(lanes(&plan), [vec!["m.c", "m.t"], vec!["m.again"]]);
    assert_eq!(plan.border_inputs.len(), 2, "both readers of `frames` share one border input");
    assert!(plan.sends_done);
    assert_eq!(lanes(&flow.plan_embedded().unwrap()), [vec!["s", "m.c"], vec!["p", "m.t"], vec!["m.again"]]);
}

const SIDE: &str = "nodes:
  - {id: s, path: sideline, args: run synthetic, outputs: [frames]}
  - {id: p, path: sideline, args: run pose, inputs: {frames: s/frames}, outputs: [poses]}
  - {id: t, path: sideline, args: run tracker, inputs: {poses: p/poses}, outputs: [tracks]}
  - {id: talk, path: sideline, args: run commentary, inputs: {tracks: {source: t/tracks, queue_policy: drop_oldest, queue_size: 3}}}
";

#[test]
fn a_side_input_is_outside_the_window_in_live_mode_only() {
    let folder = Folder::with(&[("flow.yml", SIDE)]);
    let plan_in =
        |mode| folder.read(&Overrides { mode: Some(mode), ..Overrides::default() }).unwrap().plan_embedded().unwrap();
    let live = plan_in(Mode::Live);
    assert_eq!(node(&live, "talk").inputs[0].wired.alignment, Alignment::Side { queue: 3 });
    assert_eq!(sinks(&live), ["t"]);
    assert_eq!(node(&live, "t").on_error, OnError::Restart);
    let complete = plan_in(Mode::Complete);
    assert_eq!(node(&complete, "talk").inputs[0].wired.alignment, Alignment::Source(SourceId(0)));
    assert_eq!(sinks(&complete), ["talk"]);
    assert_eq!(node(&complete, "t").on_error, OnError::Stop);
}

#[test]
fn an_endless_source_makes_a_flow_live() {
    let mode =
        |frames: u64| read(&SIDE.replace("run synthetic,", &format!("run synthetic, env: {{FRAMES: {frames}}},"))).mode;
    assert_eq!(mode(10), Mode::Complete);
    assert_eq!(mode(0), Mode::Live);
    assert_eq!(read(&format!("env: {{SIDELINE_MODE: live}}\n{SIDE}")).mode, Mode::Live);
}

#[test]
fn a_feedback_input_may_close_a_cycle_and_is_never_aligned() {
    let flow = "nodes:
  - {id: s, path: sideline, args: run synthetic, outputs: [frames]}
  - {id: c, path: sideline, args: run counter, inputs: {frames: s/frames}, outputs: [counts]}
  - {id: learn, path: sideline, args: run learner, inputs: {counts: c/counts, labels: check/counts}, outputs: [counts]}
  - {id: check, path: sideline, args: run pair, inputs: {counts: learn/counts}, outputs: [counts]}
";
    let plan = read(flow).plan_embedded().unwrap();
    assert_eq!(ids(&plan), ["s", "c", "learn", "check"]);
    assert_eq!(node(&plan, "learn").inputs[1].wired.alignment, Alignment::Feedback);
    assert_eq!(sinks(&plan), ["check"], "a feedback consumer reports no progress");
}

#[test]
fn an_operator_without_required_inputs_aligns_each_source_separately() {
    let flow = "nodes:
  - {id: both, path: sideline, args: run recorder, inputs: {counts: cb/counts, other: ca/counts}}
  - {id: a, path: sideline, args: run synthetic, outputs: [frames]}
  - {id: b, path: sideline, args: run synthetic, outputs: [frames]}
  - {id: ca, path: sideline, args: run counter, inputs: {frames: a/frames}, outputs: [counts]}
  - {id: cb, path: sideline, args: run counter, inputs: {frames: b/frames}, outputs: [counts]}
";
    let plan = read(flow).plan_embedded().unwrap();
    assert_eq!(ids(&plan), ["a", "b", "ca", "cb", "both"]);
    assert_eq!(plan.nodes.iter().map(|n| n.source.0).collect::<Vec<_>>(), [0, 1, 0, 1, 1]);
    let alignments: Vec<_> = node(&plan, "both").inputs.iter().map(|i| i.wired.alignment).collect();
    assert_eq!(alignments, [Alignment::Source(SourceId(1)), Alignment::Source(SourceId(0))]);
    assert_eq!(sinks(&plan), ["both"]);
    assert_eq!(node(&plan, "both").awaiting_sources(), [SourceId(0), SourceId(1)]);
}

#[test]
fn an_input_from_another_source_than_the_required_one_must_be_a_side_input() {
    let flow = |policy: &str| {
        format!(
            "nodes:
  - {{id: a, path: sideline, args: run synthetic, outputs: [frames]}}
  - {{id: b, path: sideline, args: run synthetic, outputs: [frames]}}
  - {{id: ca, path: sideline, args: run counter, inputs: {{frames: a/frames}}, outputs: [counts]}}
  - {{id: cb, path: sideline, args: run counter, inputs: {{frames: b/frames}}, outputs: [counts]}}
  - {{id: both, path: sideline, args: run pair, inputs: {{counts: cb/counts, other: {{source: ca/counts{policy}}}}}}}
"
        )
    };
    let diagnostics = Folder::with(&[("flow.yml", &flow(""))]).diagnostics(&Overrides::default());
    let text = "node `both`: input `other`: `ca/counts` descends from another source than the required inputs";
    assert!(diagnostics.iter().any(|line| line.contains(text)), "{diagnostics:?}");
    // It stays a side input in complete mode: there is no frame to align it to.
    let plan = read(&flow(", queue_policy: drop_oldest, queue_size: 3")).plan_embedded().unwrap();
    let alignments: Vec<_> = node(&plan, "both").inputs.iter().map(|i| i.wired.alignment).collect();
    assert_eq!(alignments, [Alignment::Source(SourceId(1)), Alignment::Side { queue: 3 }]);
    assert_eq!(sinks(&plan), ["ca", "both"], "only `ca` reports progress to the source `a`");
}

#[test]
fn an_output_of_a_foreign_program_is_read_as_a_side_input() {
    let flow = "nodes:
  - {id: s, path: sideline, args: run synthetic, inputs: {done_t: t/done}, outputs: [frames], shared_memory_pool_size: 64MB}
  - {id: yolo, path: yolo.py, inputs: {image: s/frames}, outputs: [detections]}
  - {id: p, path: sideline, args: run pose, inputs: {frames: s/frames}, outputs: [poses]}
  - {id: t, path: sideline, args: run tracker, inputs: {detections: yolo/detections, poses: p/poses}, outputs: [done]}
";
    let folder = Folder::with(&[("flow.yml", flow)]);
    let flow = folder.read(&Overrides::default()).unwrap();
    let message = flow.plan_embedded().unwrap_err()[0].to_string();
    assert!(message.contains("node `yolo` is not a Sideline node") && message.contains("dora run "), "{message}");
    assert!(render_plan(&flow).contains("dora only: yolo is not a Sideline node"));

    let plan = flow.plan_for_node("t").unwrap();
    let detections = &node(&plan, "t").inputs[0];
    assert_eq!(detections.wired.alignment, Alignment::Side { queue: 10 });
    assert_eq!(detections.wired.ty.name(), "detections");
    assert_eq!(plan.border_inputs.iter().map(|b| b.foreign).collect::<Vec<_>>(), [true, false]);
    assert_eq!(flow.plan_for_node("s").unwrap().border_outputs.len(), 1);
    assert!(flow.plan_for_node("yolo").is_err());
    let inputs = &flow.nodes.iter().find(|n| n.id == "t").unwrap().inputs;
    assert_eq!(inputs[0].producer, Sender::Foreign(1));
}

#[test]
fn values_keep_their_origin_and_the_one_with_precedence_wins() {
    let module = "module: {name: m, inputs: [frames], outputs: [tracks]}
nodes:
  - {id: pose, path: sideline, args: run pose, env: {PEOPLE: 4}, inputs: {frames: _mod/frames}, outputs: [poses]}
  - {id: t, path: sideline, args: run tracker, inputs: {poses: pose/poses}, outputs: [tracks]}
";
    let flow = "env: {WIDTH: 320, SIDELINE_ON_ERROR: skip}
nodes:
  - id: s
    path: sideline
    args: run synthetic
    env: {CONFIG: '[weak.yml, strong.yml]', HEIGHT: 240}
    outputs: [frames]
  - id: m
    path: sideline
    args: run m.yml
    env: {PEOPLE: 9, BUFFER: 7, SIDELINE_STRIDE: 2}
    inputs: {frames: s/frames}
";
    let folder = Folder::with(&[
        ("flow.yml", flow),
        ("m.yml", module),
        ("weak.yml", "frames: 1\nwidth: 100\n"),
        ("strong.yml", "# more\nframes: 2\nheight: 100\n"),
    ]);
    let set = vec![("m".into(), "model".into(), json!("full")), ("m.t".into(), "buffer".into(), json!(8))];
    let plan = folder.read(&Overrides { set, ..Overrides::default() }).unwrap().plan_embedded().unwrap();
    let at = |id: &str, key: &str| node(&plan, id).values.get(key).cloned().unwrap();
    let file = |name: &str, line, column| Origin::File { path: folder.path(name), line, column };
    assert_eq!(at("s", "frames"), (json!(2), file("strong.yml", 2, 1)));
    assert_eq!(at("s", "width"), (json!(320), file("flow.yml", 1, 7)));
    assert_eq!(at("s", "height"), (json!(240), file("flow.yml", 6, 45)));
    assert_eq!(
        at("m.pose", "people"),
        (json!(4), file("m.yml", 3, 54)),
        "its own value takes precedence over its host's"
    );
    assert_eq!(at("m.pose", "model"), (json!("full"), Origin::CommandLine));
    assert_eq!(at("m.t", "buffer"), (json!(8), Origin::CommandLine));
    assert_eq!(node(&plan, "m.t").stride, 2);
    assert!(plan.nodes.iter().all(|node| node.on_error == OnError::Skip));
    assert_eq!(node(&plan, "s").search, [folder.path("").components().collect::<PathBuf>(), PathBuf::from(".")]);
}

#[test]
fn the_input_option_sets_the_key_of_the_only_source() {
    let input = Overrides { input: Some("mine.mp4".into()), ..Overrides::default() };
    let folder = Folder::with(&[("flow.yml", &fight()), ("modules/perception.yml", &perception())]);
    let plan = folder.read(&input).unwrap().plan_embedded().unwrap();
    assert_eq!(node(&plan, "capture").values.get("source").unwrap().0, json!("mine.mp4"));
}

#[test]
fn a_nested_module_is_flattened() {
    let outer = "module: {name: outer, inputs: [frames], outputs: [tracks, motion]}
nodes:
  - {id: in, module: modules/inner.yml, inputs: {frames: _mod/frames}}
  - {id: m, path: sideline, args: run motion, inputs: {poses: in/smoothed_poses}, outputs: [motion]}
";
    let inner = perception().replace(
        "outputs: [tracks, smoothed_poses, motion, fighters, interaction]",
        "outputs: [tracks, smoothed_poses]",
    );
    let inner = inner.split("  # Motion of each person").next().unwrap().to_owned();
    let flow = "nodes:
  - {id: s, path: sideline, args: run synthetic, inputs: {done_r: r/done}, outputs: [frames], shared_memory_pool_size: 64MB}
  - {id: o, path: sideline, args: run outer.yml, inputs: {frames: s/frames}, outputs: [tracks, motion]}
  - {id: r, path: sideline, args: run recorder, inputs: {tracks: o/tracks, motion: o/motion}, outputs: [done]}
";
    let folder = Folder::with(&[("flow.yml", flow), ("outer.yml", outer), ("modules/inner.yml", &inner)]);
    let fused = folder.read(&Overrides::default()).unwrap();
    assert_eq!(
        ids(&fused.plan_embedded().unwrap()),
        ["s", "o.in.pose", "o.in.reid", "o.in.tracker", "o.in.smooth", "o.m", "r"]
    );
    let plan = fused.plan_for_node("o").unwrap();
    assert_eq!(
        plan.border_outputs.iter().map(|b| (b.name.as_str(), plan.nodes[b.node.0].id.as_str())).collect::<Vec<_>>(),
        [("motion", "o.m"), ("tracks", "o.in.tracker")]
    );
    assert_eq!(plan.border_inputs.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["frames"]);
}

#[test]
fn the_rendered_plan_fits_80_columns_and_shows_the_alternative_form() {
    for (text, alternative) in [
        (fight(), "\n    module: modules/perception.yml\n"),
        (
            expanded(),
            "\n    path: sideline\n    args: run modules/perception.yml\n    outputs: [tracks, smoothed_poses, motion, fighters, interaction]\n",
        ),
    ] {
        let folder = Folder::with(&[("flow.yml", &text), ("modules/perception.yml", &perception())]);
        let printed = render_plan(&folder.read(&Overrides::default()).unwrap());
        assert!(printed.contains("stall timeout 10 s (SIDELINE_STALL_S)"), "{printed}");
        let long: Vec<&str> =
            printed.lines().filter(|l| l.len() > 80 && !l.contains(folder.path("").to_str().unwrap())).collect();
        assert!(long.is_empty(), "{long:?}");
        assert!(printed.contains(alternative), "{printed}");
        assert!(printed.contains("  perception.pose, perception.reid, perception.tracker,"), "{printed}");
        assert!(printed.contains("encode and recorder have finished it"), "{printed}");
    }
}

#[test]
fn module_parameters_are_substituted_in_the_arguments_of_its_nodes() {
    let module = "module: {name: m, inputs: [frames], outputs: []}
nodes:
  - {id: x, path: sideline, args: 'run ${_param.kind}', env: {RUST_LOG: debug}, inputs: {frames: _mod/frames}}
";
    let flow = "nodes:
  - {id: s, path: sideline, args: run synthetic, outputs: [frames]}
  - {id: m, module: m.yml, params: {kind: counter}, inputs: {frames: s/frames}}
";
    let folder = Folder::with(&[("flow.yml", flow), ("m.yml", module)]);
    let plan = folder.read(&Overrides::default()).unwrap().plan_embedded().unwrap();
    assert_eq!(node(&plan, "m.x").operator, "counter");
    assert_eq!(values(node(&plan, "m.x")), [], "a variable of another program is not a key");
}

#[test]
fn sinks_in_a_module_report_through_the_fused_module_or_each_by_itself() {
    let module = "module: {name: m, inputs: [frames], outputs: []}
nodes:
  - {id: a, path: sideline, args: run counter, inputs: {frames: _mod/frames}, outputs: [done]}
  - {id: b, path: sideline, args: run counter, inputs: {frames: _mod/frames}, outputs: [done]}
";
    let flow = |done: &str, m: &str| {
        format!(
            "nodes:
  - {{id: s, path: sideline, args: run synthetic, inputs: {{{done}}}, outputs: [frames]}}
  - {{id: m, {m}, inputs: {{frames: s/frames}}}}
"
        )
    };
    let fused = flow("done_m: m/done", "path: sideline, args: run m.yml, outputs: [done]");
    let expanded = flow("done_m.a: m.a/done, done_m.b: m.b/done", "module: m.yml");
    for (text, expected) in [(fused, vec!["m"]), (expanded, vec!["m.a", "m.b"])] {
        let flow = Folder::with(&[("flow.yml", &text), ("m.yml", module)]).read(&Overrides::default()).unwrap();
        assert_eq!(flow.diagnostics, []);
        let source = flow.plan_for_node("s").unwrap();
        assert_eq!(source.remote_sinks.iter().map(|sink| sink.node.as_str()).collect::<Vec<_>>(), expected);
        assert!(expected.iter().all(|id| flow.plan_for_node(id).unwrap().sends_done));
        let printed = render_plan(&flow);
        assert!(printed.contains("and at its source replace `done_m"), "{printed}");
    }
}

//! Diagnostics name the place, the node and the nearest valid name of every mistake.

mod stubs;

use serde_json::json;
use sideline_api::{Mode, models::Models};
use sideline_graph::Overrides;
use stubs::Folder;

const CAPTURE: &str = "nodes:
  - id: capture
    path: sideline
    args: run capture
    env: {SOURCE: a.mp4}
    outputs: [frames]
    shared_memory_pool_size: 32MB
";

const MODULE: &str = "module:
  name: perception
  inputs: [frames]
  outputs: [tracks]
nodes:
  - id: pose
    path: ../sideline
    args: run pose
    inputs: {frames: _mod/frames}
    outputs: [poses]
  - id: tracker
    path: ../sideline
    args: run tracker
    inputs: {poses: pose/poses}
    outputs: [tracks]
";

/// Nodes after the capture node (which ends in line 7), and an expected diagnostic of each.
const MISTAKES: &[(&str, &str)] = &[
    (
        "  - id: a\n    path: sideline\n    args: run countr\n",
        "flow.yml:10:5: error: node `a`: there is no operator `countr`; did you mean `counter`?",
    ),
    (
        "  - id: a\n    path: sideline\n    args: counter\n",
        "flow.yml:10:5: error: node `a`: a Sideline node is written `args: run NAME` or `args: run modules/FILE.yml`",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs: {frame: capture/frames}\n",
        "flow.yml:11:14: error: node `a`: input `frame`: there is no such input; did you mean `frames`?",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs: {frames: captur/frames}\n",
        "flow.yml:11:14: error: node `a`: input `frames`: there is no node `captur`; did you mean `capture`?",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs: {frames: capture/frame}\n",
        "flow.yml:11:14: error: node `a`: input `frames`: node `capture` has no output `frame`; did you mean `frames`?",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs: {frames: capture}\n",
        "flow.yml:11:14: error: node `a`: input `frames`: `capture` is not of the form NODE/OUTPUT",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs:\n      frames: {source: capture/frames, queue_sise: 3}\n",
        "flow.yml:12:40: error: node `a`: input `frames`: there is no key `queue_sise`; did you mean `queue_size`?",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs:\n      frames: {source: capture/frames, queue_policy: drop_newest}\n",
        "flow.yml:12:40: error: node `a`: input `frames`: there is no queue policy `drop_newest`; did you mean `drop_oldest`?",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs:\n      frames: {source: capture/frames, queue_size: many}\n",
        "flow.yml:12:40: error: node `a`: input `frames`: `queue_size` must be a number of messages from 1, not `many`",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs: {frames: dora/timer/millis/10}\n",
        "flow.yml:11:14: error: node `a`: input `frames`: a Sideline node cannot read the timers and logs of dora, only other nodes can",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs: {frames: _mod/frames}\n",
        "flow.yml:11:14: error: node `a`: input `frames`: `_mod` refers to an input of a module and is valid in module files only",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs: {frames: capture/frames}\n    outputs: [count]\n",
        "flow.yml:12:15: error: node `a`: there is no output `count`; did you mean `counts`?",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs: {frames: capture/frames}\n    outputs: []\n  - id: b\n    path: sideline\n    args: run recorder\n    inputs: {counts: a/counts}\n",
        "flow.yml:16:14: error: node `b`: input `counts`: node `a` does not list it: add `counts` to its `outputs`",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n",
        "flow.yml:8:5: error: node `a`: the required input `frames` (frame) is not wired: add `frames: NODE/OUTPUT` to `inputs`",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run recorder\n",
        "flow.yml:8:5: error: node `a`: reads nothing: wire at least one of its `inputs`",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run motion\n    inputs: {poses: capture/frames}\n",
        "flow.yml:11:14: error: node `a`: input `poses`: takes poses, but `capture/frames` sends frame",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {PEOPEL: 3}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `peopel`: there is no such key; did you mean `people`?",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    env: {PEOPLE: 3}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `people`: there is no such key; it is a key of `pose`",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {PEOPLE: 30}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `people`: 30 is out of range, 1 to 10 is allowed",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {people: 3}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `people`: keys of an `env:` are written in upper case: `PEOPLE`",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {PATH: x}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `PATH`: every process already has this variable: set the key in a file named by CONFIG, or with --set",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {CONFIG: none.yml}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `CONFIG`: none.yml: no such file; looked for FOLDER/none.yml, ./none.yml",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {SIDELINE_STRID: 2}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `SIDELINE_STRID`: there is no such key; did you mean `SIDELINE_STRIDE`?",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {SIDELINE_STRIDE: 0}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `SIDELINE_STRIDE`: `0` is not a number of frames from 1",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {SIDELINE_ON_ERROR: cry}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `SIDELINE_ON_ERROR`: `cry` is none of skip, restart, stop",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {PEOPLE: }\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `PEOPLE`: has no value: give it one, leave the key out, or write `\"\"` for an empty text",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {MODEL: null}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `MODEL`: has no value: give it one, leave the key out, or write `\"\"` for an empty text",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {MODEL: \"x$$y${NOT_SET_Q:-a}${NOT_SET_Q}\"}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `MODEL`: the environment variable `NOT_SET_Q` is not set: set it, write `${NOT_SET_Q:-VALUE}` for a default, or `$$` for a dollar sign",
    ),
    (
        "  - id: a\n    path: other.py\n    env: {MODEL: $NOT_SET_Q/x}\n",
        "flow.yml:10:11: error: node `a`: key `MODEL`: the environment variable `NOT_SET_Q` is not set: set it, write `${NOT_SET_Q:-VALUE}` for a default, or `$$` for a dollar sign",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {PEOPLE: .nan}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `people`: `NaN` is not a finite number",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {PEOPLE: \"30\"}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `people`: 30 is out of range, 1 to 10 is allowed",
    ),
    (
        "  - id: b\n    path: sideline\n    args: run synthetic\n    env: {SIDELINE_STRIDE: 2}\n",
        "flow.yml:11:11: error: node `b`: key `SIDELINE_STRIDE`: a source has no stride, it sends every frame: set it for the operators that should skip frames",
    ),
    (
        "  - id: b\n    path: sideline\n    args: run synthetic\n    env: {SIDELINE_ON_ERROR: restart}\n",
        "flow.yml:11:11: error: node `b`: key `SIDELINE_ON_ERROR`: a source is not restarted: write `stop` (a stream that fails ends the run) or `skip` (the other streams continue)",
    ),
    (
        "  - id: a\n    path: paint.py\n    outputs: [frames]\n  - id: b\n    path: sideline\n    args: run encode\n    inputs: {frames: a/frames}\n",
        "flow.yml:14:14: error: node `b`: input `frames`: the required input reads `a`, which is not a Sideline node: its messages belong to no frame of a source, and `b` processes no frame without them; wire a Sideline node here, and `a` to an optional input",
    ),
    (
        "  - id: b\n    path: sideline\n    args: run capture\n    env: {SOURCE: b.mp4, STREAM: capture}\n    outputs: [frames]\n",
        "flow.yml:11:26: error: node `b`: the stream name `capture` is already used by `capture`: give each source its own `STREAM`",
    ),
    (
        "  - id: c\n    path: sideline\n    args: run counter\n    inputs: {frames: capture/frames}\n    outputs: [counts]\n  - id: b\n    path: sideline\n    args: run judge\n    inputs: {motions: c/counts}\n",
        "flow.yml:16:14: warning: node `b`: input `motions`: is treated as an additional input, and the declared input `motion` is not wired; did you mean `motion`?",
    ),
    (
        "  - id: a\n    pth: x\n    inputs: [b]\n",
        "flow.yml:10:5: error: node `a`: `inputs` must be a map `INPUT: NODE/OUTPUT`",
    ),
    ("  - id: a\n    path: [x]\n", "flow.yml:9:11: error: nodes[1].path: invalid type: list, expected text"),
    (
        "  - id: a\n    path: sideline\n    args: run pose\n    env: {SIDELINE_WINDOW: 8}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:11:11: error: node `a`: key `SIDELINE_WINDOW`: belongs in the `env:` of the flow",
    ),
    (
        "  - id: capture\n    path: sideline\n    args: run counter\n",
        "flow.yml:8:5: error: node `capture`: this id is already used by the node in line 2",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs: {frames: capture/frames}\n    outputs: [counts]\n    output_types: {counts: sideline/v1/Count}\n",
        "flow.yml:13:20: error: node `a`: output_types: the type of output `counts` is `sideline/v1/Counts`",
    ),
    ("  - path: sideline\n", "flow.yml:8:5: error: a node must be a map with an `id`"),
    ("  - id: a\n    pth: x\n", "flow.yml:9:5: error: there is no key `pth` here; did you mean `path`?"),
    ("  - id: a\n    path: x\n    path: y\n", "flow.yml:10:5: error: duplicate key `path`: it is already in line 9"),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs: {frames: capture/frames}\n    outputs: [counts]\n",
        "flow.yml:8:5: error: node `a`: it is a sink (no node reads its outputs frame by frame), so the source `capture` has to receive its progress; add\n    to node a:  outputs: [counts, done]\n    to node capture:  inputs: {done_a: a/done}",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run pair\n    inputs: {counts: b/counts}\n    outputs: [counts]\n  - id: b\n    path: sideline\n    args: run pair\n    inputs: {counts: a/counts}\n    outputs: [counts]\n",
        "flow.yml:11:14: error: node `a`: input `counts`: closes a cycle: `b` -> `a` -> `b`; only `done` and feedback inputs may close one",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run counter\n    inputs: {frames: capture/frames}\n    outputs: [counts, done]\n  - id: b\n    path: sideline\n    args: run recorder\n    inputs: {x: a/done}\n",
        "flow.yml:16:14: error: node `b`: input `x`: only a source can read `done`",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run modules/none.yml\n",
        "flow.yml:10:5: error: node `a`: modules/none.yml: no such file; the path is relative to the file of the flow",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run flow.yml\n",
        "flow.yml:10:5: error: node `a`: flow.yml is not a module: it has no `module:` with name, inputs and outputs",
    ),
    (
        "  - id: a\n    module: modules/m.yml\n    inputs: {frame: capture/frames}\n",
        "flow.yml:10:14: error: node `a`: input `frame`: there is no such input; did you mean `frames`?",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run modules/m.yml\n",
        "flow.yml:8:5: error: node `a`: the module requires the input `frames`: add `frames: NODE/OUTPUT` to `inputs`",
    ),
    (
        "  - id: a\n    path: sideline\n    args: run modules/m.yml\n    inputs: {frames: capture/frames}\n    outputs: [track]\n",
        "flow.yml:12:15: error: node `a`: there is no output `track`; did you mean `tracks`?",
    ),
    (
        "  - id: a\n    module: modules/m.yml\n    inputs: {frames: capture/frames}\n  - id: b\n    path: sideline\n    args: run recorder\n    inputs: {x: a/poses}\n",
        "flow.yml:14:14: error: node `b`: input `x`: node `a` has no output `poses`; there are tracks",
    ),
    (
        "  - id: a\n    module: modules/m.yml\n    env: {BUFER: 3}\n    inputs: {frames: capture/frames}\n",
        "flow.yml:10:11: error: node `a`: key `BUFER`: no operator of the module has such a key; did you mean `buffer`?",
    ),
];

fn diagnostics(nodes: &str) -> Vec<String> {
    let folder = Folder::with(&[("flow.yml", &format!("{CAPTURE}{nodes}")), ("modules/m.yml", MODULE)]);
    let name = folder.path("");
    let name = name.display().to_string();
    let lines = folder.diagnostics(&Overrides::default());
    lines.into_iter().map(|line| line.replace(name.trim_end_matches('/'), "FOLDER")).collect()
}

#[test]
fn every_mistake_is_reported_with_place_and_remedy() {
    let mut wrong = vec![];
    for (nodes, expected) in MISTAKES {
        // `Folder::diagnostics` has removed the folder from paths already.
        let expected = expected.replace("FOLDER/none.yml", "none.yml");
        let found = diagnostics(nodes);
        if !found.contains(&expected) {
            wrong.push(format!("expected {expected}\n   found {}", found.join("\n         ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), MISTAKES.len(), wrong.join("\n"));
}

#[test]
fn a_flow_that_is_not_yaml_is_reported_with_a_position() {
    for (text, start) in [
        ("nodes:\n  - id: [a\n", "flow.yml:3:"),
        ("nodes:\n- id: a\n\tpath: x\n", "flow.yml:2:7: error: while scanning a plain scalar, found a tab"),
        ("", "flow.yml: error: a dataflow file needs a list `nodes:`"),
        ("nodes: 3\n", "flow.yml:1:1: error: a dataflow file needs a list `nodes:`"),
        (MODULE, "flow.yml:1:1: error: this is a module, not a dataflow"),
    ] {
        let diagnostics = Folder::with(&[("flow.yml", text)]).diagnostics(&Overrides::default());
        assert!(diagnostics.iter().any(|line| line.starts_with(start)), "{start}: {diagnostics:?}");
    }
    let diagnostics = Folder::with(&[]).diagnostics(&Overrides::default());
    assert_eq!(diagnostics, ["flow.yml: error: no such file"]);
}

#[test]
fn mistakes_in_a_module_are_reported_at_their_place_in_the_module() {
    let host = format!(
        "{CAPTURE}  - id: p\n    path: sideline\n    args: run modules/m.yml\n    inputs: {{frames: capture/frames}}\n    outputs: [tracks]\n"
    );
    for (old, new, expected) in [
        (
            "pose/poses",
            "pose/pose",
            "modules/m.yml:14:14: error: node `p.tracker`: input `poses`: node `pose` has no output `pose`; did you mean `poses`?",
        ),
        (
            "pose/poses",
            "posse/poses",
            "modules/m.yml:14:14: error: node `p.tracker`: input `poses`: there is no node `posse`; did you mean `pose`?",
        ),
        (
            "_mod/frames",
            "_mod/frame",
            "modules/m.yml:9:14: error: node `p.pose`: input `frames`: the module has no input `frame`; did you mean `frames`?",
        ),
        (
            "outputs: [poses]",
            "outpts: [poses]",
            "modules/m.yml:14:14: error: node `p.tracker`: input `poses`: node `pose` does not list it: add `poses` to its `outputs`",
        ),
        (
            "outputs: [tracks]\nnodes",
            "outputs: [track]\nnodes",
            "modules/m.yml:4:13: error: no node of the module lists the output `track`; did you mean `tracks`?",
        ),
        (
            "outputs: [poses]",
            "outputs: [poses]\n    descripton: x",
            "modules/m.yml:11:5: error: there is no key `descripton` here; did you mean `description`?",
        ),
        (
            "path: ../sideline\n    args: run pose",
            "path: ./pose.py",
            "modules/m.yml:6:5: error: node `p.pose`: is not a Sideline node: a fused module can hold Sideline operators only; expand it with `module:`",
        ),
        (
            "path: ../sideline\n    args: run pose",
            "path: sideline\n    args: run pose",
            "modules/m.yml:7:5: warning: node `p.pose`: dora resolves the `path` in a module relative to the module file and would not find the program: write `path: ../sideline`",
        ),
    ] {
        assert!(MODULE.contains(old), "{old}");
        let module = MODULE.replacen(old, new, 1);
        let diagnostics =
            Folder::with(&[("flow.yml", &host), ("modules/m.yml", &module)]).diagnostics(&Overrides::default());
        assert!(diagnostics.iter().any(|line| line == expected), "{expected}\n{}", diagnostics.join("\n"));
    }
}

#[test]
fn a_module_that_includes_itself_is_reported() {
    let module = "module:\n  name: m\n  outputs: [tracks]\nnodes:\n  - id: m\n    module: m.yml\n";
    let flow = format!("{CAPTURE}  - id: a\n    module: modules/m.yml\n");
    let diagnostics =
        Folder::with(&[("flow.yml", &flow), ("modules/m.yml", module)]).diagnostics(&Overrides::default());
    assert!(
        diagnostics.iter().any(|line| line.contains("more than 8 levels deep; does one include itself?")),
        "{diagnostics:?}"
    );
}

#[test]
fn runtime_keys_of_the_flow_are_checked() {
    for (key, expected) in [
        ("SIDELINE_WINDO: 3", "key `SIDELINE_WINDO`: there is no such key; did you mean `SIDELINE_WINDOW`?"),
        ("SIDELINE_WINDOW: 0", "key `SIDELINE_WINDOW`: `0` is not a number of frames from 1 to 256"),
        ("SIDELINE_MODE: fast", "key `SIDELINE_MODE`: `fast` is not a mode: live or complete"),
        ("SIDELINE_DEVICE: gpu", "key `SIDELINE_DEVICE`: `gpu` is not a device: auto, cpu, cuda or tensorrt"),
        ("SIDELINE_STALL_S: -1", "key `SIDELINE_STALL_S`: `-1` is not a number of seconds from 0.1 to 86400"),
        ("SIDELINE_ON_ERROR: no", "key `SIDELINE_ON_ERROR`: `no` is none of skip, restart, stop"),
        ("SIDELINE_STRIDE: 2", "key `SIDELINE_STRIDE`: belongs in the `env:` of a node"),
    ] {
        let text = format!("env:\n  {key}\n{CAPTURE}");
        let diagnostics = Folder::with(&[("flow.yml", &text)]).diagnostics(&Overrides::default());
        assert!(diagnostics.contains(&format!("flow.yml:2:3: error: {expected}")), "{expected}: {diagnostics:?}");
    }
    let text = format!("env:\n  SORCE: b.mp4\n  RUST_LOG: info\n  GREETING: hello\n{CAPTURE}");
    let diagnostics = Folder::with(&[("flow.yml", &text)]).diagnostics(&Overrides::default());
    assert_eq!(
        diagnostics,
        ["flow.yml:2:3: warning: key `SORCE`: no operator of the flow has such a key; did you mean `SOURCE`?"]
    );
}

#[test]
fn overrides_of_the_command_line_are_checked() {
    let folder = Folder::with(&[("flow.yml", CAPTURE)]);
    let set = |node: &str, key: &str, value: serde_json::Value| Overrides {
        set: vec![(node.into(), key.into(), value)],
        ..Overrides::default()
    };
    for (overrides, expected) in [
        (set("captur", "size", json!("1x1")), "--set captur.size: there is no node `captur`; did you mean `capture`?"),
        (set("capture", "siz", json!("1x1")), "node `capture`: key `siz`: there is no such key; did you mean `size`?"),
        (
            set("capture", "sideline_stride", json!(2)),
            "node `capture`: key `sideline_stride`: a source has no stride, it sends every frame: set it for the operators that should skip frames",
        ),
        (
            set("capture", "sideline_on_error", json!("cry")),
            "node `capture`: key `sideline_on_error`: `cry` is none of skip, restart, stop",
        ),
    ] {
        assert_eq!(folder.diagnostics(&overrides), [format!("command line: error: {expected}")]);
    }

    let two =
        format!("{CAPTURE}  - id: second\n    path: sideline\n    args: run capture\n    env: {{SOURCE: b.mp4}}\n");
    let input = Overrides { input: Some("c.mp4".into()), ..Overrides::default() };
    let diagnostics = Folder::with(&[("flow.yml", &two)]).diagnostics(&input);
    assert_eq!(
        diagnostics,
        [
            "command line: error: --input c.mp4: the flow has several sources, `capture`, `second`: write --set NODE.source=c.mp4"
        ]
    );
    let other = "nodes:\n  - {id: s, path: sideline, args: run synthetic}\n";
    let diagnostics = Folder::with(&[("flow.yml", other)]).diagnostics(&input);
    assert!(
        diagnostics[0].starts_with("command line: error: --input c.mp4: the source `s` has no key `source`"),
        "{diagnostics:?}"
    );
}

#[test]
fn required_inputs_must_share_one_source() {
    let flow = "nodes:
  - {id: a, path: sideline, args: run synthetic, outputs: [frames]}
  - {id: b, path: sideline, args: run synthetic, outputs: [frames]}
  - {id: ca, path: sideline, args: run counter, inputs: {frames: a/frames}, outputs: [counts]}
  - {id: cb, path: sideline, args: run counter, inputs: {frames: b/frames}, outputs: [counts]}
  - {id: f, path: sideline, args: run fuse, inputs: {left: ca/counts, right: cb/counts}}
";
    let diagnostics = Folder::with(&[("flow.yml", flow)]).diagnostics(&Overrides::default());
    assert!(
        diagnostics.contains(
            &"flow.yml:6:71: error: node `f`: input `right`: descends from the source `b`, but the required input `left` from `a`; required inputs must share one source"
                .into()
        ),
        "{diagnostics:?}"
    );
}

/// Two sources, each with a pose estimator, and a tracker that reads both.
const MIXED: &str = "nodes:
  - {id: a, path: sideline, args: run synthetic, outputs: [frames]}
  - {id: b, path: sideline, args: run synthetic, outputs: [frames]}
  - {id: pa, path: sideline, args: run pose, inputs: {frames: a/frames}, outputs: [poses]}
  - {id: pb, path: sideline, args: run pose, inputs: {frames: b/frames}, outputs: [poses]}
  - {id: rb, path: sideline, args: run reid, inputs: {frames: b/frames, poses: pb/poses}, outputs: [appearance]}
  - {id: t, path: sideline, args: run tracker, inputs: {poses: pa/poses, appearance: rb/appearance}, outputs: [tracks]}
";

#[test]
fn an_operator_that_reads_two_sources_can_only_be_a_sink() {
    let read = format!(
        "{MIXED}  - {{id: draw, path: sideline, args: run render, inputs: {{frames: a/frames, tracks: t/tracks}}}}\n"
    );
    let diagnostics = Folder::with(&[("flow.yml", &read)]).diagnostics(&Overrides::default());
    assert!(
        diagnostics.contains(
            &"flow.yml:8:77: error: node `draw`: input `tracks`: `t` reads frames of two sources, `a` (input `poses`) and `b` (input `appearance`), so its messages belong to the frames of neither: add a separate `tracker` for each source"
                .into()
        ),
        "{diagnostics:?}"
    );
    let unread = Folder::with(&[("flow.yml", MIXED)]);
    assert!(unread.read(&Overrides::default()).is_ok(), "a sink may read both");
}

/// Returns a text whose aliases expand to 10^9 values.
fn alias_bomb() -> String {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, of) in ('b'..='i').zip('a'..) {
        text += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 10].join(","));
    }
    text
}

#[test]
fn exponential_aliases_are_refused_in_every_file() {
    let text = "the text is too large up to here: at most 200000 values";
    let flow = format!("{}{CAPTURE}", alias_bomb());
    let module = format!("{}{MODULE}", alias_bomb());
    let host = format!("{CAPTURE}  - id: p\n    module: m.yml\n    inputs: {{frames: capture/frames}}\n");
    let named = CAPTURE.replace("SOURCE: a.mp4", "CONFIG: c.yml");
    for (files, start) in [
        (&[("flow.yml", &*flow)][..], "flow.yml:5:"),
        (&[("flow.yml", &host), ("m.yml", &module)], "m.yml:5:"),
        (&[("flow.yml", &named), ("c.yml", &alias_bomb())], "c.yml:5:"),
    ] {
        let diagnostics = Folder::with(files).diagnostics(&Overrides::default());
        assert!(
            diagnostics.iter().any(|line| line.starts_with(start) && line.contains(text)),
            "{start}: {diagnostics:?}"
        );
    }
}

#[test]
fn binary_and_oversized_files_are_refused() {
    for (content, expected) in [
        (b"nodes: []\nx: \xff\n".to_vec(), "flow.yml: error: line 2 is not text in UTF-8: save the file as UTF-8"),
        (
            b"nodes: []\nx: \0\n".to_vec(),
            "flow.yml:2:4: error: the control character U+0000 is not allowed here: remove it",
        ),
        (vec![b'#'; 5 << 20], "flow.yml: error: is larger than 4 MB, the limit for YAML files"),
    ] {
        let folder = Folder::with(&[]);
        std::fs::write(folder.path("flow.yml"), content).unwrap();
        assert_eq!(folder.diagnostics(&Overrides::default()), [expected]);
    }
}

#[test]
fn line_endings_and_byte_order_marks_do_not_change_diagnostics() {
    let flow = format!(
        "{CAPTURE}  - id: a\n    path: sideline\n    args: run pose\n    env: {{PEOPLE: 30}}\n    inputs: {{frames: capture/frames}}\n"
    );
    let plain = Folder::with(&[("flow.yml", &flow)]).diagnostics(&Overrides::default());
    assert!(!plain.is_empty());
    for other in [flow.replace('\n', "\r\n"), format!("\u{feff}{flow}")] {
        assert_eq!(Folder::with(&[("flow.yml", &other)]).diagnostics(&Overrides::default()), plain);
    }
}

#[test]
fn queues_of_foreign_programs_count_toward_shared_memory() {
    let flow = |queue: usize| {
        format!(
            "nodes:
  - {{id: s, path: sideline, args: run synthetic, inputs: {{done_c: c/done}}, outputs: [frames]}}
  - {{id: c, path: sideline, args: run counter, inputs: {{frames: s/frames}}, outputs: [done]}}
  - {{id: py, path: slow.py, inputs: {{image: {{source: s/frames, queue_size: {queue}}}}}}}
"
        )
    };
    // A frame of 640x480 in i420 has 460,800 bytes, so the pool of 8 MiB holds 18 frames.
    let diagnostics = |queue| Folder::with(&[("flow.yml", &flow(queue))]).diagnostics(&Overrides::default());
    let fitting = diagnostics(10);
    assert!(fitting.len() == 1 && fitting[0].contains("dora keeps the newest 10 messages"), "{fitting:?}");
    let diagnostics = diagnostics(11);
    assert!(
        diagnostics.len() == 1 && diagnostics[0].contains("node `s`: up to 19 frames of 0.5 MB are in flight"),
        "{diagnostics:?}"
    );
}

#[test]
fn a_flow_without_a_source_is_reported() {
    let diagnostics =
        Folder::with(&[("flow.yml", "nodes:\n  - {id: a, path: other}\n")]).diagnostics(&Overrides::default());
    assert_eq!(
        diagnostics,
        ["flow.yml: error: the flow has no source of frames: add a node such as `args: run capture`"]
    );
}

#[test]
fn queues_and_shared_memory_are_checked_only_between_processes() {
    let flow = "env: {SIDELINE_WINDOW: 8}
nodes:
  - id: capture
    path: sideline
    args: run capture
    env: {SOURCE: a.mp4}
    inputs: {done_c: c/done}
    outputs: [frames]
  - id: c
    path: sideline
    args: run counter
    inputs:
      frames: capture/frames
    outputs: [done]
";
    let folder = Folder::with(&[("flow.yml", flow)]);
    let diagnostics = folder.diagnostics(&Overrides::default());
    assert_eq!(
        diagnostics,
        [
            "flow.yml:3:5: error: node `capture`: up to 12 frames of 3.1 MB (1080p assumed) are in flight, but dora's shared memory pool for this node has 8 MB, and frames beyond it are copied: write `shared_memory_pool_size: 64MB`",
            "flow.yml:13:7: error: node `c`: input `frames`: dora queues 10 messages for it, but 12 may be in flight (window + 4): write `queue_size: 12`",
        ]
    );
    let flow =
        folder.read(&Overrides::default()).expect("errors that concern only dora do not prevent a run in one process");
    assert!(flow.diagnostics.iter().all(|d| d.dora_only && !d.blocks_run()));
    assert!(flow.plan_embedded().is_ok());
    assert_eq!(flow.plan_for_node("c").unwrap_err().len(), 2);

    let small = flow_with_size("SOURCE: a.mp4, SIZE: 320x240");
    assert_eq!(Folder::with(&[("flow.yml", &small)]).diagnostics(&Overrides::default()), Vec::<String>::new());
}

fn flow_with_size(env: &str) -> String {
    format!(
        "nodes:
  - id: capture
    path: sideline
    args: run capture
    env: {{{env}}}
    inputs: {{done_c: c/done}}
    outputs: [frames]
  - id: c
    path: sideline
    args: run counter
    inputs: {{frames: capture/frames}}
    outputs: [done]
"
    )
}

#[test]
fn a_needless_done_edge_is_a_warning() {
    let flow = "nodes:
  - {id: s, path: sideline, args: run synthetic, inputs: {done_c: c/done, done_r: r/done}, outputs: [frames]}
  - {id: c, path: sideline, args: run counter, inputs: {frames: s/frames}, outputs: [counts, done]}
  - {id: r, path: sideline, args: run recorder, inputs: {counts: c/counts}, outputs: [done]}
";
    let diagnostics = Folder::with(&[("flow.yml", flow)]).diagnostics(&Overrides::default());
    assert_eq!(
        diagnostics,
        [
            "flow.yml:2:5: warning: node `s`: input `done_c`: `c/done` is not needed: another node reads its outputs frame by frame"
        ]
    );
}

#[test]
fn missing_models_are_reported() {
    let folder = Folder::with(&[
        ("flow.yml", CAPTURE),
        ("models/models.yml", "models:\n  - {name: blazepose_full, path: a.onnx, sha256: ''}\n"),
    ]);
    folder.put(
        "flow.yml",
        &format!("{CAPTURE}  - id: pose\n    path: sideline\n    args: run pose\n    env: {{MODEL: ful}}\n    inputs: {{frames: capture/frames}}\n"),
    );
    let models = Models::open(folder.path("")).unwrap();
    let flow = folder.read(&Overrides::default()).unwrap();
    let diagnostics: Vec<String> = flow.check_models(&models).iter().map(ToString::to_string).collect();
    assert!(
        diagnostics.len() == 1
            && diagnostics[0].contains("flow.yml:8:5: error: node `pose`: there is no model `blazepose_ful`")
            && diagnostics[0].contains("did you mean `blazepose_full`?"),
        "{diagnostics:?}"
    );
    let full = Overrides { set: vec![("pose".into(), "model".into(), json!("full"))], ..Overrides::default() };
    let diagnostics = folder.read(&full).unwrap().check_models(&models);
    assert!(diagnostics[0].message.contains("is not installed"), "{diagnostics:?}");
}

#[test]
fn an_aligned_consumer_of_a_node_outside_the_window_is_reported_in_live_mode() {
    let flow = "nodes:
  - {id: s, path: sideline, args: run synthetic, outputs: [frames]}
  - {id: p, path: sideline, args: run pose, inputs: {frames: s/frames}, outputs: [poses]}
  - {id: t, path: sideline, args: run tracker, inputs: {poses: p/poses}, outputs: [tracks]}
  - {id: talk, path: sideline, args: run commentary, inputs: {tracks: {source: t/tracks, queue_policy: drop_oldest}}, outputs: [counts]}
  - {id: r, path: sideline, args: run recorder, inputs: {tracks: t/tracks, talk: talk/counts}}
";
    let folder = Folder::with(&[("flow.yml", flow)]);
    let live = Overrides { mode: Some(Mode::Live), ..Overrides::default() };
    let diagnostics = folder.diagnostics(&live);
    assert!(
        diagnostics.contains(
            &"flow.yml:6:76: error: node `r`: input `talk`: `talk` has side inputs only and does not send a message for every frame; write `queue_policy: drop_oldest` here too"
                .into()
        ),
        "{diagnostics:?}"
    );
    assert!(folder.read(&Overrides::default()).is_ok(), "in complete mode it is aligned");
}

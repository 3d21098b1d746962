//! Plain dora nodes of others in a flow: their rows are recorded, and what cannot be counted on is said.

mod support;

use support::{Bench, finish, json, lock_dora, parquet, wait_for_nodes_to_end};

/// Flow text: synthetic -> counter -> `far` (a plain dora node) -> recorder.
fn flow(queue: &str) -> String {
    format!(
        "nodes:
  - id: synthetic
    path: sideline
    args: run synthetic
    env: {{FRAMES: 60, WIDTH: 64, HEIGHT: 48, PACE: true}}
    inputs: {{done_recorder: recorder/done}}
    outputs: [frames]
  - id: counter
    path: sideline
    args: run counter
    inputs: {{frames: synthetic/frames}}
    outputs: [counts]
  - id: far
    path: far.py
    inputs:
      counts: {{source: counter/counts{queue}}}
    outputs: [rows]
  - id: recorder
    path: sideline
    args: run recorder
    inputs:
      counts: counter/counts
      rows: {{source: far/rows{queue}}}
    outputs: [done]
"
    )
}

/// A node that answers each row. `KEEPS_METADATA`: it passes on the metadata of what it reads.
const FAR: &str = "\
import time

import pyarrow as pa
from dora import Node

pa.array([{'double': 1}])
node = Node()
for event in node:
    if event['type'] == 'INPUT':
        metadata = event['metadata']
        if metadata.get('sl_kind') != 'data':
            # Passed on as it came, which must not disturb the reader.
            node.send_output('rows', event['value'], metadata)
            continue
        rows = pa.array([{'double': 2 * row['frames']} for row in event['value'].to_pylist()])
        node.send_output('rows', rows, metadata if KEEPS_METADATA else {})
# dora may report a node gone before its last message has arrived.
time.sleep(1)
";

/// Runs the flow under dora; returns the report of the recorder and the recorded values.
fn run(bench: &Bench, keeps_metadata: bool) -> (serde_json::Value, Vec<i64>) {
    bench.write("flow.yml", &flow(", queue_size: 100"));
    bench.write("far.py", &FAR.replace("KEEPS_METADATA", if keeps_metadata { "True" } else { "False" }));
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    wait_for_nodes_to_end(bench);
    let run = bench.last_run();
    let report = json(run.join("result/recorder.json"));
    assert_eq!(report["status"], "done", "{}", ended.text);
    let mut values = vec![];
    for batch in parquet(&run.join("rows.parquet")) {
        let column = batch.column_by_name("double").unwrap();
        let column = column.as_any().downcast_ref::<arrow_array::Int64Array>().unwrap();
        values.extend(column.values());
    }
    (report, values)
}

#[test]
fn rows_of_a_plain_dora_node_are_recorded_in_order() {
    let Some(_guard) = lock_dora() else { return };
    let bench = Bench::new();
    let (report, values) = run(&bench, true);
    // No window waits for such a node: dora may lose rows before all nodes are connected, and the last ones as it exits.
    assert!(values.len() >= 40 && values.is_sorted() && values.iter().all(|value| value % 2 == 0), "{values:?}");
    assert!(report["unnumbered"].as_object().unwrap().is_empty());
}

#[test]
fn rows_without_a_frame_number_are_counted() {
    let Some(_guard) = lock_dora() else { return };
    let bench = Bench::new();
    let (report, values) = run(&bench, false);
    assert!(values.len() >= 40, "{values:?}");
    // The newest ones may wait for a frame of the source that does not come.
    let unnumbered = report["unnumbered"]["rows"].as_u64().unwrap();
    assert!((values.len() as u64..=60).contains(&unnumbered), "{unnumbered} of {}", values.len());
}

#[test]
fn check_names_the_queues_that_may_lose_messages_of_a_plain_node() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    let checked = bench.sideline(&["check", "flow.yml"]);
    assert!(checked.text.contains("input `rows`: `far` is not a Sideline node, so the newest 10"), "{}", checked.text);
    assert!(checked.text.contains("input `counts`: dora keeps the newest 10 messages"), "{}", checked.text);
    bench.write("flow.yml", &flow(", queue_size: 100"));
    let checked = bench.sideline(&["check", "flow.yml"]);
    assert!(!checked.text.contains("so the newest") && !checked.text.contains("dora keeps"), "{}", checked.text);
}

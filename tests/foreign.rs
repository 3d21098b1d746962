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
    env: {{FRAMES: 60, WIDTH: 64, HEIGHT: 48}}
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

/// A node that answers each row, and sends a summary once its input has ended. `KEEPS_METADATA`: it passes on the metadata of
/// what it reads.
const FAR: &str = "\
import pyarrow as pa
from dora import Node

pa.array([{'double': 1}])
node = Node()
count = 0
for event in node:
    if event['type'] == 'INPUT':
        metadata = event['metadata']
        if metadata.get('sl_kind') != 'data':
            # Passed on as it came, which must not disturb the reader.
            node.send_output('rows', event['value'], metadata)
            continue
        count += 1
        rows = pa.array([{'double': 2 * row['frames']} for row in event['value'].to_pylist()])
        node.send_output('rows', rows, metadata if KEEPS_METADATA else {})
    elif event['type'] == 'INPUT_CLOSED':
        break
node.send_output('rows', pa.array([{'double': -count}]), {})
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
fn every_row_of_a_plain_dora_node_is_recorded_with_those_after_its_input_has_ended() {
    let Some(_guard) = lock_dora() else { return };
    let bench = Bench::new();
    let (report, values) = run(&bench, true);
    let expected: Vec<i64> = (1..=60).map(|n| 2 * n).chain([-60]).collect();
    assert_eq!(values, expected);
    assert_eq!(report["unnumbered"]["rows"], 1, "the summary belongs to no frame");
}

#[test]
fn rows_without_a_frame_number_are_counted() {
    let Some(_guard) = lock_dora() else { return };
    let bench = Bench::new();
    let (report, values) = run(&bench, false);
    assert_eq!(values.len(), 61);
    assert_eq!(report["unnumbered"]["rows"], 61);
    let result = bench.sideline(&["result", bench.last_run().to_str().unwrap()]);
    assert!(result.text.contains("61 messages of a foreign node have no frame number"), "{}", result.text);
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
    assert!(!checked.text.contains("keeps the newest"), "{}", checked.text);
}

//! Flows run from the code of a program.

mod support;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use sideline::{Flow, Graph, Node};
use sideline_api::{Mode, tables::Count};
use support::{Bench, json};

fn counting(frames: u64) -> Graph {
    Graph::new("count")
        .node(Node::new("synthetic", "synthetic").set("frames", frames).set("width", 64).set("height", 48))
        .node(Node::new("counter", "counter").input("frames", "synthetic/frames"))
}

#[test]
fn every_callback_of_a_table_gets_every_row_in_order() {
    let bench = Bench::new();
    let (seen, batches) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicU64::new(0)));
    let (rows_seen, batches_seen) = (seen.clone(), batches.clone());
    let run = Flow::from_graph(&counting(50))
        .output(bench.path().join("run"))
        .on_table("counts", move |header, rows: Vec<Count>| {
            rows_seen.lock().unwrap().push((header.frame, rows[0].frames))
        })
        .on_batch("counter/counts", move |batch| {
            assert_eq!(batch.table, "counter/counts");
            batches_seen.fetch_add(batch.rows::<Count>().unwrap().len() as u64, Ordering::Relaxed);
        })
        .start()
        .unwrap();
    run.wait().unwrap();
    assert_eq!(*seen.lock().unwrap(), (0..50).map(|frame| (frame, frame + 1)).collect::<Vec<_>>());
    assert_eq!(batches.load(Ordering::Relaxed), 50);
}

#[test]
fn mistakes_are_errors_of_the_start() {
    let bench = Bench::new();
    let start = |flow: Flow| match flow.output(bench.path().join("run")).start() {
        Ok(_) => panic!("it started"),
        Err(error) => error.message,
    };
    let flow = || Flow::from_graph(&counting(5));
    assert!(start(flow().on_batch("count", |_| ())).contains("no node sends a table `count`; did you mean `counts`?"));
    assert!(start(flow().set("counter.stop", 4).unwrap()).contains("did you mean `step`?"));
    assert!(flow().set("step", 4).err().unwrap().message.contains("not NODE.KEY"));
    let graph = counting(5).node(Node::new("mine", "mine.py").input("frames", "synthetic/frames"));
    assert!(start(Flow::from_graph(&graph)).contains("operators in Python run in the program `sideline`"));
    let graph = counting(5).node(Node::new("two", "counter").input("frames", "synthetic/frame"));
    assert!(start(Flow::from_graph(&graph)).contains("`frame`"));
    assert!(Flow::load(bench.path().join("none.yml")).err().unwrap().message.contains("no such file"));
    assert!(!bench.path().join("run").exists(), "nothing has begun");
}

#[test]
fn failures_of_operators_are_told_while_the_run_goes_on() {
    let bench = Bench::new();
    let failures = Arc::new(Mutex::new(vec![]));
    let told = failures.clone();
    let graph = counting(60).node(
        Node::new("rehearse", "rehearse")
            .set("fail_one_in", 8)
            .set("SIDELINE_ON_ERROR", "skip")
            .input("frames", "synthetic/frames"),
    );
    let run = Flow::from_graph(&graph)
        .output(bench.path().join("run"))
        .on_failure(move |failure| {
            told.lock().unwrap().push((failure.node.to_owned(), failure.frame, failure.is_panic))
        })
        .start()
        .unwrap();
    let report = run.wait().unwrap();
    let failures = failures.lock().unwrap();
    let failed = report.nodes.iter().find(|node| node.node == "rehearse").unwrap().counts.failed_frames();
    assert!(failed > 0);
    assert_eq!(failures.len() as u64, failed);
    assert!(failures.iter().all(|(node, frame, _)| node == "rehearse" && frame.is_some()));
}

#[test]
fn a_wrong_row_type_is_a_failure_of_the_tap() {
    sideline_api::table! {
        /// Rows of another table.
        pub struct Other in "other" {
            /// A number.
            pub number: f32,
        }
    }
    let bench = Bench::new();
    let run = Flow::from_graph(&counting(5)).output(bench.path().join("run")).on_table("counts", |_, _: Vec<Other>| ());
    let error = run.start().unwrap().wait().unwrap_err();
    assert!(error.message.contains("other"), "{}", error.message);
}

#[test]
fn a_run_that_is_dropped_is_stopped_and_complete() {
    let bench = Bench::new();
    let folder = bench.path().join("run");
    let rows = Arc::new(AtomicU64::new(0));
    let seen = rows.clone();
    let graph = counting(0).node(Node::new("recorder", "recorder").input("counts", "counter/counts"));
    let run = Flow::from_graph(&graph)
        .mode(Mode::Complete)
        .output(&folder)
        .on_batch("counts", move |_| _ = seen.fetch_add(1, Ordering::Relaxed))
        .start()
        .unwrap();
    while rows.load(Ordering::Relaxed) < 20 {
        assert!(!run.has_ended());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(run);
    let result = json(folder.join("result/run.json"));
    assert_eq!(result["status"], "stopped");
    let recorded: usize = support::parquet(&folder.join("counts.parquet")).iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(recorded as u64, rows.load(Ordering::Relaxed));
}

#[test]
fn progress_is_told_at_the_end_at_least() {
    let bench = Bench::new();
    let frames = Arc::new(AtomicU64::new(0));
    let told = frames.clone();
    let run = Flow::from_graph(&counting(30))
        .output(bench.path().join("run"))
        .on_progress(move |progress| told.store(progress.frames, Ordering::Relaxed))
        .start()
        .unwrap();
    run.wait().unwrap();
    assert_eq!(frames.load(Ordering::Relaxed), 30);
}

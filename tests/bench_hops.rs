//! `sideline-lab bench hops`: the latency between operators on one thread, between threads and over dora.

mod support;

use support::{Bench, has_sideline, json_text, lock_dora};

#[test]
fn bench_hops_measures_hops_in_one_process_and_over_dora() {
    if !has_sideline() {
        return;
    }
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    let ended = bench.lab(&["bench", "hops", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let report = json_text(&ended.text[ended.text.find('{').unwrap()..=ended.text.rfind('}').unwrap()]);
    let python = &report["python"]["python_us"]["p50"];
    let problem = report["python_problem"].as_str().unwrap_or_default();
    assert!(python.as_f64().is_some_and(|us| us > 0.0) || problem.contains("Python"), "{report}");
    for key in ["fused_hop_us", "plugin_hop_us", "thread_hop_us", "floor_us", "dora_hop_us"] {
        assert!(report[key]["p50"].as_f64().is_some_and(|us| us >= 0.0), "{key}: {report}");
    }
}

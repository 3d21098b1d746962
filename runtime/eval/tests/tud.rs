//! Metrics on the TUD sequences, compared with published ones and with those of the reference tools.

use std::path::{Path, PathBuf};

use sideline_eval::{Noise, Sequence, Sort, read_boxes, read_ground_truth, run_tracking, score};
use sideline_testkit::{Capability, skip_test};

/// Returns `shared/data/tracking` next to the repository, if it exists.
fn data() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data/tracking"))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        skip_test(Capability::Data, "no ../shared/data");
    }
    found
}

/// Returns both sequences, with the detections of their files.
fn sequences(data: &Path) -> Vec<Sequence> {
    Sequence::read_all(data, None, &Noise::default()).unwrap()
}

fn assert_near(metric: f64, expected: f64) {
    assert!((metric - expected).abs() < 5e-5, "{metric} is not {expected}");
}

/// MOTA and IDF1 are the published scores of the development kit's example; the other values are those printed by
/// `motmetrics` 1.4 and `trackeval` 1.3.
#[test]
fn the_development_kits_result_has_its_published_scores() {
    let Some(data) = data() else { return };
    for (name, mota, idf1, hota, deta, assa, counts) in [
        ("TUD-Campus", 52.6462, 55.7659, 39.1397, 41.8047, 36.9121, (7, 13, 150, 7)),
        ("TUD-Stadtmitte", 56.4014, 64.4619, 39.7849, 39.2268, 40.8841, (7, 45, 452, 6)),
    ] {
        let folder = data.join(name);
        let truth = read_ground_truth(&folder.join("gt/gt.txt")).unwrap();
        let result = read_boxes(&folder.join("devkit/test.txt")).unwrap();
        let metrics = score(&truth, &result);
        assert_near(metrics.mota, mota);
        assert_near(metrics.idf1, idf1);
        assert_near(metrics.hota, hota);
        assert_near(metrics.deta, deta);
        assert_near(metrics.assa, assa);
        assert_eq!((metrics.idsw, metrics.fp, metrics.r#fn, metrics.fm), counts, "{name}");
    }
}

/// Replays the kit's result as the output of a tracker, to test the pooling.
#[test]
fn overall_metrics_pool_the_counts() {
    let Some(data) = data() else { return };
    let report = run_tracking(&sequences(&data), &mut |frame| {
        let result = read_boxes(&data.join(frame.sequence).join("devkit/test.txt")).unwrap();
        let boxes = result.get(frame.number - 1).into_iter().flatten();
        boxes.map(|b| sideline_eval::TrackedBox { id: b.id as u32, rect: b.rect }).collect()
    });
    assert_near(report.overall.mota, 55.5116);
    assert_near(report.overall.idf1, 62.4296);
    assert_near(report.overall.hota, 39.9957);
    assert_eq!(report.overall.idsw, 14);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["TUD-Campus"]["idsw"], 7);
    assert_eq!(json["overall"]["fn"], 602);
}

#[test]
fn sort_scores_as_its_authors_code() {
    let Some(data) = data() else { return };
    let mut sort = Sort::default();
    let report = run_tracking(&sequences(&data), &mut |frame| sort.update(frame));
    for (name, mota, idf1) in [("TUD-Campus", 62.7, 60.6), ("TUD-Stadtmitte", 71.7, 73.5)] {
        let metrics = report.sequences[name];
        assert!((metrics.mota - mota).abs() < 0.05, "{name}: MOTA {}", metrics.mota);
        assert!((metrics.idf1 - idf1).abs() < 0.05, "{name}: IDF1 {}", metrics.idf1);
    }
}

//! The figures against published ones, and against the reference tools' own, on the TUD sequences.

use std::path::{Path, PathBuf};

use sideline_eval::{Noise, Sequence, Sort, read_boxes, read_ground_truth, run_tracking, score};
use sideline_testkit::{Capability, skipped};

/// `shared/data/tracking` beside the repository, if it is there.
fn data() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data/tracking"))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        skipped(Capability::Data, "no ../shared/data");
    }
    found
}

/// The two sequences, with the boxes they come with.
fn sequences(data: &Path) -> Vec<Sequence> {
    Sequence::read_all(data, None, &Noise::default()).unwrap()
}

fn near(figure: f64, expected: f64) {
    assert!((figure - expected).abs() < 5e-5, "{figure} is not {expected}");
}

/// MOTA and IDF1 are the published figures of the development kit's example, the rest is what `motmetrics` 1.4 and
/// `trackeval` 1.3 print for it.
#[test]
fn the_development_kits_result_has_its_published_figures() {
    let Some(data) = data() else { return };
    for (name, mota, idf1, hota, deta, assa, counts) in [
        ("TUD-Campus", 52.6462, 55.7659, 39.1397, 41.8047, 36.9121, (7, 13, 150, 7)),
        ("TUD-Stadtmitte", 56.4014, 64.4619, 39.7849, 39.2268, 40.8841, (7, 45, 452, 6)),
    ] {
        let folder = data.join(name);
        let truth = read_ground_truth(&folder.join("gt/gt.txt")).unwrap();
        let result = read_boxes(&folder.join("devkit/test.txt")).unwrap();
        let figures = score(&truth, &result);
        near(figures.mota, mota);
        near(figures.idf1, idf1);
        near(figures.hota, hota);
        near(figures.deta, deta);
        near(figures.assa, assa);
        assert_eq!((figures.idsw, figures.fp, figures.r#fn, figures.fm), counts, "{name}");
    }
}

/// Replays the kit's result as if a tracker had given it, to see the pooling.
#[test]
fn overall_figures_pool_the_counts() {
    let Some(data) = data() else { return };
    let report = run_tracking(&sequences(&data), &mut |frame| {
        let result = read_boxes(&data.join(frame.sequence).join("devkit/test.txt")).unwrap();
        let boxes = result.get(frame.number - 1).into_iter().flatten();
        boxes.map(|b| sideline_eval::Tracked { id: b.id as u32, rect: b.rect }).collect()
    });
    near(report.overall.mota, 55.5116);
    near(report.overall.idf1, 62.4296);
    near(report.overall.hota, 39.9957);
    assert_eq!(report.overall.idsw, 14);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["TUD-Campus"]["idsw"], 7);
    assert_eq!(json["overall"]["fn"], 602);
}

#[test]
fn sort_scores_what_its_authors_code_scores() {
    let Some(data) = data() else { return };
    let mut sort = Sort::default();
    let report = run_tracking(&sequences(&data), &mut |frame| sort.update(frame));
    for (name, mota, idf1) in [("TUD-Campus", 62.7, 60.6), ("TUD-Stadtmitte", 71.7, 73.5)] {
        let figures = report.sequences[name];
        assert!((figures.mota - mota).abs() < 0.05, "{name}: MOTA {}", figures.mota);
        assert!((figures.idf1 - idf1).abs() < 0.05, "{name}: IDF1 {}", figures.idf1);
    }
}

//! BlazePose's person detector: an SSD over a square picture that detects faces and shoulders, with the center of the hips and a
//! scale point that gives the size and rotation of the person (Bazarevsky et al., BlazePose: On-device Real-time Body Pose
//! Tracking, 2020).
//!
//! It misses people that are small in its input of 224 px, so it runs on the whole frame and on square tiles in turn.

use sideline_api::{Frame, Resources, Result};
use sideline_inference::{Filter, Region, Sampler, Session, TensorSpec};
use sideline_vision::boxes::iou;

use crate::region::PersonRegion;

/// Name of the model in models.yml.
pub(crate) const MODEL: &str = "blazepose_detector";
/// Side of the input, px.
const SIZE: usize = 224;
/// Anchor grids: stride in pixels of the input, anchors per cell.
const LAYERS: [(usize, usize); 3] = [(8, 2), (16, 2), (32, 6)];
/// Number of anchors: 28 x 28 x 2 + 14 x 14 x 2 + 7 x 7 x 6.
pub(crate) const ANCHORS: usize = 2254;
/// Values per anchor: center and size of the box, four keypoints.
const VALUES: usize = 12;
/// IoU above which two boxes are of the same person.
const MAX_IOU: f32 = 0.3;

/// A detected person, in pixels of the frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Confidence, 0..1.
    pub score: f32,
    /// Box of face and shoulders, not of the whole body: x1 y1 x2 y2.
    pub corners: [f32; 4],
    /// Square region around the whole body.
    pub region: PersonRegion,
}

/// Person detector: the session and its buffers.
pub struct Detector {
    session: Session,
    sampler: Sampler,
    tensor: Vec<f32>,
    anchors: Vec<[f32; 2]>,
}

impl Detector {
    /// Loads the model.
    ///
    /// # Errors
    /// If it is missing, broken, or has other inputs or outputs than expected.
    pub fn new(resources: &Resources) -> Result<Self> {
        let session = Session::load(resources, MODEL)?;
        session.expect_inputs(&[("input_1", &[1, SIZE as i64, SIZE as i64, 3])])?;
        session.expect_output("Identity", &[1, ANCHORS as i64, VALUES as i64])?;
        session.expect_output("Identity_1", &[1, ANCHORS as i64, 1])?;
        let sampler = Sampler::new(TensorSpec { filter: Filter::Area, ..TensorSpec::square(SIZE, -1.0, 1.0) });
        Ok(Self { session, tensor: vec![0.0; sampler.len()], sampler, anchors: anchors() })
    }

    /// Detects the people in a square region of the frame, after non-maximum suppression, highest score first.
    ///
    /// # Errors
    /// If the frame cannot be sampled or the run fails.
    pub fn detect(&mut self, frame: &Frame, square: &Region, threshold: f32) -> Result<Vec<Detection>> {
        self.sampler.sample(frame, square, &mut self.tensor)?;
        let shape = [1, SIZE as i64, SIZE as i64, 3];
        let outputs = self.session.run(&[(&shape, &self.tensor)])?;
        let found = decode(outputs.get("Identity")?, outputs.get("Identity_1")?, &self.anchors, square, threshold);
        Ok(suppress(found))
    }
}

/// Returns the centers of the anchors, 0..1 of the input: row by row, several per cell, coarser grids last. Their size is not
/// used.
fn anchors() -> Vec<[f32; 2]> {
    let mut anchors = Vec::with_capacity(ANCHORS);
    for (stride, count) in LAYERS {
        let cells = SIZE / stride;
        for cell in 0..cells * cells {
            let (row, column) = (cell / cells, cell % cells);
            let center = [(column as f32 + 0.5) / cells as f32, (row as f32 + 0.5) / cells as f32];
            anchors.extend(std::iter::repeat_n(center, count));
        }
    }
    anchors
}

/// Decodes the outputs for a square region: `values` [2254, 12], `logits` [2254].
fn decode(values: &[f32], logits: &[f32], anchors: &[[f32; 2]], square: &Region, threshold: f32) -> Vec<Detection> {
    let scores = logits.iter().map(|logit| sigmoid(*logit));
    let rows = values.chunks_exact(VALUES).zip(scores).zip(anchors);
    // NaN is not above any threshold.
    rows.filter(|((_, score), _)| *score > threshold)
        .map(|((row, score), anchor)| {
            // Values are in pixels of the input; all except sizes are relative to the anchor.
            let place = |x: f32, y: f32| {
                let (u, v) = (x / SIZE as f32 + anchor[0] - 0.5, y / SIZE as f32 + anchor[1] - 0.5);
                let (x, y) = square.to_frame(u, v);
                [x, y]
            };
            let [x1, y1] = place(row[0] - row[2] / 2.0, row[1] - row[3] / 2.0);
            let [x2, y2] = place(row[0] + row[2] / 2.0, row[1] + row[3] / 2.0);
            // Keypoints: center of the hips and scale point of the whole body, then those of the upper body.
            let region = PersonRegion::from_keypoints(place(row[4], row[5]), place(row[6], row[7]));
            Detection { score, corners: [x1, y1, x2, y2], region }
        })
        .collect()
}

/// Keeps the best of each group of overlapping detections (non-maximum suppression), highest score first.
fn suppress(mut found: Vec<Detection>) -> Vec<Detection> {
    // The sort is stable: of equal scores, the detection of the earlier anchor comes first.
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in found {
        if kept.iter().all(|other| iou(&candidate.corners, &other.corners) <= MAX_IOU) {
            kept.push(candidate);
        }
    }
    kept
}

/// Logistic function.
pub(crate) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Returns the square to search for people in run number `turn`: cycles through the whole frame and `tiles` squares as wide as
/// the frame's short side, spread evenly along its long side from end to end.
pub(crate) fn search_square(frame: &Frame, tiles: usize, turn: u64) -> Region {
    let (width, height) = (frame.width() as f32, frame.height() as f32);
    let place = (turn % (tiles as u64 + 1)) as usize;
    if place == 0 {
        return Region::letterbox(frame);
    }
    let (short, long) = (width.min(height), width.max(height));
    // A single tile is centered.
    let along =
        if tiles == 1 { long / 2.0 } else { short / 2.0 + (long - short) * (place - 1) as f32 / (tiles - 1) as f32 };
    let (x, y) = if width >= height { (along, short / 2.0) } else { (short / 2.0, along) };
    Region::square(x, y, short, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{Color, Encoding};

    #[test]
    fn anchors_are_at_the_centers_of_their_cells() {
        let anchors = anchors();
        assert_eq!(anchors.len(), ANCHORS);
        assert_eq!(
            (anchors[0], anchors[1], anchors[2]),
            ([4.0 / 224.0; 2], [4.0 / 224.0; 2], [12.0 / 224.0, 4.0 / 224.0])
        );
        // The first anchor of the second and of the third grid, and the last one.
        assert_eq!(anchors[1568], [8.0 / 224.0; 2]);
        assert_eq!(anchors[1960], [16.0 / 224.0; 2]);
        assert_eq!(anchors[2253], [208.0 / 224.0; 2]);
    }

    #[test]
    fn a_detection_is_mapped_to_the_frame() {
        let anchors = anchors();
        let mut values = vec![0.0; ANCHORS * VALUES];
        let mut logits = vec![-10.0; ANCHORS];
        // Anchor 2253 at (208, 208): a box of 20 x 40 around (200, 190), hips at (201, 211), scale point 30 px above.
        values[2253 * 12..][..8].copy_from_slice(&[-8.0, -18.0, 20.0, 40.0, -7.0, 3.0, -7.0, -27.0]);
        logits[2253] = 2.0;
        logits[7] = f32::NAN;
        // The square covers 448 px from (100, 50): two per pixel of the input.
        let square = Region::square(324.0, 274.0, 448.0, 0.0);
        let found = decode(&values, &logits, &anchors, &square, 0.5);
        assert_eq!(found.len(), 1);
        assert!((found[0].score - 0.880_797).abs() < 1e-5);
        let near = |a: f32, b: f32| (a - b).abs() < 1e-2;
        let [x1, y1, x2, y2] = found[0].corners;
        assert!(near(x1, 480.0) && near(y1, 390.0) && near(x2, 520.0) && near(y2, 470.0), "{found:?}");
        let region = found[0].region;
        assert!(near(region.x, 502.0) && near(region.y, 472.0) && near(region.size, 150.0), "{region:?}");
    }

    #[test]
    fn the_best_of_overlapping_detections_is_kept() {
        let region = PersonRegion { x: 0.0, y: 0.0, size: 1.0, rotation: 0.0 };
        let detection = |score, x: f32| Detection { score, corners: [x, 0.0, x + 10.0, 10.0], region };
        let kept = suppress(vec![detection(0.6, 0.0), detection(0.9, 2.0), detection(0.7, 9.0), detection(0.8, 40.0)]);
        assert_eq!(kept.iter().map(|d| d.score).collect::<Vec<_>>(), [0.9, 0.8, 0.7]);
        // Boxes without area overlap no other, and NaN is harmless.
        assert_eq!(iou(&[1.0; 4], &[1.0; 4]), 0.0);
        assert_eq!(iou(&[f32::NAN; 4], &[0.0, 0.0, 1.0, 1.0]), 0.0);
    }

    #[test]
    fn the_search_squares_cover_the_frame_in_turn() {
        for (width, height) in [(160_u32, 90_u32), (90, 160)] {
            let bytes = vec![0u8; (width * height * 3) as usize];
            let frame =
                Frame::from_packed(width, height, Encoding::Rgb8, Color::default_for_height(90), bytes).unwrap();
            let squares: Vec<Region> = (0..5).map(|turn| search_square(&frame, 3, turn)).collect();
            let along = |r: &Region| if width > height { r.x } else { r.y };
            assert_eq!(squares.iter().map(along).collect::<Vec<_>>(), [80.0, 45.0, 80.0, 115.0, 80.0]);
            assert_eq!(squares.iter().map(|r| r.width).collect::<Vec<_>>(), [160.0, 90.0, 90.0, 90.0, 160.0]);
            assert_eq!(search_square(&frame, 0, 9), Region::letterbox(&frame));
            assert_eq!(along(&search_square(&frame, 1, 1)), 80.0);
        }
    }
}

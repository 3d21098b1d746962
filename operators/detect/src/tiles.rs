//! Tiles of a frame, and the merging of their boxes into one list without duplicates.
//!
//! A box that ends at the border of its tile is cut: the adjacent tile contains the rest. If that tile contains the
//! whole object, as with a large enough overlap, the cut box is dropped; if both contain a part, the parts are joined.

use sideline_inference::Region;
use sideline_vision::boxes::iou;

use crate::{config::Grid, decode::DecodedBox};

/// A rectangle x1 y1 x2 y2 in pixels of the frame.
pub type Corners = [f32; 4];

/// Maximum number of boxes per frame; those with the lowest scores are dropped.
const MAX_BOXES: usize = 1000;
/// Share of a cut box that a box of another tile must cover for the cut box to be dropped.
const MIN_COVERED_SHARE: f32 = 0.5;
/// Minimum IoU of two cut boxes along their seam for them to be parts of one object.
const MIN_SEAM_IOU: f32 = 0.5;
/// Maximum distance from the border of its tile at which a box counts as cut, px of the model's input.
const BORDER_MARGIN_PX: f32 = 4.0;

/// Returns the tiles of a grid, row-major; `overlap` is a share of a tile.
pub fn tile_grid(grid: Grid, overlap: f32, width: f32, height: f32) -> Vec<Corners> {
    // n tiles that overlap by a share of their length cover n - (n - 1) * overlap lengths.
    let spans = |count: usize, length: f32| -> Vec<(f32, f32)> {
        let side = length / (count as f32 - (count - 1) as f32 * overlap);
        (0..count).map(|i| i as f32 * side * (1.0 - overlap)).map(|from| (from, (from + side).min(length))).collect()
    };
    let across = spans(grid.columns, width);
    let down = spans(grid.rows, height);
    down.iter().flat_map(|(y1, y2)| across.iter().map(move |(x1, x2)| [*x1, *y1, *x2, *y2])).collect()
}

/// Returns a square around a point, moved into the frame where it fits.
pub fn square_around(x: f32, y: f32, side: f32, width: f32, height: f32) -> Corners {
    let span = |middle: f32, length: f32| {
        let side = side.min(length);
        let from = (middle - side / 2.0).clamp(0.0, length - side);
        (from, from + side)
    };
    let ((x1, x2), (y1, y2)) = (span(x, width), span(y, height));
    [x1, y1, x2, y2]
}

/// The region of a frame that fills the model's input for one tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileView {
    /// The region that is sampled into the model's input.
    pub region: Region,
    /// The part of the frame in that region.
    pub visible: Corners,
}

impl TileView {
    /// Creates the view of a tile for an input of `size` (width, height): stretched to it, or letterboxed with the
    /// surroundings of the tile, and with padding outside the frame.
    pub fn new(tile: Corners, size: (usize, usize), stretch: bool, frame_size: (f32, f32)) -> Self {
        let [x1, y1, x2, y2] = tile;
        let (mut width, mut height) = (x2 - x1, y2 - y1);
        if !stretch {
            let aspect = size.0 as f32 / size.1 as f32;
            (width, height) = (width.max(height * aspect), height.max(width / aspect));
        }
        let (x, y) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0);
        let visible = [
            (x - width / 2.0).max(0.0),
            (y - height / 2.0).max(0.0),
            (x + width / 2.0).min(frame_size.0),
            (y + height / 2.0).min(frame_size.1),
        ];
        Self { region: Region { x, y, width, height, rotation: 0.0 }, visible }
    }

    /// Maps a box of the model's input to the frame and clips it; `None` where it lies outside the frame.
    pub fn map_to_frame(
        &self,
        found: &DecodedBox,
        size: (usize, usize),
        tile: usize,
        frame_size: (f32, f32),
    ) -> Option<TileBox> {
        let [x1, y1, x2, y2] = found.corners;
        let point = |x: f32, y: f32| self.region.to_frame(x / size.0 as f32 - 0.5, y / size.1 as f32 - 0.5);
        let ((left, top), (right, bottom)) = (point(x1, y1), point(x2, y2));
        let corners = [left.max(0.0), top.max(0.0), right.min(frame_size.0), bottom.min(frame_size.1)];
        let is_empty = corners[0] >= corners[2] || corners[1] >= corners[3];
        if is_empty || found.corners.iter().any(|corner| corner.is_nan()) {
            return None;
        }
        let margin = BORDER_MARGIN_PX * self.region.width / size.0 as f32;
        let is_cut = [
            self.visible[0] > 0.0 && corners[0] < self.visible[0] + margin,
            self.visible[1] > 0.0 && corners[1] < self.visible[1] + margin,
            self.visible[2] < frame_size.0 && corners[2] > self.visible[2] - margin,
            self.visible[3] < frame_size.1 && corners[3] > self.visible[3] - margin,
        ];
        Some(TileBox { corners, score: found.score, class: found.class, tile, is_cut })
    }
}

/// A box detected in one tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileBox {
    /// Corners of the box in the frame.
    pub corners: Corners,
    /// Detection score, 0 to 1.
    pub score: f32,
    /// Number of the class.
    pub class: u16,
    /// Index of the tile.
    pub tile: usize,
    /// True for each side on which the object may extend beyond the tile: left, top, right, bottom.
    pub is_cut: [bool; 4],
}

impl TileBox {
    fn is_whole(&self) -> bool {
        self.is_cut == [false; 4]
    }

    fn area(&self) -> f32 {
        (self.corners[2] - self.corners[0]) * (self.corners[3] - self.corners[1])
    }

    fn intersection_area(&self, other: &Self) -> f32 {
        let [ax1, ay1, ax2, ay2] = self.corners;
        let [bx1, by1, bx2, by2] = other.corners;
        (ax2.min(bx2) - ax1.max(bx1)).max(0.0) * (ay2.min(by2) - ay1.max(by1)).max(0.0)
    }

    /// Returns true where both boxes are parts of one object across the seam between their tiles.
    fn continues_across_seam(&self, other: &Self) -> bool {
        let seam = |from: usize, to: usize| {
            let is_cut_here = (self.is_cut[from] && other.is_cut[to]) || (self.is_cut[to] && other.is_cut[from]);
            let spans = [self.corners, other.corners].map(|c| (c[1 - from], c[3 - from]));
            let [(a1, a2), (b1, b2)] = spans;
            let shared = (a2.min(b2) - a1.max(b1)).max(0.0);
            is_cut_here && shared / (a2.max(b2) - a1.min(b1)) >= MIN_SEAM_IOU
        };
        let touches = (0..2)
            .all(|axis| self.corners[axis] <= other.corners[axis + 2] && other.corners[axis] <= self.corners[axis + 2]);
        touches && (seam(0, 2) || seam(1, 3))
    }

    fn join(&mut self, other: &Self) {
        for i in 0..2 {
            self.corners[i] = self.corners[i].min(other.corners[i]);
            self.corners[i + 2] = self.corners[i + 2].max(other.corners[i + 2]);
        }
        self.score = self.score.max(other.score);
        // The side at the seam is complete now.
        for (mine, theirs) in [(0, 2), (1, 3), (2, 0), (3, 1)] {
            self.is_cut[mine] = self.is_cut[mine] && !other.is_cut[theirs];
        }
    }
}

/// Merges the boxes of all tiles, in descending order of score. `nms` is the IoU threshold of non-maximum suppression
/// per class.
pub fn merge(mut boxes: Vec<TileBox>, nms: f32) -> Vec<TileBox> {
    // The sort is stable: equal scores keep the order of the tiles. Uncut boxes come first, since their extent is
    // known.
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
    boxes.truncate(MAX_BOXES);
    boxes.sort_by_key(|found| !found.is_whole());
    let mut kept: Vec<TileBox> = Vec::new();
    for found in boxes {
        let is_duplicate = |other: &TileBox| {
            let is_covered_part = other.tile != found.tile
                && !found.is_whole()
                && found.intersection_area(other) > MIN_COVERED_SHARE * found.area();
            other.class == found.class && (is_covered_part || iou(&found.corners, &other.corners) > nms)
        };
        if kept.iter().any(is_duplicate) {
            continue;
        }
        let continues = |other: &&mut TileBox| {
            other.class == found.class
                && other.tile != found.tile
                && !other.is_whole()
                && other.continues_across_seam(&found)
        };
        match kept.iter_mut().find(continues) {
            Some(other) => other.join(&found),
            None => kept.push(found),
        }
    }
    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_SIZE: (f32, f32) = (1000.0, 500.0);

    fn decoded(corners: Corners, score: f32) -> DecodedBox {
        DecodedBox { corners, score, class: 0 }
    }

    /// Returns the boxes of an object in two adjacent tiles, each 500 px wide and sampled to 500 x 500.
    fn boxes_in_both_tiles(object: Corners, overlap: f32, scores: [f32; 2]) -> Vec<TileBox> {
        let size = (500, 500);
        let tiles = tile_grid(Grid { columns: 2, rows: 1 }, overlap, FRAME_SIZE.0, FRAME_SIZE.1);
        let views = tiles.iter().map(|tile| TileView::new(*tile, size, true, FRAME_SIZE));
        let boxes = views.zip(scores).enumerate().filter_map(|(i, (view, score))| {
            let s = view.visible;
            let part = [object[0].max(s[0]), object[1].max(s[1]), object[2].min(s[2]), object[3].min(s[3])];
            let (u, v) = (500.0 / (s[2] - s[0]), 500.0 / (s[3] - s[1]));
            let corners = [(part[0] - s[0]) * u, (part[1] - s[1]) * v, (part[2] - s[0]) * u, (part[3] - s[1]) * v];
            (part[2] > part[0]).then(|| view.map_to_frame(&decoded(corners, score), size, i, FRAME_SIZE)).flatten()
        });
        boxes.collect()
    }

    fn is_close(a: &Corners, b: &Corners) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.01)
    }

    #[test]
    fn tiles_cover_the_frame_and_overlap() {
        let cut = tile_grid(Grid { columns: 3, rows: 2 }, 0.2, 260.0, 180.0);
        assert_eq!(cut.len(), 6);
        assert!(
            is_close(&cut[0], &[0.0, 0.0, 100.0, 100.0]) && is_close(&cut[1], &[80.0, 0.0, 180.0, 100.0]),
            "{cut:?}"
        );
        assert!(is_close(&cut[5], &[160.0, 80.0, 260.0, 180.0]), "{cut:?}");
        assert_eq!(tile_grid(Grid { columns: 1, rows: 1 }, 0.5, 260.0, 180.0), [[0.0, 0.0, 260.0, 180.0]]);
    }

    #[test]
    fn a_letterbox_covers_the_frame_and_boxes_map_back() {
        let view = TileView::new([0.0, 0.0, 1000.0, 500.0], (512, 512), false, FRAME_SIZE);
        assert_eq!(view.region, Region { x: 500.0, y: 250.0, width: 1000.0, height: 1000.0, rotation: 0.0 });
        assert_eq!(view.visible, [0.0, 0.0, 1000.0, 500.0]);
        let found = view.map_to_frame(&decoded([0.0, 128.0, 256.0, 300.0], 0.5), (512, 512), 0, FRAME_SIZE).unwrap();
        assert!(is_close(&found.corners, &[0.0, 0.0, 500.0, 335.9375]) && found.is_whole(), "{found:?}");
        // A box beside the frame is dropped.
        assert_eq!(view.map_to_frame(&decoded([0.0, 0.0, 256.0, 100.0], 0.5), (512, 512), 0, FRAME_SIZE), None);
        assert_eq!(view.map_to_frame(&decoded([0.0, f32::NAN, 256.0, 100.0], 0.5), (512, 512), 0, FRAME_SIZE), None);
    }

    #[test]
    fn an_object_on_a_seam_is_reported_once() {
        // With overlap, one tile contains the whole object and the other a part, which may have the higher score.
        let object = [420.0, 100.0, 520.0, 300.0];
        for scores in [[0.9, 0.5], [0.5, 0.9]] {
            let boxes = boxes_in_both_tiles(object, 0.2, scores);
            assert_eq!(boxes.len(), 2);
            let merged = merge(boxes, 0.4);
            assert_eq!(merged.len(), 1, "{merged:?}");
            assert!(is_close(&merged[0].corners, &object), "{merged:?}");
        }
        // Larger than the overlap: both tiles contain a part.
        let object = [300.0, 100.0, 700.0, 300.0];
        let merged = merge(boxes_in_both_tiles(object, 0.1, [0.4, 0.6]), 0.4);
        assert_eq!(merged.len(), 1, "{merged:?}");
        assert!(is_close(&merged[0].corners, &object) && merged[0].score == 0.6, "{merged:?}");
        // Without overlap, the parts only touch.
        let merged = merge(boxes_in_both_tiles(object, 0.0, [0.4, 0.6]), 0.4);
        assert!(merged.len() == 1 && is_close(&merged[0].corners, &object), "{merged:?}");
    }

    #[test]
    fn two_objects_at_a_seam_stay_separate() {
        let mut boxes = boxes_in_both_tiles([380.0, 100.0, 450.0, 300.0], 0.0, [0.9, 0.9]);
        boxes.extend(boxes_in_both_tiles([510.0, 110.0, 580.0, 310.0], 0.0, [0.8, 0.8]));
        assert_eq!(merge(boxes, 0.4).len(), 2);
        // One object above the other, both cut.
        let mut boxes = boxes_in_both_tiles([450.0, 20.0, 550.0, 120.0], 0.0, [0.9, 0.9]);
        boxes.extend(boxes_in_both_tiles([450.0, 300.0, 550.0, 400.0], 0.0, [0.8, 0.8]));
        assert_eq!(merge(boxes, 0.4).len(), 2);
    }

    #[test]
    fn nms_merges_boxes_of_one_class_only() {
        let tile_box = |corners, score, class| TileBox { corners, score, class, tile: 0, is_cut: [false; 4] };
        let boxes = vec![
            tile_box([0.0, 0.0, 10.0, 10.0], 0.5, 0),
            tile_box([1.0, 0.0, 11.0, 10.0], 0.7, 0),
            tile_box([0.0, 0.0, 10.0, 10.0], 0.6, 1),
            tile_box([6.0, 0.0, 16.0, 10.0], 0.4, 0),
        ];
        let merged = merge(boxes.clone(), 0.4);
        assert_eq!(merged.iter().map(|p| (p.score, p.class)).collect::<Vec<_>>(), [(0.7, 0), (0.6, 1), (0.4, 0)]);
        assert_eq!(merge(boxes, 1.0).len(), 4);
    }

    #[test]
    fn the_square_around_the_ball_stays_in_the_frame() {
        assert_eq!(square_around(500.0, 250.0, 100.0, 1000.0, 500.0), [450.0, 200.0, 550.0, 300.0]);
        assert_eq!(square_around(10.0, 490.0, 100.0, 1000.0, 500.0), [0.0, 400.0, 100.0, 500.0]);
        assert_eq!(square_around(10.0, 10.0, 800.0, 1000.0, 500.0), [0.0, 0.0, 800.0, 500.0]);
    }
}

//! The parts of a picture that a model is shown, and the boxes of all of them as one list in which every thing comes once.
//!
//! A box that ends at the border of what a tile showed is cut: the tile beside it saw the rest. If that tile saw all of the
//! thing, as it does where the overlap is large enough, the cut box goes; if both saw a part, the parts are joined.

use sideline_api::boxes::iou;
use sideline_inference::Region;

use crate::{config::Grid, decode::Found};

/// A rectangle x1 y1 x2 y2 in pixels of the frame.
pub type Corners = [f32; 4];

/// Most boxes of a frame: what is beyond, surest first, is not looked at.
const MOST: usize = 1000;
/// A cut box is gone when so much of it is covered by a box that another tile saw whole.
const COVERED: f32 = 0.5;
/// Two cut boxes are parts of one thing when along the seam they overlap by so much (IoU of their lengths).
const ALONG: f32 = 0.5;
/// A box is cut when it ends so near to the border, in pixels of the model.
const NEAR: f32 = 4.0;

/// The tiles of a grid, row by row.
pub fn tiles(grid: Grid, overlap: f32, width: f32, height: f32) -> Vec<Corners> {
    // n tiles that overlap by a part of their length cover n - (n - 1) overlap lengths.
    let spans = |count: usize, length: f32| -> Vec<(f32, f32)> {
        let side = length / (count as f32 - (count - 1) as f32 * overlap);
        (0..count).map(|i| i as f32 * side * (1.0 - overlap)).map(|from| (from, (from + side).min(length))).collect()
    };
    let across = spans(grid.columns, width);
    let down = spans(grid.rows, height);
    down.iter().flat_map(|(y1, y2)| across.iter().map(move |(x1, x2)| [*x1, *y1, *x2, *y2])).collect()
}

/// A square of this side around a point, moved so that it lies in the picture, where it fits.
pub fn square(x: f32, y: f32, side: f32, width: f32, height: f32) -> Corners {
    let place = |middle: f32, length: f32| {
        let side = side.min(length);
        let from = (middle - side / 2.0).clamp(0.0, length - side);
        (from, from + side)
    };
    let ((x1, x2), (y1, y2)) = (place(x, width), place(y, height));
    [x1, y1, x2, y2]
}

/// What the model is shown of a tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The region that fills the model's input.
    pub region: Region,
    /// What of the picture is in it.
    pub seen: Corners,
}

impl View {
    /// The region around a tile for an input of `size` (columns, rows); squeezed, or letterboxed with what lies beside the
    /// tile, and outside the picture nothing.
    pub fn new(tile: Corners, size: (usize, usize), squeeze: bool, picture: (f32, f32)) -> Self {
        let [x1, y1, x2, y2] = tile;
        let (mut width, mut height) = (x2 - x1, y2 - y1);
        if !squeeze {
            let aspect = size.0 as f32 / size.1 as f32;
            (width, height) = (width.max(height * aspect), height.max(width / aspect));
        }
        let (x, y) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0);
        let seen = [
            (x - width / 2.0).max(0.0),
            (y - height / 2.0).max(0.0),
            (x + width / 2.0).min(picture.0),
            (y + height / 2.0).min(picture.1),
        ];
        Self { region: Region { x, y, width, height, rotation: 0.0 }, seen }
    }

    /// A box of the model's input, in the frame and within the picture; `None` where nothing of it is.
    pub fn place(&self, found: &Found, size: (usize, usize), tile: usize, picture: (f32, f32)) -> Option<Piece> {
        let [x1, y1, x2, y2] = found.corners;
        let point = |x: f32, y: f32| self.region.to_frame(x / size.0 as f32 - 0.5, y / size.1 as f32 - 0.5);
        let ((left, top), (right, bottom)) = (point(x1, y1), point(x2, y2));
        let corners = [left.max(0.0), top.max(0.0), right.min(picture.0), bottom.min(picture.1)];
        let empty = corners[0] >= corners[2] || corners[1] >= corners[3];
        if empty || found.corners.iter().any(|corner| corner.is_nan()) {
            return None;
        }
        let near = NEAR * self.region.width / size.0 as f32;
        let cut = [
            self.seen[0] > 0.0 && corners[0] < self.seen[0] + near,
            self.seen[1] > 0.0 && corners[1] < self.seen[1] + near,
            self.seen[2] < picture.0 && corners[2] > self.seen[2] - near,
            self.seen[3] < picture.1 && corners[3] > self.seen[3] - near,
        ];
        Some(Piece { corners, score: found.score, class: found.class, tile, cut })
    }
}

/// A box as one tile saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// Where it is.
    pub corners: Corners,
    /// Confidence, 0..1.
    pub score: f32,
    /// Number of the class.
    pub class: u16,
    /// Which tile saw it.
    pub tile: usize,
    /// Whether it may go on beyond the tile: left, above, right, below.
    pub cut: [bool; 4],
}

impl Piece {
    fn whole(&self) -> bool {
        self.cut == [false; 4]
    }

    fn area(&self) -> f32 {
        (self.corners[2] - self.corners[0]) * (self.corners[3] - self.corners[1])
    }

    fn shared(&self, other: &Self) -> f32 {
        let [ax1, ay1, ax2, ay2] = self.corners;
        let [bx1, by1, bx2, by2] = other.corners;
        (ax2.min(bx2) - ax1.max(bx1)).max(0.0) * (ay2.min(by2) - ay1.max(by1)).max(0.0)
    }

    /// True when both are parts of one thing that lies across the seam between their tiles.
    fn continues(&self, other: &Self) -> bool {
        let seam = |from: usize, to: usize| {
            let meets = (self.cut[from] && other.cut[to]) || (self.cut[to] && other.cut[from]);
            let across = [self.corners, other.corners].map(|c| (c[1 - from], c[3 - from]));
            let [(a1, a2), (b1, b2)] = across;
            let shared = (a2.min(b2) - a1.max(b1)).max(0.0);
            meets && shared / (a2.max(b2) - a1.min(b1)) >= ALONG
        };
        let touch = (0..2)
            .all(|axis| self.corners[axis] <= other.corners[axis + 2] && other.corners[axis] <= self.corners[axis + 2]);
        touch && (seam(0, 2) || seam(1, 3))
    }

    fn join(&mut self, other: &Self) {
        for i in 0..2 {
            self.corners[i] = self.corners[i].min(other.corners[i]);
            self.corners[i + 2] = self.corners[i + 2].max(other.corners[i + 2]);
        }
        self.score = self.score.max(other.score);
        // What was cut at the seam is whole there now.
        for (mine, theirs) in [(0, 2), (1, 3), (2, 0), (3, 1)] {
            self.cut[mine] = self.cut[mine] && !other.cut[theirs];
        }
    }
}

/// Every thing once, surest first. `nms`: overlap from which two boxes of a class are one thing.
pub fn merge(mut pieces: Vec<Piece>, nms: f32) -> Vec<Piece> {
    // Stable: of equal scores the one of the earlier tile. Whole ones first: they know best where a thing ends.
    pieces.sort_by(|a, b| b.score.total_cmp(&a.score));
    pieces.truncate(MOST);
    pieces.sort_by_key(|piece| !piece.whole());
    let mut kept: Vec<Piece> = Vec::new();
    for piece in pieces {
        let covered = |other: &Piece| {
            let beside = other.tile != piece.tile && !piece.whole() && piece.shared(other) > COVERED * piece.area();
            other.class == piece.class && (beside || iou(&piece.corners, &other.corners) > nms)
        };
        if kept.iter().any(covered) {
            continue;
        }
        let part = |other: &&mut Piece| {
            other.class == piece.class && other.tile != piece.tile && !other.whole() && other.continues(&piece)
        };
        match kept.iter_mut().find(part) {
            Some(other) => other.join(&piece),
            None => kept.push(piece),
        }
    }
    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: (f32, f32) = (1000.0, 500.0);

    fn found(corners: Corners, score: f32) -> Found {
        Found { corners, score, class: 0 }
    }

    /// Boxes of a thing as two tiles beside each other see it, each 500 px wide and shown as 500 x 500.
    fn seen_by_both(thing: Corners, overlap: f32, scores: [f32; 2]) -> Vec<Piece> {
        let size = (500, 500);
        let tiles = tiles(Grid { columns: 2, rows: 1 }, overlap, PICTURE.0, PICTURE.1);
        let views = tiles.iter().map(|tile| View::new(*tile, size, true, PICTURE));
        let pieces = views.zip(scores).enumerate().filter_map(|(i, (view, score))| {
            let s = view.seen;
            let part = [thing[0].max(s[0]), thing[1].max(s[1]), thing[2].min(s[2]), thing[3].min(s[3])];
            let (u, v) = (500.0 / (s[2] - s[0]), 500.0 / (s[3] - s[1]));
            let corners = [(part[0] - s[0]) * u, (part[1] - s[1]) * v, (part[2] - s[0]) * u, (part[3] - s[1]) * v];
            (part[2] > part[0]).then(|| view.place(&found(corners, score), size, i, PICTURE)).flatten()
        });
        pieces.collect()
    }

    fn near(a: &Corners, b: &Corners) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.01)
    }

    #[test]
    fn tiles_cover_the_picture_and_overlap() {
        let cut = tiles(Grid { columns: 3, rows: 2 }, 0.2, 260.0, 180.0);
        assert_eq!(cut.len(), 6);
        assert!(near(&cut[0], &[0.0, 0.0, 100.0, 100.0]) && near(&cut[1], &[80.0, 0.0, 180.0, 100.0]), "{cut:?}");
        assert!(near(&cut[5], &[160.0, 80.0, 260.0, 180.0]), "{cut:?}");
        assert_eq!(tiles(Grid { columns: 1, rows: 1 }, 0.5, 260.0, 180.0), [[0.0, 0.0, 260.0, 180.0]]);
    }

    #[test]
    fn a_letterbox_shows_all_of_the_picture_and_boxes_come_back_to_their_places() {
        let view = View::new([0.0, 0.0, 1000.0, 500.0], (512, 512), false, PICTURE);
        assert_eq!(view.region, Region { x: 500.0, y: 250.0, width: 1000.0, height: 1000.0, rotation: 0.0 });
        assert_eq!(view.seen, [0.0, 0.0, 1000.0, 500.0]);
        let piece = view.place(&found([0.0, 128.0, 256.0, 300.0], 0.5), (512, 512), 0, PICTURE).unwrap();
        assert!(near(&piece.corners, &[0.0, 0.0, 500.0, 335.9375]) && piece.whole(), "{piece:?}");
        // What is found beside the picture is nothing.
        assert_eq!(view.place(&found([0.0, 0.0, 256.0, 100.0], 0.5), (512, 512), 0, PICTURE), None);
        assert_eq!(view.place(&found([0.0, f32::NAN, 256.0, 100.0], 0.5), (512, 512), 0, PICTURE), None);
    }

    #[test]
    fn a_thing_on_a_seam_comes_once() {
        // With overlap one tile sees it whole, the other a part, which may be the surer one.
        let thing = [420.0, 100.0, 520.0, 300.0];
        for scores in [[0.9, 0.5], [0.5, 0.9]] {
            let pieces = seen_by_both(thing, 0.2, scores);
            assert_eq!(pieces.len(), 2);
            let merged = merge(pieces, 0.4);
            assert_eq!(merged.len(), 1, "{merged:?}");
            assert!(near(&merged[0].corners, &thing), "{merged:?}");
        }
        // Larger than the overlap: both see a part.
        let thing = [300.0, 100.0, 700.0, 300.0];
        let merged = merge(seen_by_both(thing, 0.1, [0.4, 0.6]), 0.4);
        assert_eq!(merged.len(), 1, "{merged:?}");
        assert!(near(&merged[0].corners, &thing) && merged[0].score == 0.6, "{merged:?}");
        // Without overlap the parts only touch.
        let merged = merge(seen_by_both(thing, 0.0, [0.4, 0.6]), 0.4);
        assert!(merged.len() == 1 && near(&merged[0].corners, &thing), "{merged:?}");
    }

    #[test]
    fn two_who_stand_at_a_seam_stay_two() {
        let mut pieces = seen_by_both([380.0, 100.0, 450.0, 300.0], 0.0, [0.9, 0.9]);
        pieces.extend(seen_by_both([510.0, 110.0, 580.0, 310.0], 0.0, [0.8, 0.8]));
        assert_eq!(merge(pieces, 0.4).len(), 2);
        // One above the other, both cut.
        let mut pieces = seen_by_both([450.0, 20.0, 550.0, 120.0], 0.0, [0.9, 0.9]);
        pieces.extend(seen_by_both([450.0, 300.0, 550.0, 400.0], 0.0, [0.8, 0.8]));
        assert_eq!(merge(pieces, 0.4).len(), 2);
    }

    #[test]
    fn boxes_of_one_thing_are_one_and_classes_stay_apart() {
        let piece = |corners, score, class| Piece { corners, score, class, tile: 0, cut: [false; 4] };
        let pieces = vec![
            piece([0.0, 0.0, 10.0, 10.0], 0.5, 0),
            piece([1.0, 0.0, 11.0, 10.0], 0.7, 0),
            piece([0.0, 0.0, 10.0, 10.0], 0.6, 1),
            piece([6.0, 0.0, 16.0, 10.0], 0.4, 0),
        ];
        let merged = merge(pieces.clone(), 0.4);
        assert_eq!(merged.iter().map(|p| (p.score, p.class)).collect::<Vec<_>>(), [(0.7, 0), (0.6, 1), (0.4, 0)]);
        assert_eq!(merge(pieces, 1.0).len(), 4);
    }

    #[test]
    fn the_square_around_the_ball_stays_in_the_picture() {
        assert_eq!(square(500.0, 250.0, 100.0, 1000.0, 500.0), [450.0, 200.0, 550.0, 300.0]);
        assert_eq!(square(10.0, 490.0, 100.0, 1000.0, 500.0), [0.0, 400.0, 100.0, 500.0]);
        assert_eq!(square(10.0, 10.0, 800.0, 1000.0, 500.0), [0.0, 0.0, 800.0, 500.0]);
    }
}

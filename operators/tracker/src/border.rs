//! Where the picture ends, as far as boxes tell: the tracker is given boxes and no picture.
//!
//! The left and upper borders lie at 0. The right and lower ones are believed to lie where boxes keep ending: a detector
//! cuts its boxes off there, so that several, begun at different places, end at the very same number, and none beyond it.

use serde::{Deserialize, Serialize};

/// How near the border an edge touches it, pixels.
const TOUCH: f64 = 2.0;
/// How alike the ends of boxes must be that were cut off at one border, pixels.
const ALIKE: f64 = 0.5;
/// How far apart two boxes that ended there must have begun to count as two: one of somebody who stands still counts once.
const APART: f64 = 5.0;
/// Boxes that must have ended there.
const ENOUGH: u32 = 5;

/// The picture's right and lower border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Borders {
    right: End,
    lower: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct End {
    /// The greatest edge seen.
    furthest: f64,
    /// Boxes that ended there, and where the last of them began.
    boxes: u32,
    begun: f64,
}

impl Borders {
    /// Takes in a box: left, top, right, bottom.
    pub(crate) fn see(&mut self, [x1, y1, x2, y2]: [f64; 4]) {
        self.right.see(x1, x2);
        self.lower.see(y1, y2);
    }

    /// Whether a box touches the border or lies beyond it: who is there may be leaving.
    pub(crate) fn touched_by(&self, [x1, y1, x2, y2]: [f64; 4]) -> bool {
        x1 < TOUCH || y1 < TOUCH || self.right.touched_by(x2) || self.lower.touched_by(y2)
    }
}

impl End {
    fn see(&mut self, begun: f64, edge: f64) {
        if edge > self.furthest + ALIKE {
            *self = Self { furthest: edge, boxes: 1, begun };
        } else if edge > self.furthest - ALIKE && (begun - self.begun).abs() > APART {
            (self.boxes, self.begun) = (self.boxes.saturating_add(1), begun);
        }
    }

    fn touched_by(&self, edge: f64) -> bool {
        self.boxes >= ENOUGH && edge > self.furthest - TOUCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_border_is_where_boxes_keep_ending() {
        let mut borders = Borders::default();
        for step in 0..20 {
            let x = f64::from(step) * 10.0;
            borders.see([x, 50.0, x + 40.0, 150.0 - x / 10.0]);
            assert!(
                !borders.touched_by([x + 5.0, 50.0, x + 40.0, 120.0]),
                "the one furthest right stands at no border"
            );
        }
        for _ in 0..50 {
            borders.see([600.0, 50.0, 640.0, 120.0]);
            assert!(!borders.touched_by([600.0, 50.0, 640.0, 120.0]), "one who stands still makes no border");
        }
        for cut in 1..5 {
            borders.see([600.0 + 10.0 * f64::from(cut), 50.0, 640.0, 120.0]);
        }
        assert!(borders.touched_by([600.0, 50.0, 639.0, 120.0]) && borders.touched_by([620.0, 50.0, 660.0, 120.0]));
        assert!(!borders.touched_by([590.0, 50.0, 630.0, 120.0]));
    }

    #[test]
    fn the_left_and_upper_borders_are_known() {
        let borders = Borders::default();
        assert!(borders.touched_by([0.0, 50.0, 40.0, 150.0]) && borders.touched_by([50.0, -3.0, 90.0, 97.0]));
        assert!(!borders.touched_by([5.0, 5.0, 45.0, 105.0]));
    }
}

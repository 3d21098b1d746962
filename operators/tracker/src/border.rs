//! Estimates the borders of the picture from the boxes: the tracker receives no picture and no picture size.
//!
//! The left and upper borders lie at 0. The right and lower borders are assumed where boxes repeatedly end: a detector
//! clips its boxes there, so several boxes with different starts end at exactly the same coordinate, and none ends
//! beyond it.

use serde::{Deserialize, Serialize};

/// Distance from the border within which an edge touches it, pixels.
const TOUCH_PX: f64 = 2.0;
/// Tolerance within which two box edges count as clipped by the same border, pixels.
const SAME_EDGE_PX: f64 = 0.5;
/// Minimum distance between the starts of two clipped boxes, pixels. A person who stands still is counted once.
const MIN_START_CHANGE_PX: f64 = 5.0;
/// Clipped boxes required before a border is assumed.
const MIN_CLIPPED_BOXES: u32 = 5;

/// Estimated right and lower borders of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Borders {
    right: Border,
    lower: Border,
}

/// Estimate of one border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Border {
    /// Greatest edge so far, pixels.
    position: f64,
    /// Boxes that ended at this position.
    clipped_boxes: u32,
    /// Start (left or top edge) of the last of these boxes, pixels.
    last_start: f64,
}

impl Borders {
    /// Updates the estimate with a box: left, top, right, bottom.
    pub(crate) fn observe(&mut self, [x1, y1, x2, y2]: [f64; 4]) {
        self.right.observe(x1, x2);
        self.lower.observe(y1, y2);
    }

    /// True if a box touches a border or lies beyond it: the person may be leaving the picture.
    pub(crate) fn is_touched_by(&self, [x1, y1, x2, y2]: [f64; 4]) -> bool {
        x1 < TOUCH_PX || y1 < TOUCH_PX || self.right.is_touched_by(x2) || self.lower.is_touched_by(y2)
    }
}

impl Border {
    fn observe(&mut self, start: f64, edge: f64) {
        if edge > self.position + SAME_EDGE_PX {
            *self = Self { position: edge, clipped_boxes: 1, last_start: start };
        } else if edge > self.position - SAME_EDGE_PX && (start - self.last_start).abs() > MIN_START_CHANGE_PX {
            (self.clipped_boxes, self.last_start) = (self.clipped_boxes.saturating_add(1), start);
        }
    }

    fn is_touched_by(&self, edge: f64) -> bool {
        self.clipped_boxes >= MIN_CLIPPED_BOXES && edge > self.position - TOUCH_PX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_border_is_found_where_boxes_repeatedly_end() {
        let mut borders = Borders::default();
        for step in 0..20 {
            let x = f64::from(step) * 10.0;
            borders.observe([x, 50.0, x + 40.0, 150.0 - x / 10.0]);
            assert!(
                !borders.is_touched_by([x + 5.0, 50.0, x + 40.0, 120.0]),
                "the rightmost box alone makes no border"
            );
        }
        for _ in 0..50 {
            borders.observe([600.0, 50.0, 640.0, 120.0]);
            assert!(!borders.is_touched_by([600.0, 50.0, 640.0, 120.0]), "a person who stands still makes no border");
        }
        for cut in 1..5 {
            borders.observe([600.0 + 10.0 * f64::from(cut), 50.0, 640.0, 120.0]);
        }
        assert!(
            borders.is_touched_by([600.0, 50.0, 639.0, 120.0]) && borders.is_touched_by([620.0, 50.0, 660.0, 120.0])
        );
        assert!(!borders.is_touched_by([590.0, 50.0, 630.0, 120.0]));
    }

    #[test]
    fn the_left_and_upper_borders_lie_at_zero() {
        let borders = Borders::default();
        assert!(borders.is_touched_by([0.0, 50.0, 40.0, 150.0]) && borders.is_touched_by([50.0, -3.0, 90.0, 97.0]));
        assert!(!borders.is_touched_by([5.0, 5.0, 45.0, 105.0]));
    }
}

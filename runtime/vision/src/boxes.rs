//! Geometry of axis-aligned boxes, given as x1, y1, x2, y2.

/// Returns the intersection over union of two boxes, 0..1; 0 if one of them is empty or has a NaN coordinate.
pub fn iou(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let intersection = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0) * (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let area = |corners: &[f32; 4]| (corners[2] - corners[0]) * (corners[3] - corners[1]);
    let union = area(a) + area(b) - intersection;
    if union > 0.0 { intersection / union } else { 0.0 }
}

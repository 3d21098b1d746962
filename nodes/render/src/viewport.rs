//! Viewport: the visible part of the source frame, and the mapping of its pixels to those of the output image.

use sideline_media::CropRect;
use sideline_sport::tables::View;

/// Mapping from pixels of the source frame to pixels of the output image.
#[derive(Clone, Copy, Debug)]
pub struct Viewport {
    /// Upper left corner of the visible part, px of the source frame.
    origin: [f32; 2],
    /// Output pixels per source pixel.
    scale: [f32; 2],
    source: (f32, f32),
}

impl Viewport {
    /// Creates a viewport that maps `visible` of a source frame of size `source` to an output image of `size`.
    pub fn new(visible: CropRect, source: (u32, u32), size: (u32, u32)) -> Self {
        let scale = [f64::from(size.0) / visible.width, f64::from(size.1) / visible.height];
        Self {
            origin: [visible.x as f32, visible.y as f32],
            scale: scale.map(|scale| scale as f32),
            source: (source.0 as f32, source.1 as f32),
        }
    }

    /// Creates a viewport that shows the whole frame at its own size.
    pub fn full_frame(width: u32, height: u32) -> Self {
        Self::new(CropRect::full(width, height), (width, height), (width, height))
    }

    /// Returns width and height of the source frame, px.
    pub fn source(&self) -> (f32, f32) {
        self.source
    }

    /// Maps a point of the source frame.
    pub fn point(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [(x - self.origin[0]) * self.scale[0], (y - self.origin[1]) * self.scale[1]]
    }

    /// Maps a box of the source frame: left, top, right, bottom.
    pub fn rect(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let ([x1, y1], [x2, y2]) = (self.point([x1, y1]), self.point([x2, y2]));
        [x1, y1, x2, y2]
    }

    /// Maps a length in the source frame, px.
    pub fn length(&self, px: f32) -> f32 {
        px * self.scale[1]
    }
}

/// Returns the size of the output image for the keys `width` and `height` (0 for unset) and the visible part: the key
/// `crop`, else the frame. If one of the two is unset, it follows from the aspect ratio. A scaled image has even sides.
pub fn output_size((width, height): (u32, u32), crop: &[f32], frame: (u32, u32)) -> (u32, u32) {
    let even = |side: f64| (((side / 2.0).round() as u32) * 2).max(2);
    let (w, h) = match crop {
        [_, _, width, height] => (f64::from(*width), f64::from(*height)),
        _ => (f64::from(frame.0), f64::from(frame.1)),
    };
    match (width, height) {
        (0, 0) if crop.is_empty() => frame,
        (0, 0) => (even(w), even(h)),
        (width, 0) => (width, even(f64::from(width) * h / w)),
        (0, height) => (even(f64::from(height) * w / h), height),
        both => both,
    }
}

/// Returns the visible part for a row of `view`, extended to the aspect ratio of the output image and moved into the frame;
/// `None` if the row is not a valid rectangle.
pub fn view_rect(view: &View, frame: (u32, u32), size: (u32, u32)) -> Option<CropRect> {
    let numbers = [view.x, view.y, view.width, view.height];
    if !(numbers.iter().all(|number| number.is_finite()) && view.width > 0.0 && view.height > 0.0) {
        return None;
    }
    Some(fit_rect(numbers.map(f64::from), frame, size))
}

/// Returns the visible part for the key `crop`: left, top, width, height; `None` if the key is empty.
pub fn crop_key_rect(crop: &[f32], frame: (u32, u32), size: (u32, u32)) -> Option<CropRect> {
    let [x, y, width, height] = crop.iter().map(|number| f64::from(*number)).collect::<Vec<_>>().try_into().ok()?;
    Some(fit_rect([x + width / 2.0, y + height / 2.0, width, height], frame, size))
}

/// Returns the smallest rectangle with the aspect ratio of `size` that contains a given one (center x, center y, width,
/// height), limited to the size of the frame and moved into it.
pub(crate) fn fit_rect([x, y, width, height]: [f64; 4], frame: (u32, u32), size: (u32, u32)) -> CropRect {
    let (max_width, max_height) = (f64::from(frame.0), f64::from(frame.1));
    let aspect = f64::from(size.0) / f64::from(size.1);
    let height = height.max(width / aspect).min(max_height).min(max_width / aspect);
    let width = height * aspect;
    let within = |center: f64, side: f64, max: f64| (center - side / 2.0).clamp(0.0, (max - side).max(0.0));
    CropRect { x: within(x, width, max_width), y: within(y, height, max_height), width, height }
}

/// Returns the largest centered rectangle in the frame with the aspect ratio of `size`; the whole frame if the ratios agree.
pub fn widest_rect(frame: (u32, u32), size: (u32, u32)) -> CropRect {
    let (w, h) = (f64::from(frame.0), f64::from(frame.1));
    fit_rect([w / 2.0, h / 2.0, w, h], frame, size)
}

#[cfg(test)]
mod tests {
    use sideline_sport::tables::ViewTarget;

    use super::*;

    const FRAME: (u32, u32) = (1920, 1080);

    fn view(x: f32, y: f32, width: f32, height: f32) -> View {
        View { x, y, width, height, zoom: 1.0, follows: ViewTarget::Ball, picture_width: 1280, picture_height: 720 }
    }

    #[test]
    fn the_rectangle_of_a_view_contains_it_within_the_frame_without_distortion() {
        let size = (1280, 720);
        let rect = view_rect(&view(960.0, 540.0, 960.0, 540.0), FRAME, size).unwrap();
        assert_eq!(rect, CropRect { x: 480.0, y: 270.0, width: 960.0, height: 540.0 });
        let corner = view_rect(&view(10.0, 2000.0, 960.0, 540.0), FRAME, size).unwrap();
        assert_eq!((corner.x, corner.y), (0.0, 540.0));
        let square = view_rect(&view(960.0, 540.0, 640.0, 640.0), FRAME, size).unwrap();
        assert!((square.height, square.width) == (640.0, 640.0 * 16.0 / 9.0), "{square:?}");
        let large = view_rect(&view(960.0, 540.0, 4000.0, 4000.0), FRAME, size).unwrap();
        assert_eq!(large, CropRect::full(1920, 1080));
        assert!(view_rect(&view(f32::NAN, 0.0, 9.0, 9.0), FRAME, size).is_none());
        assert!(view_rect(&view(9.0, 9.0, 0.0, 9.0), FRAME, size).is_none());
    }

    #[test]
    fn source_coordinates_map_to_output_coordinates() {
        let visible = CropRect { x: 480.0, y: 270.0, width: 960.0, height: 540.0 };
        let viewport = Viewport::new(visible, FRAME, (1280, 720));
        assert_eq!(viewport.rect([480.0, 270.0, 960.0, 540.0]), [0.0, 0.0, 640.0, 360.0]);
        assert!((viewport.length(27.0) - 36.0).abs() < 1e-4);
    }

    #[test]
    fn an_unset_side_of_the_output_follows_from_the_aspect_ratio() {
        assert_eq!(output_size((0, 0), &[], (1919, 1079)), (1919, 1079));
        assert_eq!(output_size((0, 720), &[], FRAME), (1280, 720));
        assert_eq!(output_size((1280, 0), &[], FRAME), (1280, 720));
        assert_eq!(output_size((640, 640), &[], FRAME), (640, 640));
        assert_eq!(output_size((0, 0), &[10.0, 10.0, 301.0, 200.0], FRAME), (302, 200));
        assert_eq!(output_size((0, 100), &[10.0, 10.0, 300.0, 200.0], FRAME), (150, 100));
    }

    #[test]
    fn the_widest_rectangle_of_another_aspect_ratio_is_centered() {
        assert_eq!(widest_rect(FRAME, (1280, 720)), CropRect::full(1920, 1080));
        assert_eq!(widest_rect(FRAME, (720, 720)), CropRect { x: 420.0, y: 0.0, width: 1080.0, height: 1080.0 });
    }
}

//! Which part of the frame is shown, and where its pixels are in the picture that is drawn on.

use sideline_api::tables::View;
use sideline_media::Area;

/// From pixels of the source frame to those of the drawn picture.
#[derive(Clone, Copy, Debug)]
pub struct Lens {
    from: [f32; 2],
    /// Drawn pixels for a pixel of the source.
    scale: [f32; 2],
    source: (f32, f32),
}

impl Lens {
    /// A lens that shows `area` of a frame of `source` pixels in a picture of `size`.
    pub fn new(area: Area, source: (u32, u32), size: (u32, u32)) -> Self {
        let scale = [f64::from(size.0) / area.width, f64::from(size.1) / area.height];
        Self {
            from: [area.x as f32, area.y as f32],
            scale: scale.map(|scale| scale as f32),
            source: (source.0 as f32, source.1 as f32),
        }
    }

    /// A lens that shows a frame as it is.
    pub fn plain(width: u32, height: u32) -> Self {
        Self::new(Area::whole(width, height), (width, height), (width, height))
    }

    /// Width and height of the source frame, px.
    pub fn source(&self) -> (f32, f32) {
        self.source
    }

    /// Where a point of the frame is.
    pub fn at(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [(x - self.from[0]) * self.scale[0], (y - self.from[1]) * self.scale[1]]
    }

    /// Where a box of the frame is: left, top, right, bottom.
    pub fn rect(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let ([x1, y1], [x2, y2]) = (self.at([x1, y1]), self.at([x2, y2]));
        [x1, y1, x2, y2]
    }

    /// How long something of the frame is.
    pub fn length(&self, px: f32) -> f32 {
        px * self.scale[1]
    }
}

/// Width and height of what is drawn, for keys `width` and `height` (0 where they are not set) and what is there to be
/// shown: the key `crop`, else the frame. With one of the two given the other keeps the aspect. Even where it is scaled.
pub fn size_of((width, height): (u32, u32), crop: &[f32], frame: (u32, u32)) -> (u32, u32) {
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
        given => given,
    }
}

/// The part that a view asks for, given the aspect of the drawn picture, and moved into the frame; `None` where the view is
/// no place.
pub fn seen(view: &View, frame: (u32, u32), size: (u32, u32)) -> Option<Area> {
    let numbers = [view.x, view.y, view.width, view.height];
    if !(numbers.iter().all(|number| number.is_finite()) && view.width > 0.0 && view.height > 0.0) {
        return None;
    }
    Some(fitted(numbers.map(f64::from), frame, size))
}

/// The part that the key `crop` asks for: left, top, width, height.
pub fn fixed(crop: &[f32], frame: (u32, u32), size: (u32, u32)) -> Option<Area> {
    let [x, y, width, height] = crop.iter().map(|number| f64::from(*number)).collect::<Vec<_>>().try_into().ok()?;
    Some(fitted([x + width / 2.0, y + height / 2.0, width, height], frame, size))
}

/// Around a middle: all that was asked for, of the aspect of `size`, no larger than the frame and inside it.
pub(crate) fn fitted([x, y, width, height]: [f64; 4], frame: (u32, u32), size: (u32, u32)) -> Area {
    let (most_w, most_h) = (f64::from(frame.0), f64::from(frame.1));
    let aspect = f64::from(size.0) / f64::from(size.1);
    let height = height.max(width / aspect).min(most_h).min(most_w / aspect);
    let width = height * aspect;
    let within = |middle: f64, side: f64, most: f64| (middle - side / 2.0).clamp(0.0, (most - side).max(0.0));
    Area { x: within(x, width, most_w), y: within(y, height, most_h), width, height }
}

/// The largest part of the frame of the aspect of `size`, in its middle: the whole frame where the aspects agree.
pub fn widest(frame: (u32, u32), size: (u32, u32)) -> Area {
    let (w, h) = (f64::from(frame.0), f64::from(frame.1));
    fitted([w / 2.0, h / 2.0, w, h], frame, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: (u32, u32) = (1920, 1080);

    fn view(x: f32, y: f32, width: f32, height: f32) -> View {
        View { x, y, width, height, zoom: 1.0, follows: "ball".into(), picture_width: 1280, picture_height: 720 }
    }

    #[test]
    fn a_view_is_shown_whole_inside_the_frame_and_undistorted() {
        let size = (1280, 720);
        let area = seen(&view(960.0, 540.0, 960.0, 540.0), FRAME, size).unwrap();
        assert_eq!(area, Area { x: 480.0, y: 270.0, width: 960.0, height: 540.0 });
        let corner = seen(&view(10.0, 2000.0, 960.0, 540.0), FRAME, size).unwrap();
        assert_eq!((corner.x, corner.y), (0.0, 540.0));
        let square = seen(&view(960.0, 540.0, 640.0, 640.0), FRAME, size).unwrap();
        assert!((square.height, square.width) == (640.0, 640.0 * 16.0 / 9.0), "{square:?}");
        let large = seen(&view(960.0, 540.0, 4000.0, 4000.0), FRAME, size).unwrap();
        assert_eq!(large, Area::whole(1920, 1080));
        assert!(seen(&view(f32::NAN, 0.0, 9.0, 9.0), FRAME, size).is_none());
        assert!(seen(&view(9.0, 9.0, 0.0, 9.0), FRAME, size).is_none());
    }

    #[test]
    fn a_point_of_the_frame_is_where_its_pixel_is_drawn() {
        let area = Area { x: 480.0, y: 270.0, width: 960.0, height: 540.0 };
        let lens = Lens::new(area, FRAME, (1280, 720));
        assert_eq!(lens.rect([480.0, 270.0, 960.0, 540.0]), [0.0, 0.0, 640.0, 360.0]);
        assert!((lens.length(27.0) - 36.0).abs() < 1e-4);
    }

    #[test]
    fn sizes_follow_from_what_is_given() {
        assert_eq!(size_of((0, 0), &[], (1919, 1079)), (1919, 1079));
        assert_eq!(size_of((0, 720), &[], FRAME), (1280, 720));
        assert_eq!(size_of((1280, 0), &[], FRAME), (1280, 720));
        assert_eq!(size_of((640, 640), &[], FRAME), (640, 640));
        assert_eq!(size_of((0, 0), &[10.0, 10.0, 301.0, 200.0], FRAME), (302, 200));
        assert_eq!(size_of((0, 100), &[10.0, 10.0, 300.0, 200.0], FRAME), (150, 100));
    }

    #[test]
    fn a_picture_of_another_aspect_shows_the_middle() {
        assert_eq!(widest(FRAME, (1280, 720)), Area::whole(1920, 1080));
        assert_eq!(widest(FRAME, (720, 720)), Area { x: 420.0, y: 0.0, width: 1080.0, height: 1080.0 });
    }
}

//! Cropping and scaling. The edges of a crop may lie between pixels, so that a slow pan does not move in steps.

use fast_image_resize::{
    FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedCroppedImage, TypedImage, TypedImageRef},
    pixels::{U8, U8x2},
};
use sideline_api::{Color, Encoding, Error, Frame, Result};

use crate::to_i420;

/// Rectangle of a frame, px; pixel (0, 0) covers 0 to 1 in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropRect {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width, greater than 0.
    pub width: f64,
    /// Height, greater than 0.
    pub height: f64,
}

impl CropRect {
    /// Returns the rectangle of a whole frame.
    pub fn full(width: u32, height: u32) -> Self {
        Self { x: 0.0, y: 0.0, width: f64::from(width), height: f64::from(height) }
    }

    /// Clips the rectangle to a frame of this size; at least one pixel remains.
    fn clipped(self, width: u32, height: u32) -> Self {
        let side = |from: f64, length: f64, most: u32| {
            let (most, end) = (f64::from(most), from + length);
            let from = from.clamp(0.0, (most - 1.0).max(0.0));
            (from, (end.min(most) - from).max(1.0_f64.min(most)))
        };
        let ((x, width), (y, height)) = (side(self.x, self.width, width), side(self.y, self.height, height));
        Self { x, y, width, height }
    }
}

/// Crops and scales frames; keeps its buffers between calls.
///
/// The filter is bicubic (Catmull and Rom 1974), widened when scaling down to avoid aliasing.
#[derive(Default)]
pub struct Cropper {
    resizer: Resizer,
    /// An RGB or BGR frame, converted to I420.
    converted: Vec<u8>,
    /// Scaled chroma of NV12 before it is deinterleaved; rows of a plane whose last row is short.
    scratch: [Vec<u8>; 2],
}

impl Cropper {
    /// Creates a cropper without buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Crops and scales a frame to packed I420 of `size` (width and height, even) in `into`, which is resized. Reads directly
    /// from the planes; the part of `area` outside the frame is clipped.
    ///
    /// # Errors
    /// For JPEG frames, which must be decoded first; for an empty or infinite area; and for an empty or odd size.
    pub fn crop(&mut self, frame: &Frame, area: CropRect, size: (u32, u32), into: &mut Vec<u8>) -> Result<()> {
        let sides = [area.x, area.y, area.width, area.height];
        if !(sides.iter().all(|side| side.is_finite()) && area.width > 0.0 && area.height > 0.0) {
            return Err(Error::other(format!("{sides:?} is not a valid crop of a frame: left, top, width, height")));
        }
        if size.0 == 0 || size.1 == 0 || size.0 % 2 == 1 || size.1 % 2 == 1 {
            return Err(Error::other(format!(
                "{}x{} is not a valid frame size: both sides must be even",
                size.0, size.1
            )));
        }
        let from = (frame.width(), frame.height());
        let area = area.clipped(from.0, from.1);
        let luma = size.0 as usize * size.1 as usize;
        into.resize(luma * 3 / 2, 0);
        let (y, uv) = into.split_at_mut(luma);
        let (u, v) = uv.split_at_mut(luma / 4);
        let chroma = chroma_area(area, size);
        let (half_from, half) = ((from.0.div_ceil(2), from.1.div_ceil(2)), (size.0 / 2, size.1 / 2));
        let Self { resizer, converted, scratch: [pairs, rows] } = self;
        match frame.encoding() {
            Encoding::I420 => {
                scale_plane::<U8>(resizer, rows, frame.plane(0), from, area, y, size)?;
                scale_plane::<U8>(resizer, rows, frame.plane(1), half_from, chroma, u, half)?;
                scale_plane::<U8>(resizer, rows, frame.plane(2), half_from, chroma, v, half)
            }
            Encoding::Nv12 => {
                scale_plane::<U8>(resizer, rows, frame.plane(0), from, area, y, size)?;
                pairs.resize(luma / 2, 0);
                scale_plane::<U8x2>(resizer, rows, frame.plane(1), half_from, chroma, pairs, half)?;
                for ((u, v), pair) in u.iter_mut().zip(v).zip(pairs.chunks_exact(2)) {
                    (*u, *v) = (pair[0], pair[1]);
                }
                Ok(())
            }
            Encoding::Rgb8 | Encoding::Bgr8 | Encoding::Jpeg => {
                to_i420(frame, converted)?;
                let whole =
                    Frame::from_packed(from.0, from.1, Encoding::I420, frame.color(), std::mem::take(converted))?;
                let done = self.crop(&whole, area, size, into);
                self.converted = whole.into_packed_mut();
                done
            }
        }
    }

    /// Crops and scales as [`Cropper::crop`] does, and returns a frame.
    ///
    /// # Errors
    /// As [`Cropper::crop`].
    pub fn crop_frame(&mut self, frame: &Frame, area: CropRect, size: (u32, u32)) -> Result<Frame> {
        let mut bytes = vec![];
        self.crop(frame, area, size, &mut bytes)?;
        let color: Color = frame.color();
        Frame::from_packed(size.0, size.1, Encoding::I420, color, bytes)
    }
}

/// Returns the area on the chroma planes, which are sited as H.264 does by default (ITU-T H.264 Annex E,
/// chroma_sample_loc_type 0): left in x, midway in y. A point at x of the frame lies at x / 2 + 1/4 of the plane, before
/// and after scaling.
fn chroma_area(area: CropRect, size: (u32, u32)) -> CropRect {
    let across = area.width / f64::from(size.0);
    CropRect {
        x: area.x / 2.0 + 0.25 * (1.0 - across),
        y: area.y / 2.0,
        width: area.width / 2.0,
        height: area.height / 2.0,
    }
}

/// Scales an area of one plane of `from` pixels.
fn scale_plane<P: PixelTrait>(
    resizer: &mut Resizer,
    rows: &mut Vec<u8>,
    (plane, stride): (&[u8], usize),
    from: (u32, u32),
    area: CropRect,
    into: &mut [u8],
    to: (u32, u32),
) -> Result<()> {
    let pixel = P::size();
    let row = from.0 as usize * pixel;
    // The scaler needs full strides that are multiples of a pixel; the last row may be shorter, and strides may differ.
    let (plane, stride) = if stride % pixel == 0 && plane.len() >= stride * from.1 as usize {
        (plane, stride)
    } else {
        rows.clear();
        plane.chunks(stride).take(from.1 as usize).for_each(|whole| rows.extend_from_slice(&whole[..row]));
        (&rows[..], row)
    };
    let area = area.clipped(from.0, from.1);
    let failed = |e: &dyn std::fmt::Display| {
        Error::other(format!("{area:?} of a plane of {}x{} cannot be scaled: {e}", from.0, from.1))
    };
    let whole = TypedImageRef::<P>::from_buffer((stride / pixel) as u32, from.1, plane).map_err(|e| failed(&e))?;
    let source = TypedCroppedImage::from_ref(&whole, 0, 0, from.0, from.1).map_err(|e| failed(&e))?;
    let mut target = TypedImage::<P>::from_buffer(to.0, to.1, into).map_err(|e| failed(&e))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).crop(
        area.x,
        area.y,
        area.width,
        area.height,
    );
    resizer.resize_typed(&source, &mut target, &options).map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use sideline_api::Plane;

    use super::*;

    const COLOR: Color = Color { matrix: sideline_api::Matrix::Bt709, full_range: false };

    /// Creates a frame with luma 4 x, U 8 x and V 255 - 2 y in their own coordinates; rows have padding of another value.
    fn ramp(width: usize, height: usize) -> Frame {
        let plane = |w: usize, h: usize, value: &dyn Fn(usize, usize) -> usize| {
            let stride = w + 13;
            let at = |i: usize| if i % stride < w { value(i % stride, i / stride).min(255) as u8 } else { 255 };
            Plane { data: (0..stride * (h - 1) + w).map(at).collect::<Vec<u8>>().into(), stride }
        };
        let (cw, ch) = (width.div_ceil(2), height.div_ceil(2));
        let planes =
            vec![plane(width, height, &|x, _| 4 * x), plane(cw, ch, &|x, _| 8 * x), plane(cw, ch, &|_, y| 255 - 2 * y)];
        Frame::from_planes(width as u32, height as u32, Encoding::I420, COLOR, planes).unwrap()
    }

    #[test]
    fn a_crop_between_pixels_interpolates_every_plane() {
        let area = CropRect { x: 10.25, y: 8.5, width: 24.0, height: 16.0 };
        let part = Cropper::new().crop_frame(&ramp(60, 40), area, (24, 16)).unwrap();
        for x in 3..20 {
            // 4 (10.25 + x), and for chroma 8 (5.125 + x): the same positions.
            assert_eq!(usize::from(part.plane(0).0[24 * 5 + x]), 41 + 4 * x);
            assert!(part.plane(1).0[12 * 5 + x / 2].abs_diff((41 + 8 * (x / 2)) as u8) <= 1);
        }
        // 255 - 2 (4.25 + 5)
        assert!(part.plane(2).0[12 * 5 + 6].abs_diff(236) <= 1, "{}", part.plane(2).0[12 * 5 + 6]);
    }

    #[test]
    fn luma_and_chroma_stay_aligned_when_scaled_down_or_up() {
        for (area, size) in [((6.0, 2.0, 48.0, 36.0), (24, 18)), ((20.0, 10.0, 12.0, 9.0), (48, 36))] {
            let (x, y, width, height) = area;
            let part = Cropper::new().crop_frame(&ramp(60, 40), CropRect { x, y, width, height }, size).unwrap();
            let step = width / f64::from(size.0);
            for i in 4..size.0 as usize / 2 - 4 {
                // Luma at the position of the chroma sample, which is that of the left one of its two pixels: U is equal there.
                let luma = f64::from(part.plane(0).0[size.0 as usize * 9 + 2 * i]);
                let u = f64::from(part.plane(1).0[size.0 as usize / 2 * 5 + i]);
                assert!((luma - u).abs() <= 2.0, "{i}: {luma} {u} at step {step}");
            }
        }
    }

    #[test]
    fn edges_show_nothing_from_outside_the_frame() {
        let flat = |i: usize| if i % 32 < 20 { 77 } else { 255 };
        let plane = |rows: usize| Plane { data: (0..32 * rows).map(flat).collect::<Vec<u8>>().into(), stride: 32 };
        let half = |rows: usize| {
            let flat = |i: usize| if i % 32 < 10 { 77 } else { 255 };
            Plane { data: (0..32 * rows).map(flat).collect::<Vec<u8>>().into(), stride: 32 }
        };
        let frame = Frame::from_planes(20, 10, Encoding::I420, COLOR, vec![plane(10), half(5), half(5)]).unwrap();
        for area in [CropRect::full(20, 10), CropRect { x: -5.0, y: -9.0, width: 40.0, height: 40.0 }] {
            let part = Cropper::new().crop_frame(&frame, area, (30, 14)).unwrap();
            assert!(part.into_packed_mut().iter().all(|byte| *byte == 77), "{area:?}");
        }
    }

    #[test]
    fn every_encoding_gives_the_same_crop() {
        let area = CropRect { x: 3.5, y: 1.0, width: 30.0, height: 20.0 };
        let i420 = Frame::from_packed(
            48,
            32,
            Encoding::I420,
            COLOR,
            [vec![81u8; 1536], vec![90; 384], vec![240; 384]].concat(),
        );
        let nv12 =
            Frame::from_packed(48, 32, Encoding::Nv12, COLOR, [vec![81u8; 1536], [90, 240].repeat(384)].concat());
        let rgb = Frame::from_packed(48, 32, Encoding::Rgb8, COLOR, [200u8, 30, 40].repeat(1536));
        let mut cropper = Cropper::new();
        let [a, b] =
            [i420, nv12].map(|frame| cropper.crop_frame(&frame.unwrap(), area, (24, 16)).unwrap().into_packed_mut());
        assert_eq!(a, b);
        let rgb = rgb.unwrap();
        let mut whole = vec![];
        to_i420(&rgb, &mut whole).unwrap();
        let part = cropper.crop_frame(&rgb, area, (24, 16)).unwrap();
        assert_eq!([part.plane(0).0[0], part.plane(1).0[0], part.plane(2).0[0]], [whole[0], whole[1536], whole[1920]]);
    }

    #[test]
    fn invalid_areas_and_sizes_are_refused() {
        let frame = ramp(20, 10);
        let mut cropper = Cropper::new();
        for (x, width) in [(f64::NAN, 5.0), (0.0, 0.0), (0.0, f64::INFINITY)] {
            assert!(cropper.crop_frame(&frame, CropRect { x, y: 0.0, width, height: 5.0 }, (10, 10)).is_err());
        }
        assert!(cropper.crop_frame(&frame, CropRect::full(20, 10), (11, 10)).is_err());
    }
}

//! Conversion of FFmpeg's frames to frames of Sideline: planes are wrapped where the decoder left them, and converted, scaled or
//! rotated only if necessary.

use std::{panic::RefUnwindSafe, ptr::NonNull, sync::Arc};

use ffmpeg_next::{ffi, format::Pixel, frame};
use sideline_api::{
    Color, Encoding, Error, Frame, Plane, Result,
    arrow::buffer::{Buffer, MutableBuffer},
};

use crate::{
    color::ColorDescription,
    geometry::{DeclaredGeometry, DisplayMatrix, Geometry, Orientation},
    notices::Notices,
    scale::{Size, Swscale, SwscaleSource},
    unsupported,
};

/// Deviation of a display matrix from a quarter turn, degrees, above which a warning is logged.
const MAX_ROTATION_ERROR_DEGREES: f64 = 1.0;

/// Warning about interlaced pictures: two fields in one picture show combing where something moves.
const INTERLACED: &str = "its pictures are interlaced: each interleaves two fields, and is processed as one picture, so that \
                          moving objects show combing; to deinterlace it first: ffmpeg -i IN -vf bwdif OUT";

/// Converter of the decoded pictures of one stream.
pub(crate) struct FrameConverter {
    /// Geometry that the source declares for all pictures.
    pub declared: DeclaredGeometry,
    /// Display matrix in the coded stream that applies to the current picture.
    coded_matrix: Option<DisplayMatrix>,
    /// Size that larger pictures are scaled down to.
    size: Option<Size>,
    swscale: Swscale,
    /// Size and color of the previous frame.
    previous: Option<((u32, u32), Color)>,
    /// Differences between the frames and what the source declares.
    pub notices: Notices,
}

impl FrameConverter {
    pub fn new(source: impl Into<String>, declared: DeclaredGeometry, size: Option<Size>) -> Self {
        let (swscale, notices) = (Swscale::new(), Notices::new(source));
        Self { declared, coded_matrix: None, size, swscale, previous: None, notices }
    }

    /// Returns the size of the frame of a decoded `width` x `height` picture, by the declared geometry.
    pub fn output_size(&self, width: u32, height: u32) -> (u32, u32) {
        self.scaled(self.declared.geometry().display_size(width, height))
    }

    /// Returns the size of a picture, upright, in square pixels, before it is scaled down.
    pub fn display_size(&mut self, picture: &frame::Video) -> (u32, u32) {
        self.geometry(picture).display_size(picture.width(), picture.height())
    }

    /// Returns the geometry of a picture. An orientation in the coded stream applies until the next key frame (ITU-T H.264,
    /// D.2.27).
    fn geometry(&mut self, picture: &frame::Video) -> Geometry {
        let own = DisplayMatrix::from_frame(picture);
        if own.is_some() || picture.is_key() {
            self.coded_matrix = own;
        }
        self.declared.geometry_of_frame(picture, self.coded_matrix)
    }

    fn scaled(&self, (width, height): (u32, u32)) -> (u32, u32) {
        self.size.map_or((width, height), |size| size.within(width, height))
    }

    /// Converts a decoded picture to a frame. Wraps its planes; copies only to convert, scale or rotate them.
    pub fn convert(&mut self, picture: frame::Video) -> Result<Frame> {
        let geometry = self.geometry(&picture);
        self.warn_about_differences(&picture, &geometry);
        let (width, height) = (picture.width(), picture.height());
        let size = self.scaled(geometry.display_size(width, height));
        // Scaled before the rotation, which then has fewer pixels to move.
        let to = geometry.orientation.rotate_size(size.0, size.1);
        let stored = ColorDescription::from_frame(&picture).color();
        let color = self.color(size, stored);
        let upright = match encoding(picture.format()) {
            Some(encoding) if to == (width, height) && color == stored && strides_are_positive(&picture) => {
                wrap(picture, encoding, color)?
            }
            _ => {
                let source = source(&picture, stored);
                // SAFETY: `picture` is alive; FFmpeg pads the planes of its frames.
                unsafe { self.swscale.convert(&source, to.0, to.1, color)? }
            }
        };
        rotate(upright, geometry.orientation)
    }

    /// Returns the color of a frame: that of the previous one while the size stays the same, so that a video has one color space.
    fn color(&mut self, size: (u32, u32), stored: Color) -> Color {
        match self.previous {
            Some((previous, color)) if previous == size => color,
            _ => {
                self.previous = Some((size, stored));
                stored
            }
        }
    }

    /// Warns about properties of a picture that are not processed as declared.
    fn warn_about_differences(&mut self, picture: &frame::Video, geometry: &Geometry) {
        let notices = &mut self.notices;
        if picture.is_interlaced() {
            notices.warn_once("scan", || INTERLACED.into());
        }
        if let Some(text) = ColorDescription::from_frame(picture).unconverted_warning() {
            notices.warn_once("color", || text);
        }
        if let Some(text) = unsupported::picture_warning(picture) {
            notices.warn_once(unsupported::KIND, || text);
        }
        if !geometry.aspect.is_plausible(picture.width()) {
            let (aspect, width, height) = (geometry.aspect, picture.width(), picture.height());
            notices.warn_once("aspect", || {
                format!("its declared pixel aspect ratio of {aspect} is implausible: pixels count as square, {width}x{height}")
            });
        }
        let error = geometry.matrix.map_or(0.0, DisplayMatrix::rotation_error_degrees);
        if error > MAX_ROTATION_ERROR_DEGREES {
            let Orientation { rotation, .. } = geometry.orientation;
            notices.warn_once("angle", || {
                format!(
                    "its display matrix deviates from a quarter turn by {error:.0} degrees: pictures are rotated by {rotation} \
                     only"
                )
            });
        }
    }
}

/// Returns the encoding of pictures that need no conversion.
fn encoding(format: Pixel) -> Option<Encoding> {
    match format {
        Pixel::YUV420P | Pixel::YUVJ420P => Some(Encoding::I420),
        Pixel::NV12 => Some(Encoding::Nv12),
        _ => None,
    }
}

fn strides_are_positive(picture: &frame::Video) -> bool {
    // SAFETY: the frame is a valid AVFrame.
    let strides = unsafe { (*picture.as_ptr()).linesize };
    strides[..3].iter().all(|stride| *stride >= 0)
}

/// Describes a decoded picture as the input of swscale.
fn source(picture: &frame::Video, color: Color) -> SwscaleSource {
    // SAFETY: the frame is a valid AVFrame; only its fields are read.
    let (data, stride) = unsafe { ((*picture.as_ptr()).data, (*picture.as_ptr()).linesize) };
    SwscaleSource {
        format: picture.format().into(),
        width: picture.width(),
        height: picture.height(),
        data: [data[0], data[1], data[2], data[3]].map(|plane| plane.cast_const()),
        stride: [stride[0], stride[1], stride[2], stride[3]],
        color,
    }
}

/// Owner of a decoded picture; keeps its buffers alive for as long as a plane of it is used.
struct PictureOwner(#[allow(dead_code, reason = "held for its drop: av_frame_free releases the buffers")] frame::Video);

// SAFETY: the AVFrame is only dropped, once, by the last owner; av_frame_free and the reference counts of its buffers
// are atomic. Its bytes are only read: a decoder does not write to a picture after returning it.
unsafe impl Send for PictureOwner {}
// SAFETY: as above; nothing is accessible through a shared reference.
unsafe impl Sync for PictureOwner {}
impl RefUnwindSafe for PictureOwner {}

/// Wraps the planes of a picture without copying them.
fn wrap(picture: frame::Video, encoding: Encoding, color: Color) -> Result<Frame> {
    let (width, height) = (picture.width(), picture.height());
    let rows = encoding.planes(width as usize, height as usize);
    let owner = Arc::new(PictureOwner(picture));
    let mut planes = Vec::with_capacity(rows.len());
    for (i, (row, rows)) in rows.into_iter().enumerate() {
        // SAFETY: the frame is a valid, reference-counted AVFrame (avcodec_receive_frame returns no other); the plane's
        // buffer, if there is one, belongs to it.
        let (data, stride, left) = unsafe {
            let frame = owner.0.as_ptr();
            let (data, stride) = ((*frame).data[i], (*frame).linesize[i] as usize);
            let buffer = ffi::av_frame_get_plane_buffer(frame.cast_mut(), i as i32);
            let left = if buffer.is_null() {
                0
            } else {
                ((*buffer).data as usize + (*buffer).size as usize).saturating_sub(data as usize)
            };
            (data, stride, left)
        };
        // The last row may end before its stride if the decoder cropped the picture.
        let len = (stride * rows).min(left);
        let data = NonNull::new(data)
            .filter(|_| len >= (rows - 1) * stride + row)
            .ok_or_else(|| Error::input(format!("the decoder gave a picture whose plane {i} is too small")))?;
        // SAFETY: `data..data + len` lies inside a buffer that `owner` holds, was zeroed when FFmpeg allocated it, and
        // is not written to while it is held.
        let data = unsafe { Buffer::from_custom_allocation(data, len, owner.clone()) };
        planes.push(Plane { data, stride });
    }
    Frame::from_planes(width, height, encoding, color, planes)
}

/// Rotates and mirrors a frame to make it upright.
fn rotate(frame: Frame, orientation: Orientation) -> Result<Frame> {
    if orientation == Orientation::UPRIGHT {
        return Ok(frame);
    }
    let (width, height) = orientation.rotate_size(frame.width(), frame.height());
    let encoding = frame.encoding();
    let from_planes = encoding.planes(frame.width() as usize, frame.height() as usize);
    let to_planes = encoding.planes(width as usize, height as usize);
    let mut planes = Vec::with_capacity(to_planes.len());
    for (i, ((row, rows), (from_row, from_rows))) in to_planes.into_iter().zip(from_planes).enumerate() {
        let (from, from_stride) = frame.plane(i);
        let mut to = MutableBuffer::from_len_zeroed(row * rows);
        if encoding == Encoding::Nv12 && i == 1 {
            rotate_plane::<2>(from, from_stride, (from_row / 2, from_rows), &mut to, orientation);
        } else {
            rotate_plane::<1>(from, from_stride, (from_row, from_rows), &mut to, orientation);
        }
        planes.push(Plane { data: to.into(), stride: row });
    }
    Frame::from_planes(width, height, encoding, frame.color(), planes)
}

/// Rotates a plane of `N`-byte pixels, in tiles that fit the cache. `to` has no padding.
fn rotate_plane<const N: usize>(
    from: &[u8],
    stride: usize,
    (width, height): (usize, usize),
    to: &mut [u8],
    Orientation { mirrored, rotation }: Orientation,
) {
    const TILE: usize = 32;
    for top in (0..height).step_by(TILE) {
        for left in (0..width).step_by(TILE) {
            for y in top..(top + TILE).min(height) {
                for x in left..(left + TILE).min(width) {
                    let from_at = y * stride + x * N;
                    let x = if mirrored { width - 1 - x } else { x };
                    // Position of (x, y) in the rotated plane, and the width of that plane.
                    let (to_x, to_y, to_width) = match rotation {
                        90 => (height - 1 - y, x, height),
                        180 => (width - 1 - x, height - 1 - y, width),
                        270 => (y, width - 1 - x, height),
                        _ => (x, y, width),
                    };
                    let at = (to_y * to_width + to_x) * N;
                    to[at..at + N].copy_from_slice(&from[from_at..from_at + N]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nv12() -> Frame {
        // Luma 0..7 in 4x2, one row of two UV pairs.
        let bytes: Vec<u8> = vec![0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 20, 21];
        Frame::from_packed(4, 2, Encoding::Nv12, Color::default_for_height(2), bytes).unwrap()
    }

    /// Rotates a frame by an EXIF orientation and returns its bytes.
    fn rotated(frame: &Frame, exif: u16) -> Vec<u8> {
        rotate(frame.clone(), Orientation::from_exif(exif).unwrap()).unwrap().into_packed_mut()
    }

    #[test]
    fn all_eight_orientations_become_upright_and_keep_chroma_pairs() {
        let frame = nv12();
        let want: [(u16, [u8; 12]); 8] = [
            (1, [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 20, 21]),
            (2, [3, 2, 1, 0, 7, 6, 5, 4, 20, 21, 10, 11]),
            (3, [7, 6, 5, 4, 3, 2, 1, 0, 20, 21, 10, 11]),
            (4, [4, 5, 6, 7, 0, 1, 2, 3, 10, 11, 20, 21]),
            (5, [0, 4, 1, 5, 2, 6, 3, 7, 10, 11, 20, 21]),
            (6, [4, 0, 5, 1, 6, 2, 7, 3, 10, 11, 20, 21]),
            (7, [7, 3, 6, 2, 5, 1, 4, 0, 20, 21, 10, 11]),
            (8, [3, 7, 2, 6, 1, 5, 0, 4, 20, 21, 10, 11]),
        ];
        for (exif, bytes) in want {
            assert_eq!(rotated(&frame, exif), bytes, "{exif}");
        }
    }

    #[test]
    fn inverse_orientations_cancel_out_also_for_odd_sides() {
        let bytes: Vec<u8> =
            (0..Encoding::I420.planes(67, 35).iter().map(|(a, b)| a * b).sum::<usize>()).map(|i| i as u8).collect();
        let frame = Frame::from_packed(67, 35, Encoding::I420, Color::default_for_height(35), bytes.clone()).unwrap();
        for (one, other) in [(2, 2), (3, 3), (4, 4), (5, 5), (7, 7), (6, 8), (8, 6)] {
            let once = rotate(frame.clone(), Orientation::from_exif(one).unwrap()).unwrap();
            assert_eq!(rotated(&once, other), bytes, "{one} and {other}");
        }
    }
}

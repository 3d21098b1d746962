//! From FFmpeg's frames to ours: planes wrapped where the decoder left them; converted, scaled or turned where they must be.

use std::{panic::RefUnwindSafe, ptr::NonNull, sync::Arc};

use ffmpeg_next::{ffi, format::Pixel, frame};
use sideline_api::{
    Color, Encoding, Error, Frame, Plane, Result,
    arrow::buffer::{Buffer, MutableBuffer},
};

use crate::{
    color::Coding,
    geometry::{Declared, DisplayMatrix, Geometry, Orientation},
    notices::Notices,
    scale::{Size, Source, Swscale},
    views,
};

/// Degrees by which a display matrix may differ from a quarter turn without a word.
const EXACT_DEGREES: f64 = 1.0;

/// Pictures that are woven of two fields look torn where something moves.
const WOVEN: &str = "its pictures are interlaced: each holds two moments, whose lines alternate, and is handled as one picture, so \
                     what moves has combed edges; to deinterlace it first: ffmpeg -i IN -vf bwdif OUT";

/// Turns decoded pictures into frames of one stream.
pub(crate) struct Pictures {
    /// What the file states of the stream's pictures.
    pub declared: Declared,
    /// Display matrix of the pictures themselves.
    own_matrix: Option<DisplayMatrix>,
    /// Size that larger pictures are brought down to.
    size: Option<Size>,
    swscale: Swscale,
    /// Size and color of the frame before.
    before: Option<((u32, u32), Color)>,
    /// What of the pictures differs from what the file says.
    pub notices: Notices,
}

impl Pictures {
    pub fn new(source: impl Into<String>, declared: Declared, size: Option<Size>) -> Self {
        let (swscale, notices) = (Swscale::new(), Notices::of(source));
        Self { declared, own_matrix: None, size, swscale, before: None, notices }
    }

    /// Size of the frames of `width` x `height` pictures of the decoder, by what the file states.
    pub fn size_of(&self, width: u32, height: u32) -> (u32, u32) {
        self.scaled(self.declared.geometry().shown(width, height))
    }

    /// Size of a picture as it is shown, before it is brought down.
    pub fn shown(&mut self, picture: &frame::Video) -> (u32, u32) {
        self.geometry(picture).shown(picture.width(), picture.height())
    }

    /// Geometry of a picture. An orientation within a coded stream holds until the next key frame (ITU-T H.264, D.2.27).
    fn geometry(&mut self, picture: &frame::Video) -> Geometry {
        let own = DisplayMatrix::of_picture(picture);
        if own.is_some() || picture.is_key() {
            self.own_matrix = own;
        }
        self.declared.geometry_of(picture, self.own_matrix)
    }

    fn scaled(&self, (width, height): (u32, u32)) -> (u32, u32) {
        self.size.map_or((width, height), |size| size.within(width, height))
    }

    /// The frame over a decoded picture. Wraps its planes; copies only where it must convert, scale or turn.
    pub fn frame(&mut self, picture: frame::Video) -> Result<Frame> {
        let geometry = self.geometry(&picture);
        self.examine(&picture, &geometry);
        let (width, height) = (picture.width(), picture.height());
        let shown = self.scaled(geometry.shown(width, height));
        // Scaled before it is turned: there is less to turn then.
        let to = geometry.orientation.sides(shown.0, shown.1);
        let stored = Coding::of(&picture).color();
        let color = self.color(shown, stored);
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
        turn(upright, geometry.orientation)
    }

    /// Color of a frame: that of the frame before while the size stays, so that a video has one meaning of its values.
    fn color(&mut self, size: (u32, u32), stored: Color) -> Color {
        match self.before {
            Some((before, color)) if before == size => color,
            _ => {
                self.before = Some((size, stored));
                stored
            }
        }
    }

    /// Tells what of a picture is not handled as its file says.
    fn examine(&mut self, picture: &frame::Video, geometry: &Geometry) {
        let notices = &mut self.notices;
        if picture.is_interlaced() {
            notices.tell("scan", || WOVEN.into());
        }
        if let Some(text) = Coding::of(picture).unconverted() {
            notices.tell("color", || text);
        }
        if let Some(text) = views::of_picture(picture) {
            notices.tell(views::KIND, || text);
        }
        if !geometry.aspect.is_plausible(picture.width()) {
            let (aspect, width, height) = (geometry.aspect, picture.width(), picture.height());
            notices.tell("aspect", || {
                format!("its pixels are said to be {aspect} wide to high, which cannot be meant: taken as square, {width}x{height}")
            });
        }
        let residue = geometry.matrix.map_or(0.0, DisplayMatrix::residue_degrees);
        if residue > EXACT_DEGREES {
            let Orientation { rotation, .. } = geometry.orientation;
            notices.tell("angle", || {
                format!("its display matrix is no quarter turn, by {residue:.0} degrees: pictures are turned by {rotation} only")
            });
        }
    }
}

/// The encoding of pictures that need no conversion.
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

fn source(picture: &frame::Video, color: Color) -> Source {
    // SAFETY: the frame is a valid AVFrame; only its fields are read.
    let (data, stride) = unsafe { ((*picture.as_ptr()).data, (*picture.as_ptr()).linesize) };
    Source {
        format: picture.format().into(),
        width: picture.width(),
        height: picture.height(),
        data: [data[0], data[1], data[2], data[3]].map(|plane| plane.cast_const()),
        stride: [stride[0], stride[1], stride[2], stride[3]],
        color,
    }
}

/// Keeps the buffers of a decoded picture alive for as long as a plane of it is looked at.
struct Kept(#[allow(dead_code, reason = "held for its drop: av_frame_free gives the buffers back")] frame::Video);

// SAFETY: the AVFrame is only dropped, once, by the last owner; av_frame_free and the reference counts of its buffers
// are atomic. Its bytes are only read: a decoder does not write to a picture any more once it has handed it out.
unsafe impl Send for Kept {}
// SAFETY: as above; nothing is reachable through a shared reference.
unsafe impl Sync for Kept {}
impl RefUnwindSafe for Kept {}

/// Planes where the decoder left them.
fn wrap(picture: frame::Video, encoding: Encoding, color: Color) -> Result<Frame> {
    let (width, height) = (picture.width(), picture.height());
    let rows = encoding.planes(width as usize, height as usize);
    let kept = Arc::new(Kept(picture));
    let mut planes = Vec::with_capacity(rows.len());
    for (i, (row, rows)) in rows.into_iter().enumerate() {
        // SAFETY: the frame is a valid, reference-counted AVFrame (avcodec_receive_frame gives no other); the plane's
        // buffer, if any, is one of its own.
        let (data, stride, left) = unsafe {
            let frame = kept.0.as_ptr();
            let (data, stride) = ((*frame).data[i], (*frame).linesize[i] as usize);
            let buffer = ffi::av_frame_get_plane_buffer(frame.cast_mut(), i as i32);
            let left = if buffer.is_null() {
                0
            } else {
                ((*buffer).data as usize + (*buffer).size as usize).saturating_sub(data as usize)
            };
            (data, stride, left)
        };
        // The last row may end before its stride where the decoder cropped the picture.
        let len = (stride * rows).min(left);
        let data = NonNull::new(data)
            .filter(|_| len >= (rows - 1) * stride + row)
            .ok_or_else(|| Error::input(format!("the decoder gave a picture whose plane {i} is too small")))?;
        // SAFETY: `data..data + len` lies inside a buffer that `kept` holds, was zeroed when FFmpeg allocated it, and
        // is not written to while it is held.
        let data = unsafe { Buffer::from_custom_allocation(data, len, kept.clone()) };
        planes.push(Plane { data, stride });
    }
    Frame::from_planes(width, height, encoding, color, planes)
}

/// Makes a frame of planes upright.
fn turn(frame: Frame, orientation: Orientation) -> Result<Frame> {
    if orientation == Orientation::UPRIGHT {
        return Ok(frame);
    }
    let (width, height) = orientation.sides(frame.width(), frame.height());
    let encoding = frame.encoding();
    let from_planes = encoding.planes(frame.width() as usize, frame.height() as usize);
    let to_planes = encoding.planes(width as usize, height as usize);
    let mut planes = Vec::with_capacity(to_planes.len());
    for (i, ((row, rows), (from_row, from_rows))) in to_planes.into_iter().zip(from_planes).enumerate() {
        let (from, from_stride) = frame.plane(i);
        let mut to = MutableBuffer::from_len_zeroed(row * rows);
        if encoding == Encoding::Nv12 && i == 1 {
            turn_plane::<2>(from, from_stride, (from_row / 2, from_rows), &mut to, orientation);
        } else {
            turn_plane::<1>(from, from_stride, (from_row, from_rows), &mut to, orientation);
        }
        planes.push(Plane { data: to.into(), stride: row });
    }
    Frame::from_planes(width, height, encoding, frame.color(), planes)
}

/// Turns a plane of `N`-byte pixels, in tiles that stay in the cache. `to` has no padding.
fn turn_plane<const N: usize>(
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
                    // The place of (x, y) in the turned plane, and the width of that.
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
        Frame::from_packed(4, 2, Encoding::Nv12, Color::assumed(2), bytes).unwrap()
    }

    /// Bytes of the frame in the orientation of an EXIF value.
    fn shown(frame: &Frame, exif: u16) -> Vec<u8> {
        turn(frame.clone(), Orientation::of_exif(exif).unwrap()).unwrap().into_packed_mut()
    }

    #[test]
    fn all_eight_orientations_come_upright_and_keep_chroma_pairs() {
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
            assert_eq!(shown(&frame, exif), bytes, "{exif}");
        }
    }

    #[test]
    fn orientations_that_undo_each_other_do_so_also_for_odd_sides() {
        let bytes: Vec<u8> =
            (0..Encoding::I420.planes(67, 35).iter().map(|(a, b)| a * b).sum::<usize>()).map(|i| i as u8).collect();
        let frame = Frame::from_packed(67, 35, Encoding::I420, Color::assumed(35), bytes.clone()).unwrap();
        for (one, other) in [(2, 2), (3, 3), (4, 4), (5, 5), (7, 7), (6, 8), (8, 6)] {
            let turned = turn(frame.clone(), Orientation::of_exif(one).unwrap()).unwrap();
            assert_eq!(shown(&turned, other), bytes, "{one} and {other}");
        }
    }
}

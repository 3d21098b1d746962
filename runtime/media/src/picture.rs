//! From FFmpeg's frames to ours: planes wrapped where the decoder left them; converted, scaled or turned where they must be.

use std::{panic::RefUnwindSafe, ptr::NonNull, sync::Arc};

use ffmpeg_next::{color, ffi, format::Pixel, frame};
use sideline_api::{
    Color, Encoding, Error, Frame, Matrix, Plane, Result,
    arrow::buffer::{Buffer, MutableBuffer},
};

use crate::scale::{Size, Source, Swscale};

/// Turns decoded pictures into frames of one stream.
pub(crate) struct Pictures {
    /// Degrees, clockwise, by which a picture is turned to be upright: 0, 90, 180 or 270.
    pub rotation: u16,
    /// What larger pictures are brought down to.
    pub size: Option<Size>,
    swscale: Swscale,
}

impl Pictures {
    pub fn new(rotation: u16, size: Option<Size>) -> Self {
        Self { rotation, size, swscale: Swscale::new() }
    }

    /// Size of a `width` x `height` picture of the decoder once it is turned and scaled.
    pub fn size_of(&self, width: u32, height: u32) -> (u32, u32) {
        let (width, height) = turned(self.rotation, width, height);
        self.size.map_or((width, height), |size| size.within(width, height))
    }

    /// The frame over a decoded picture. Wraps its planes; copies only where it must convert, scale or turn.
    pub fn frame(&mut self, picture: frame::Video) -> Result<Frame> {
        let (width, height) = (picture.width(), picture.height());
        // Scaled before it is turned: there is less to turn then.
        let (to_width, to_height) = self.size_of(width, height);
        let to = turned(self.rotation, to_width, to_height);
        let upright = match encoding(picture.format()) {
            Some(encoding) if to == (width, height) && strides_are_positive(&picture) => wrap(picture, encoding)?,
            _ => {
                let source = source(&picture);
                // SAFETY: `picture` is alive; FFmpeg pads the planes of its frames.
                unsafe { self.swscale.run(&source, to.0, to.1)? }
            }
        };
        if self.rotation == 0 { Ok(upright) } else { turn(&upright, self.rotation) }
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

/// Matrix and range of a stream or picture; what it does not say is assumed from its height.
pub(crate) fn color_of(space: color::Space, range: color::Range, format: Pixel, height: u32) -> Color {
    use color::Space as S;
    let assumed = Color::assumed(height);
    let matrix = match space {
        S::BT709 => Matrix::Bt709,
        S::FCC | S::BT470BG | S::SMPTE170M => Matrix::Bt601,
        // BT.2020's coefficients lie nearer to BT.709's.
        S::BT2020NCL | S::BT2020CL | S::SMPTE240M => Matrix::Bt709,
        _ => assumed.matrix,
    };
    let jpeg = matches!(
        format,
        Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P | Pixel::YUVJ411P | Pixel::GRAY8
    );
    Color { matrix, full_range: range == color::Range::JPEG || jpeg }
}

fn picture_color(picture: &frame::Video) -> Color {
    let format = picture.format();
    // RGB becomes video-range Y'CbCr, whatever range it had itself.
    let rgb = picture.color_space() == color::Space::RGB;
    let color = color_of(picture.color_space(), picture.color_range(), format, picture.height());
    if rgb { Color::assumed(picture.height()) } else { color }
}

fn strides_are_positive(picture: &frame::Video) -> bool {
    // SAFETY: the frame is a valid AVFrame.
    let strides = unsafe { (*picture.as_ptr()).linesize };
    strides[..3].iter().all(|stride| *stride >= 0)
}

fn source(picture: &frame::Video) -> Source {
    // SAFETY: the frame is a valid AVFrame; only its fields are read.
    let (data, stride) = unsafe { ((*picture.as_ptr()).data, (*picture.as_ptr()).linesize) };
    Source {
        format: picture.format().into(),
        width: picture.width(),
        height: picture.height(),
        data: [data[0], data[1], data[2], data[3]].map(|plane| plane.cast_const()),
        stride: [stride[0], stride[1], stride[2], stride[3]],
        color: picture_color(picture),
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
fn wrap(picture: frame::Video, encoding: Encoding) -> Result<Frame> {
    let (width, height, color) = (picture.width(), picture.height(), picture_color(&picture));
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

/// Sides of a picture after a turn.
pub(crate) fn turned(rotation: u16, width: u32, height: u32) -> (u32, u32) {
    if rotation % 180 == 90 { (height, width) } else { (width, height) }
}

/// Turns a frame of planes clockwise by 90, 180 or 270 degrees.
fn turn(frame: &Frame, rotation: u16) -> Result<Frame> {
    let (width, height) = turned(rotation, frame.width(), frame.height());
    let encoding = frame.encoding();
    let from_planes = encoding.planes(frame.width() as usize, frame.height() as usize);
    let to_planes = encoding.planes(width as usize, height as usize);
    let mut planes = Vec::with_capacity(to_planes.len());
    for (i, ((row, rows), (from_row, from_rows))) in to_planes.into_iter().zip(from_planes).enumerate() {
        let (from, from_stride) = frame.plane(i);
        let mut to = MutableBuffer::from_len_zeroed(row * rows);
        if encoding == Encoding::Nv12 && i == 1 {
            turn_plane::<2>(from, from_stride, from_row / 2, from_rows, &mut to, rotation);
        } else {
            turn_plane::<1>(from, from_stride, from_row, from_rows, &mut to, rotation);
        }
        planes.push(Plane { data: to.into(), stride: row });
    }
    Frame::from_planes(width, height, encoding, frame.color(), planes)
}

/// Turns a plane of `N`-byte pixels, in tiles that stay in the cache. `to` has no padding.
fn turn_plane<const N: usize>(from: &[u8], stride: usize, width: usize, height: usize, to: &mut [u8], rotation: u16) {
    const TILE: usize = 32;
    for top in (0..height).step_by(TILE) {
        for left in (0..width).step_by(TILE) {
            for y in top..(top + TILE).min(height) {
                for x in left..(left + TILE).min(width) {
                    // Where (x, y) comes to lie, and how wide the turned plane is.
                    let (to_x, to_y, to_width) = match rotation {
                        90 => (height - 1 - y, x, height),
                        180 => (width - 1 - x, height - 1 - y, width),
                        _ => (y, width - 1 - x, height),
                    };
                    let (at, from_at) = ((to_y * to_width + to_x) * N, y * stride + x * N);
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

    #[test]
    fn a_quarter_turn_is_clockwise_and_keeps_chroma_pairs() {
        let frame = turn(&nv12(), 90).unwrap();
        assert_eq!((frame.width(), frame.height()), (2, 4));
        assert_eq!(frame.into_packed_mut(), [4, 0, 5, 1, 6, 2, 7, 3, 10, 11, 20, 21]);
        assert_eq!(turn(&nv12(), 270).unwrap().into_packed_mut(), [3, 7, 2, 6, 1, 5, 0, 4, 20, 21, 10, 11]);
        assert_eq!(turn(&nv12(), 180).unwrap().into_packed_mut(), [7, 6, 5, 4, 3, 2, 1, 0, 20, 21, 10, 11]);
    }

    #[test]
    fn four_quarter_turns_are_none_also_for_odd_sides() {
        let bytes: Vec<u8> =
            (0..Encoding::I420.planes(67, 35).iter().map(|(a, b)| a * b).sum::<usize>()).map(|i| i as u8).collect();
        let frame = Frame::from_packed(67, 35, Encoding::I420, Color::assumed(35), bytes.clone()).unwrap();
        let mut turned = frame;
        for _ in 0..4 {
            turned = turn(&turned, 90).unwrap();
        }
        assert_eq!(turned.into_packed_mut(), bytes);
    }
}

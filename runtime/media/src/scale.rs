//! Sizes and scaling: swscale, never upwards.

use std::str::FromStr;

use ffmpeg_next::ffi;
use sideline_api::{
    Color, Encoding, Error, Frame, Matrix, Plane, Result,
    arrow::buffer::{Buffer, MutableBuffer},
};

/// The size a picture is brought down to. It is never made larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many lines; the width keeps the aspect.
    Height(u32),
    /// Exactly this, the aspect may change; a side that is smaller in the picture stays as it is.
    Exact {
        /// Pixels.
        width: u32,
        /// Lines.
        height: u32,
    },
}

impl Size {
    /// The size of a `width` x `height` picture once it is brought down: even sides, or those of the picture.
    pub fn within(self, width: u32, height: u32) -> (u32, u32) {
        let even = |side: u32| (side & !1).max(2);
        let down = |side: u32, most: u32| if side >= most { most } else { even(side) };
        match self {
            Size::Height(lines) if lines >= height => (width, height),
            Size::Height(lines) => {
                let lines = even(lines);
                let (w, h, l) = (u64::from(width), u64::from(height), u64::from(lines));
                // To the nearest even number of pixels.
                (((w * l + h) / (2 * h) * 2).max(2) as u32, lines)
            }
            Size::Exact { width: w, height: h } => (down(w, width), down(h, height)),
        }
    }
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let side = |text: &str| text.trim().parse::<u32>().ok().filter(|side| (2..=16_384).contains(side));
        let size = match text.split_once(['x', 'X']) {
            Some((width, height)) => side(width).zip(side(height)).map(|(width, height)| Size::Exact { width, height }),
            None => side(text).map(Size::Height),
        };
        size.ok_or_else(|| {
            Error::config(format!("`{text}` is not a size: write a height (720) or both sides (1280x720)"))
        })
    }
}

/// Brings a frame down to a size, as I420. A frame that is not larger is returned as it is, sharing its bytes.
///
/// # Errors
/// JPEG frames, which must be decoded first.
pub fn scale(frame: &Frame, size: Size) -> Result<Frame> {
    let (width, height) = (frame.width(), frame.height());
    let (to_width, to_height) = size.within(width, height);
    if (to_width, to_height) == (width, height) {
        return Ok(frame.clone());
    }
    let (_planes, source) = padded(frame)?;
    // SAFETY: the planes of `source` are scratch buffers, alive and padded.
    unsafe { Swscale::new().run(&source, to_width, to_height) }
}

/// A frame as swscale reads it. It may read a few bytes past a row: the planes are copied to where that is allowed, and
/// must live for as long as the source is read.
pub(crate) fn padded(frame: &Frame) -> Result<(Vec<Scratch>, Source)> {
    use ffi::AVPixelFormat as F;
    let format = match frame.encoding() {
        Encoding::I420 => F::AV_PIX_FMT_YUV420P,
        Encoding::Nv12 => F::AV_PIX_FMT_NV12,
        Encoding::Rgb8 => F::AV_PIX_FMT_RGB24,
        Encoding::Bgr8 => F::AV_PIX_FMT_BGR24,
        Encoding::Jpeg => return Err(Error::input("a JPEG frame cannot be scaled: decode it first")),
    };
    let (width, height) = (frame.width(), frame.height());
    let planes: Vec<Scratch> = frame
        .encoding()
        .planes(width as usize, height as usize)
        .into_iter()
        .enumerate()
        .map(|(i, (row, rows))| {
            let (from, from_stride) = frame.plane(i);
            let mut plane = Scratch::new(row, rows);
            for (to, from) in plane.bytes.chunks_exact_mut(plane.stride).zip(from.chunks(from_stride)).take(rows) {
                to[..row].copy_from_slice(&from[..row]);
            }
            plane
        })
        .collect();
    let mut source =
        Source { format, width, height, data: [std::ptr::null(); 4], stride: [0; 4], color: frame.color() };
    for (i, plane) in planes.iter().enumerate() {
        source.data[i] = plane.bytes.as_ptr();
        source.stride[i] = plane.stride as i32;
    }
    Ok((planes, source))
}

/// Bytes behind the last row that swscale's vector code may touch.
const PADDING: usize = 64;

/// A plane that swscale may read and write: rows at a multiple of 64 bytes, padding behind.
pub(crate) struct Scratch {
    bytes: MutableBuffer,
    stride: usize,
}

impl Scratch {
    fn new(row: usize, rows: usize) -> Self {
        let stride = row.next_multiple_of(64);
        Self { bytes: MutableBuffer::from_len_zeroed(stride * rows + PADDING), stride }
    }
}

/// A picture that swscale reads.
pub(crate) struct Source {
    pub format: ffi::AVPixelFormat,
    pub width: u32,
    pub height: u32,
    pub data: [*const u8; 4],
    pub stride: [i32; 4],
    pub color: Color,
}

/// A scaler that keeps its tables while pictures of the same kind follow each other.
pub(crate) struct Swscale(*mut ffi::SwsContext);

// SAFETY: the context is owned and used through `&mut` alone; swscale binds it to no thread.
unsafe impl Send for Swscale {}

impl Swscale {
    pub fn new() -> Self {
        Self(std::ptr::null_mut())
    }

    /// Converts to I420 of the given size; matrix and range stay those of `source.color`.
    ///
    /// # Safety
    /// The planes of `source` are readable for its size and format, and so are 64 bytes behind each
    /// (FFmpeg's own frames and [`Scratch`] are).
    pub unsafe fn run(&mut self, source: &Source, width: u32, height: u32) -> Result<Frame> {
        // SAFETY: as the caller vouches.
        unsafe { self.convert(source, width, height, source.color) }
    }

    /// Converts to I420 of the given size, and to the given matrix and range.
    ///
    /// # Safety
    /// As [`Swscale::run`].
    pub unsafe fn convert(&mut self, source: &Source, width: u32, height: u32, color: Color) -> Result<Frame> {
        let failed = || {
            Error::input(format!(
                "a picture of {}x{} cannot be converted to i420 of {width}x{height}",
                source.width, source.height
            ))
        };
        let (cw, ch) = (width.div_ceil(2) as usize, height.div_ceil(2) as usize);
        let mut planes = [Scratch::new(width as usize, height as usize), Scratch::new(cw, ch), Scratch::new(cw, ch)];
        // By its format the new range is known when the way is chosen: planes of one range would else be copied as they are.
        let to = match (source.color.full_range, color.full_range) {
            (false, true) => ffi::AVPixelFormat::AV_PIX_FMT_YUVJ420P,
            _ => ffi::AVPixelFormat::AV_PIX_FMT_YUV420P,
        };
        // SAFETY: the context is null or ours; a new one is given for it. No filters, no parameters.
        self.0 = unsafe {
            ffi::sws_getCachedContext(
                self.0,
                source.width as i32,
                source.height as i32,
                source.format,
                width as i32,
                height as i32,
                to,
                ffi::SWS_BILINEAR,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null(),
            )
        };
        if self.0.is_null() {
            return Err(failed());
        }
        let matrix = |color: Color| match color.matrix {
            Matrix::Bt601 => ffi::SWS_CS_ITU601,
            Matrix::Bt709 => ffi::SWS_CS_ITU709,
        };
        let (from_range, to_range) = (i32::from(source.color.full_range), i32::from(color.full_range));
        let into = [
            planes[0].bytes.as_mut_ptr(),
            planes[1].bytes.as_mut_ptr(),
            planes[2].bytes.as_mut_ptr(),
            std::ptr::null_mut(),
        ];
        let strides = [planes[0].stride as i32, planes[1].stride as i32, planes[2].stride as i32, 0];
        // SAFETY: the context is valid; the coefficient tables are FFmpeg's own constants. The caller vouches for
        // the source; the target planes hold `stride * rows` bytes and padding.
        let lines = unsafe {
            let from = ffi::sws_getCoefficients(matrix(source.color));
            let to = ffi::sws_getCoefficients(matrix(color));
            // Its answer is -1 where nothing is to be converted: that is no failure.
            ffi::sws_setColorspaceDetails(self.0, from, from_range, to, to_range, 0, 1 << 16, 1 << 16);
            ffi::sws_scale(
                self.0,
                source.data.as_ptr(),
                source.stride.as_ptr(),
                0,
                source.height as i32,
                into.as_ptr(),
                strides.as_ptr(),
            )
        };
        if lines != height as i32 {
            return Err(failed());
        }
        let planes =
            planes.into_iter().map(|plane| Plane { stride: plane.stride, data: Buffer::from(plane.bytes) }).collect();
        Frame::from_planes(width, height, Encoding::I420, color, planes)
    }
}

impl Drop for Swscale {
    fn drop(&mut self) {
        // SAFETY: null or ours, freed once.
        unsafe { ffi::sws_freeContext(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_height_or_both_sides() {
        assert_eq!("720".parse::<Size>().unwrap(), Size::Height(720));
        assert_eq!("1280x720".parse::<Size>().unwrap(), Size::Exact { width: 1280, height: 720 });
        for wrong in ["", "big", "1280x", "0", "-3", "1280x720x3", "99999"] {
            let error = wrong.parse::<Size>().unwrap_err();
            assert!(error.message.contains("is not a size"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_size_keeps_the_aspect_is_even_and_never_larger() {
        assert_eq!(Size::Height(720).within(1920, 1080), (1280, 720));
        assert_eq!(
            Size::Height(361).within(1366, 720),
            (684, 360),
            "683 is odd: the even number that is nearest above"
        );
        assert_eq!(Size::Height(1080).within(1280, 720), (1280, 720));
        assert_eq!(Size::Height(720).within(721, 721), (720, 720));
        assert_eq!(Size::Exact { width: 640, height: 640 }.within(1280, 360), (640, 360));
        assert_eq!(Size::Exact { width: 4000, height: 4000 }.within(33, 17), (33, 17));
    }

    #[test]
    fn every_raw_encoding_is_scaled_and_a_flat_picture_stays_flat() {
        for encoding in [Encoding::I420, Encoding::Nv12, Encoding::Rgb8, Encoding::Bgr8] {
            let bytes: usize = encoding.planes(65, 33).iter().map(|(row, rows)| row * rows).sum();
            let frame = Frame::from_packed(65, 33, encoding, Color::assumed(33), vec![128u8; bytes]).unwrap();
            let small = scale(&frame, Size::Exact { width: 30, height: 20 }).unwrap();
            assert_eq!((small.width(), small.height(), small.encoding()), (30, 20, Encoding::I420));
            let packed = small.into_packed_mut();
            // Grey: luma 128 stays, or is 126 where 0..255 becomes 16..235; chroma is neutral.
            assert!(packed.iter().all(|b| (125..=129).contains(b)), "{encoding:?}: {packed:?}");
        }
    }

    #[test]
    fn what_is_small_enough_is_not_copied() {
        let frame = Frame::from_packed(4, 4, Encoding::I420, Color::assumed(4), vec![1u8; 24]).unwrap();
        let same = scale(&frame, Size::Height(720)).unwrap();
        assert_eq!(same.plane(0).0.as_ptr(), frame.plane(0).0.as_ptr());
    }
}

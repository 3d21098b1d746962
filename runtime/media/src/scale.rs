//! Sizes of frames, and downscaling and conversion with swscale.

use std::{ffi::CStr, str::FromStr};

use ffmpeg_next::ffi;
use sideline_api::{
    Color, Encoding, Error, Frame, Matrix, Plane, Result,
    arrow::buffer::{Buffer, MutableBuffer},
};

/// Maximum size of a frame: larger frames are scaled down, smaller ones are never enlarged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Height, px; the width keeps the aspect ratio.
    Height(u32),
    /// Width and height; the aspect ratio may change. A side that is already smaller is unchanged.
    Exact {
        /// Width, px.
        width: u32,
        /// Height, px.
        height: u32,
    },
}

impl Size {
    /// Returns the size of a `width` x `height` frame after scaling: even sides, or the frame's own.
    pub fn within(self, width: u32, height: u32) -> (u32, u32) {
        let even = |side: u32| (side & !1).max(2);
        let down = |side: u32, most: u32| if side >= most { most } else { even(side) };
        match self {
            Size::Height(lines) if lines >= height => (width, height),
            Size::Height(lines) => {
                let lines = even(lines);
                let (w, h, l) = (u64::from(width), u64::from(height), u64::from(lines));
                // Rounded to the nearest even number.
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

/// Scales a frame down to a size, as I420. Returns a frame that is not larger unchanged, sharing its bytes.
///
/// # Errors
/// For JPEG frames, which must be decoded first.
pub fn scale(frame: &Frame, size: Size) -> Result<Frame> {
    let (width, height) = (frame.width(), frame.height());
    let (to_width, to_height) = size.within(width, height);
    if (to_width, to_height) == (width, height) {
        return Ok(frame.clone());
    }
    let (_planes, source) = pad_planes(frame)?;
    // SAFETY: the planes of `source` are padded buffers that live until the end of the call.
    unsafe { Swscale::new().convert(&source, to_width, to_height, source.color) }
}

/// Copies a frame into padded planes, as swscale may read a few bytes past a row. The planes must outlive the returned
/// source.
pub(crate) fn pad_planes(frame: &Frame) -> Result<(Vec<PaddedPlane>, SwscaleSource)> {
    use ffi::AVPixelFormat as F;
    let format = match frame.encoding() {
        Encoding::I420 => F::AV_PIX_FMT_YUV420P,
        Encoding::Nv12 => F::AV_PIX_FMT_NV12,
        Encoding::Rgb8 => F::AV_PIX_FMT_RGB24,
        Encoding::Bgr8 => F::AV_PIX_FMT_BGR24,
        Encoding::Jpeg => return Err(Error::input("a JPEG frame cannot be scaled: decode it first")),
    };
    let (width, height) = (frame.width(), frame.height());
    let planes: Vec<PaddedPlane> = frame
        .encoding()
        .planes(width as usize, height as usize)
        .into_iter()
        .enumerate()
        .map(|(i, (row, rows))| {
            let (from, from_stride) = frame.plane(i);
            let mut plane = PaddedPlane::new(row, rows);
            for (to, from) in plane.bytes.chunks_exact_mut(plane.stride).zip(from.chunks(from_stride)).take(rows) {
                to[..row].copy_from_slice(&from[..row]);
            }
            plane
        })
        .collect();
    let mut source =
        SwscaleSource { format, width, height, data: [std::ptr::null(); 4], stride: [0; 4], color: frame.color() };
    for (i, plane) in planes.iter().enumerate() {
        source.data[i] = plane.bytes.as_ptr();
        source.stride[i] = plane.stride as i32;
    }
    Ok((planes, source))
}

/// Bytes behind the last row that swscale's vector code may access.
const PADDING: usize = 64;

/// A plane that swscale may read and write: rows at a multiple of 64 bytes, with padding behind the last one.
pub(crate) struct PaddedPlane {
    bytes: MutableBuffer,
    stride: usize,
}

impl PaddedPlane {
    fn new(row: usize, rows: usize) -> Self {
        let stride = row.next_multiple_of(64);
        Self { bytes: MutableBuffer::from_len_zeroed(stride * rows + PADDING), stride }
    }
}

/// Input picture of swscale.
pub(crate) struct SwscaleSource {
    pub format: ffi::AVPixelFormat,
    pub width: u32,
    pub height: u32,
    pub data: [*const u8; 4],
    pub stride: [i32; 4],
    pub color: Color,
}

/// A scaler that keeps its context while the conversion stays the same.
pub(crate) struct Swscale {
    context: *mut ffi::SwsContext,
    /// Conversion that the context was created for.
    conversion: Option<Conversion>,
}

/// Parameters of a conversion.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Conversion {
    format: ffi::AVPixelFormat,
    /// Width and height of the input, px.
    from: (u32, u32),
    to: (u32, u32),
    from_color: Color,
    to_color: Color,
}

// SAFETY: the context is owned and used through `&mut` only; swscale ties it to no thread.
unsafe impl Send for Swscale {}

impl Swscale {
    pub fn new() -> Self {
        Self { context: std::ptr::null_mut(), conversion: None }
    }

    /// Prepares the context for a conversion; returns false if that fails.
    fn prepare(&mut self, conversion: Conversion) -> bool {
        if self.conversion == Some(conversion) {
            return true;
        }
        // SAFETY: the previous context is null or owned by this scaler, and is not used again. The options of the new one are
        // set before it is initialized, and it is freed if that fails.
        unsafe {
            ffi::sws_freeContext(self.context);
            self.conversion = None;
            self.context = ffi::sws_alloc_context();
            if self.context.is_null() {
                return false;
            }
            for (name, value) in conversion.options() {
                ffi::av_opt_set_int(self.context.cast(), name.as_ptr(), value, 0);
            }
            if ffi::sws_init_context(self.context, std::ptr::null_mut(), std::ptr::null_mut()) < 0 {
                return false;
            }
            let table = |color: Color| ffi::sws_getCoefficients(Conversion::matrix(color));
            let (from_range, to_range) =
                (i32::from(conversion.from_color.full_range), i32::from(conversion.to_color.full_range));
            let (from, to) = (table(conversion.from_color), table(conversion.to_color));
            // It returns -1 if there is nothing to convert, which is no failure.
            ffi::sws_setColorspaceDetails(self.context, from, from_range, to, to_range, 0, 1 << 16, 1 << 16);
        }
        self.conversion = Some(conversion);
        true
    }

    /// Converts a picture to I420 of the given size, matrix and range.
    ///
    /// # Safety
    /// The planes of `source` are readable for its size and format, and 64 bytes beyond each of them
    /// (true for FFmpeg's own frames and for [`PaddedPlane`]).
    pub unsafe fn convert(&mut self, source: &SwscaleSource, width: u32, height: u32, color: Color) -> Result<Frame> {
        let failed = || {
            Error::input(format!(
                "a picture of {}x{} cannot be converted to i420 of {width}x{height}",
                source.width, source.height
            ))
        };
        let (cw, ch) = (width.div_ceil(2) as usize, height.div_ceil(2) as usize);
        let mut planes =
            [PaddedPlane::new(width as usize, height as usize), PaddedPlane::new(cw, ch), PaddedPlane::new(cw, ch)];
        let conversion = Conversion {
            format: source.format,
            from: (source.width, source.height),
            to: (width, height),
            from_color: source.color,
            to_color: color,
        };
        if !self.prepare(conversion) {
            return Err(failed());
        }
        let into = [
            planes[0].bytes.as_mut_ptr(),
            planes[1].bytes.as_mut_ptr(),
            planes[2].bytes.as_mut_ptr(),
            std::ptr::null_mut(),
        ];
        let strides = [planes[0].stride as i32, planes[1].stride as i32, planes[2].stride as i32, 0];
        // SAFETY: the context is valid. The source is valid by the function's contract; the target planes hold
        // `stride * rows` bytes and padding.
        let lines = unsafe {
            ffi::sws_scale(
                self.context,
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

impl Conversion {
    /// Returns the options of the context. It must know the ranges when it selects its algorithm: otherwise it copies planes
    /// of one range into another without conversion.
    fn options(&self) -> [(&'static CStr, i64); 9] {
        let side = |side: u32| i64::from(side);
        [
            (c"srcw", side(self.from.0)),
            (c"srch", side(self.from.1)),
            (c"src_format", self.format as i64),
            (c"src_range", i64::from(self.from_color.full_range)),
            (c"dstw", side(self.to.0)),
            (c"dsth", side(self.to.1)),
            (c"dst_format", ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as i64),
            (c"dst_range", i64::from(self.to_color.full_range)),
            (c"sws_flags", i64::from(ffi::SWS_BILINEAR)),
        ]
    }

    /// Returns FFmpeg's number of a matrix.
    fn matrix(color: Color) -> i32 {
        match color.matrix {
            Matrix::Bt601 => ffi::SWS_CS_ITU601,
            Matrix::Bt709 => ffi::SWS_CS_ITU709,
        }
    }
}

impl Drop for Swscale {
    fn drop(&mut self) {
        // SAFETY: the context is null or owned by this scaler, and is freed once.
        unsafe { ffi::sws_freeContext(self.context) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_parsed_from_a_height_or_both_sides() {
        assert_eq!("720".parse::<Size>().unwrap(), Size::Height(720));
        assert_eq!("1280x720".parse::<Size>().unwrap(), Size::Exact { width: 1280, height: 720 });
        for wrong in ["", "big", "1280x", "0", "-3", "1280x720x3", "99999"] {
            let error = wrong.parse::<Size>().unwrap_err();
            assert!(error.message.contains("is not a size"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_size_keeps_the_aspect_ratio_is_even_and_never_larger() {
        assert_eq!(Size::Height(720).within(1920, 1080), (1280, 720));
        assert_eq!(Size::Height(361).within(1366, 720), (684, 360), "683 is odd: rounded up to an even number");
        assert_eq!(Size::Height(1080).within(1280, 720), (1280, 720));
        assert_eq!(Size::Height(720).within(721, 721), (720, 720));
        assert_eq!(Size::Exact { width: 640, height: 640 }.within(1280, 360), (640, 360));
        assert_eq!(Size::Exact { width: 4000, height: 4000 }.within(33, 17), (33, 17));
    }

    #[test]
    fn every_raw_encoding_is_scaled_and_a_uniform_frame_stays_uniform() {
        for encoding in [Encoding::I420, Encoding::Nv12, Encoding::Rgb8, Encoding::Bgr8] {
            let bytes: usize = encoding.planes(65, 33).iter().map(|(row, rows)| row * rows).sum();
            let frame =
                Frame::from_packed(65, 33, encoding, Color::default_for_height(33), vec![128u8; bytes]).unwrap();
            let small = scale(&frame, Size::Exact { width: 30, height: 20 }).unwrap();
            assert_eq!((small.width(), small.height(), small.encoding()), (30, 20, Encoding::I420));
            let packed = small.into_packed_mut();
            // Gray: luma 128 stays, or becomes 126 where 0..255 is converted to 16..235; chroma is neutral.
            assert!(packed.iter().all(|b| (125..=129).contains(b)), "{encoding:?}: {packed:?}");
        }
    }

    #[test]
    fn a_frame_that_is_small_enough_is_not_copied() {
        let frame = Frame::from_packed(4, 4, Encoding::I420, Color::default_for_height(4), vec![1u8; 24]).unwrap();
        let same = scale(&frame, Size::Height(720)).unwrap();
        assert_eq!(same.plane(0).0.as_ptr(), frame.plane(0).0.as_ptr());
    }
}

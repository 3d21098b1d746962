//! JPEG images of frames for viewers: scaled down on request, in the color space that readers assume for JPEG.

use ffmpeg_next::{self as ff, Rational, codec, color, encoder, format::Pixel, frame};
use sideline_api::{Color, Encoding, Error, Failure, Frame, Matrix, Result};

use crate::scale::{Size, Swscale, pad_planes};

/// Color of the Y'CbCr values that every reader assumes for a JPEG (JFIF 1.02).
const JFIF: Color = Color { matrix: Matrix::Bt601, full_range: true };
/// Unit of FFmpeg's quality parameter (FF_QP2LAMBDA).
const QP_TO_LAMBDA: i32 = 118;

/// Encoder of JPEG images. It keeps FFmpeg's encoder open while frames have the same size.
pub struct JpegEncoder {
    /// Quantizer scale of FFmpeg, 1 (best) to 31.
    scale: i32,
    open: Option<OpenEncoder>,
    swscale: Swscale,
}

/// FFmpeg's encoder and its input picture.
struct OpenEncoder {
    encoder: encoder::video::Encoder,
    picture: frame::Video,
}

impl JpegEncoder {
    /// Creates an encoder. `quality` approximates libjpeg's scale: 1 to 100, 75 is good, 90 very good.
    pub fn new(quality: u32) -> Self {
        crate::open::init_ffmpeg();
        let quality = f64::from(quality.clamp(1, 100));
        // libjpeg's factor for its quantization tables; at quality 75 they are as fine as FFmpeg's at scale 8.
        let factor = if quality < 50.0 { 50.0 / quality } else { 2.0 - quality / 50.0 };
        Self { scale: ((factor * 16.0).round() as i32).clamp(1, 31), open: None, swscale: Swscale::new() }
    }

    /// Encodes a frame as a JPEG file, scaled down to `size`. A JPEG frame is returned unchanged.
    ///
    /// # Errors
    /// `Output` if this FFmpeg cannot write JPEG.
    pub fn encode(&mut self, frame: &Frame, size: Option<Size>) -> Result<Vec<u8>> {
        if frame.encoding() == Encoding::Jpeg {
            return Ok(frame.plane(0).0.to_vec());
        }
        let (width, height) = size.map_or((frame.width(), frame.height()), |s| s.within(frame.width(), frame.height()));
        let (_planes, source) = pad_planes(frame)?;
        // SAFETY: the planes of `source` are padded buffers that live until the end of the call.
        let small = unsafe { self.swscale.convert(&source, width, height, JFIF)? };
        let fail = |what: &str, cause: ff::Error| Error::new(Failure::Output, format!("a JPEG {what}: {cause}"));
        if self.open.as_ref().is_none_or(|open| (open.picture.width(), open.picture.height()) != (width, height)) {
            self.open = Some(open_encoder(width, height).map_err(|cause| fail("encoder cannot be set up", cause))?);
        }
        let Some(OpenEncoder { encoder, picture }) = &mut self.open else {
            return Err(Error::output("no JPEG encoder"));
        };
        // SAFETY: `picture` owns a valid AVFrame with buffers; the call gives it new ones if the encoder still refers to
        // the present ones. Otherwise only one of its fields is written.
        let code = unsafe {
            (*picture.as_mut_ptr()).quality = self.scale * QP_TO_LAMBDA;
            ff::ffi::av_frame_make_writable(picture.as_mut_ptr())
        };
        if code < 0 {
            return Err(fail("encoder has no memory for its picture", ff::Error::from(code)));
        }
        let planes = Encoding::I420.planes(width as usize, height as usize);
        for (i, (row, rows)) in planes.into_iter().enumerate() {
            let (from, from_stride) = small.plane(i);
            let stride = picture.stride(i);
            for (to, from) in picture.data_mut(i).chunks_mut(stride).zip(from.chunks(from_stride)).take(rows) {
                to[..row].copy_from_slice(&from[..row]);
            }
        }
        let mut packet = ff::Packet::empty();
        encoder.send_frame(picture).map_err(|cause| fail("cannot be encoded", cause))?;
        encoder.receive_packet(&mut packet).map_err(|cause| fail("cannot be encoded", cause))?;
        let next = picture.pts().map(|pts| pts + 1);
        picture.set_pts(next);
        packet.data().map(<[u8]>::to_vec).ok_or_else(|| Error::output("the JPEG encoder returned an empty image"))
    }
}

fn open_encoder(width: u32, height: u32) -> Result<OpenEncoder, ff::Error> {
    let codec = encoder::find(codec::Id::MJPEG).ok_or(ff::Error::EncoderNotFound)?;
    let mut settings = codec::context::Context::new_with_codec(codec).encoder().video()?;
    settings.set_width(width);
    settings.set_height(height);
    settings.set_format(Pixel::YUVJ420P);
    settings.set_color_range(color::Range::JPEG);
    settings.set_time_base(Rational(1, 25));
    settings.set_flags(codec::Flags::QSCALE | codec::Flags::BITEXACT);
    // With several threads the encoder would return an image only after the following pictures.
    settings.set_threading(codec::threading::Config { count: 1, ..Default::default() });
    let encoder = settings.open()?;
    let mut picture = frame::Video::new(Pixel::YUVJ420P, width, height);
    picture.set_pts(Some(0));
    Ok(OpenEncoder { encoder, picture })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an RGB image with red, green, blue and white quarters.
    fn quarters(width: usize, height: usize) -> Vec<u8> {
        let color = |x: usize, y: usize| match (x < width / 2, y < height / 2) {
            (true, true) => [200, 30, 30],
            (false, true) => [30, 200, 30],
            (true, false) => [30, 30, 200],
            (false, false) => [255, 255, 255],
        };
        (0..width * height).flat_map(|i| color(i % width, i / width)).collect()
    }

    /// Converts an RGB image to a frame with this matrix and range.
    fn video(rgb: &[u8], width: u32, height: u32, color: Color) -> Frame {
        let frame = Frame::from_packed(width, height, Encoding::Rgb8, color, rgb.to_vec()).unwrap();
        let (_planes, source) = pad_planes(&frame).unwrap();
        // SAFETY: the planes are padded and live until the end of the call.
        unsafe { Swscale::new().convert(&source, width, height, color).unwrap() }
    }

    /// Decodes a JPEG as a viewer does; returns its size and the colors in the centers of the quarters.
    fn decode(jpeg: &[u8]) -> ((u32, u32), Vec<[u8; 3]>) {
        let mut decoder = {
            let codec = ff::decoder::find(codec::Id::MJPEG).unwrap();
            codec::context::Context::new_with_codec(codec).decoder().video().unwrap()
        };
        decoder.send_packet(&ff::Packet::copy(jpeg)).unwrap();
        let mut picture = frame::Video::empty();
        decoder.receive_frame(&mut picture).unwrap();
        let (w, h) = (picture.width() as usize, picture.height() as usize);
        let at = |x: usize, y: usize| {
            let plane = |i: usize, x: usize, y: usize| f64::from(picture.data(i)[y * picture.stride(i) + x]);
            let (luma, cb, cr) = (plane(0, x, y), plane(1, x / 2, y / 2) - 128.0, plane(2, x / 2, y / 2) - 128.0);
            // JFIF 1.02, Conversion to and from RGB.
            [luma + 1.402 * cr, luma - 0.34414 * cb - 0.71414 * cr, luma + 1.772 * cb]
                .map(|v| v.round().clamp(0.0, 255.0) as u8)
        };
        let places = [(w / 4, h / 4), (3 * w / 4, h / 4), (w / 4, 3 * h / 4), (3 * w / 4, 3 * h / 4)];
        ((w as u32, h as u32), places.map(|(x, y)| at(x, y)).to_vec())
    }

    #[test]
    fn colors_are_those_of_the_frame_whatever_its_matrix_and_range() {
        let rgb = quarters(64, 48);
        for matrix in [Matrix::Bt601, Matrix::Bt709] {
            for full_range in [false, true] {
                let frame = video(&rgb, 64, 48, Color { matrix, full_range });
                for size in [None, Some(Size::Height(24))] {
                    let (_, colors) = decode(&JpegEncoder::new(95).encode(&frame, size).unwrap());
                    for (found, want) in colors.iter().zip([[200, 30, 30], [30, 200, 30], [30, 30, 200], [255; 3]]) {
                        let off = found.iter().zip(want).map(|(a, b)| a.abs_diff(b)).max().unwrap();
                        assert!(off <= 8, "{matrix:?} full {full_range}, {size:?}: {found:?} expected {want:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn images_are_returned_at_once_in_the_requested_size_also_with_odd_sides() {
        let mut encoder = JpegEncoder::new(75);
        for (width, height, size, want) in [
            (64, 48, None, (64, 48)),
            (64, 48, None, (64, 48)),
            (64, 48, Some(Size::Height(24)), (32, 24)),
            (33, 17, None, (33, 17)),
        ] {
            let color = Color::default_for_height(height);
            let rgb = quarters(width as usize, height as usize);
            let frame = Frame::from_packed(width, height, Encoding::Rgb8, color, rgb).unwrap();
            assert_eq!(decode(&encoder.encode(&frame, size).unwrap()).0, want);
        }
    }

    #[test]
    fn a_lower_quality_is_smaller_and_a_jpeg_frame_is_unchanged() {
        let noise: Vec<u8> = (0..64 * 48 * 3_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let frame = Frame::from_packed(64, 48, Encoding::Rgb8, Color::default_for_height(48), noise).unwrap();
        let bytes = |quality| JpegEncoder::new(quality).encode(&frame, None).unwrap();
        assert!(bytes(20).len() < bytes(75).len() && bytes(75).len() < bytes(95).len());
        let jpeg = Frame::from_packed(64, 48, Encoding::Jpeg, JFIF, bytes(75)).unwrap();
        assert_eq!(JpegEncoder::new(10).encode(&jpeg, None).unwrap(), bytes(75));
    }
}

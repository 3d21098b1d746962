//! Conversion of decoded frames to packed I420.

use sideline_api::{Encoding, Error, Failure, Frame, Matrix, OrFail, Result};
use yuv::{BufferStoreMut, YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix};

/// Converts a frame to packed I420 in `into`, which is resized: Y, U, V, rows without padding.
///
/// NV12 keeps every value. RGB is converted by the frame's own matrix and range.
///
/// # Errors
/// For JPEG frames, which must be decoded first.
pub fn to_i420(frame: &Frame, into: &mut Vec<u8>) -> Result<()> {
    let (w, h) = (frame.width() as usize, frame.height() as usize);
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let (luma, chroma) = (w * h, cw * ch);
    into.resize(luma + 2 * chroma, 0);
    match frame.encoding() {
        Encoding::I420 => frame.pack_into(into),
        Encoding::Nv12 => {
            let (y, uv) = into.split_at_mut(luma);
            let (u, v) = uv.split_at_mut(chroma);
            let (from, stride) = frame.plane(0);
            for (to, from) in y.chunks_exact_mut(w).zip(from.chunks(stride)) {
                to.copy_from_slice(&from[..w]);
            }
            let (from, stride) = frame.plane(1);
            for ((u, v), from) in u.chunks_exact_mut(cw).zip(v.chunks_exact_mut(cw)).zip(from.chunks(stride)) {
                for ((u, v), pair) in u.iter_mut().zip(v).zip(from.chunks_exact(2)) {
                    (*u, *v) = (pair[0], pair[1]);
                }
            }
        }
        Encoding::Rgb8 | Encoding::Bgr8 => {
            let (y, uv) = into.split_at_mut(luma);
            let (u, v) = uv.split_at_mut(chroma);
            let mut planes = YuvPlanarImageMut {
                y_plane: BufferStoreMut::Borrowed(y),
                y_stride: w as u32,
                u_plane: BufferStoreMut::Borrowed(u),
                u_stride: cw as u32,
                v_plane: BufferStoreMut::Borrowed(v),
                v_stride: cw as u32,
                width: w as u32,
                height: h as u32,
            };
            let range = if frame.color().full_range { YuvRange::Full } else { YuvRange::Limited };
            let matrix = match frame.color().matrix {
                Matrix::Bt601 => YuvStandardMatrix::Bt601,
                Matrix::Bt709 => YuvStandardMatrix::Bt709,
            };
            let convert = if frame.encoding() == Encoding::Rgb8 { yuv::rgb_to_yuv420 } else { yuv::bgr_to_yuv420 };
            let (from, stride) = frame.plane(0);
            convert(&mut planes, from, stride as u32, range, matrix, YuvConversionMode::Balanced)
                .or_fail(Failure::Other, || format!("{} cannot be converted to i420", frame.encoding().name()))?;
        }
        Encoding::Jpeg => {
            return Err(Error::input(
                "a JPEG frame must be decoded first; configure the source to send decoded frames (i420)",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{Color, Plane};

    fn converted(frame: &Frame) -> Vec<u8> {
        let mut bytes = vec![];
        to_i420(frame, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn nv12_is_deinterleaved_without_loss() {
        // 3x3, rows padded: chroma has 2x2 pairs.
        let luma = Plane { data: vec![1u8, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0].into(), stride: 4 };
        let pairs = Plane { data: vec![10u8, 20, 11, 21, 0, 12, 22, 13, 23, 0].into(), stride: 5 };
        let frame = Frame::from_planes(3, 3, Encoding::Nv12, Color::default_for_height(3), vec![luma, pairs]).unwrap();
        assert_eq!(converted(&frame), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 20, 21, 22, 23]);
    }

    #[test]
    fn red_has_its_bt709_values_from_rgb_and_bgr() {
        let color = Color { matrix: Matrix::Bt709, full_range: false };
        for (encoding, pixel) in [(Encoding::Rgb8, [255u8, 0, 0]), (Encoding::Bgr8, [0, 0, 255])] {
            let frame = Frame::from_packed(4, 2, encoding, color, pixel.repeat(8)).unwrap();
            let bytes = converted(&frame);
            let near = |found: u8, want: u8| found.abs_diff(want) <= 1;
            assert!(near(bytes[0], 63) && near(bytes[8], 102) && near(bytes[10], 240), "{encoding:?}: {bytes:?}");
        }
    }

    #[test]
    fn jpeg_is_refused_and_the_error_names_the_remedy() {
        let frame = Frame::from_packed(4, 2, Encoding::Jpeg, Color::default_for_height(2), vec![0u8; 9]).unwrap();
        assert!(to_i420(&frame, &mut vec![]).unwrap_err().message.contains("decoded"));
    }
}

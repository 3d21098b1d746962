//! Warnings about video that is processed as plain flat pictures although it is spherical, stereoscopic or transparent.

use std::ffi::CStr;

use ffmpeg_next::{Stream, ffi, format::Pixel, frame};

/// Kind of these warnings.
pub(crate) const KIND: &str = "unsupported";

/// Warning about pictures with transparent parts.
const TRANSPARENT: &str = "parts of it are transparent: they show the colors stored there";

/// Returns the warning for a stream, from what its container declares.
pub(crate) fn stream_warning(stream: &Stream) -> Option<String> {
    use ffi::AVPacketSideDataType as Kind;
    let side_data = |kind: Kind| {
        let mut size = 0;
        // SAFETY: the stream belongs to the open input.
        let data = unsafe { ffi::av_stream_get_side_data(stream.as_ptr(), kind, &mut size) };
        (!data.is_null()).then_some((data.cast_const(), size))
    };
    if side_data(Kind::AV_PKT_DATA_SPHERICAL).is_some() {
        return Some("it is spherical (360 degrees): it is processed as the flat picture that is stored".into());
    }
    // Matroska marks a second coded picture that holds the transparency; it is not decoded.
    if stream.metadata().get("alpha_mode") == Some("1") {
        return Some(TRANSPARENT.into());
    }
    let (data, size) = side_data(Kind::AV_PKT_DATA_STEREO3D)?;
    // SAFETY: the data belongs to the stream and has the size that FFmpeg states.
    unsafe { stereo_warning(data, size) }
}

/// Returns the warning for a decoded picture, from what its coded stream declares.
pub(crate) fn picture_warning(picture: &frame::Video) -> Option<String> {
    // SAFETY: the frame is a valid AVFrame; its data has the size that it states.
    unsafe {
        let data = ffi::av_frame_get_side_data(picture.as_ptr(), ffi::AVFrameSideDataType::AV_FRAME_DATA_STEREO3D);
        if !data.is_null() {
            return stereo_warning((*data).data, (*data).size);
        }
    }
    is_transparent(picture).then(|| TRANSPARENT.into())
}

/// True if a pixel of the picture is not opaque. The transparency of palettes is not examined.
fn is_transparent(picture: &frame::Video) -> bool {
    let (format, height) = (picture.format(), picture.height() as usize);
    if format == Pixel::PAL8 {
        return false;
    }
    // SAFETY: descriptors are constants of FFmpeg; only fields of the frame, which is valid, are read.
    let (descriptor, planes, strides) = unsafe {
        let descriptor = ffi::av_pix_fmt_desc_get(format.into()).as_ref();
        (descriptor, (*picture.as_ptr()).data, (*picture.as_ptr()).linesize)
    };
    let with_alpha = |it: &&ffi::AVPixFmtDescriptor| it.flags & u64::from(ffi::AV_PIX_FMT_FLAG_ALPHA as u32) != 0;
    let Some(descriptor) = descriptor.filter(with_alpha) else { return false };
    // Alpha is the last component, and is not subsampled.
    let alpha = descriptor.comp[usize::from(descriptor.nb_components) - 1];
    let (plane, step, deep) = (alpha.plane as usize, alpha.step as usize, alpha.depth > 8);
    // The high byte of a value of several bytes decides: the second one if they are little-endian.
    let little = descriptor.flags & u64::from(ffi::AV_PIX_FMT_FLAG_BE as u32) == 0;
    let offset = alpha.offset as usize + usize::from(deep && little);
    let opaque = if deep { (((1_u32 << alpha.depth) - 1) >> 8) as u8 } else { u8::MAX };
    let (Some(data), Some(stride)) = (planes.get(plane), strides.get(plane)) else { return false };
    let row = picture.width() as usize * step;
    (0..height as isize).any(|y| {
        // SAFETY: a row of the plane holds `step` bytes for each pixel of its width; rows are a stride apart, which may
        // be negative.
        let row = unsafe { std::slice::from_raw_parts(data.offset(y * *stride as isize), row) };
        row.iter().skip(offset).step_by(step).any(|value| *value != opaque)
    })
}

/// Returns the warning for stereoscopic content.
///
/// # Safety
/// `data` is readable for `size` bytes.
unsafe fn stereo_warning(data: *const u8, size: usize) -> Option<String> {
    if size < size_of::<ffi::AVStereo3D>() {
        return None;
    }
    // SAFETY: long enough (checked); the first field is a C enum, read as its number. The name is a constant.
    let (packing, name) = unsafe {
        let packing = data.cast::<u32>().read_unaligned();
        (packing, CStr::from_ptr(ffi::av_stereo3d_type_name(packing)))
    };
    // 0 stands for a single view.
    (packing != 0).then(|| {
        format!(
            "it is stereoscopic ({}): both views are processed as one picture; to extract one view first: ffmpeg -i IN -vf \
             stereo3d=sbsl:ml OUT",
            name.to_string_lossy()
        )
    })
}

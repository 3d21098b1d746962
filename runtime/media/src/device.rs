//! Devices: cameras through V4L2, and FFmpeg's generators, with libavdevice.

use std::{ffi::CString, fs::File, io::ErrorKind, path::Path};

use ff::{Dictionary, ffi, format};
use ffmpeg_next as ff;
use sideline_api::{Error, Result};

use crate::{
    DecodeOptions,
    open::{Opened, init_ffmpeg, start_decoder},
};

/// libavdevice's name for cameras on Linux.
const V4L2: &str = "video4linux2";

/// A device to open.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Input format, FFmpeg's name: `video4linux2`, `lavfi`.
    pub format: String,
    /// Path of the device, `/dev/video0`; a filter graph for `lavfi`.
    pub address: String,
    /// Requested width and height; the device may deliver others.
    pub size: Option<(u32, u32)>,
    /// Requested frames per second; the device may deliver another rate.
    pub fps: Option<f64>,
}

impl Device {
    /// Describes the camera at a path such as `/dev/video0`, with its default size and rate.
    pub fn camera(path: &Path) -> Self {
        Device { format: V4L2.into(), address: path.display().to_string(), size: None, fps: None }
    }
}

/// True for the path of a device, whether it is connected or not.
pub fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let named = path.to_str().is_some_and(|path| path.starts_with("/dev/video") || path.starts_with("/dev/v4l/"));
    named || std::fs::metadata(path).is_ok_and(|found| found.file_type().is_char_device())
}

/// Lists the video devices of this machine for a message: `its video devices are /dev/video0 (HD Webcam), /dev/video2`, or that
/// there are none.
pub fn describe_cameras() -> String {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<(u32, String)> = names
        .filter_map(|name| {
            let number = name.strip_prefix("video")?.parse().ok()?;
            let model = std::fs::read_to_string(format!("/sys/class/video4linux/{name}/name")).unwrap_or_default();
            let model = if model.trim().is_empty() { String::new() } else { format!(" ({})", model.trim()) };
            Some((number, format!("/dev/{name}{model}")))
        })
        .collect();
    found.sort();
    match found.is_empty() {
        true => "this machine has no video device".into(),
        false => {
            format!("its video devices are {}", found.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Opens a device and starts its decoder.
pub(crate) fn open(device: &Device, options: &DecodeOptions) -> Result<Opened> {
    init_ffmpeg();
    let fail = |what: String| Error::input(format!("{}: {what}", device.address));
    let is_camera = device.format == V4L2;
    if is_camera {
        check_readable(Path::new(&device.address)).map_err(&fail)?;
    }
    let mut requested = vec![];
    requested.extend(device.size.map(|(width, height)| ("video_size", format!("{width}x{height}"))));
    requested.extend(device.fps.map(|fps| ("framerate", fps.to_string())));
    // USB bandwidth suffices for larger pictures only as JPEG; a camera without JPEG delivers its own format.
    let jpeg = [requested.clone(), vec![("input_format", "mjpeg".into())]].concat();
    let opened = if is_camera {
        open_input(device, &jpeg).or_else(|_| open_input(device, &requested))
    } else {
        open_input(device, &requested)
    };
    let input = opened.map_err(|cause| match cause {
        ff::Error::Other { errno: ff::error::EBUSY } => fail("is in use: another program reads this camera".into()),
        ff::Error::Other { errno: ff::error::ENOTTY } => fail(format!("is not a camera; {}", describe_cameras())),
        ff::Error::Other { errno: ff::error::EINVAL } if is_camera => fail(format!(
            "does not support the requested settings ({requested:?}): leave out `size` and `fps`, or change them"
        )),
        ff::Error::DemuxerNotFound => {
            fail(format!("this FFmpeg has no `{}`: it was built without that device", device.format))
        }
        cause => fail(format!("cannot be opened: {cause}; {}", describe_cameras())),
    })?;
    start_decoder(input, options, &fail)
}

/// Checks that this process can read a device; the error describes the obstacle.
fn check_readable(path: &Path) -> Result<(), String> {
    match File::open(path) {
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            Err(format!("there is no such device: is the camera plugged in? {}", capitalize(&describe_cameras())))
        }
        Err(cause) if cause.kind() == ErrorKind::PermissionDenied => Err(
            "may not be read by this user: `sudo usermod -aG video $USER` adds you to the group `video`; then log in again"
                .into(),
        ),
        Err(cause) if cause.raw_os_error() == Some(ff::error::EBUSY) => {
            Err("is in use: another program reads this camera".into())
        }
        Err(cause) => Err(format!("cannot be opened: {cause}; {}", describe_cameras())),
    }
}

fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Opens the device as an input and reads its streams' properties.
fn open_input(device: &Device, options: &[(&str, String)]) -> std::result::Result<format::context::Input, ff::Error> {
    let invalid = |_| ff::Error::Other { errno: ff::error::EINVAL };
    let (name, address) = (CString::new(device.format.as_str()), CString::new(device.address.as_str()));
    let (name, address) = (name.map_err(invalid)?, address.map_err(invalid)?);
    let mut dictionary = Dictionary::new();
    for (key, value) in options {
        dictionary.set(key, value);
    }
    // SAFETY: `name` and `address` are C strings that outlive the calls. The context is allocated here, passed to
    // `avformat_open_input` (which frees it on failure), then owned by the `Input`; the dictionary is freed once.
    unsafe {
        let kind = ffi::av_find_input_format(name.as_ptr());
        if kind.is_null() {
            return Err(ff::Error::DemuxerNotFound);
        }
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(ff::Error::Other { errno: ff::error::ENOMEM });
        }
        // Reads do not block inside FFmpeg, so that a stop is noticed while a camera delivers no frame.
        (*context).flags |= ffi::AVFMT_FLAG_NONBLOCK;
        let mut options = dictionary.disown();
        let opened = ffi::avformat_open_input(&mut context, address.as_ptr(), kind.cast_mut(), &mut options);
        ffi::av_dict_free(&mut options);
        if opened < 0 {
            return Err(opened.into());
        }
        let input = format::context::Input::wrap(context);
        match ffi::avformat_find_stream_info(context, std::ptr::null_mut()) {
            found if found < 0 => Err(found.into()),
            _ => Ok(input),
        }
    }
}

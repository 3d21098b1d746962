//! Devices: cameras by V4L2, and FFmpeg's own generators, through libavdevice.

use std::{ffi::CString, fs::File, io::ErrorKind, path::Path};

use ff::{Dictionary, ffi, format};
use ffmpeg_next as ff;
use sideline_api::{Error, Result};

use crate::{
    DecodeOptions,
    open::{Opened, set_up, start_ffmpeg},
};

/// libavdevice's name of cameras on Linux.
const V4L2: &str = "video4linux2";

/// A device to open.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// FFmpeg's name of its kind: `video4linux2`, `lavfi`.
    pub format: String,
    /// Which one: `/dev/video0`; for `lavfi` a filter graph.
    pub address: String,
    /// Width and height asked of it; it may give others.
    pub size: Option<(u32, u32)>,
    /// Frames a second asked of it; it may give others.
    pub fps: Option<f64>,
}

impl Device {
    /// The camera at `/dev/video0` or its like.
    pub fn camera(path: &Path) -> Self {
        Device { format: V4L2.into(), address: path.display().to_string(), size: None, fps: None }
    }
}

/// True for the path of a device, whether it is there or not.
pub fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let named = path.to_str().is_some_and(|path| path.starts_with("/dev/video") || path.starts_with("/dev/v4l/"));
    named || std::fs::metadata(path).is_ok_and(|found| found.file_type().is_char_device())
}

/// The video devices of this machine, for messages: `/dev/video0 (HD Webcam), /dev/video2`, or that there are none.
pub fn cameras() -> String {
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
    start_ffmpeg();
    let fail = |what: String| Error::input(format!("{}: {what}", device.address));
    let camera = device.format == V4L2;
    if camera {
        may_be_read(Path::new(&device.address)).map_err(&fail)?;
    }
    let mut asked = vec![];
    asked.extend(device.size.map(|(width, height)| ("video_size", format!("{width}x{height}"))));
    asked.extend(device.fps.map(|fps| ("framerate", fps.to_string())));
    // A camera's bus carries larger pictures fast enough as JPEG alone; one that has no JPEG gives what it has.
    let jpeg = [asked.clone(), vec![("input_format", "mjpeg".into())]].concat();
    let tried = if camera { input(device, &jpeg).or_else(|_| input(device, &asked)) } else { input(device, &asked) };
    let input = tried.map_err(|cause| match cause {
        ff::Error::Other { errno: ff::error::EBUSY } => fail("is in use: another program reads this camera".into()),
        ff::Error::Other { errno: ff::error::ENOTTY } => fail(format!("is no camera; {}", cameras())),
        ff::Error::Other { errno: ff::error::EINVAL } if camera => {
            fail(format!("cannot give what was asked ({asked:?}): leave `size` and `fps` out, or ask for others"))
        }
        ff::Error::DemuxerNotFound => {
            fail(format!("this FFmpeg has no `{}`: it was built without that device", device.format))
        }
        cause => fail(format!("cannot be opened: {cause}; {}", cameras())),
    })?;
    set_up(input, options, &fail)
}

/// What keeps this process from reading a device, if anything does.
fn may_be_read(path: &Path) -> Result<(), String> {
    match File::open(path) {
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            Err(format!("there is no such device: is the camera plugged in? {}", capital(&cameras())))
        }
        Err(cause) if cause.kind() == ErrorKind::PermissionDenied => Err(
            "may not be read by this user: `sudo usermod -aG video $USER` puts you into the group of cameras; then log in anew"
                .into(),
        ),
        Err(cause) if cause.raw_os_error() == Some(ff::error::EBUSY) => {
            Err("is in use: another program reads this camera".into())
        }
        Err(cause) => Err(format!("cannot be opened: {cause}; {}", cameras())),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// An open context of the device, its streams known.
fn input(device: &Device, options: &[(&str, String)]) -> std::result::Result<format::context::Input, ff::Error> {
    let invalid = |_| ff::Error::Other { errno: ff::error::EINVAL };
    let (name, address) = (CString::new(device.format.as_str()), CString::new(device.address.as_str()));
    let (name, address) = (name.map_err(invalid)?, address.map_err(invalid)?);
    let mut dictionary = Dictionary::new();
    for (key, value) in options {
        dictionary.set(key, value);
    }
    // SAFETY: `name` and `address` are C strings that outlive the calls. The context is allocated here, given away to
    // `avformat_open_input` (which frees it when it fails) and then owned by the `Input`; the dictionary is freed once.
    unsafe {
        let kind = ffi::av_find_input_format(name.as_ptr());
        if kind.is_null() {
            return Err(ff::Error::DemuxerNotFound);
        }
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(ff::Error::Other { errno: ff::error::ENOMEM });
        }
        // Reads do not wait inside FFmpeg, so that a stop is seen while a camera gives no picture.
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

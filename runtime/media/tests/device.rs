//! Devices without a camera: FFmpeg's generators stand in for one. V4L2 itself needs a camera to be tested.

use std::{path::Path, process::Command};

use sideline_api::{Error, Failure};
use sideline_media::{
    DecodeOptions, Decoder, Size,
    device::{Device, describe_cameras, is_device},
};
use sideline_testkit::{Capability, skip_test};

fn device(format: &str, address: &str) -> Device {
    Device { format: format.into(), address: address.into(), size: None, fps: None }
}

/// Opens FFmpeg's test pattern as a device. Skips the test and returns `None` if libavdevice does not have it.
fn generator(graph: &str, options: DecodeOptions) -> Option<Decoder> {
    match Decoder::open_device(&device("lavfi", graph), options) {
        Ok(decoder) => Some(decoder),
        Err(error) if error.message.contains("built without that device") => {
            skip_test(Capability::Machine, error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn refused(device: &Device) -> Error {
    match Decoder::open_device(device, DecodeOptions::default()) {
        Ok(_) => panic!("{device:?} was opened"),
        Err(error) => error,
    }
}

#[test]
fn a_device_delivers_its_frames_with_times_from_the_first_one_on() {
    // The clock starts at an hour, as that of a camera may.
    let graph = "testsrc2=size=320x240:rate=30:duration=1,setpts=PTS+3600/TB";
    let size = Some(Size::Height(120));
    let Some(mut decoder) = generator(graph, DecodeOptions { size, ..Default::default() }) else { return };
    assert_eq!(decoder.frame_size(), (160, 120));
    let mut packets = 0;
    for i in 0..30 {
        let decoded = decoder.next_with(|_| packets += 1).unwrap().unwrap();
        assert_eq!((decoded.pts_ns, decoded.frame.width()), ((i * 1_000_000_000 + 15) / 30, 160));
        assert_eq!(packets, i + 1, "the callback is called for every packet");
    }
    assert!(decoder.next().unwrap().is_none());
    assert_eq!((decoder.disconnect_cause(), decoder.losses().missing), (None, None), "it ended regularly");
    assert!(decoder.seek(0).unwrap_err().message.contains("is live and cannot be seeked"));
}

#[test]
fn a_device_that_breaks_off_reports_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("a.mkv");
    let picture = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=1"];
    match Command::new("ffmpeg").args(picture).arg(&clip).status() {
        Ok(status) => assert!(status.success()),
        Err(cause) => return skip_test(Capability::Ffmpeg, format_args!("ffmpeg: {cause}")),
    }
    // The second part does not exist: reading fails in the middle, as with an unplugged camera.
    let list = folder.path().join("list.txt");
    std::fs::write(&list, "file a.mkv\nfile gone.mkv\n").unwrap();
    let mut decoder =
        Decoder::open_device(&device("concat", list.to_str().unwrap()), DecodeOptions::default()).unwrap();
    let mut frames = 0;
    while decoder.next().unwrap().is_some() {
        frames += 1;
    }
    assert_eq!((frames, decoder.disconnect_cause()), (30, Some("No such file or directory")));
}

#[test]
fn an_error_for_a_device_that_is_not_a_camera_lists_the_cameras() {
    let error = refused(&Device::camera(Path::new("/dev/video250")));
    assert_eq!(error.failure, Failure::Input);
    assert!(error.message.starts_with("/dev/video250: there is no such device: is the camera plugged in? "), "{error}");
    assert!(error.message.to_lowercase().ends_with(&describe_cameras()), "{error}");
    let error = refused(&Device::camera(Path::new("/dev/null")));
    assert!(error.message.starts_with("/dev/null: is not a camera; "), "{error}");
    let error = refused(&device("no_such_kind", "x"));
    assert!(error.message.contains("this FFmpeg has no `no_such_kind`"), "{error}");
}

#[test]
fn devices_are_recognized_by_their_paths_also_when_unplugged() {
    for path in ["/dev/video0", "/dev/video250", "/dev/v4l/by-id/usb-cam-index0", "/dev/null"] {
        assert!(is_device(Path::new(path)), "{path}");
    }
    for path in ["/dev/shm", "video0", "clips/video0.mp4", "/dev"] {
        assert!(!is_device(Path::new(path)), "{path}");
    }
}

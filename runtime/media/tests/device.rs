//! Devices, without a camera: FFmpeg's own generators stand for one. V4L2 itself needs a camera to be run.

use std::{path::Path, process::Command};

use sideline_api::{Error, Failure};
use sideline_media::{
    DecodeOptions, Decoder, Size,
    device::{Device, cameras, is_device},
};
use sideline_testkit::{Capability, skipped};

fn device(format: &str, address: &str) -> Device {
    Device { format: format.into(), address: address.into(), size: None, fps: None }
}

/// FFmpeg's test picture as a device; `None`, and the test is skipped, where its libavdevice has none.
fn generator(graph: &str, options: DecodeOptions) -> Option<Decoder> {
    match Decoder::device(&device("lavfi", graph), options) {
        Ok(decoder) => Some(decoder),
        Err(error) if error.message.contains("built without that device") => {
            skipped(Capability::Machine, error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn refused(device: &Device) -> Error {
    match Decoder::device(device, DecodeOptions::default()) {
        Ok(_) => panic!("{device:?} was opened"),
        Err(error) => error,
    }
}

#[test]
fn a_device_gives_its_frames_with_its_own_times_from_the_first_on() {
    // It has been on for an hour, as a camera may have been.
    let graph = "testsrc2=size=320x240:rate=30:duration=1,setpts=PTS+3600/TB";
    let size = Some(Size::Height(120));
    let Some(mut decoder) = generator(graph, DecodeOptions { size, ..Default::default() }) else { return };
    assert_eq!(decoder.frame_size(), (160, 120));
    let mut packets = 0;
    for i in 0..30 {
        let decoded = decoder.next_with(|_| packets += 1).unwrap().unwrap();
        assert_eq!((decoded.pts_ns, decoded.frame.width()), ((i * 1_000_000_000 + 15) / 30, 160));
        assert_eq!(packets, i + 1, "the arrival of every packet is told");
    }
    assert!(decoder.next().unwrap().is_none());
    assert_eq!((decoder.lost(), decoder.losses().missing), (None, None), "it ended of itself");
    assert!(decoder.seek(0).unwrap_err().message.contains("shows what is now"));
}

#[test]
fn a_device_that_breaks_off_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("a.mkv");
    let picture = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=1"];
    match Command::new("ffmpeg").args(picture).arg(&clip).status() {
        Ok(status) => assert!(status.success()),
        Err(cause) => return skipped(Capability::Ffmpeg, format_args!("ffmpeg: {cause}")),
    }
    // Its second part is not there: the read fails in the middle, as that of a camera whose plug is pulled.
    let list = folder.path().join("list.txt");
    std::fs::write(&list, "file a.mkv\nfile gone.mkv\n").unwrap();
    let mut decoder = Decoder::device(&device("concat", list.to_str().unwrap()), DecodeOptions::default()).unwrap();
    let mut frames = 0;
    while decoder.next().unwrap().is_some() {
        frames += 1;
    }
    assert_eq!((frames, decoder.lost()), (30, Some("No such file or directory")));
}

#[test]
fn what_is_no_camera_says_so_and_names_those_there_are() {
    let error = refused(&Device::camera(Path::new("/dev/video250")));
    assert_eq!(error.failure, Failure::Input);
    assert!(error.message.starts_with("/dev/video250: there is no such device: is the camera plugged in? "), "{error}");
    assert!(error.message.to_lowercase().ends_with(&cameras()), "{error}");
    let error = refused(&Device::camera(Path::new("/dev/null")));
    assert!(error.message.starts_with("/dev/null: is no camera; "), "{error}");
    let error = refused(&device("no_such_kind", "x"));
    assert!(error.message.contains("this FFmpeg has no `no_such_kind`"), "{error}");
}

#[test]
fn devices_are_known_by_their_paths_also_while_they_are_unplugged() {
    for path in ["/dev/video0", "/dev/video250", "/dev/v4l/by-id/usb-cam-index0", "/dev/null"] {
        assert!(is_device(Path::new(path)), "{path}");
    }
    for path in ["/dev/shm", "video0", "clips/video0.mp4", "/dev"] {
        assert!(!is_device(Path::new(path)), "{path}");
    }
}

//! Decoding, compared with the output of the `ffmpeg` command for the same files.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sideline_api::{Encoding, Failure, Matrix};
use sideline_media::{DecodeOptions, DecodedFrame, Decoder, Size, Threads};
use sideline_testkit::{Capability, skip_test};
use tempfile::TempDir;

/// Runs a command line tool. Skips the test and returns `None` if it is not installed.
fn run(tool: &str, args: &[&str]) -> Option<Vec<u8>> {
    let output = match Command::new(tool).args(["-v", "error"]).args(args).output() {
        Ok(output) => output,
        Err(cause) => {
            skip_test(Capability::Ffmpeg, format_args!("{tool}: {cause}"));
            return None;
        }
    };
    assert!(output.status.success(), "{tool} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

/// Creates a folder with a clip of 2 s, 30 frames a second, 320x180, with B-frames. `more` are options of the output.
fn clip(name: &str, more: &[&str]) -> Option<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let mut args = vec![
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=30:duration=2",
        "-c:v",
        "libx264",
        "-g",
        "20",
        "-bf",
        "2",
    ];
    args.extend(["-pix_fmt", "yuv420p"]);
    args.extend(more);
    args.push(path.to_str().unwrap());
    run("ffmpeg", &args)?;
    Some((folder, path))
}

fn open(path: &Path) -> Decoder {
    Decoder::open(path, DecodeOptions::default()).unwrap()
}

fn all(decoder: &mut Decoder) -> Vec<DecodedFrame> {
    std::iter::from_fn(|| decoder.next().unwrap()).collect()
}

fn pts(frames: &[DecodedFrame]) -> Vec<i64> {
    frames.iter().map(|frame| frame.pts_ns).collect()
}

fn bytes(frames: &[DecodedFrame]) -> Vec<u8> {
    frames.iter().flat_map(|decoded| decoded.frame.clone().into_packed_mut()).collect()
}

/// Returns the pixels of all frames as the `ffmpeg` command decodes them.
fn reference(path: &Path, more: &[&str]) -> Vec<u8> {
    let mut args = vec!["-i", path.to_str().unwrap(), "-map", "0:v:0", "-fps_mode", "passthrough"];
    args.extend(more);
    args.extend(["-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]);
    run("ffmpeg", &args).unwrap()
}

#[test]
fn every_frame_has_its_exact_time_and_pixels() {
    for name in ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.flv", "a.h264"] {
        let Some((_folder, path)) = clip(name, &[]) else { return };
        for threads in [Threads::Slice(1), Threads::Slice(2), Threads::Frame(3)] {
            let mut decoder = Decoder::open(&path, DecodeOptions { threads, ..Default::default() }).unwrap();
            let frames = all(&mut decoder);
            assert_eq!(frames.len(), 60, "{name} {threads:?}");
            assert!(frames.iter().all(|frame| !frame.is_damaged));
            assert_eq!(decoder.losses().missing, None, "{name}");
            assert_eq!(decoder.losses().undecodable_video, 0, "{name}");
            assert!(bytes(&frames) == reference(&path, &[]), "{name} {threads:?}: pixels");
            // Matroska and FLV round to the millisecond; raw H.264 has no timestamps.
            let rounding = if matches!(name, "a.mkv" | "a.flv") { 500_000 } else { 1 };
            for (i, pts) in pts(&frames).into_iter().enumerate() {
                let exact = i as i64 * 1_000_000_000 / 30;
                if name == "a.h264" {
                    continue;
                }
                assert!((pts - exact).abs() <= rounding, "{name} frame {i}: {pts} against {exact}");
            }
            assert!(pts(&frames).is_sorted(), "{name}");
        }
    }
}

#[test]
fn info_has_the_declared_properties() {
    let Some((_folder, path)) = clip("a.mp4", &["-colorspace", "bt709", "-color_range", "tv"]) else { return };
    let decoder = open(&path);
    let info = decoder.info();
    assert_eq!((info.width, info.height, info.fps, info.frames, info.rotation), (320, 180, 30.0, Some(60), 0));
    assert_eq!((info.codec.as_str(), info.pixel_format.as_str()), ("h264", "yuv420p"));
    assert_eq!(info.duration_ns, Some(2_000_000_000));
    assert_eq!((info.color.matrix, info.color.full_range), (Matrix::Bt709, false));
    assert!(info.container.contains("mp4"));
}

#[test]
fn variable_frame_rates_keep_their_times() {
    // Every third frame of the first second, all of the second one.
    let select = "select='gte(t,1)+not(mod(n,3))'";
    let Some((_folder, path)) = clip(
        "v.mp4",
        &["-vf", select, "-fps_mode", "vfr", "-enc_time_base", "1/30", "-video_track_timescale", "30000"],
    ) else {
        return;
    };
    let frames = all(&mut open(&path));
    let want: Vec<i64> =
        (0..60_i64).filter(|n| *n >= 30 || n % 3 == 0).map(|n| (n * 1_000_000_000 + 15) / 30).collect();
    assert_eq!(pts(&frames), want);
}

#[test]
fn a_wrapped_plane_is_the_decoders_own_memory() {
    let Some((_folder, path)) = clip("a.mp4", &[]) else { return };
    let mut decoder = open(&path);
    let first = decoder.next().unwrap().unwrap().frame;
    let again = first.clone();
    let before = first.clone().into_packed_mut();
    for plane in 0..3 {
        assert_eq!(first.plane(plane).0.as_ptr(), again.plane(plane).0.as_ptr());
    }
    // The decoder pads rows for its vector code; a copy would not be padded.
    assert!(first.plane(0).1 > 320 && first.packed().is_none());
    drop(first);
    // The frame stays valid while the decoder goes on and after it is dropped.
    let others = all(&mut decoder);
    drop(decoder);
    drop(others);
    assert!(std::thread::spawn(move || again.into_packed_mut()).join().unwrap() == before);
}

#[test]
fn other_pixel_formats_become_i420() {
    for format in ["yuv444p", "yuv422p10le"] {
        let Some((_folder, path)) = clip("a.mkv", &["-pix_fmt", format]) else { return };
        let frames = all(&mut open(&path));
        assert_eq!((frames.len(), frames[0].frame.encoding()), (60, Encoding::I420));
        let want = reference(&path, &["-sws_flags", "bilinear"]);
        let error = mean_difference(&bytes(&frames), &want);
        assert!(error < 1.0, "{format}: {error}");
    }
}

fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

#[test]
fn rotated_recordings_become_upright() {
    let Some((folder, path)) = clip("a.mp4", &[]) else { return };
    for angle in [90, 180, 270] {
        let turned = folder.path().join(format!("{angle}.mp4"));
        let rotate = format!("rotate={angle}");
        run(
            "ffmpeg",
            &["-i", path.to_str().unwrap(), "-c", "copy", "-metadata:s:v:0", &rotate, turned.to_str().unwrap()],
        );
        let mut decoder = open(&turned);
        // The command's option states the rotation of the camera, so pictures are rotated the other way.
        assert_eq!(decoder.info().rotation, 360 - angle);
        let sides = if angle == 180 { (320, 180) } else { (180, 320) };
        assert_eq!((decoder.info().width, decoder.info().height), sides);
        let frames = all(&mut decoder);
        assert_eq!((frames[0].frame.width(), frames[0].frame.height()), sides);
        // The command rotates automatically, as players do.
        assert!(bytes(&frames) == reference(&turned, &[]), "{angle}");
    }
}

/// Writes a copy of an MP4 with a display matrix: a, b, c, d and the translation.
fn with_matrix(path: &Path, name: &str, numbers: [i32; 6]) -> PathBuf {
    let mut bytes = std::fs::read(path).unwrap();
    let header = bytes.windows(4).position(|name| name == b"tkhd").unwrap();
    // Version 0: times and durations of 32 bits precede it.
    let mut at = header + 4 + 40;
    let [a, b, c, d, x, y] = numbers.map(|number| number * 65_536);
    for number in [a, b, 0, c, d, 0, x, y, 0x4000_0000] {
        bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
        at += 4;
    }
    let turned = path.with_file_name(name);
    std::fs::write(&turned, bytes).unwrap();
    turned
}

#[test]
fn every_display_matrix_gives_the_same_frames_as_ffmpeg() {
    let Some((_folder, path)) = clip("a.mp4", &["-frames:v", "3"]) else { return };
    let matrices: [(&str, [i32; 6], bool, u16); 8] = [
        ("upright", [1, 0, 0, 1, 0, 0], false, 0),
        ("hflip", [-1, 0, 0, 1, 320, 0], true, 0),
        ("half", [-1, 0, 0, -1, 320, 180], false, 180),
        ("vflip", [1, 0, 0, -1, 0, 180], true, 180),
        ("transpose", [0, 1, 1, 0, 0, 0], true, 270),
        ("clock", [0, 1, -1, 0, 180, 0], false, 90),
        ("transverse", [0, -1, -1, 0, 180, 320], true, 90),
        ("cclock", [0, -1, 1, 0, 0, 320], false, 270),
    ];
    for (name, numbers, mirrored, rotation) in matrices {
        let shown = with_matrix(&path, &format!("{name}.mp4"), numbers);
        let mut decoder = open(&shown);
        assert_eq!((decoder.info().mirrored, decoder.info().rotation), (mirrored, rotation), "{name}");
        let frames = all(&mut decoder);
        assert_eq!(decoder.notices().count(), 0, "{name}");
        assert!(bytes(&frames) == reference(&shown, &[]), "{name}");
    }
}

#[test]
fn an_orientation_in_the_coded_stream_applies_and_may_change() {
    let Some((_folder, path)) = clip("a.mp4", &["-frames:v", "4", "-bf", "0"]) else {
        return;
    };
    let upright = bytes(&all(&mut open(&path)));
    let part = |name: &str, filter: &str| {
        let part = path.with_file_name(name);
        let args = ["-i", path.to_str().unwrap(), "-c", "copy", "-bsf:v", filter, part.to_str().unwrap()];
        run("ffmpeg", &args).unwrap();
        std::fs::read(part).unwrap()
    };
    let parts = [
        part("as_it_is.h264", "h264_mp4toannexb"),
        part("turned.h264", "h264_mp4toannexb,h264_metadata=display_orientation=insert:rotate=90:flip=horizontal"),
    ];
    let both = path.with_file_name("both.h264");
    std::fs::write(&both, parts.concat()).unwrap();
    let frames = all(&mut open(&both));
    let sizes: Vec<(u32, u32)> = frames.iter().map(|frame| (frame.frame.width(), frame.frame.height())).collect();
    assert_eq!(sizes, [[(320, 180); 4], [(180, 320); 4]].concat());
    assert!(bytes(&frames[..4]) == upright);
    // The command drops the orientation at the next frame, which does not repeat it.
    assert!(bytes(&frames[4..5]) == reference(&path.with_file_name("turned.h264"), &["-frames:v", "1"]));
}

#[test]
fn an_odd_angle_is_reported_and_rounded_to_a_quarter_turn() {
    let Some((folder, path)) = clip("a.mp4", &["-frames:v", "4", "-bf", "0"]) else { return };
    let turned = folder.path().join("turned.mp4");
    let args = ["-i", path.to_str().unwrap(), "-c", "copy", "-metadata:s:v:0", "rotate=100", turned.to_str().unwrap()];
    run("ffmpeg", &args);
    let mut decoder = open(&turned);
    let frame = decoder.next().unwrap().unwrap().frame;
    assert_eq!((frame.width(), frame.height()), (180, 320));
    let notices: Vec<&str> = decoder.notices().collect();
    assert_eq!(
        notices,
        ["its display matrix deviates from a quarter turn by 10 degrees: pictures are rotated by 270 only"]
    );
}

#[test]
fn non_square_pixels_are_scaled_to_square_ones() {
    let Some((folder, path)) = clip("a.mp4", &["-vf", "scale=180:144,setsar=64/45"]) else { return };
    let mut decoder = open(&path);
    assert_eq!((decoder.info().width, decoder.info().height), (256, 144));
    assert_eq!((decoder.info().pixel_aspect.as_str(), decoder.frame_size()), ("64:45", (256, 144)));
    let frames = all(&mut decoder);
    assert_eq!((frames.len(), frames[0].frame.width(), frames[0].frame.height()), (60, 256, 144));
    let want = reference(&path, &["-vf", "scale=256:144:flags=bilinear"]);
    let error = mean_difference(&bytes(&frames), &want);
    assert!(error < 1.0, "{error}");
    // Requested sizes are in square pixels.
    for (size, want) in [(Size::Height(72), (128, 72)), (Size::Exact { width: 200, height: 300 }, (200, 144))] {
        let mut decoder = Decoder::open(&path, DecodeOptions { size: Some(size), ..Default::default() }).unwrap();
        let frame = decoder.next().unwrap().unwrap().frame;
        assert_eq!((frame.width(), frame.height()), want, "{size:?}");
    }
    // The aspect ratio applies to the stored picture: after the rotation, the height grows.
    let turned = with_matrix(&path, "turned.mp4", [0, 1, -1, 0, 144, 0]);
    let frame = open(&turned).next().unwrap().unwrap().frame;
    assert_eq!((frame.width(), frame.height()), (144, 256));
    // The container's aspect ratio takes precedence over that of the coded stream, as in players.
    let other = folder.path().join("other.mkv");
    let args = ["-i", path.to_str().unwrap(), "-c", "copy", "-aspect", "4:3", other.to_str().unwrap()];
    run("ffmpeg", &args);
    let frame = open(&other).next().unwrap().unwrap().frame;
    assert_eq!((frame.width(), frame.height()), (192, 144));
}

#[test]
fn an_implausible_pixel_aspect_is_reported_and_ignored() {
    let Some((_folder, path)) = clip("a.mp4", &["-vf", "setsar=40/1", "-frames:v", "1"]) else { return };
    let mut decoder = open(&path);
    let frame = decoder.next().unwrap().unwrap().frame;
    assert_eq!((frame.width(), frame.height()), (320, 180));
    let notices: Vec<&str> = decoder.notices().collect();
    assert!(notices.len() == 1 && notices[0].contains("pixel aspect ratio of 40:1 is implausible"), "{notices:?}");
}

/// Joins two clips of four frames each into one stream.
fn joined(parts: [&[&str]; 2]) -> Option<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = vec![];
    for part in parts {
        let (_folder, path) = clip("part.h264", &[&["-frames:v", "4", "-bf", "0"], part].concat())?;
        stream.extend(std::fs::read(path).unwrap());
    }
    let path = folder.path().join("joined.h264");
    std::fs::write(&path, stream).unwrap();
    Some((folder, path))
}

#[test]
fn a_pixel_aspect_that_changes_in_the_stream_is_followed() {
    let Some((_folder, path)) = joined([&["-vf", "setsar=4/3"], &["-vf", "setsar=1"]]) else { return };
    let widths: Vec<u32> = all(&mut open(&path)).iter().map(|frame| frame.frame.width()).collect();
    assert_eq!(widths, [426, 426, 426, 426, 320, 320, 320, 320]);
}

#[test]
fn color_stays_that_of_the_first_frame_when_range_or_matrix_change() {
    // The same red, coded in two ways: 0..255 by BT.601, then 16..235 by BT.709.
    let red = "drawbox=color=red:t=fill";
    let full = format!("{red},scale=out_color_matrix=bt601:out_range=full,format=yuvj420p");
    let video = format!("{red},scale=out_color_matrix=bt709:out_range=tv,format=yuv420p");
    let tags = |space, range| ["-colorspace", space, "-color_range", range];
    let one = [&["-vf", &full, "-pix_fmt", "yuvj420p"], &tags("smpte170m", "pc")[..]].concat();
    let other = [&["-vf", &video], &tags("bt709", "tv")[..]].concat();
    for (parts, luma) in [([&one[..], &other[..]], 76), ([&other[..], &one[..]], 63)] {
        let Some((_folder, path)) = joined(parts) else { return };
        let frames = all(&mut open(&path));
        assert_eq!(frames.len(), 8);
        for (i, frame) in frames.iter().enumerate() {
            assert_eq!(frame.frame.color(), frames[0].frame.color(), "frame {i}");
            let found = frame.frame.plane(0).0[0];
            assert!(found.abs_diff(luma) <= 2, "frame {i}: {found} is not {luma}");
        }
    }
}

#[test]
fn each_unsupported_property_is_reported_once() {
    let cases: [(&str, &[&str], &[&str]); 5] = [
        ("plain.mp4", &[], &[]),
        ("woven.mp4", &["-flags", "+ildct+ilme", "-x264-params", "tff=1"], &["interlaced", "bwdif"]),
        (
            "hlg.mp4",
            &["-color_primaries", "bt2020", "-color_trc", "arib-std-b67", "-colorspace", "bt2020nc"],
            &["HDR (primaries bt2020, transfer arib-std-b67, matrix bt2020nc) and are not converted"],
        ),
        ("wide.mp4", &["-color_primaries", "smpte432", "-color_trc", "bt709"], &["not those of BT.709"]),
        ("stereo.mp4", &["-x264-params", "frame-packing=3"], &["stereoscopic (side by side)"]),
    ];
    for (name, more, want) in cases {
        let Some((_folder, path)) = clip(name, more) else { return };
        let mut decoder = open(&path);
        assert_eq!(all(&mut decoder).len(), 60);
        let notices: Vec<&str> = decoder.notices().collect();
        assert_eq!(notices.len(), usize::from(!want.is_empty()), "{name}: {notices:?}");
        assert!(want.iter().all(|words| notices[0].contains(words)), "{name}: {notices:?}");
    }
}

#[test]
fn one_of_several_tracks_is_selected_and_the_others_are_reported() {
    let Some((folder, path)) = clip("a.mp4", &["-frames:v", "2"]) else { return };
    let several = folder.path().join("several.mkv");
    let cover = folder.path().join("cover.jpg");
    run("ffmpeg", &["-i", path.to_str().unwrap(), "-frames:v", "1", cover.to_str().unwrap()]);
    let small = ["-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.1", "-f", "lavfi", "-i", "sine=duration=0.1"];
    let maps = ["-map", "0:v", "-map", "1:v", "-map", "2:a", "-map", "2:a", "-c:a:1", "pcm_s16le", "-c:a:0", "aac"];
    let attached = ["-attach", cover.to_str().unwrap(), "-metadata:s:t", "mimetype=image/jpeg"];
    let args = [&["-i", path.to_str().unwrap()], &small[..], &maps, &attached, &[several.to_str().unwrap()]].concat();
    run("ffmpeg", &args);
    let with = |video_track, audio_track| {
        Decoder::open(&several, DecodeOptions { audio: true, video_track, audio_track, ..Default::default() })
    };
    let unselected = with(None, None).unwrap();
    let notices: Vec<&str> = unselected.notices().collect();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(
        notices[0].contains("2 video tracks (0: h264 320x180, 1: h264 64x48): track 0 is read; set `video_track`"),
        "{notices:?}"
    );
    assert!(
        notices[1].contains("2 audio tracks (0: aac, 1: pcm_s16le): track 0 is read; set `audio_track`"),
        "{notices:?}"
    );
    assert_eq!((unselected.info().video_track, unselected.info().video_tracks), (0, 2));
    let mut second = with(Some(1), Some(1)).unwrap();
    assert_eq!(second.notices().count(), 0, "a selected track gives no warning");
    assert_eq!((second.frame_size(), second.info().audio.as_deref()), ((64, 48), Some("pcm_s16le")));
    assert_eq!(second.next().unwrap().unwrap().frame.width(), 64);
    for (tracks, want) in
        [((Some(2), None), "has no video track 2; its tracks are 0: h264"), ((None, Some(7)), "no audio track 7")]
    {
        let Err(error) = with(tracks.0, tracks.1) else { panic!("{tracks:?} was opened") };
        assert!(error.failure == Failure::Input && error.message.contains(want), "{error}");
    }
}

#[test]
fn audio_belongs_to_the_program_of_the_video() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("programs.ts");
    let sources = ["testsrc2=s=320x180:d=0.4", "testsrc2=s=160x90:d=0.4", "sine=d=0.4:r=48000", "sine=d=0.4:r=44100"];
    let mut args: Vec<&str> = sources.iter().flat_map(|source| ["-f", "lavfi", "-i", source]).collect();
    args.extend(["-map", "0", "-map", "1", "-map", "2", "-map", "3", "-c:v", "libx264"]);
    args.extend(["-program", "st=1:st=3", "-program", "st=0:st=2", path.to_str().unwrap()]);
    if run("ffmpeg", &args).is_none() {
        return;
    }
    for video_track in [Some(0), Some(1)] {
        let decoder = Decoder::open(&path, DecodeOptions { audio: true, video_track, ..Default::default() }).unwrap();
        let rate = if decoder.info().width == 320 { 48_000 } else { 44_100 };
        assert_eq!(decoder.audio_format().map(|format| format.rate), Some(rate), "{:?}", decoder.info());
    }
}

#[test]
fn frames_are_scaled_down_to_a_size_and_never_up() {
    let Some((_folder, path)) = clip("a.mp4", &[]) else { return };
    let with = |size| {
        let mut decoder = Decoder::open(&path, DecodeOptions { size: Some(size), ..Default::default() }).unwrap();
        let size = decoder.frame_size();
        let frames = all(&mut decoder);
        assert_eq!(size, (frames[0].frame.width(), frames[0].frame.height()));
        (size, bytes(&frames))
    };
    let (size, pixels) = with(Size::Height(90));
    assert_eq!(size, (160, 90));
    let error = mean_difference(&pixels, &reference(&path, &["-vf", "scale=160:90:flags=bilinear"]));
    assert!(error < 1.0, "{error}");
    assert_eq!(with(Size::Height(1080)).0, (320, 180));
    assert_eq!(with(Size::Exact { width: 100, height: 400 }).0, (100, 180));
}

#[test]
fn a_limit_of_the_frame_rate_discards_frames_evenly() {
    for name in ["a.mp4", "a.mkv"] {
        let Some((_folder, path)) = clip(name, &[]) else { return };
        for (fps, want) in [(30.0, 60), (60.0, 60), (15.0, 30), (10.0, 20), (20.0, 40), (1.0, 2)] {
            let mut decoder = Decoder::open(&path, DecodeOptions { fps: Some(fps), ..Default::default() }).unwrap();
            let frames = all(&mut decoder);
            assert_eq!(frames.len(), want, "{name} at {fps}");
            assert_eq!((decoder.losses().decoded, decoder.missing_frames()), (60, None));
            let widest = pts(&frames).windows(2).map(|w| w[1] - w[0]).max().unwrap() as f64 * 1e-9;
            assert!(widest <= 1.0 / fps + 1.0 / 30.0, "{name} at {fps}: a gap of {widest} s");
        }
    }
}

#[test]
fn a_seek_returns_the_exact_frame() {
    for name in ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.h264"] {
        let Some((_folder, path)) = clip(name, &[]) else { return };
        let frames = all(&mut open(&path));
        let mut decoder =
            Decoder::open(&path, DecodeOptions { threads: Threads::Frame(2), ..Default::default() }).unwrap();
        for i in [37, 0, 59, 20, 19, 21, 58, 1, 40] {
            decoder.seek(frames[i].pts_ns).unwrap();
            let found = decoder.next().unwrap().unwrap();
            assert_eq!(found.pts_ns, frames[i].pts_ns, "{name} frame {i}");
            assert!(found.frame.into_packed_mut() == frames[i].frame.clone().into_packed_mut(), "{name} frame {i}");
        }
        // Between two frames it returns the later one, and decoding continues from there.
        decoder.seek(frames[30].pts_ns + 1).unwrap();
        assert_eq!(pts(&all(&mut decoder)), pts(&frames[31..]), "{name}");
        assert_eq!(decoder.missing_frames(), None, "{name}");
        let error = decoder.seek(9_000_000_000).unwrap_err();
        assert!(error.message.contains("no frame at 9.000 s"), "{error}");
    }
}

/// Writes a copy of a file that is truncated to a share of its length.
fn cut(path: &Path, name: &str, keep: f64) -> PathBuf {
    let bytes = std::fs::read(path).unwrap();
    let short = path.with_file_name(name);
    std::fs::write(&short, &bytes[..(bytes.len() as f64 * keep) as usize]).unwrap();
    short
}

#[test]
fn a_truncated_file_decodes_as_far_as_it_goes_and_missing_frames_are_counted() {
    let Some((_folder, path)) = clip("a.mp4", &["-movflags", "+faststart"]) else { return };
    let whole = all(&mut open(&path));
    for threads in [Threads::Slice(1), Threads::Frame(2)] {
        let mut decoder =
            Decoder::open(cut(&path, "cut.mp4", 0.6), DecodeOptions { threads, ..Default::default() }).unwrap();
        let held = all(&mut decoder);
        assert!((20..50).contains(&held.len()), "{}", held.len());
        assert_eq!(decoder.missing_frames(), Some(60 - held.len() as u64));
        let sound = held.iter().take_while(|frame| !frame.is_damaged).count();
        assert!(sound + 4 >= held.len(), "only the last frames may be damaged: {sound} of {}", held.len());
        assert!(bytes(&held[..sound - 1]) == bytes(&whole[..sound - 1]));
    }
    // After a seek, frames cannot be counted: the declared duration is used.
    let mut decoder = open(&path.with_file_name("cut.mp4"));
    decoder.seek(500_000_000).unwrap();
    let held = all(&mut decoder);
    let missing = decoder.missing_frames().unwrap();
    assert!((40..=50).contains(&(held.len() as u64 + missing)), "{} and {missing}", held.len());
}

#[test]
fn a_truncated_stream_file_decodes_as_far_as_it_goes() {
    for (name, tells) in [("a.mkv", true), ("a.flv", true), ("a.ts", false)] {
        let Some((_folder, path)) = clip(name, &[]) else { return };
        let mut decoder = open(&cut(&path, &format!("cut-{name}"), 0.6));
        let held = all(&mut decoder);
        assert!((20..50).contains(&held.len()), "{name}: {}", held.len());
        if tells {
            let total = held.len() as u64 + decoder.missing_frames().unwrap();
            assert!((57..=61).contains(&total), "{name}: {total}");
        } else {
            assert_eq!(decoder.missing_frames(), None, "{name} declares no length");
        }
    }
}

#[test]
fn damaged_bytes_are_reported_and_do_not_stop_the_rest() {
    let Some((_folder, path)) = clip("a.mp4", &["-movflags", "+faststart"]) else { return };
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    for (i, byte) in bytes[at..at + 3000].iter_mut().enumerate() {
        *byte ^= (i * 37 + 11) as u8;
    }
    let broken = path.with_file_name("broken.mp4");
    std::fs::write(&broken, bytes).unwrap();
    for threads in [Threads::Slice(1), Threads::Frame(3)] {
        let mut decoder = Decoder::open(&broken, DecodeOptions { threads, ..Default::default() }).unwrap();
        let frames = all(&mut decoder);
        let losses = decoder.losses();
        assert!(frames.len() > 50, "{threads:?}: {}", frames.len());
        assert!(losses.damaged + losses.undecodable_video + losses.missing.unwrap_or(0) > 0, "{threads:?}: {losses:?}");
        assert_eq!(frames.iter().filter(|f| f.is_damaged).count() as u64, losses.damaged);
        assert_eq!(frames.len() as u64 + losses.missing.unwrap_or(0), 60);
        assert!(frames.last().is_some_and(|f| !f.is_damaged), "the last group of pictures is sound");
        assert!(pts(&frames).is_sorted());
    }
}

#[test]
fn open_errors_state_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("empty.mp4"), b"").unwrap();
    std::fs::write(at("words.mp4"), "The quick brown fox.\n".repeat(100)).unwrap();
    std::fs::write(at("words.txt"), "The quick brown fox.\n".repeat(100)).unwrap();
    std::fs::write(at("noise.mkv"), (0..9999_u32).map(|i| ((i * i) >> 3) as u8).collect::<Vec<_>>()).unwrap();
    let mut cases = vec![
        ("none.mp4", "no such file"),
        ("", "is a folder"),
        ("empty.mp4", "is empty (0 bytes)"),
        ("words.mp4", "is not a video"),
        ("words.txt", "text, not a video"),
        ("noise.mkv", "is not a video"),
    ];
    let sound = at("sound.wav");
    if run("ffmpeg", &["-f", "lavfi", "-i", "sine=duration=0.1", sound.to_str().unwrap()]).is_some() {
        cases.push(("sound.wav", "has audio but no video (its streams: pcm_s16le)"));
    }
    if let Some((_clip, path)) = clip("a.mp4", &[]) {
        std::fs::copy(cut(&path, "cut.mp4", 0.5), at("unfinished.mp4")).unwrap();
        cases.push(("unfinished.mp4", "without its index (moov)"));
    }
    for (name, want) in cases {
        let Err(error) = Decoder::open(at(name), DecodeOptions::default()) else { panic!("{name} was opened") };
        assert_eq!(error.failure, Failure::Input);
        assert!(error.message.contains(want) && error.message.contains(name), "{name}: {error}");
    }
}

/// Lists the clips of the test data beside the repository; skips if there are none.
fn shared_clips() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data/clips"))
        .find(|f| f.is_dir());
    let Some(root) = root else {
        skip_test(Capability::Data, "no shared/data/clips beside the repository");
        return vec![];
    };
    std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn real_clips_decode_to_as_many_frames_as_ffprobe_counts() {
    for path in shared_clips() {
        let count =
            ["-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"];
        let Some(count) = run("ffprobe", &[&count[..], &[path.to_str().unwrap()]].concat()) else { return };
        let want: u64 = String::from_utf8(count).unwrap().trim().trim_end_matches(',').parse().unwrap();
        for threads in [Threads::Slice(2), Threads::Frame(2)] {
            let mut decoder = Decoder::open(&path, DecodeOptions { threads, ..Default::default() }).unwrap();
            let (mut last, mut frames, mut kept) = (-1, 0, vec![]);
            while let Some(decoded) = decoder.next().unwrap() {
                assert!(decoded.pts_ns > last, "{}: frame {frames}", path.display());
                (last, frames) = (decoded.pts_ns, frames + 1);
                if [want / 3, want / 2, want].contains(&frames) {
                    kept.push(decoded);
                }
            }
            assert_eq!(frames, want, "{}", path.display());
            for decoded in kept.into_iter().rev() {
                decoder.seek(decoded.pts_ns).unwrap();
                let found = decoder.next().unwrap().unwrap();
                assert_eq!(found.pts_ns, decoded.pts_ns, "{}", path.display());
                assert!(found.frame.into_packed_mut() == decoded.frame.into_packed_mut(), "{}: a seek", path.display());
            }
            while decoder.next().unwrap().is_some() {}
            assert_eq!((decoder.missing_frames(), decoder.losses().undecodable_video), (None, 0), "{}", path.display());
        }
    }
}

#[test]
fn intact_files_of_every_kind_have_no_losses() {
    let Some((folder, _)) = clip("base.mp4", &[]) else { return };
    let encoders = String::from_utf8(run("ffmpeg", &["-encoders"]).unwrap()).unwrap();
    // Name, video encoder, further options; audio that outlasts the video (in AVI it would shift the first frame).
    let kinds: [(&str, &str, &[&str]); 13] = [
        ("fragments.mp4", "libx264", &["-movflags", "+frag_keyframe+empty_moov"]),
        ("hevc.mp4", "libx265", &["-x265-params", "log-level=none"]),
        ("open.mkv", "libx264", &["-x264-params", "open-gop=1"]),
        ("vp9.webm", "libvpx-vp9", &["-deadline", "realtime"]),
        ("mjpeg.avi", "mjpeg", &["-pix_fmt", "yuvj420p", "-an"]),
        ("b.avi", "mpeg4", &["-bf", "2", "-an"]),
        ("mpeg4.mp4", "mpeg4", &["-bf", "2"]),
        ("prores.mov", "prores_ks", &["-pix_fmt", "yuv422p10le"]),
        ("mpeg2.mpg", "mpeg2video", &["-bf", "2"]),
        ("wmv.wmv", "wmv2", &[]),
        ("raw.avi", "rawvideo", &["-pix_fmt", "bgr24", "-an"]),
        ("interlaced.ts", "libx264", &["-flags", "+ildct+ilme", "-x264-params", "tff=1"]),
        ("flash.flv", "libx264", &[]),
    ];
    for (name, encoder, more) in kinds {
        if !encoders.contains(&format!(" {encoder} ")) {
            skip_test(Capability::Machine, format_args!("{name}: this ffmpeg has no {encoder}"));
            continue;
        }
        let path = folder.path().join(name);
        let mut args = vec!["-f", "lavfi", "-i", "testsrc2=size=176x144:rate=30:duration=2", "-f", "lavfi"];
        args.extend(["-i", "sine=duration=2.3:sample_rate=44100", "-c:v", encoder, "-pix_fmt", "yuv420p"]);
        args.extend(more);
        args.push(path.to_str().unwrap());
        run("ffmpeg", &args);
        let mut decoder =
            Decoder::open(&path, DecodeOptions { threads: Threads::Frame(2), ..Default::default() }).unwrap();
        let frames = all(&mut decoder);
        let losses = decoder.losses();
        assert_eq!(
            (frames.len(), losses.damaged, losses.undecodable_video, losses.missing),
            (60, 0, 0, None),
            "{name}"
        );
        assert_eq!(frames[0].pts_ns, 0, "{name}");
        let times = pts(&frames);
        assert!(
            times.windows(2).all(|w| w[0] < w[1]) && (times[59] - 1_966_666_667).abs() < 2_000_000,
            "{name}: {times:?}"
        );
        decoder.seek(times[33]).unwrap();
        let sought = all(&mut decoder);
        assert_eq!((pts(&sought), decoder.missing_frames()), (times[33..].to_vec(), None), "{name}");
        assert!(bytes(&sought[..2]) == bytes(&frames[33..35]), "{name}: pixels after a seek");
    }
}

#[test]
fn a_clip_cut_without_reencoding_has_no_missing_frames() {
    let Some((folder, path)) = clip("a.mp4", &[]) else { return };
    let part = folder.path().join("part.mp4");
    // The cut lies between key frames: an edit list hides the frames before it.
    run("ffmpeg", &["-ss", "0.9", "-i", path.to_str().unwrap(), "-c", "copy", part.to_str().unwrap()]);
    let mut decoder = open(&part);
    let frames = all(&mut decoder);
    assert_eq!(frames.len(), reference(&part, &[]).len() / (320 * 180 * 3 / 2));
    assert_eq!((decoder.missing_frames(), frames[0].pts_ns), (None, 0));
}

#[test]
fn an_avi_with_empty_chunks_has_no_missing_frames() {
    let Some((folder, path)) = clip("a.mp4", &["-bf", "3"]) else { return };
    let at = |name: &str| folder.path().join(name);
    let to = |name: &str| at(name).to_str().unwrap().to_owned();
    let source = path.to_str().unwrap();
    // Empty chunks in the middle and at the end; every second chunk; none.
    let drop = "select='not(between(n,20,21))*lt(n,50)+eq(n,59)'";
    run("ffmpeg", &["-i", source, "-vf", drop, "-vsync", "vfr", "-c:v", "mpeg4", "-q:v", "4", &to("drop.avi")]);
    run("ffmpeg", &["-i", source, "-c", "copy", &to("copied.avi")]);
    run("ffmpeg", &["-i", source, "-c:v", "mpeg4", &to("plain.avi")]);
    for (name, frames) in [("drop.avi", 49), ("copied.avi", 60), ("plain.avi", 60)] {
        let mut decoder = open(&at(name));
        assert_eq!((all(&mut decoder).len(), decoder.missing_frames()), (frames, None), "{name}");
        decoder.seek(500_000_000).unwrap();
        all(&mut decoder);
        assert_eq!(decoder.missing_frames(), None, "{name} after a seek");
        let mut decoder = open(&cut(&at(name), "cut.avi", 0.6));
        let held = all(&mut decoder).len() as u64;
        // Without an index it is unknown which of the declared chunks behind the cut were empty.
        let missing = decoder.missing_frames().unwrap_or(0);
        assert!(held < frames as u64 && missing > 0, "{name}: {held} and {missing}");
        assert!((frames as u64 - 3..=2 * frames as u64).contains(&(held + missing)), "{name}: {held} and {missing}");
    }
}

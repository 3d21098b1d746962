//! Decoding, against what the `ffmpeg` command makes of the same files.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sideline_api::{Encoding, Failure, Matrix};
use sideline_media::{DecodeOptions, Decoded, Decoder, Size, Threads};
use sideline_testkit::{Capability, skipped};
use tempfile::TempDir;

/// Runs a command line tool; `None`, and the test is skipped, where it is not installed.
fn run(tool: &str, args: &[&str]) -> Option<Vec<u8>> {
    let output = match Command::new(tool).args(["-v", "error"]).args(args).output() {
        Ok(output) => output,
        Err(cause) => {
            skipped(Capability::Ffmpeg, format_args!("{tool}: {cause}"));
            return None;
        }
    };
    assert!(output.status.success(), "{tool} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

/// A folder with a clip of 2 s, 30 frames a second, 320x180, with B-frames; `more` stands before the file's name.
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

fn all(decoder: &mut Decoder) -> Vec<Decoded> {
    std::iter::from_fn(|| decoder.next().unwrap()).collect()
}

fn pts(frames: &[Decoded]) -> Vec<i64> {
    frames.iter().map(|frame| frame.pts_ns).collect()
}

fn bytes(frames: &[Decoded]) -> Vec<u8> {
    frames.iter().flat_map(|decoded| decoded.frame.clone().into_packed_mut()).collect()
}

/// Pixels of all frames as the command line decodes them.
fn reference(path: &Path, more: &[&str]) -> Vec<u8> {
    let mut args = vec!["-i", path.to_str().unwrap(), "-map", "0:v:0", "-fps_mode", "passthrough"];
    args.extend(more);
    args.extend(["-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]);
    run("ffmpeg", &args).unwrap()
}

#[test]
fn every_frame_comes_with_its_exact_time_and_pixels() {
    for name in ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.flv", "a.h264"] {
        let Some((_folder, path)) = clip(name, &[]) else { return };
        for threads in [Threads::Slice(1), Threads::Slice(2), Threads::Frame(3)] {
            let mut decoder = Decoder::open(&path, DecodeOptions { threads, ..Default::default() }).unwrap();
            let frames = all(&mut decoder);
            assert_eq!(frames.len(), 60, "{name} {threads:?}");
            assert!(frames.iter().all(|frame| !frame.damaged));
            assert_eq!(decoder.losses().missing, None, "{name}");
            assert_eq!(decoder.losses().undecodable, 0, "{name}");
            assert!(bytes(&frames) == reference(&path, &[]), "{name} {threads:?}: pixels");
            // Matroska and FLV round to the millisecond; raw H.264 has no times but the rate's.
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
fn the_file_says_what_it_is() {
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
    // The decoder's rows are padded for its vector code: a copy of ours would not be.
    assert!(first.plane(0).1 > 320 && first.packed().is_none());
    drop(first);
    // Kept while the decoder goes on and even after it is gone.
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
fn turned_recordings_come_upright() {
    let Some((folder, path)) = clip("a.mp4", &[]) else { return };
    for angle in [90, 180, 270] {
        let turned = folder.path().join(format!("{angle}.mp4"));
        let rotate = format!("rotate={angle}");
        run(
            "ffmpeg",
            &["-i", path.to_str().unwrap(), "-c", "copy", "-metadata:s:v:0", &rotate, turned.to_str().unwrap()],
        );
        let mut decoder = open(&turned);
        // The command's option turns the camera, so that pictures are to be turned back.
        assert_eq!(decoder.info().rotation, 360 - angle);
        let sides = if angle == 180 { (320, 180) } else { (180, 320) };
        assert_eq!((decoder.info().width, decoder.info().height), sides);
        let frames = all(&mut decoder);
        assert_eq!((frames[0].frame.width(), frames[0].frame.height()), sides);
        // The command line turns by itself, as players do.
        assert!(bytes(&frames) == reference(&turned, &[]), "{angle}");
    }
}

#[test]
fn frames_are_brought_down_to_a_size_and_never_up() {
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
fn a_limit_of_frames_passes_over_evenly() {
    for name in ["a.mp4", "a.mkv"] {
        let Some((_folder, path)) = clip(name, &[]) else { return };
        for (fps, want) in [(30.0, 60), (60.0, 60), (15.0, 30), (10.0, 20), (20.0, 40), (1.0, 2)] {
            let mut decoder = Decoder::open(&path, DecodeOptions { fps: Some(fps), ..Default::default() }).unwrap();
            let frames = all(&mut decoder);
            assert_eq!(frames.len(), want, "{name} at {fps}");
            assert_eq!((decoder.losses().decoded, decoder.missing()), (60, None));
            let widest = pts(&frames).windows(2).map(|w| w[1] - w[0]).max().unwrap() as f64 * 1e-9;
            assert!(widest <= 1.0 / fps + 1.0 / 30.0, "{name} at {fps}: a gap of {widest} s");
        }
    }
}

#[test]
fn a_seek_lands_on_the_very_frame() {
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
        // Between two frames: the later one; and decoding goes on from there.
        decoder.seek(frames[30].pts_ns + 1).unwrap();
        assert_eq!(pts(&all(&mut decoder)), pts(&frames[31..]), "{name}");
        assert_eq!(decoder.missing(), None, "{name}");
        let error = decoder.seek(9_000_000_000).unwrap_err();
        assert!(error.message.contains("no frame at 9.000 s"), "{error}");
    }
}

fn cut(path: &Path, name: &str, keep: f64) -> PathBuf {
    let bytes = std::fs::read(path).unwrap();
    let short = path.with_file_name(name);
    std::fs::write(&short, &bytes[..(bytes.len() as f64 * keep) as usize]).unwrap();
    short
}

#[test]
fn a_truncated_file_gives_what_it_holds_and_says_what_is_missing() {
    let Some((_folder, path)) = clip("a.mp4", &["-movflags", "+faststart"]) else { return };
    let whole = all(&mut open(&path));
    for threads in [Threads::Slice(1), Threads::Frame(2)] {
        let mut decoder =
            Decoder::open(cut(&path, "cut.mp4", 0.6), DecodeOptions { threads, ..Default::default() }).unwrap();
        let held = all(&mut decoder);
        assert!((20..50).contains(&held.len()), "{}", held.len());
        assert_eq!(decoder.missing(), Some(60 - held.len() as u64));
        let sound = held.iter().take_while(|frame| !frame.damaged).count();
        assert!(sound + 4 >= held.len(), "only the last frames may be damaged: {sound} of {}", held.len());
        assert!(bytes(&held[..sound - 1]) == bytes(&whole[..sound - 1]));
    }
    // With a seek, frames cannot be counted: the declared length tells.
    let mut decoder = open(&path.with_file_name("cut.mp4"));
    decoder.seek(500_000_000).unwrap();
    let held = all(&mut decoder);
    let missing = decoder.missing().unwrap();
    assert!((40..=50).contains(&(held.len() as u64 + missing)), "{} and {missing}", held.len());
}

#[test]
fn a_truncated_stream_file_gives_what_it_holds() {
    for (name, tells) in [("a.mkv", true), ("a.flv", true), ("a.ts", false)] {
        let Some((_folder, path)) = clip(name, &[]) else { return };
        let mut decoder = open(&cut(&path, &format!("cut-{name}"), 0.6));
        let held = all(&mut decoder);
        assert!((20..50).contains(&held.len()), "{name}: {}", held.len());
        if tells {
            let total = held.len() as u64 + decoder.missing().unwrap();
            assert!((57..=61).contains(&total), "{name}: {total}");
        } else {
            assert_eq!(decoder.missing(), None, "{name} declares no length");
        }
    }
}

#[test]
fn damaged_bytes_show_and_do_not_stop_the_rest() {
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
        assert!(losses.damaged + losses.undecodable + losses.missing.unwrap_or(0) > 0, "{threads:?}: {losses:?}");
        assert_eq!(frames.iter().filter(|f| f.damaged).count() as u64, losses.damaged);
        assert_eq!(frames.len() as u64 + losses.missing.unwrap_or(0), 60);
        assert!(frames.last().is_some_and(|f| !f.damaged), "the last group of pictures is sound");
        assert!(pts(&frames).is_sorted());
    }
}

#[test]
fn what_cannot_be_opened_says_why() {
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
        cases.push(("sound.wav", "has sound but no picture (its streams: pcm_s16le)"));
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

/// The folder of shared test data beside the repository, if there is one.
fn shared_clips() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data/clips"))
        .find(|f| f.is_dir());
    let Some(root) = root else {
        skipped(Capability::Data, "no shared/data/clips beside the repository");
        return vec![];
    };
    std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn real_clips_decode_to_as_many_frames_as_the_command_counts() {
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
            assert_eq!((decoder.missing(), decoder.losses().undecodable), (None, 0), "{}", path.display());
        }
    }
}

#[test]
fn sound_files_of_every_kind_miss_nothing() {
    let Some((folder, _)) = clip("base.mp4", &[]) else { return };
    let encoders = String::from_utf8(run("ffmpeg", &["-encoders"]).unwrap()).unwrap();
    // Name, video encoder, further options; sound that outlasts the picture (in AVI it would shift the first picture).
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
            skipped(Capability::Machine, format_args!("{name}: this ffmpeg has no {encoder}"));
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
        assert_eq!((frames.len(), losses.damaged, losses.undecodable, losses.missing), (60, 0, 0, None), "{name}");
        assert_eq!(frames[0].pts_ns, 0, "{name}");
        let times = pts(&frames);
        assert!(
            times.windows(2).all(|w| w[0] < w[1]) && (times[59] - 1_966_666_667).abs() < 2_000_000,
            "{name}: {times:?}"
        );
        decoder.seek(times[33]).unwrap();
        let sought = all(&mut decoder);
        assert_eq!((pts(&sought), decoder.missing()), (times[33..].to_vec(), None), "{name}");
        assert!(bytes(&sought[..2]) == bytes(&frames[33..35]), "{name}: pixels after a seek");
    }
}

#[test]
fn a_clip_cut_without_coding_it_anew_misses_nothing() {
    let Some((folder, path)) = clip("a.mp4", &[]) else { return };
    let part = folder.path().join("part.mp4");
    // Between key frames: an edit list hides the frames before it.
    run("ffmpeg", &["-ss", "0.9", "-i", path.to_str().unwrap(), "-c", "copy", part.to_str().unwrap()]);
    let mut decoder = open(&part);
    let frames = all(&mut decoder);
    assert_eq!(frames.len(), reference(&part, &[]).len() / (320 * 180 * 3 / 2));
    assert_eq!((decoder.missing(), frames[0].pts_ns), (None, 0));
}

#[test]
fn an_avi_whose_frames_are_repeated_by_empty_chunks_is_whole() {
    let Some((folder, path)) = clip("a.mp4", &["-bf", "3"]) else { return };
    let at = |name: &str| folder.path().join(name);
    let to = |name: &str| at(name).to_str().unwrap().to_owned();
    let source = path.to_str().unwrap();
    // Dropped in the middle and at the end; every second chunk; none.
    let drop = "select='not(between(n,20,21))*lt(n,50)+eq(n,59)'";
    run("ffmpeg", &["-i", source, "-vf", drop, "-vsync", "vfr", "-c:v", "mpeg4", "-q:v", "4", &to("drop.avi")]);
    run("ffmpeg", &["-i", source, "-c", "copy", &to("copied.avi")]);
    run("ffmpeg", &["-i", source, "-c:v", "mpeg4", &to("plain.avi")]);
    for (name, frames) in [("drop.avi", 49), ("copied.avi", 60), ("plain.avi", 60)] {
        let mut decoder = open(&at(name));
        assert_eq!((all(&mut decoder).len(), decoder.missing()), (frames, None), "{name}");
        decoder.seek(500_000_000).unwrap();
        all(&mut decoder);
        assert_eq!(decoder.missing(), None, "{name} after a seek");
        let mut decoder = open(&cut(&at(name), "cut.avi", 0.6));
        let held = all(&mut decoder).len() as u64;
        // Without its index it is not known which of the declared chunks behind the cut were empty.
        let missing = decoder.missing().unwrap_or(0);
        assert!(held < frames as u64 && missing > 0, "{name}: {held} and {missing}");
        assert!((frames as u64 - 3..=2 * frames as u64).contains(&(held + missing)), "{name}: {held} and {missing}");
    }
}

//! Folders of images, against what the `ffmpeg` command writes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sideline_api::Frame;
use sideline_media::{Images, Picture, Size};
use sideline_testkit::{Capability, skipped};
use tempfile::TempDir;

/// Writes `12` pictures of 64x48 that differ, as `name` says (`%d.png`); false, and the test is skipped, where that cannot be.
fn draw(folder: &Path, name: &str, more: &[&str]) -> bool {
    let picture = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=1:duration=12"];
    match Command::new("ffmpeg").args(picture).args(more).arg(folder.join(name)).output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            skipped(Capability::Machine, format_args!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
            false
        }
        Err(cause) => {
            skipped(Capability::Ffmpeg, format_args!("ffmpeg: {cause}"));
            false
        }
    }
}

/// A folder with `1.png` to `12.png`.
fn numbered() -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    draw(folder.path(), "%d.png", &[]).then_some(folder)
}

fn pictures(folder: &Path) -> Vec<(String, i64, Picture)> {
    let mut images = Images::open(folder, None, 10.0).unwrap();
    std::iter::from_fn(|| images.next().unwrap())
        .map(|image| (image.path.file_name().unwrap().to_string_lossy().into_owned(), image.pts_ns, image.picture))
        .collect()
}

fn frame(picture: &Picture) -> &Frame {
    match picture {
        Picture::Frame(frame) => frame,
        other => panic!("a frame expected, found {other:?}"),
    }
}

/// Luma in the range of video: images have that of their kind, and say so.
fn luma(picture: &Picture) -> Vec<f64> {
    let frame = frame(picture);
    let full = frame.color().full_range;
    let level = |luma: u8| if full { 16.0 + f64::from(luma) * 219.0 / 255.0 } else { f64::from(luma) };
    frame.clone().into_packed_mut()[..64 * 48].iter().map(|luma| level(*luma)).collect()
}

#[test]
fn images_come_by_the_numbers_in_their_names_at_the_rate_asked_for() {
    let Some(folder) = numbered() else { return };
    std::fs::write(folder.path().join("notes.txt"), "not an image").unwrap();
    std::fs::write(folder.path().join(".hidden.png"), "not shown").unwrap();
    let found = pictures(folder.path());
    let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, (1..=12).map(|n| format!("{n}.png")).collect::<Vec<_>>());
    for (i, (_, pts, picture)) in found.iter().enumerate() {
        assert_eq!((*pts, frame(picture).width(), frame(picture).height()), (i as i64 * 100_000_000, 64, 48));
    }
    let mut images = Images::open(folder.path(), Some(Size::Height(24)), 10.0).unwrap();
    images.seek(850_000_000).unwrap();
    let image = images.next().unwrap().unwrap();
    assert_eq!((image.path.file_name(), frame(&image.picture).width()), (Some("10.png".as_ref()), 32));
    let error = images.seek(1_200_000_000).unwrap_err();
    assert!(error.message.contains("there is no image at 1.200 s; the last of 12 is at 1.100 s"), "{error}");
}

#[test]
fn every_kind_shows_the_same_pictures_whatever_its_ending_says() {
    let Some(folder) = numbered() else { return };
    let want: Vec<Vec<f64>> = pictures(folder.path()).iter().map(|(.., picture)| luma(picture)).collect();
    assert!(want.windows(2).all(|two| two[0] != two[1]));
    for (name, more) in
        [("%d.jpg", &["-q:v", "1"][..]), ("%d.bmp", &[]), ("%d.webp", &["-lossless", "1", "-c:v", "libwebp"])]
    {
        let other = tempfile::tempdir().unwrap();
        if !draw(other.path(), name, more) {
            continue;
        }
        // One of each has an ending that lies.
        let wrong = if name == "%d.jpg" { "3.PNG" } else { "3.JPEG" };
        std::fs::rename(other.path().join(name.replace("%d", "3")), other.path().join(wrong)).unwrap();
        let found = pictures(other.path());
        assert_eq!(found.len(), 12, "{name}");
        for ((file, _, picture), want) in found.iter().zip(&want) {
            let luma = luma(picture);
            let off: f64 = luma.iter().zip(want).map(|(a, b)| (a - b).abs()).sum();
            assert!(off / (luma.len() as f64) < 3.0, "{file} of {name}: {}", off / luma.len() as f64);
        }
    }
}

#[test]
fn what_cannot_be_shown_is_told_and_the_rest_goes_on() {
    let Some(folder) = numbered() else { return };
    let at = |name: &str| folder.path().join(name);
    assert!(draw(folder.path(), "%d.jpg", &["-start_number", "20"]));
    let cut = |name: &str| {
        let bytes = std::fs::read(at(name)).unwrap();
        std::fs::write(at(name), &bytes[..bytes.len() * 2 / 3]).unwrap();
    };
    cut("2.png");
    cut("20.jpg");
    std::fs::write(at("3.png"), "This is a text.").unwrap();
    std::fs::write(at("4.png"), "").unwrap();
    let large = ["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=80x48:duration=1:rate=1"];
    assert!(Command::new("ffmpeg").args(large).arg(at("5.png")).status().unwrap().success());
    for (name, _, picture) in pictures(folder.path()) {
        match (name.as_str(), picture) {
            ("2.png" | "20.jpg", Picture::Damaged(why)) => assert!(why.contains("cannot be decoded"), "{name}: {why}"),
            ("3.png" | "4.png", Picture::Damaged(why)) => assert!(why.contains("is not an image"), "{name}: {why}"),
            ("5.png", Picture::OtherSize(80, 48)) => {}
            ("2.png" | "20.jpg" | "3.png" | "4.png" | "5.png", other) => panic!("{name}: {other:?}"),
            (_, picture) => assert_eq!(frame(&picture).width(), 64, "{name}"),
        }
    }
}

/// The same JPEG, with a note that it was taken with the camera turned: 6 is a quarter turn.
fn turned(jpeg: &[u8]) -> Vec<u8> {
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, exif, &jpeg[2..]].concat()
}

#[test]
fn a_photograph_stands_upright() {
    let folder = tempfile::tempdir().unwrap();
    if !draw(folder.path(), "%d.jpg", &["-frames:v", "1"]) {
        return;
    }
    let path: PathBuf = folder.path().join("1.jpg");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, turned(&bytes)).unwrap();
    let found = pictures(folder.path());
    assert_eq!((frame(&found[0].2).width(), frame(&found[0].2).height()), (48, 64));
}

#[test]
fn a_folder_without_images_says_which_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("clip.mp4"), "a film").unwrap();
    let Err(error) = Images::open(folder.path(), None, 30.0) else { panic!("it was opened") };
    assert!(error.message.contains("holds no images; taken are .jpg, .jpeg, .png, .bmp, .webp"), "{error}");
    assert!(Images::open(folder.path().join("none"), None, 30.0).is_err());
}

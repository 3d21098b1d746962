//! Image sequences, compared with the files that the `ffmpeg` command writes.

use std::{path::Path, process::Command};

use sideline_api::Frame;
use sideline_media::{ImageContent, ImageSequence, Size};
use sideline_testkit::{Capability, skip_test};
use tempfile::TempDir;

/// Writes 12 different pictures of 64x48 to files named by the pattern `name` (`%d.png`). Skips the test and returns false if
/// that fails.
fn draw(folder: &Path, name: &str, more: &[&str]) -> bool {
    let picture = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=1:duration=12"];
    match Command::new("ffmpeg").args(picture).args(more).arg(folder.join(name)).output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            skip_test(Capability::Machine, format_args!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
            false
        }
        Err(cause) => {
            skip_test(Capability::Ffmpeg, format_args!("ffmpeg: {cause}"));
            false
        }
    }
}

/// Creates a folder with `1.png` to `12.png`.
fn numbered() -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    draw(folder.path(), "%d.png", &[]).then_some(folder)
}

fn pictures(folder: &Path) -> Vec<(String, i64, ImageContent)> {
    let mut images = ImageSequence::open(folder, None, 10.0).unwrap();
    std::iter::from_fn(|| images.next().unwrap())
        .map(|image| (image.path.file_name().unwrap().to_string_lossy().into_owned(), image.pts_ns, image.content))
        .collect()
}

fn frame(picture: &ImageContent) -> &Frame {
    match picture {
        ImageContent::Frame(frame) => frame,
        other => panic!("a frame expected, found {other:?}"),
    }
}

/// Returns the luma of a frame in video range: images keep the range of their format.
fn luma(picture: &ImageContent) -> Vec<f64> {
    let frame = frame(picture);
    let full = frame.color().full_range;
    let level = |luma: u8| if full { 16.0 + f64::from(luma) * 219.0 / 255.0 } else { f64::from(luma) };
    frame.clone().into_packed_mut()[..64 * 48].iter().map(|luma| level(*luma)).collect()
}

#[test]
fn images_are_ordered_by_the_numbers_in_their_names_at_the_given_rate() {
    let Some(folder) = numbered() else { return };
    std::fs::write(folder.path().join("notes.txt"), "not an image").unwrap();
    std::fs::write(folder.path().join(".hidden.png"), "not shown").unwrap();
    let found = pictures(folder.path());
    let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, (1..=12).map(|n| format!("{n}.png")).collect::<Vec<_>>());
    for (i, (_, pts, picture)) in found.iter().enumerate() {
        assert_eq!((*pts, frame(picture).width(), frame(picture).height()), (i as i64 * 100_000_000, 64, 48));
    }
    let mut images = ImageSequence::open(folder.path(), Some(Size::Height(24)), 10.0).unwrap();
    images.seek(850_000_000).unwrap();
    let image = images.next().unwrap().unwrap();
    assert_eq!((image.path.file_name(), frame(&image.content).width()), (Some("10.png".as_ref()), 32));
    let error = images.seek(1_200_000_000).unwrap_err();
    assert!(error.message.contains("there is no image at 1.200 s; the last of 12 is at 1.100 s"), "{error}");
}

#[test]
fn every_format_gives_the_same_pictures_whatever_its_extension() {
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
        // One of each has a wrong extension.
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
fn an_undecodable_image_is_reported_and_the_rest_is_read() {
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
            ("2.png" | "20.jpg", ImageContent::Damaged(why)) => {
                assert!(why.contains("cannot be decoded"), "{name}: {why}")
            }
            ("3.png" | "4.png", ImageContent::Damaged(why)) => {
                assert!(why.contains("is not an image"), "{name}: {why}")
            }
            ("5.png", ImageContent::OtherSize(80, 48)) => {}
            ("2.png" | "20.jpg" | "3.png" | "4.png" | "5.png", other) => panic!("{name}: {other:?}"),
            (_, picture) => assert_eq!(frame(&picture).width(), 64, "{name}"),
        }
    }
}

/// Returns EXIF data with an orientation, 1 to 8.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    exif[18] = orientation;
    exif
}

/// Returns the checksum of a PNG chunk.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Returns an image with an EXIF orientation added.
fn with_orientation(image: &[u8], orientation: u8) -> Vec<u8> {
    let exif = exif(orientation);
    let length = exif.len() as u32;
    match image {
        [0xff, 0xd8, rest @ ..] => {
            let marker = ((length + 8) as u16).to_be_bytes();
            [&[0xff, 0xd8, 0xff, 0xe1], &marker[..], b"Exif\0\0", &exif, rest].concat()
        }
        // After the header.
        [0x89, ..] => {
            let chunk = [b"eXIf", &exif[..]].concat();
            let checksum = crc32(&chunk).to_be_bytes();
            [&image[..33], &length.to_be_bytes(), &chunk, &checksum, &image[33..]].concat()
        }
        _ => {
            let mut webp = [image, b"EXIF", &length.to_le_bytes(), &exif].concat();
            let size = webp.len() as u32 - 8;
            webp[4..8].copy_from_slice(&size.to_le_bytes());
            webp
        }
    }
}

/// Returns the luma in the centers of the quarters: top left, top right, bottom left, bottom right.
fn quarters(frame: &Frame) -> [u8; 4] {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let (luma, stride) = frame.plane(0);
    [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(x, y)| luma[y * height / 4 * stride + x * width / 4])
}

#[test]
fn a_photograph_becomes_upright_for_every_exif_orientation() {
    // Index of the stored quarter shown in each quarter of the upright picture (CIPA DC-008, 4.6.4).
    let shown: [[usize; 4]; 8] = [
        [0, 1, 2, 3],
        [1, 0, 3, 2],
        [3, 2, 1, 0],
        [2, 3, 0, 1],
        [0, 2, 1, 3],
        [2, 0, 3, 1],
        [3, 1, 2, 0],
        [1, 3, 0, 2],
    ];
    let boxes = "drawbox=w=32:h=24:color=black:t=fill,drawbox=x=32:w=32:h=24:color=gray:t=fill,\
                 drawbox=y=24:w=32:h=24:color=blue:t=fill,drawbox=x=32:y=24:w=32:h=24:color=white:t=fill";
    for (ending, more) in [("jpg", &["-q:v", "2"][..]), ("png", &[]), ("webp", &["-lossless", "1", "-c:v", "libwebp"])]
    {
        let folder = tempfile::tempdir().unwrap();
        let args = [&["-vf", boxes, "-frames:v", "1"], more].concat();
        if !draw(folder.path(), &format!("0.{ending}"), &args) {
            continue;
        }
        let image = std::fs::read(folder.path().join(format!("0.{ending}"))).unwrap();
        // Each in its own folder: an image of another size than the first is skipped.
        let show = |orientation: u8| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(format!("1.{ending}")), with_orientation(&image, orientation)).unwrap();
            frame(&pictures(folder.path())[0].2).clone()
        };
        let stored = quarters(&show(1));
        for (orientation, places) in (1..).zip(shown) {
            let found = show(orientation);
            let sides = if orientation < 5 { (64, 48) } else { (48, 64) };
            assert_eq!((found.width(), found.height()), sides, "{ending} {orientation}");
            let quarters = quarters(&found);
            for (i, place) in places.into_iter().enumerate() {
                assert!(quarters[i].abs_diff(stored[place]) < 4, "{ending} {orientation}: {quarters:?} of {stored:?}");
            }
        }
    }
}

#[test]
fn each_image_has_its_own_pixel_aspect() {
    let folder = tempfile::tempdir().unwrap();
    let anamorphic = draw(folder.path(), "%d.png", &["-vf", "setsar=2/1", "-frames:v", "1"]);
    if !anamorphic
        || !draw(folder.path(), "%d.jpg", &["-frames:v", "1", "-start_number", "2", "-vf", "scale=128:48,setsar=1"])
    {
        return;
    }
    std::fs::rename(folder.path().join("2.jpg"), folder.path().join("2.png")).unwrap();
    assert!(draw(folder.path(), "%d.png", &["-frames:v", "1", "-start_number", "3", "-vf", "scale=128:48,setsar=0"]));
    let widths: Vec<u32> = pictures(folder.path()).iter().map(|(.., picture)| frame(picture).width()).collect();
    assert_eq!(widths, [128, 128, 128]);
}

#[test]
fn images_of_several_formats_have_one_color_space() {
    let folder = tempfile::tempdir().unwrap();
    let gray = ["-vf", "drawbox=color=0x808080:t=fill", "-frames:v", "1"];
    // Values from 0 to 255, from 0 to 65,535, of colors, of a palette, and with transparency.
    for (name, format) in [
        ("1.png", "gray"),
        ("2.png", "gray16be"),
        ("3.png", "rgb48be"),
        ("4.png", "pal8"),
        ("5.png", "rgba"),
        ("6.png", "ya8"),
        ("7.jpg", "yuvj444p"),
    ] {
        if !draw(folder.path(), name, &[&gray[..], &["-pix_fmt", format]].concat()) {
            return;
        }
    }
    let found = pictures(folder.path());
    for (name, _, picture) in &found {
        let frame = frame(picture);
        assert_eq!(frame.color(), self::frame(&found[0].2).color(), "{name}");
        let level = luma(picture)[64 * 24 + 32];
        // The palette that the command creates has no exact gray.
        let allowed = if name == "4.png" { 10.0 } else { 2.0 };
        assert!((level - 125.9).abs() < allowed, "{name}: {level}");
    }
}

#[test]
fn an_error_for_a_folder_without_images_lists_the_supported_formats() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("clip.mp4"), "a film").unwrap();
    let Err(error) = ImageSequence::open(folder.path(), None, 30.0) else { panic!("it was opened") };
    assert!(error.message.contains("contains no images; supported are .jpg, .jpeg, .png, .bmp, .webp"), "{error}");
    assert!(ImageSequence::open(folder.path().join("none"), None, 30.0).is_err());
}

//! Image sequences: a folder of images read as a video, in the order of the numbers in their names, at a given rate.

use std::{
    cmp::Ordering,
    path::{Path, PathBuf},
};

use ff::{Packet, Rational, codec, decoder, frame, packet};
use ffmpeg_next as ff;
use sideline_api::{Error, Failure, Frame, OrFail, Result};

use crate::{exif, geometry::DeclaredGeometry, open::init_ffmpeg, picture::FrameConverter, scale::Size};

/// Extensions of the files that are read; the format is detected from the first bytes.
const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "bmp", "webp"];

/// One image of a folder.
#[derive(Clone, Debug)]
pub struct Image {
    /// Path of the file.
    pub path: PathBuf,
    /// Media time, ns: the image's index divided by the rate.
    pub pts_ns: i64,
    /// Content of the file.
    pub content: ImageContent,
}

/// Content of an image file.
#[derive(Clone, Debug)]
pub enum ImageContent {
    /// Upright frame in square pixels.
    Frame(Frame),
    /// Reason why the file cannot be decoded.
    Damaged(String),
    /// Width and height of an image whose size differs from the first one's.
    OtherSize(u32, u32),
}

/// The images of a folder as a video; see the [module](self).
pub struct ImageSequence {
    folder: PathBuf,
    files: Vec<PathBuf>,
    next: usize,
    fps: f64,
    converter: FrameConverter,
    /// Width and height of the first image, upright, in square pixels, before it is scaled down.
    first_size: Option<(u32, u32)>,
    /// Open decoders, one for each image format found so far.
    decoders: Vec<(codec::Id, decoder::Video)>,
}

impl ImageSequence {
    /// Lists the images of a folder, without its subfolders. `fps` is the rate at which they are played.
    ///
    /// # Errors
    /// If the folder cannot be read or contains no image.
    pub fn open(folder: impl AsRef<Path>, size: Option<Size>, fps: f64) -> Result<Self> {
        init_ffmpeg();
        let folder = folder.as_ref();
        let fail = || format!("folder {}", folder.display());
        let mut files = vec![];
        for entry in std::fs::read_dir(folder).or_fail(Failure::Input, fail)? {
            let path = entry.or_fail(Failure::Input, fail)?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let extension =
                path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
            if !hidden && EXTENSIONS.contains(&extension.as_str()) && path.is_file() {
                files.push(path);
            }
        }
        if files.is_empty() {
            return Err(Error::input(format!(
                "folder {}: contains no images; supported are {} (for a video, name its file)",
                folder.display(),
                EXTENSIONS.map(|extension| format!(".{extension}")).join(", ")
            )));
        }
        files.sort_by(|a, b| natural_order(&a.to_string_lossy(), &b.to_string_lossy()));
        Ok(Self {
            folder: folder.to_owned(),
            files,
            next: 0,
            fps,
            converter: FrameConverter::new(folder.display().to_string(), DeclaredGeometry::default(), size),
            first_size: None,
            decoders: vec![],
        })
    }

    /// Returns the number of images.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns the frame interval, ns.
    pub fn interval_ns(&self) -> i64 {
        (1e9 / self.fps).round() as i64
    }

    fn pts(&self, image: usize) -> i64 {
        (image as f64 * 1e9 / self.fps).round() as i64
    }

    /// Seeks to a media time: the next image is the first one at or after it.
    ///
    /// # Errors
    /// If all images are earlier.
    pub fn seek(&mut self, ns: i64) -> Result<()> {
        let Some(image) = (0..self.files.len()).find(|image| self.pts(*image) >= ns) else {
            return Err(Error::input(format!(
                "folder {}: there is no image at {:.3} s; the last of {} is at {:.3} s",
                self.folder.display(),
                ns as f64 * 1e-9,
                self.files.len(),
                self.pts(self.files.len() - 1) as f64 * 1e-9
            )));
        };
        self.next = image;
        Ok(())
    }

    /// Reads the next image; `None` after the last. An image that cannot be decoded is no error: its content states the reason.
    ///
    /// # Errors
    /// If a decoder cannot be started, or a picture cannot be converted.
    #[allow(clippy::should_implement_trait, reason = "an Iterator's item could not be `Result<Option>`")]
    pub fn next(&mut self) -> Result<Option<Image>> {
        let Some(path) = self.files.get(self.next).cloned() else { return Ok(None) };
        let pts_ns = self.pts(self.next);
        self.next += 1;
        let content = self.read(&path).map_err(|e| e.at(path.display()))?;
        Ok(Some(Image { path, pts_ns, content }))
    }

    fn read(&mut self, path: &Path) -> Result<ImageContent> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(cause) => return Ok(ImageContent::Damaged(format!("cannot be read: {cause}"))),
        };
        let Some(format) = image_format(&bytes) else {
            return Ok(ImageContent::Damaged("is not an image in a supported format".into()));
        };
        if is_animated(&bytes) {
            return Ok(ImageContent::Damaged("is an animation, not an image; convert it to a video".into()));
        }
        let decoder = match self.decoders.iter().position(|(id, _)| *id == format) {
            Some(at) => &mut self.decoders[at].1,
            None => {
                self.decoders.push((format, start_decoder(format)?));
                let end = self.decoders.len() - 1;
                &mut self.decoders[end].1
            }
        };
        // SAFETY: the decoder is owned here, and idle. It would keep the aspect ratio of the previous image.
        unsafe { (*decoder.as_mut_ptr()).sample_aspect_ratio = Rational(0, 1).into() };
        let mut packet = Packet::copy(&bytes);
        // FFmpeg's PNG decoder supports pictures coded as a difference to the previous one: these are not.
        packet.set_flags(packet::Flags::KEY);
        let mut picture = frame::Video::empty();
        let decoded = decoder
            .send_packet(&packet)
            .and_then(|()| decoder.send_eof())
            .and_then(|()| decoder.receive_frame(&mut picture));
        // Resets the decoder for the next image.
        decoder.flush();
        if let Err(cause) = decoded {
            return Ok(ImageContent::Damaged(format!("cannot be decoded: {cause}")));
        }
        self.converter.declared.orientation = exif::orientation(&bytes);
        let (width, height) = self.converter.display_size(&picture);
        if *self.first_size.get_or_insert((width, height)) != (width, height) {
            return Ok(ImageContent::OtherSize(width, height));
        }
        self.converter.convert(picture).map(ImageContent::Frame)
    }
}

/// Detects the format of an image from its first bytes, as extensions may be wrong.
fn image_format(bytes: &[u8]) -> Option<codec::Id> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some(codec::Id::MJPEG),
        [0x89, b'P', b'N', b'G', ..] => Some(codec::Id::PNG),
        [b'B', b'M', ..] => Some(codec::Id::BMP),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(codec::Id::WEBP),
        _ => None,
    }
}

/// True for an animated WebP, which FFmpeg does not decode: its extended header has a flag.
fn is_animated(bytes: &[u8]) -> bool {
    bytes.get(12..16) == Some(b"VP8X") && bytes.get(20).is_some_and(|flags| flags & 2 != 0)
}

/// Starts the decoder of an image format.
fn start_decoder(format: codec::Id) -> Result<decoder::Video> {
    let fail = |cause: &dyn std::fmt::Display| Error::input(format!("the decoder for {format:?} images: {cause}"));
    let codec = decoder::find(format).ok_or_else(|| fail(&"this FFmpeg has none"))?;
    let mut context = codec::context::Context::new_with_codec(codec).decoder();
    // A truncated image counts as damaged: FFmpeg would fill in the rest.
    context.check(decoder::Check::EXPLODE | decoder::Check::CRC);
    context.open_as(codec).and_then(decoder::Opened::video).map_err(|cause| fail(&cause))
}

/// Compares names by the numbers in them: `2.png` sorts before `10.png`.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(x), Some(y)) = (left.chars().next(), right.chars().next()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (one, other) = (take_digits(&mut left), take_digits(&mut right));
            // Compared as numbers of any length, without leading zeros.
            one.len().cmp(&other.len()).then_with(|| one.cmp(other))
        } else {
            (left, right) = (&left[x.len_utf8()..], &right[y.len_utf8()..]);
            x.cmp(&y)
        };
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Takes the leading digits of a text; returns them without leading zeros.
fn take_digits<'a>(text: &mut &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    number.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::natural_order;

    #[test]
    fn names_are_ordered_by_the_numbers_in_them() {
        let mut names = ["b2", "a10.png", "a2.png", "a1b20", "a1b3", "a02.png", "a", "99999999999999999999", "100"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["100", "99999999999999999999", "a", "a1b3", "a1b20", "a02.png", "a2.png", "a10.png", "b2"]);
    }
}

//! A folder of images, read as a video: in the order of the numbers in their names, at a given rate.

use std::{
    cmp::Ordering,
    path::{Path, PathBuf},
};

use ff::{Packet, Rational, codec, decoder, frame, packet};
use ffmpeg_next as ff;
use sideline_api::{Error, Failure, Frame, OrFail, Result};

use crate::{exif, geometry::Declared, open::start_ffmpeg, picture::Pictures, scale::Size};

/// Endings of files that are taken for images; what they are is told from their first bytes.
const ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "bmp", "webp"];

/// One image of a folder.
#[derive(Clone, Debug)]
pub struct Image {
    /// The file.
    pub path: PathBuf,
    /// Media time in nanoseconds: the image's number over the rate.
    pub pts_ns: i64,
    /// What is in it.
    pub picture: Picture,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub enum Picture {
    /// The picture, upright, in square pixels.
    Frame(Frame),
    /// Nothing that can be shown, and why.
    Damaged(String),
    /// A picture of this width and height, where the first one had others.
    OtherSize(u32, u32),
}

/// See the [module](self).
pub struct Images {
    folder: PathBuf,
    files: Vec<PathBuf>,
    next: usize,
    fps: f64,
    pictures: Pictures,
    /// Width and height of the first image as it is shown, before it is brought down.
    first: Option<(u32, u32)>,
    /// Kept open from image to image, one for each kind that came.
    decoders: Vec<(codec::Id, decoder::Video)>,
}

impl Images {
    /// Lists the images of a folder; those in folders within are not read. `fps` is the rate they are played at.
    ///
    /// # Errors
    /// When the folder cannot be read or holds no image.
    pub fn open(folder: impl AsRef<Path>, size: Option<Size>, fps: f64) -> Result<Self> {
        start_ffmpeg();
        let folder = folder.as_ref();
        let fail = || format!("folder {}", folder.display());
        let mut files = vec![];
        for entry in std::fs::read_dir(folder).or_fail(Failure::Input, fail)? {
            let path = entry.or_fail(Failure::Input, fail)?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
            if !hidden && ENDINGS.contains(&ending.as_str()) && path.is_file() {
                files.push(path);
            }
        }
        if files.is_empty() {
            return Err(Error::input(format!(
                "folder {}: holds no images; taken are {} (for a video name the file in it)",
                folder.display(),
                ENDINGS.map(|ending| format!(".{ending}")).join(", ")
            )));
        }
        files.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
        Ok(Self {
            folder: folder.to_owned(),
            files,
            next: 0,
            fps,
            pictures: Pictures::new(folder.display().to_string(), Declared::default(), size),
            first: None,
            decoders: vec![],
        })
    }

    /// Number of images.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Nanoseconds from an image to the next.
    pub fn interval(&self) -> i64 {
        (1e9 / self.fps).round() as i64
    }

    fn pts(&self, image: usize) -> i64 {
        (image as f64 * 1e9 / self.fps).round() as i64
    }

    /// Goes to a media time: the next image is the first that is not earlier.
    ///
    /// # Errors
    /// When the images end before.
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

    /// The next image, or `None` after the last. One that cannot be shown is no error: it says so.
    ///
    /// # Errors
    /// When a decoder cannot be started, or a picture cannot be converted.
    #[allow(clippy::should_implement_trait, reason = "an Iterator's item could not be `Result<Option>`")]
    pub fn next(&mut self) -> Result<Option<Image>> {
        let Some(path) = self.files.get(self.next).cloned() else { return Ok(None) };
        let pts_ns = self.pts(self.next);
        self.next += 1;
        let picture = self.read(&path).map_err(|e| e.at(path.display()))?;
        Ok(Some(Image { path, pts_ns, picture }))
    }

    fn read(&mut self, path: &Path) -> Result<Picture> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(cause) => return Ok(Picture::Damaged(format!("cannot be read: {cause}"))),
        };
        let Some(kind) = kind(&bytes) else {
            return Ok(Picture::Damaged("is not an image of a kind that is read here".into()));
        };
        if is_animated(&bytes) {
            return Ok(Picture::Damaged("is an animation, not an image; make a video of it and name that".into()));
        }
        let decoder = match self.decoders.iter().position(|(id, _)| *id == kind) {
            Some(at) => &mut self.decoders[at].1,
            None => {
                self.decoders.push((kind, start(kind)?));
                let end = self.decoders.len() - 1;
                &mut self.decoders[end].1
            }
        };
        // SAFETY: the decoder is ours and between two images. It would keep the aspect of the one before.
        unsafe { (*decoder.as_mut_ptr()).sample_aspect_ratio = Rational(0, 1).into() };
        let mut packet = Packet::copy(&bytes);
        // FFmpeg's PNG knows pictures that are differences to the one before: these are not.
        packet.set_flags(packet::Flags::KEY);
        let mut picture = frame::Video::empty();
        let decoded = decoder
            .send_packet(&packet)
            .and_then(|()| decoder.send_eof())
            .and_then(|()| decoder.receive_frame(&mut picture));
        // What the next image is decoded by has forgotten this one.
        decoder.flush();
        if let Err(cause) = decoded {
            return Ok(Picture::Damaged(format!("cannot be decoded: {cause}")));
        }
        self.pictures.declared.orientation = exif::orientation(&bytes);
        let (width, height) = self.pictures.shown(&picture);
        if *self.first.get_or_insert((width, height)) != (width, height) {
            return Ok(Picture::OtherSize(width, height));
        }
        self.pictures.frame(picture).map(Picture::Frame)
    }
}

/// The kind of an image, by its first bytes: names lie.
fn kind(bytes: &[u8]) -> Option<codec::Id> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some(codec::Id::MJPEG),
        [0x89, b'P', b'N', b'G', ..] => Some(codec::Id::PNG),
        [b'B', b'M', ..] => Some(codec::Id::BMP),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(codec::Id::WEBP),
        _ => None,
    }
}

/// True for an animated WebP, which FFmpeg does not decode: its extended header says so.
fn is_animated(bytes: &[u8]) -> bool {
    bytes.get(12..16) == Some(b"VP8X") && bytes.get(20).is_some_and(|flags| flags & 2 != 0)
}

fn start(kind: codec::Id) -> Result<decoder::Video> {
    let fail = |cause: &dyn std::fmt::Display| Error::input(format!("the decoder of {kind:?} images: {cause}"));
    let codec = decoder::find(kind).ok_or_else(|| fail(&"this FFmpeg has none"))?;
    let mut context = codec::context::Context::new_with_codec(codec).decoder();
    // Half a picture is no picture: the rest would be made up.
    context.check(decoder::Check::EXPLODE | decoder::Check::CRC);
    context.open_as(codec).and_then(decoder::Opened::video).map_err(|cause| fail(&cause))
}

/// Order of names by the numbers in them: `2.png` stands before `10.png`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(x), Some(y)) = (left.chars().next(), right.chars().next()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (one, other) = (digits(&mut left), digits(&mut right));
            // As numbers of any length: zeros before them weigh nothing.
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

/// Takes the digits that a text begins with; without the zeros before them.
fn digits<'a>(text: &mut &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    number.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn names_are_ordered_by_the_numbers_in_them() {
        let mut names = ["b2", "a10.png", "a2.png", "a1b20", "a1b3", "a02.png", "a", "99999999999999999999", "100"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["100", "99999999999999999999", "a", "a1b3", "a1b20", "a02.png", "a2.png", "a10.png", "b2"]);
    }
}

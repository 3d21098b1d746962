//! One open source: a video file, a camera, a folder of images or a stream on the network, read alike.

use std::path::{Path, PathBuf};

use sideline_api::{
    Body, Error, Failure, Mode, OrFail, Payload, Reason, Resources, Result, SourceContext,
    address::{Address, SCHEMES, is_remote},
    serde_json,
};
use sideline_media::{
    DecodeOptions, Decoder, Images, MediaInfo, Picture, Size, Sound, SoundFormat, Threads, TimeJumps, Trust,
    device::{Device, cameras, is_device},
};

use crate::line::{Line, Patience};

/// Rate of a folder of images, unless another is asked for.
const IMAGES_FPS: f64 = 30.0;

/// How sources are read; the same for all of a node.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Decoder threads.
    pub threads: Threads,
    /// Largest size of a frame.
    pub size: Option<Size>,
    /// Frames a second: at most of a video, asked of a camera, exactly of images.
    pub fps: Option<f64>,
    /// Whether its sound is decoded.
    pub audio: bool,
    /// Number of the video track that is read.
    pub video_track: Option<u32>,
    /// Number of the audio track that is read.
    pub audio_track: Option<u32>,
    /// How a stream on the network is waited for.
    pub patience: Patience,
    /// Bytes of such a stream that may wait in the system's buffer.
    pub buffer_bytes: u32,
    /// The certificates trusted over TLS.
    pub trust: Trust,
}

/// What was read.
pub struct Read {
    /// The frame, or why there is none.
    pub body: Body,
    /// Media time, nanoseconds.
    pub pts: i64,
    /// Number of the connection, from 0; of anything but a stream on the network 0.
    pub session: u32,
}

/// See the [module](self).
pub enum Reader {
    Video(Decoder),
    Camera(Decoder),
    Images(Folder),
    Line(Box<Line>),
}

/// A folder of images, and what was wrong with some.
pub struct Folder {
    images: Images,
    shown: u64,
    damaged: u64,
    warned: bool,
}

impl Reader {
    /// Opens what `source` names; a stream on the network is connected to once the run has started. `name`: of the node, and
    /// of the stream where it has several.
    ///
    /// # Errors
    /// When it is missing, or not what can be read.
    pub fn open(source: &str, name: &str, reading: &Reading, resources: &Resources) -> Result<Self> {
        let Reading { threads, size, fps, audio, video_track, audio_track, .. } = *reading;
        let options = DecodeOptions { threads, size, fps, audio: false, video_track, audio_track };
        if is_remote(source) {
            let options = DecodeOptions { audio, ..options };
            let address = Address::resolve(source, &SCHEMES, &resources.search)?;
            return Line::new(address, name, options, reading, resources).map(|line| Reader::Line(line.into()));
        }
        if is_device(Path::new(source)) {
            if resources.mode == Mode::Complete {
                return Err(Error::config(format!(
                    "{source}: a camera does not wait, and `complete` mode would lose frames that nobody counts: run it live"
                )));
            }
            let device = Device { size: size.map(asked), fps, ..Device::camera(Path::new(source)) };
            return Decoder::device(&device, options).map(Reader::Camera);
        }
        let path = resources.find(source)?;
        if path.is_dir() {
            if let Some(track) = video_track.filter(|track| *track > 0) {
                let text = format!("key `video_track`: {source} is a folder of images, which has no track {track}");
                return Err(Error::config(text));
            }
            let images = Images::open(&path, size, fps.unwrap_or(IMAGES_FPS))?;
            return Ok(Reader::Images(Folder { images, shown: 0, damaged: 0, warned: false }));
        }
        Decoder::open(path, DecodeOptions { audio, ..options }).map(Reader::Video)
    }

    /// Goes to a media time.
    ///
    /// # Errors
    /// When there is nothing at that time.
    pub fn seek(&mut self, ns: i64) -> Result<()> {
        match self {
            Reader::Video(decoder) | Reader::Camera(decoder) => decoder.seek(ns),
            Reader::Images(folder) => folder.images.seek(ns),
            Reader::Line(_) => Err(Error::config("a stream on the network is read from where it is")),
        }
    }

    /// Nanoseconds from a frame to the next.
    pub fn interval(&self) -> i64 {
        match self {
            Reader::Video(decoder) | Reader::Camera(decoder) => decoder.interval(),
            Reader::Images(folder) => folder.images.interval(),
            Reader::Line(line) => line.interval(),
        }
    }

    /// True when it shows what is now, whenever it is read.
    pub fn is_live(&self) -> bool {
        match self {
            Reader::Camera(_) => true,
            Reader::Line(line) => line.is_live(),
            Reader::Video(_) | Reader::Images(_) => false,
        }
    }

    /// Before the first frame: a camera that is waited for is given up once the run is to end; a stream on the network is
    /// connected to. False: the run is to end.
    ///
    /// # Errors
    /// When the stream is not there.
    pub fn ready(&mut self, cx: &SourceContext) -> Result<bool> {
        match self {
            Reader::Camera(decoder) => {
                let cx = cx.clone();
                decoder.stop_when(move || cx.stopping());
                Ok(true)
            }
            Reader::Line(line) => line.ready(cx),
            Reader::Video(_) | Reader::Images(_) => Ok(true),
        }
    }

    /// What comes next, or `None` at the end. `before` is told the decoding time of every packet, and may wait.
    ///
    /// # Errors
    /// When a picture cannot be converted.
    pub fn next(
        &mut self,
        cx: &SourceContext,
        source: &str,
        warned: &mut bool,
        before: impl FnMut(i64),
    ) -> Result<Option<Read>> {
        let decoder = match self {
            Reader::Video(decoder) | Reader::Camera(decoder) => decoder,
            Reader::Images(folder) => return folder.next(source, before),
            Reader::Line(line) => return line.next(cx, before),
        };
        let Some(decoded) = decoder.next_with(before)? else { return Ok(None) };
        if decoded.damaged && !std::mem::replace(warned, true) {
            let seconds = decoded.pts_ns as f64 * 1e-9;
            tracing::warn!(source, "it is damaged at {seconds:.3} s: parts of that frame are guessed");
        }
        let body = Body::Data(Payload::Frame(decoded.frame.into()));
        Ok(Some(Read { body, pts: decoded.pts_ns, session: 0 }))
    }

    /// The sound up to a media time that was not asked for before; none where there is no sound.
    pub fn sound(&mut self, until: i64) -> Option<(SoundFormat, Vec<Sound>)> {
        let decoder = match self {
            Reader::Video(decoder) => decoder,
            Reader::Line(line) => return line.sound(until),
            Reader::Camera(_) | Reader::Images(_) => return None,
        };
        let format = decoder.sound_format()?;
        Some((format, decoder.sound_until(until)))
    }

    /// What was missing of it, once it has ended; `whole` when it was read from its beginning.
    pub fn missing(&self, whole: bool) -> Option<String> {
        match self {
            Reader::Video(decoder) => missing(decoder, whole),
            Reader::Camera(decoder) => {
                let cause = decoder.lost()?;
                Some(format!("the camera was unplugged or stopped answering ({cause}); {}", cameras()))
            }
            Reader::Images(folder) if folder.shown == 0 && folder.damaged > 0 => {
                Some(format!("none of its {} images could be read", folder.damaged))
            }
            // A stream on the network tells it when it breaks off.
            Reader::Images(_) | Reader::Line(_) => None,
        }
    }

    /// The attempts made, for a source that ended without a frame.
    pub fn tried(&self) -> String {
        match self {
            Reader::Camera(decoder) if decoder.lost().is_some() => self.missing(true).unwrap_or_default(),
            Reader::Video(decoder) | Reader::Camera(decoder) => {
                let info = decoder.info();
                let lost = match decoder.losses().undecodable {
                    0 => "its track holds no picture".into(),
                    lost => format!("{lost} of its packets could not be decoded"),
                };
                format!("it is {} of {} in {}, and {lost}", size_of(info), info.codec, info.container)
            }
            Reader::Images(folder) => format!("none of its {} images could be read", folder.images.len()),
            Reader::Line(_) => "the connection brought none".into(),
        }
    }

    /// What is told of its connections, for a stream on the network; and of its times, where they were irregular.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        match self {
            Reader::Line(line) => line.counts().named(),
            Reader::Video(decoder) | Reader::Camera(decoder) => time_jumps(decoder.time_jumps().total()).collect(),
            Reader::Images(_) => vec![],
        }
    }

    /// Says what of it was damaged.
    pub fn close(&mut self, source: &str) {
        match &*self {
            Reader::Video(decoder) | Reader::Camera(decoder) => {
                let losses = decoder.losses();
                if losses.unheard > 0 {
                    let unheard = losses.unheard;
                    tracing::warn!(
                        source,
                        unheard,
                        "packets of sound could not be decoded: there is silence in their place"
                    );
                }
                let jumps = decoder.time_jumps();
                if jumps.total() > 1 {
                    let TimeJumps { restarts, pauses, standstills } = jumps;
                    tracing::warn!(
                        source,
                        restarts,
                        pauses,
                        standstills,
                        "its times are irregular: so many jumps in all"
                    );
                }
                if losses.damaged > 0 {
                    tracing::warn!(
                        source,
                        damaged = losses.damaged,
                        "parts of these frames were guessed: it is damaged"
                    );
                }
                if matches!(self, Reader::Camera(_)) && losses.undecodable > 0 {
                    tracing::warn!(source, packets = losses.undecodable, "could not be decoded");
                }
            }
            Reader::Images(folder) if folder.damaged > 0 => {
                tracing::warn!(source, damaged = folder.damaged, "so many images could not be read");
            }
            Reader::Images(_) | Reader::Line(_) => {}
        }
        if let Reader::Line(line) = self {
            line.close();
        }
    }

    /// What the source says of itself, for a file in the folder of the run. `name`: of the node, and of the stream where it
    /// has several.
    ///
    /// # Errors
    /// When it has no form as JSON.
    pub fn report(&self, name: &str, source: &str, resources: &Resources) -> Result<Option<Report>> {
        let info = match self {
            Reader::Video(decoder) | Reader::Camera(decoder) => {
                let (width, height) = decoder.frame_size();
                serde_json::json!({ "media": decoder.info(), "frame_width": width, "frame_height": height })
            }
            Reader::Images(folder) => {
                let fps = 1e9 / folder.images.interval() as f64;
                let media = serde_json::json!({
                    "path": source, "container": "images", "frames": folder.images.len(), "fps": fps,
                });
                serde_json::json!({ "media": media })
            }
            // Nothing is known before it is connected to.
            Reader::Line(_) => return Ok(None),
        };
        let path = resources.run_dir.join(format!("media-{}.json", name.replace(['/', '\\'], "_")));
        let text = serde_json::to_string_pretty(&info).or_fail(Failure::Other, || "the media information")?;
        Ok(Some(Report { path, text: text + "\n" }))
    }
}

/// A file about a source.
pub struct Report {
    path: PathBuf,
    text: String,
}

impl Report {
    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(self) -> Result<()> {
        std::fs::write(&self.path, self.text).or_fail(Failure::Output, || self.path.display().to_string())
    }
}

impl Folder {
    fn next(&mut self, source: &str, mut before: impl FnMut(i64)) -> Result<Option<Read>> {
        let Some(image) = self.images.next()? else { return Ok(None) };
        before(image.pts_ns);
        let name = image.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let body = match image.picture {
            Picture::Frame(frame) => {
                self.shown += 1;
                Body::Data(Payload::Frame(frame.into()))
            }
            Picture::Damaged(cause) => {
                self.damaged += 1;
                tracing::warn!(source, image = name, "skipped: {cause}");
                Body::Skipped(Reason::Damaged)
            }
            Picture::OtherSize(width, height) => {
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!(
                        source,
                        image = name,
                        "skipped, as all that are not of the first one's size: {width}x{height}"
                    );
                }
                Body::Skipped(Reason::Other("size".into()))
            }
        };
        Ok(Some(Read { body, pts: image.pts_ns, session: 0 }))
    }
}

/// The count of irregular times by its name, where there is anything to tell.
pub fn time_jumps(jumps: u64) -> impl Iterator<Item = (&'static str, u64)> {
    (jumps > 0).then_some(("time_jumps", jumps)).into_iter()
}

/// Size of a video for a message.
fn size_of(info: &MediaInfo) -> String {
    match (info.width, info.height) {
        (0, 0) => "a video of unknown size".into(),
        (width, height) => format!("a video of {width}x{height}"),
    }
}

/// What a camera is asked for. Only pairs of sides can be asked: a height goes as that of a 16:9 picture.
fn asked(size: Size) -> (u32, u32) {
    match size {
        Size::Height(height) => ((height * 16 / 9).next_multiple_of(2), height),
        Size::Exact { width, height } => (width, height),
    }
}

fn missing(decoder: &Decoder, whole: bool) -> Option<String> {
    let losses = decoder.losses();
    let what = match (losses.missing, decoder.info().frames) {
        (Some(missing), Some(declared)) if whole => {
            format!("{missing} of {declared} frames are missing: the file is truncated or damaged")
        }
        (Some(missing), _) => format!("about {missing} frames are missing at the end: the file is truncated"),
        (None, _) if losses.undecodable > 0 => {
            format!("{} packets could not be decoded: the file is damaged", losses.undecodable)
        }
        (None, _) => return None,
    };
    let guessed = match losses.damaged {
        0 => String::new(),
        damaged => format!("; parts of {damaged} frames are guessed"),
    };
    Some(what + &guessed)
}

//! An open source (video file, camera, folder of images or network stream) behind one interface.

use std::path::{Path, PathBuf};

use sideline_address::{Address, SCHEMES, is_remote};
use sideline_api::{Body, Error, Failure, Mode, OrFail, Payload, Reason, Resources, Result, SourceContext, serde_json};
use sideline_media::{
    AudioFormat, AudioSegment, DecodeOptions, Decoder, ImageContent, ImageSequence, MediaInfo, Size, Threads,
    TimeJumps, TlsTrust,
    device::{Device, describe_cameras, is_device},
};

use crate::network_stream::{NetworkStream, ReconnectPolicy};

/// Default frame rate of a folder of images, per second.
const DEFAULT_IMAGE_FPS: f64 = 30.0;

/// Read options shared by all sources of a node.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Decoder threads.
    pub threads: Threads,
    /// Largest size of a frame.
    pub size: Option<Size>,
    /// Frame rate, per second: the maximum for a video, the requested rate for a camera, the exact rate for images.
    pub fps: Option<f64>,
    /// Decodes the audio track.
    pub audio: bool,
    /// Index of the video track to read.
    pub video_track: Option<u32>,
    /// Index of the audio track to read.
    pub audio_track: Option<u32>,
    /// Timeout and reconnect policy of network streams.
    pub reconnect: ReconnectPolicy,
    /// Socket receive buffer of network streams, bytes.
    pub buffer_bytes: u32,
    /// Certificates trusted over TLS.
    pub trust: TlsTrust,
}

/// A frame read from a source.
pub struct SourceFrame {
    /// The frame, or the reason why it was skipped.
    pub body: Body,
    /// Media time, nanoseconds.
    pub pts: i64,
    /// Number of the connection, from 0; always 0 for anything but a network stream.
    pub session: u32,
}

/// An open source; see the [module](self).
pub enum Reader {
    Video(Decoder),
    Camera(Decoder),
    Images(ImageFolder),
    Network(Box<NetworkStream>),
}

/// A folder of images, with counts of its readable and damaged images.
pub struct ImageFolder {
    images: ImageSequence,
    decoded: u64,
    damaged: u64,
    /// True once an image of another size was reported, so that the warning is given once.
    size_reported: bool,
}

impl Reader {
    /// Opens a source; a network stream is connected once the run has started. `name` identifies the node, and the stream if
    /// the node has several.
    ///
    /// # Errors
    /// If the source is missing or cannot be read.
    pub fn open(source: &str, name: &str, read_options: &ReadOptions, resources: &Resources) -> Result<Self> {
        let ReadOptions { threads, size, fps, audio, video_track, audio_track, .. } = *read_options;
        let options = DecodeOptions { threads, size, fps, audio: false, video_track, audio_track };
        if is_remote(source) {
            let options = DecodeOptions { audio, ..options };
            let address = Address::resolve(source, &SCHEMES, &resources.search)?;
            return NetworkStream::new(address, name, options, read_options, resources)
                .map(|stream| Reader::Network(stream.into()));
        }
        if is_device(Path::new(source)) {
            if resources.mode == Mode::Complete {
                return Err(Error::config(format!(
                    "{source}: a camera does not wait for the graph, and `complete` mode would lose frames uncounted: run it \
                     in `live` mode"
                )));
            }
            let device = Device { size: size.map(requested_size), fps, ..Device::camera(Path::new(source)) };
            return Decoder::open_device(&device, options).map(Reader::Camera);
        }
        let path = resources.find(source)?;
        if path.is_dir() {
            if let Some(track) = video_track.filter(|track| *track > 0) {
                let text = format!("key `video_track`: {source} is a folder of images, which has no track {track}");
                return Err(Error::config(text));
            }
            let images = ImageSequence::open(&path, size, fps.unwrap_or(DEFAULT_IMAGE_FPS))?;
            return Ok(Reader::Images(ImageFolder { images, decoded: 0, damaged: 0, size_reported: false }));
        }
        Decoder::open(path, DecodeOptions { audio, ..options }).map(Reader::Video)
    }

    /// Seeks to a media time, ns.
    ///
    /// # Errors
    /// If there is no frame at that time, or the source cannot seek.
    pub fn seek(&mut self, ns: i64) -> Result<()> {
        match self {
            Reader::Video(decoder) | Reader::Camera(decoder) => decoder.seek(ns),
            Reader::Images(folder) => folder.images.seek(ns),
            Reader::Network(_) => Err(Error::config("a network stream cannot seek")),
        }
    }

    /// Returns the interval between two frames, ns.
    pub fn interval(&self) -> i64 {
        match self {
            Reader::Video(decoder) | Reader::Camera(decoder) => decoder.interval_ns(),
            Reader::Images(folder) => folder.images.interval_ns(),
            Reader::Network(stream) => stream.interval(),
        }
    }

    /// True if the source is live: a read returns the present, whenever it happens.
    pub fn is_live(&self) -> bool {
        match self {
            Reader::Camera(_) => true,
            Reader::Network(stream) => stream.is_live(),
            Reader::Video(_) | Reader::Images(_) => false,
        }
    }

    /// Prepares the first read: makes waiting for a camera stop with the run, and connects a network stream. Returns false if
    /// the run is stopping.
    ///
    /// # Errors
    /// If the network stream cannot be reached.
    pub fn prepare(&mut self, cx: &SourceContext) -> Result<bool> {
        match self {
            Reader::Camera(decoder) => {
                let cx = cx.clone();
                decoder.set_stop(move || cx.is_stopping());
                Ok(true)
            }
            Reader::Network(stream) => stream.connect(cx),
            Reader::Video(_) | Reader::Images(_) => Ok(true),
        }
    }

    /// Reads the next frame, or `None` at the end. `before` is called with the decoding time of every packet, ns, and may
    /// block to pace the stream. `damage_reported` is set by the first warning of a damaged frame.
    ///
    /// # Errors
    /// If a frame cannot be converted.
    pub fn next(
        &mut self,
        cx: &SourceContext,
        source: &str,
        damage_reported: &mut bool,
        before: impl FnMut(i64),
    ) -> Result<Option<SourceFrame>> {
        let decoder = match self {
            Reader::Video(decoder) | Reader::Camera(decoder) => decoder,
            Reader::Images(folder) => return folder.next(source, before),
            Reader::Network(stream) => return stream.next(cx, before),
        };
        let Some(decoded) = decoder.next_with(before)? else { return Ok(None) };
        if decoded.is_damaged && !std::mem::replace(damage_reported, true) {
            let seconds = decoded.pts_ns as f64 * 1e-9;
            tracing::warn!(source, "the video is damaged at {seconds:.3} s: parts of that frame are concealed");
        }
        let body = Body::Data(Payload::Frame(decoded.frame.into()));
        Ok(Some(SourceFrame { body, pts: decoded.pts_ns, session: 0 }))
    }

    /// Takes the audio up to a media time, ns, that was not taken before; `None` if the source has no audio.
    pub fn audio_until(&mut self, until: i64) -> Option<(AudioFormat, Vec<AudioSegment>)> {
        let decoder = match self {
            Reader::Video(decoder) => decoder,
            Reader::Network(stream) => return stream.audio_until(until),
            Reader::Camera(_) | Reader::Images(_) => return None,
        };
        let format = decoder.audio_format()?;
        Some((format, decoder.audio_until(until)))
    }

    /// Describes the frames missing from a source that has ended; `None` if it is complete. `from_start` is true if it was
    /// read from its beginning.
    pub fn missing(&self, from_start: bool) -> Option<String> {
        match self {
            Reader::Video(decoder) => describe_missing(decoder, from_start),
            Reader::Camera(decoder) => {
                let cause = decoder.disconnect_cause()?;
                Some(format!("the camera was unplugged or stopped answering ({cause}); {}", describe_cameras()))
            }
            Reader::Images(folder) if folder.decoded == 0 && folder.damaged > 0 => {
                Some(format!("none of its {} images could be read", folder.damaged))
            }
            // A network stream reports it when the connection breaks.
            Reader::Images(_) | Reader::Network(_) => None,
        }
    }

    /// Describes why a source ended without a frame.
    pub fn no_frames_reason(&self) -> String {
        match self {
            Reader::Camera(decoder) if decoder.disconnect_cause().is_some() => self.missing(true).unwrap_or_default(),
            Reader::Video(decoder) | Reader::Camera(decoder) => {
                let info = decoder.info();
                let cause = match decoder.losses().undecodable_video {
                    0 => "its video track holds no frame".into(),
                    packets => format!("{packets} of its packets could not be decoded"),
                };
                format!("it is {} of {} in {}, and {cause}", describe_size(info), info.codec, info.container)
            }
            Reader::Images(folder) => format!("none of its {} images could be read", folder.images.len()),
            Reader::Network(_) => "the connection delivered none".into(),
        }
    }

    /// Returns the counts for the run's result: connections of a network stream, and timestamp jumps if there were any.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        match self {
            Reader::Network(stream) => stream.counts().to_named(),
            Reader::Video(decoder) | Reader::Camera(decoder) => {
                time_jumps_count(decoder.time_jumps().total()).collect()
            }
            Reader::Images(_) => vec![],
        }
    }

    /// Logs the damage found in the source, and closes a network stream.
    pub fn close(&mut self, source: &str) {
        match &*self {
            Reader::Video(decoder) | Reader::Camera(decoder) => {
                let losses = decoder.losses();
                if losses.undecodable_audio > 0 {
                    let packets = losses.undecodable_audio;
                    tracing::warn!(source, packets, "audio packets could not be decoded and were replaced by silence");
                }
                let jumps = decoder.time_jumps();
                if jumps.total() > 1 {
                    let TimeJumps { restarts, pauses, standstills } = jumps;
                    tracing::warn!(
                        source,
                        restarts,
                        pauses,
                        standstills,
                        "the timestamps are irregular: total number of jumps of each kind"
                    );
                }
                if losses.damaged > 0 {
                    tracing::warn!(
                        source,
                        damaged = losses.damaged,
                        "the video is damaged: parts of these frames are concealed"
                    );
                }
                if matches!(self, Reader::Camera(_)) && losses.undecodable_video > 0 {
                    tracing::warn!(source, packets = losses.undecodable_video, "packets could not be decoded");
                }
            }
            Reader::Images(folder) if folder.damaged > 0 => {
                tracing::warn!(source, damaged = folder.damaged, "damaged images were skipped");
            }
            Reader::Images(_) | Reader::Network(_) => {}
        }
        if let Reader::Network(stream) = self {
            stream.close();
        }
    }

    /// Returns the source's media properties as a file for the folder of the run; `None` for a network stream, which is not
    /// connected yet. `name` identifies the node, and the stream if the node has several.
    ///
    /// # Errors
    /// If the properties cannot be serialized as JSON.
    pub fn report(&self, name: &str, source: &str, resources: &Resources) -> Result<Option<MediaReport>> {
        let info = match self {
            Reader::Video(decoder) | Reader::Camera(decoder) => {
                let (width, height) = decoder.frame_size();
                serde_json::json!({ "media": decoder.info(), "frame_width": width, "frame_height": height })
            }
            Reader::Images(folder) => {
                let fps = 1e9 / folder.images.interval_ns() as f64;
                let media = serde_json::json!({
                    "path": source, "container": "images", "frames": folder.images.len(), "fps": fps,
                });
                serde_json::json!({ "media": media })
            }
            // Unknown before the connection is made.
            Reader::Network(_) => return Ok(None),
        };
        let path = resources.run_dir.join(format!("media-{name}.json"));
        let text = serde_json::to_string_pretty(&info).or_fail(Failure::Other, || "the media information")?;
        Ok(Some(MediaReport { path, text: text + "\n" }))
    }
}

/// The file `media-NAME.json` with the media properties of a source.
pub struct MediaReport {
    path: PathBuf,
    text: String,
}

impl MediaReport {
    /// Writes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(self) -> Result<()> {
        std::fs::write(&self.path, self.text).or_fail(Failure::Output, || self.path.display().to_string())
    }
}

impl ImageFolder {
    fn next(&mut self, source: &str, mut before: impl FnMut(i64)) -> Result<Option<SourceFrame>> {
        let Some(image) = self.images.next()? else { return Ok(None) };
        before(image.pts_ns);
        let name = image.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let body = match image.content {
            ImageContent::Frame(frame) => {
                self.decoded += 1;
                Body::Data(Payload::Frame(frame.into()))
            }
            ImageContent::Damaged(cause) => {
                self.damaged += 1;
                tracing::warn!(source, image = name, "skipped: {cause}");
                Body::Skipped(Reason::Damaged)
            }
            ImageContent::OtherSize(width, height) => {
                if !std::mem::replace(&mut self.size_reported, true) {
                    tracing::warn!(
                        source,
                        image = name,
                        "skipped, like all images that are not of the first image's size: {width}x{height}"
                    );
                }
                Body::Skipped(Reason::Other("size".into()))
            }
        };
        Ok(Some(SourceFrame { body, pts: image.pts_ns, session: 0 }))
    }
}

/// Returns the count of timestamp jumps with its name, unless it is 0.
pub fn time_jumps_count(jumps: u64) -> impl Iterator<Item = (&'static str, u64)> {
    (jumps > 0).then_some(("time_jumps", jumps)).into_iter()
}

/// Describes the size of a video in a message.
fn describe_size(info: &MediaInfo) -> String {
    match (info.width, info.height) {
        (0, 0) => "a video of unknown size".into(),
        (width, height) => format!("a video of {width}x{height}"),
    }
}

/// Returns the frame size to request from a camera. A camera takes only width and height, so a height alone is requested as
/// 16:9.
fn requested_size(size: Size) -> (u32, u32) {
    match size {
        Size::Height(height) => ((height * 16 / 9).next_multiple_of(2), height),
        Size::Exact { width, height } => (width, height),
    }
}

fn describe_missing(decoder: &Decoder, from_start: bool) -> Option<String> {
    let losses = decoder.losses();
    let text = match (losses.missing, decoder.info().frames) {
        (Some(missing), Some(declared)) if from_start => {
            format!("{missing} of {declared} frames are missing: the file is truncated or damaged")
        }
        (Some(missing), _) => format!("about {missing} frames are missing at the end: the file is truncated"),
        (None, _) if losses.undecodable_video > 0 => {
            format!("{} packets could not be decoded: the file is damaged", losses.undecodable_video)
        }
        (None, _) => return None,
    };
    let concealed = match losses.damaged {
        0 => String::new(),
        damaged => format!("; parts of {damaged} frames are concealed"),
    };
    Some(text + &concealed)
}

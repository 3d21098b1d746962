//! Draws what was found onto a copy of each frame and writes the frames as a video.
//!
//! One file per stream: `overlay.mp4` for the first, `overlay-NAME.mp4` for the stream NAME after it. Where the size of a
//! stream's pictures changes, a new file begins (`overlay-2.mp4`): scaled pictures would show pixels that the camera never
//! saw. Every frame keeps its time; a frame that was skipped upstream is not in the video, the one before it stands longer.
//! Where poses, tracks or motion are skipped, the frame is drawn without them. The sound of the input `audio` goes into the
//! file at its own time, so a frame that is left out does not move it; a stream without sound gives a file without.
//!
//! With `speech` wired each file has a sound track: the sentences at their times, and the clip's own sound under them, which
//! is quieter while somebody speaks. Moves are known some frames after they happened: from then on they stand at who made
//! them for a second. The last sentence of `commentary` stands below as a caption. In a live flow write
//! `queue_policy: drop_oldest` at `speech`, so that no frame waits for a voice.
//!
//! The drawn frames are also the output `overlay`, for who wants to see them while the run is on.
#![forbid(unsafe_code)]

pub mod callouts;
pub mod canvas;
pub mod mixer;
pub mod overlay;
pub mod picture;
mod sound;
pub mod text;
mod videos;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Encoding, Error, Frame, Inputs, Mode, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Audio, Commentary, Motion, Move, Pose, Track},
};
use sideline_media::encode::{EncodeOptions, Quality};

use crate::{
    callouts::Callouts,
    canvas::Canvas,
    overlay::{Look, Overlay, Scene},
    sound::{Sound, rows},
    text::Text,
    videos::{Picture, Videos},
};

/// x264's presets, from fast and large to slow and small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Preset {
    Ultrafast,
    Superfast,
    Veryfast,
    Faster,
    Fast,
    Medium,
    Slow,
    Slower,
    Veryslow,
}

impl Preset {
    fn name(self) -> &'static str {
        sideline_media::encode::PRESETS[self as usize]
    }
}

/// Draws skeletons, boxes, labels and statistics onto the frames and writes a video.
#[derive(Clone, Debug, Config)]
pub struct RenderConfig {
    /// The video file (mp4), in the run folder unless the path is absolute.
    #[config(default = "overlay.mp4")]
    pub output: PathBuf,
    /// Draws joints and limbs.
    #[config(default = true, live)]
    pub skeletons: bool,
    /// Draws the boxes of tracks, or of poses where no tracks are wired.
    #[config(default = true, live)]
    pub boxes: bool,
    /// Writes fighters' names and track numbers at the boxes, with a bar for the speed where motion is wired.
    #[config(default = true, live)]
    pub labels: bool,
    /// Writes moves at who made them for a second, with the models' confidence, where `moves` is wired.
    #[config(default = true, live)]
    pub moves: bool,
    /// Writes the last sentence below, where `commentary` is wired.
    #[config(default = true, live)]
    pub captions: bool,
    /// Decibels by which the clip's own sound is quieter while somebody speaks, where `speech` is wired. Higher is quieter; 0 leaves it as it is.
    #[config(default = 12.0, live, range(0.0, 60.0))]
    pub duck: f32,
    /// Writes a line into the upper left corner: frames a second, latency and drops when live, else frame number and time.
    #[config(default = true, live)]
    pub stats: bool,
    /// Joints less visible than this are not drawn. Higher hides guesses; lower shows hidden limbs.
    #[config(default = 0.5, live, range(0.0, 1.0))]
    pub visibility: f32,
    /// x264's constant rate factor. Lower looks better and makes larger files: 18 looks like the source.
    #[config(default = 23.0, range(0.0, 51.0))]
    pub crf: f32,
    /// x264's preset, ultrafast to veryslow. Slower ones make smaller files for more CPU.
    #[config(default = Preset::Veryfast)]
    pub preset: Preset,
    /// Threads of the encoder. More are faster on an idle machine; the file is the same in every run for a fixed number.
    #[config(default = 1, range(1, 32))]
    pub threads: u32,
    /// Frames a second to expect: a hint for the encoder, every frame keeps its own time.
    #[config(default = 30.0, range(1.0, 1000.0))]
    pub fps: f64,
    /// Most frames between key frames. Fewer make seeking quicker and files larger.
    #[config(default = 60, range(1, 1000))]
    pub gop: u32,
}

/// What is remembered of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Shown {
    pace: Pace,
    callouts: Callouts,
}

/// For the frame rate shown in `live` mode.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Pace {
    /// When the last frame was drawn, nanoseconds since 1970.
    last: Option<i64>,
    /// Smoothed time between frames, nanoseconds.
    interval: f64,
}

/// See the [crate](self).
pub struct Render {
    config: RenderConfig,
    videos: Videos,
    sound: Sound,
    text: Text,
    /// The picture that is drawn on; kept to spare an allocation per frame.
    picture: Vec<u8>,
    /// Somebody reads `overlay`.
    shown: bool,
}

impl Operator for Render {
    type Config = RenderConfig;
    type State = Shown;

    fn spec() -> Spec {
        Spec::operator("render")
            .heavy()
            .required("frames", PortType::Frame)
            .optional("poses", PortType::table::<Pose>())
            .optional("tracks", PortType::table::<Track>())
            .optional("motion", PortType::table::<Motion>())
            .optional("moves", PortType::table::<Move>())
            .optional("commentary", PortType::table::<Commentary>())
            .optional("audio", PortType::table::<Audio>())
            .optional("speech", PortType::table::<Audio>())
            .output("overlay", PortType::Frame)
    }

    fn new(config: RenderConfig, resources: &Resources) -> Result<Self> {
        let options = EncodeOptions {
            fps: config.fps,
            quality: Quality::Crf(config.crf),
            preset: config.preset.name().into(),
            gop: config.gop,
            threads: config.threads,
            color: None,
            sound: None,
        };
        let videos = Videos::new(&config.output, &resources.run_dir, &resources.run, options)?;
        let shown = resources.outputs.iter().any(|output| output == "overlay");
        let sound = Sound::new(resources.inputs.iter().any(|input| input.name == "speech"));
        Ok(Self { config, videos, sound, text: Text::new()?, picture: vec![], shown })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut Shown, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let scene = Scene { poses: input.rows("poses")?, tracks: input.rows("tracks")?, motion: input.rows("motion")? };
        picture::to_i420(frame, &mut self.picture)?;
        let stats = self.config.stats.then(|| stats(cx, &mut state.pace));
        let mut canvas = Canvas::new(&mut self.picture, frame.width(), frame.height())
            .ok_or_else(|| Error::other("the picture is shorter than its size says"))?;
        let RenderConfig { skeletons, boxes, labels, visibility, moves, captions, duck, .. } = self.config;
        let now = cx.header.pts;
        state.callouts.call(now, &rows(input, "moves")?);
        state.callouts.caption(now, &rows(input, "commentary")?);
        let mut overlay = Overlay::new(&mut canvas, &mut self.text, frame.color());
        overlay.draw(&scene, &Look { skeletons, boxes, labels, visibility }, stats.as_deref());
        if moves {
            overlay.moves(&state.callouts, &overlay::people(&scene));
        }
        if captions {
            overlay.caption(&state.callouts);
        }
        let size = (frame.width(), frame.height());
        let cut = self.videos.cuts(&cx.header.stream, size);
        let sound = self.sound.until(&cx.header.stream, now, cut, input, duck)?;
        let picture = Picture { i420: &self.picture, size, color: frame.color() };
        self.videos.write(&cx.header.stream, cx.header.pts, picture, &sound)?;
        if self.shown {
            // The bytes go along without a copy; the next frame is drawn into new ones.
            let picture = std::mem::take(&mut self.picture);
            out.frame("overlay", Frame::from_packed(size.0, size.1, Encoding::I420, frame.color(), picture)?.into())?;
        }
        Ok(())
    }

    fn reconfigure(&mut self, config: &RenderConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, input: &Inputs, _: &mut Shown, _: &mut Outputs) -> Result<()> {
        // What is heard behind the last frame.
        let sound = self.sound.rest(&cx.header.stream, input, self.config.duck)?;
        self.videos.write_sound(&cx.header.stream, &sound)?;
        self.videos.end(&cx.header.stream)
    }

    fn close(&mut self) -> Result<()> {
        self.videos.close()
    }
}

/// The line of statistics. In `complete` mode only what is the same in every run.
fn stats(cx: &Context, pace: &mut Pace) -> String {
    let header = cx.header;
    if cx.mode == Mode::Complete {
        let (minutes, seconds) = ((cx.seconds() / 60.0).floor(), cx.seconds().rem_euclid(60.0));
        return format!("{minutes:02}:{seconds:06.3}   frame {}", header.frame);
    }
    let now = cx.now();
    if let Some(last) = pace.last {
        let since = (now - last).max(0) as f64;
        // Over about the last ten frames.
        pace.interval += if pace.interval > 0.0 { 0.1 * (since - pace.interval) } else { since };
    }
    pace.last = Some(now);
    let fps = if pace.interval > 0.0 { 1e9 / pace.interval } else { 0.0 };
    let latency = (now - header.captured) as f64 * 1e-6;
    format!("{fps:.1} fps   {latency:.0} ms   dropped {}", header.forgotten)
}

//! Draws what was found onto a copy of each frame; `encode` writes the drawn frames as a video, `preview` shows them.
//!
//! Where poses, tracks or motion are skipped, the frame is drawn without them. Moves are known some frames after they
//! happened: from then on they stand at who made them for a second. The last sentence of `commentary` stands below as a
//! caption.
#![forbid(unsafe_code)]

pub mod callouts;
pub mod canvas;
pub mod overlay;
pub mod text;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Body, Config, Context, Encoding, Error, Frame, Inputs, Mode, Operator, Outputs, Payload, PortType, Resources,
    Result, Spec, Table,
    tables::{Commentary, Motion, Move, Pose, Track},
};
use sideline_media::to_i420;

use crate::{
    callouts::Callouts,
    canvas::Canvas,
    overlay::{Look, Overlay, Scene},
    text::Text,
};

/// Draws skeletons, boxes, labels and statistics onto the frames.
#[derive(Clone, Debug, Config)]
pub struct RenderConfig {
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
    /// Writes a line into the upper left corner: frames a second, latency and drops when live, else frame number and time.
    #[config(default = true, live)]
    pub stats: bool,
    /// Joints less visible than this are not drawn. Higher hides guesses; lower shows hidden limbs.
    #[config(default = 0.5, live, range(0.0, 1.0))]
    pub visibility: f32,
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
    text: Text,
    /// The picture that is drawn on; kept to spare an allocation per frame.
    picture: Vec<u8>,
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
            .output("overlay", PortType::Frame)
    }

    fn new(config: RenderConfig, resources: &Resources) -> Result<Self> {
        // Without a reader there is no video and no preview: that is never meant.
        if !resources.outputs.iter().any(|output| output == "overlay") {
            return Err(Error::config(
                "nobody reads the output `overlay`; a node `encode` with `frames: NODE/overlay` among its `inputs` writes it as \
                 a video",
            ));
        }
        Ok(Self { config, text: Text::new()?, picture: vec![] })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut Shown, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let scene = Scene { poses: input.rows("poses")?, tracks: input.rows("tracks")?, motion: input.rows("motion")? };
        to_i420(frame, &mut self.picture)?;
        let stats = self.config.stats.then(|| stats(cx, &mut state.pace));
        let mut canvas = Canvas::new(&mut self.picture, frame.width(), frame.height())
            .ok_or_else(|| Error::other("the picture is shorter than its size says"))?;
        let RenderConfig { skeletons, boxes, labels, visibility, moves, captions, .. } = self.config;
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
        // The bytes go along without a copy; the next frame is drawn into new ones.
        let picture = std::mem::take(&mut self.picture);
        let drawn = Frame::from_packed(frame.width(), frame.height(), Encoding::I420, frame.color(), picture)?;
        out.frame("overlay", drawn.into())
    }

    fn reconfigure(&mut self, config: &RenderConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

/// Rows of an input, whether it is aligned or a side input.
fn rows<T: Table>(input: &Inputs, name: &str) -> Result<Vec<T>> {
    let mut rows = input.rows(name)?.unwrap_or_default();
    for message in input.side(name) {
        if let Body::Data(Payload::Table(table)) = &message.body {
            rows.extend(T::decode(table)?);
        }
    }
    Ok(rows)
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

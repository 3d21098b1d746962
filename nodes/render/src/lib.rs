//! `render`: draws overlays onto a copy of each frame. `encode` writes the rendered frames as a video, `preview` shows them.
//!
//! An overlay is drawn if its inputs are wired, and left out of a frame for which they were skipped. Moves and events arrive
//! some frames after they happened; from then on they are displayed for a second at the person who made them. The last
//! sentence of `commentary` is the caption at the bottom. The minimap needs places in meters.
//!
//! With `view` wired, the frame is cropped to the view of the virtual camera and scaled to the output size of the camera;
//! `width` or `height` scale it further, and another aspect ratio is refused. Overlays are drawn after scaling, at the
//! resolution of the output. In a frame without a row of `view` the camera keeps its position; before the first row it shows
//! the widest part. `follow: false` shows the whole frame instead, and the overlay `crop` outlines the view. Without `view`
//! the key `crop` selects the visible part.
#![forbid(unsafe_code)]

mod ball;
pub mod callouts;
pub mod canvas;
mod minimap;
pub mod overlay;
mod people;
mod scoreboard;
mod shapes;
mod skeleton;
mod teams;
pub mod text;
pub mod viewport;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Body, Config, Context, Encoding, Error, Frame, Inputs, Mode, Operator, Outputs, Payload, PortType, Resources,
    Result, Spec, Table,
};
use sideline_media::{CropRect, Cropper, to_i420};
use sideline_sport::{
    FIGHTERS_INPUT, FighterNames,
    tables::{Ball, Commentary, Event, FighterName, Motion, Move, Place, Pose, Possession, Team, Track, Unit, View},
};

use crate::{
    ball::Trail,
    callouts::Callouts,
    canvas::Canvas,
    overlay::{Overlay, Scene, Style},
    scoreboard::ScoreboardState,
    teams::Teams,
    text::TextRenderer,
    viewport::Viewport,
};

/// Kind of overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverlayKind {
    /// Joints and limbs (`poses`).
    Skeletons,
    /// Boxes of tracks, or of poses if no tracks are wired.
    Boxes,
    /// Names and track numbers at the boxes, with a speed bar if `motion` is wired.
    Labels,
    /// Ring around the ball, dashed if its position is predicted (`ball`).
    Ball,
    /// Path of the ball during the last second (`ball`).
    Trail,
    /// Boxes in the colors of the jerseys, and titles of goalkeepers and referees (`teams`).
    Teams,
    /// Moves at the person who made them, with the confidence (`moves`).
    Moves,
    /// Events at the player who made them (`events`).
    Events,
    /// Caption with the last sentence, at the bottom (`commentary`).
    Captions,
    /// Scoreboard at the top center: possession, and passes if `events` is wired (`possession`).
    Scoreboard,
    /// Top view of the pitch in the lower right corner (`places`, in meters).
    Minimap,
    /// Line in the upper left corner: frame rate, latency and dropped frames in live mode, else frame number and time.
    Stats,
    /// Outline of the virtual camera's view on the whole frame (`view`, with `follow: false`).
    Crop,
}

/// All overlays, the default of the key `overlays`. An overlay without wired inputs draws nothing.
const ALL_OVERLAYS: [OverlayKind; 13] = [
    OverlayKind::Skeletons,
    OverlayKind::Boxes,
    OverlayKind::Labels,
    OverlayKind::Ball,
    OverlayKind::Trail,
    OverlayKind::Teams,
    OverlayKind::Moves,
    OverlayKind::Events,
    OverlayKind::Captions,
    OverlayKind::Scoreboard,
    OverlayKind::Minimap,
    OverlayKind::Stats,
    OverlayKind::Crop,
];

/// Draws detections, tracks, poses and other results onto the frames, and crops them to the view of a virtual camera.
#[derive(Clone, Debug, Config)]
#[config(check = RenderConfig::check)]
pub struct RenderConfig {
    /// Overlays to draw if their inputs are wired: any of skeletons, boxes, labels, ball, trail, teams, moves, events, captions,
    /// scoreboard, minimap, stats, crop.
    #[config(default = ALL_OVERLAYS.to_vec(), live)]
    pub overlays: Vec<OverlayKind>,
    /// Minimum visibility of joints that are drawn, 0..1. Higher hides uncertain joints; lower shows occluded limbs.
    #[config(default = 0.5, live, range(0.0, 1.0))]
    pub visibility: f32,
    /// Width of the output, px, even. 0 is the width of the frame, of `crop`, or of the camera if `view` is wired, or follows
    /// from `height`. Lower is cheaper to encode; higher is sharper.
    #[config(default = 0, range(0, 8192))]
    pub width: u32,
    /// Height of the output, px, even. 0 is the height of the frame, of `crop`, or of the camera if `view` is wired, or follows
    /// from `width`. Lower is cheaper to encode; higher is sharper.
    #[config(default = 0, range(0, 8192))]
    pub height: u32,
    /// Crops the frame to the wired `view`; false shows the whole frame.
    #[config(default = true, live)]
    pub follow: bool,
    /// Visible part of the frame if `view` is not wired: left, top, width, height, px. Empty shows the whole frame. A change of
    /// the output size starts a new video file.
    #[config(default = Vec::new(), live)]
    pub crop: Vec<f32>,
    /// Name of team_1 on the scoreboard.
    #[config(default = "", live)]
    pub home: String,
    /// Name of team_2 on the scoreboard.
    #[config(default = "", live)]
    pub away: String,
    /// Length and width of the pitch on the minimap, m, as in the calibration of the places.
    #[config(default = overlay::PITCH.to_vec(), live)]
    pub pitch: Vec<f32>,
}

impl RenderConfig {
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = vec![];
        let all_valid = |list: &[f32]| list.iter().all(|number| number.is_finite() && *number >= 0.0);
        let is_crop_valid = match self.crop[..] {
            [] => true,
            [_, _, width, height] => all_valid(&self.crop) && width >= 2.0 && height >= 2.0,
            _ => false,
        };
        if !is_crop_valid {
            let text = format!("{:?} is not a rectangle: write `\"[left, top, width, height]\"` in pixels", self.crop);
            problems.push(("crop", text));
        }
        if !(self.pitch.len() == 2 && all_valid(&self.pitch) && self.pitch.iter().all(|side| *side >= 1.0)) {
            let text = format!("{:?} is not a size of a pitch: write `\"[length, width]\"` in meters", self.pitch);
            problems.push(("pitch", text));
        }
        for (key, side) in [("width", self.width), ("height", self.height)] {
            if side % 2 == 1 {
                problems.push((key, format!("{side} is odd, but H.264 needs an even size: write {}", side + 1)));
            }
        }
        problems
    }
}

/// Maximum width and height of an output image that a row of `view` may set, px.
const MAX_VIEW_SIDE: u32 = 16_384;

/// State of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RenderState {
    frame_rate: FrameRate,
    pub(crate) callouts: Callouts,
    pub(crate) trail: Trail,
    pub(crate) teams: Teams,
    pub(crate) scoreboard: ScoreboardState,
    /// Visible part of the frame in the last view: left, top, width, height.
    visible: Option<[f64; 4]>,
    /// Output size of the last view.
    view_size: Option<(u32, u32)>,
}

/// Smoothed frame rate for the statistics in `live` mode.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct FrameRate {
    /// Wall-clock time of the last frame, nanoseconds since 1970.
    last: Option<i64>,
    /// Smoothed interval between frames, nanoseconds.
    interval_ns: f64,
}

/// Operator that draws overlays; see the [crate](self).
pub struct Render {
    config: RenderConfig,
    text: TextRenderer,
    cropper: Cropper,
    /// True if the input `view` is wired.
    has_view: bool,
    /// True once it was logged that places in pixels give no minimap.
    has_logged_minimap: bool,
}

impl Operator for Render {
    type Config = RenderConfig;
    type State = RenderState;

    fn spec() -> Spec {
        Spec::operator("render")
            .heavy()
            .required("frames", PortType::Frame)
            .optional("poses", PortType::table::<Pose>())
            .optional("tracks", PortType::table::<Track>())
            .optional(FIGHTERS_INPUT, PortType::table::<FighterName>())
            .optional("motion", PortType::table::<Motion>())
            .optional("moves", PortType::table::<Move>())
            .optional("commentary", PortType::table::<Commentary>())
            .optional("ball", PortType::table::<Ball>())
            .optional("teams", PortType::table::<Team>())
            .optional("places", PortType::table::<Place>())
            .optional("possession", PortType::table::<Possession>())
            .optional("events", PortType::table::<Event>())
            .optional("view", PortType::table::<View>())
            .output("overlay", PortType::Frame)
    }

    fn new(config: RenderConfig, resources: &Resources) -> Result<Self> {
        // Without a reader there is neither a video nor a preview, which is a mistake in the flow.
        if !resources.is_read("overlay") {
            return Err(Error::config(
                "the output `overlay` has no reader; a node `encode` with `frames: NODE/overlay` among its `inputs` writes it \
                 as a video",
            ));
        }
        let has_view = resources.is_wired("view");
        Ok(Self { config, text: TextRenderer::new()?, cropper: Cropper::new(), has_view, has_logged_minimap: false })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut RenderState, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let view = input.rows::<View>("view")?.and_then(|rows| rows.into_iter().next_back());
        let (visible, size) = self.framing(frame, view.as_ref(), state)?;
        let source = (frame.width(), frame.height());
        let mut image = vec![];
        if visible == CropRect::full(source.0, source.1) && size == source {
            to_i420(frame, &mut image)?;
        } else {
            self.cropper.crop(frame, visible, size, &mut image)?;
        }
        let scene = Scene {
            poses: input.rows("poses")?,
            names: FighterNames::read(input)?,
            tracks: input.rows("tracks")?,
            motion: input.rows("motion")?,
            ball: input.rows("ball")?.and_then(|rows| rows.into_iter().next_back()),
            places: input.rows("places")?.unwrap_or_default(),
            view: view.filter(|_| !self.config.follow),
        };
        self.update_state(cx.header.pts, input, &scene, state)?;
        let style = Style { config: &self.config, viewport: Viewport::new(visible, source, size) };
        let stats = style.is_enabled(OverlayKind::Stats).then(|| stats_line(cx, &mut state.frame_rate));
        if style.is_enabled(OverlayKind::Minimap)
            && !self.has_logged_minimap
            && scene.places.iter().any(|place| place.unit == Unit::Pixels)
        {
            tracing::info!("no minimap: places are in pixels, because no pitch is calibrated");
            self.has_logged_minimap = true;
        }
        let mut canvas = Canvas::new(&mut image, size.0, size.1)
            .ok_or_else(|| Error::other("the image has fewer bytes than its size requires"))?;
        Overlay::new(&mut canvas, &mut self.text, frame.color(), style).draw(&scene, state, stats.as_deref());
        out.frame("overlay", Frame::from_packed(size.0, size.1, Encoding::I420, frame.color(), image)?.into())
    }

    fn reconfigure(&mut self, config: &RenderConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

impl Render {
    /// Returns the visible part of the frame and the size of the output image.
    ///
    /// # Errors
    /// When the keys `width` and `height` have another aspect ratio than the camera's output.
    fn framing(&self, frame: &Frame, view: Option<&View>, state: &mut RenderState) -> Result<(CropRect, (u32, u32))> {
        let source = (frame.width(), frame.height());
        let (follows, config) = (self.has_view && self.config.follow, &self.config);
        let crop = if self.has_view { &[][..] } else { &config.crop };
        let view_size = view.map(|view| (view.picture_width, view.picture_height));
        let is_valid = |side: u32| (2..=MAX_VIEW_SIDE).contains(&side);
        state.view_size = view_size.filter(|(width, height)| is_valid(*width) && is_valid(*height)).or(state.view_size);
        let mut size = match state.view_size.filter(|_| follows) {
            Some(view_size) => self.scaled_view_size(view_size)?,
            None => viewport::output_size((config.width, config.height), crop, source),
        };
        let full = CropRect::full(source.0, source.1);
        if !follows && crop.is_empty() && size == source {
            return Ok((full, size));
        }
        // A scaled image has even sides.
        size = (size.0.next_multiple_of(2), size.1.next_multiple_of(2));
        let visible = if follows {
            if let Some(rect) = view.and_then(|view| viewport::view_rect(view, source, size)) {
                state.visible = Some([rect.x, rect.y, rect.width, rect.height]);
            }
            // Without a row of `view` the camera keeps its position, moved into the frame if the frame became smaller.
            let last = state.visible.map(|[x, y, width, height]| [x + width / 2.0, y + height / 2.0, width, height]);
            last.map(|rect| viewport::fit_rect(rect, source, size))
        } else {
            viewport::crop_key_rect(crop, source, size)
        };
        Ok((visible.unwrap_or_else(|| viewport::widest_rect(source, size)), size))
    }

    /// Returns the size of the output image for an output size of the camera.
    fn scaled_view_size(&self, view_size: (u32, u32)) -> Result<(u32, u32)> {
        let (width, height) = (self.config.width, self.config.height);
        let size = viewport::output_size((width, height), &[], view_size);
        // Rounding to even sides changes the height by up to a pixel.
        let difference = f64::from(size.0) * f64::from(view_size.1) / f64::from(view_size.0) - f64::from(size.1);
        if difference.abs() <= 2.0 {
            return Ok(size);
        }
        Err(Error::config(format!(
            "`width` {width} and `height` {height} have another aspect ratio than the {} x {} of the camera (`view`): leave both \
             out, or set one of them to scale the image of the camera",
            view_size.0, view_size.1
        )))
    }

    /// Updates the parts of the state that last longer than a frame.
    fn update_state(&self, now: i64, input: &Inputs, scene: &Scene, state: &mut RenderState) -> Result<()> {
        state.callouts.add_moves(now, &rows(input, "moves")?);
        state.callouts.set_caption(now, &rows(input, "commentary")?);
        let events: Vec<Event> = rows(input, "events")?;
        state.callouts.add_events(now, &events);
        state.scoreboard.count_passes(&events);
        state.scoreboard.set_possession(&rows(input, "possession")?);
        state.trail.update(now, scene.ball.as_ref());
        if let Some(teams) = input.rows("teams")? {
            state.teams.update(&teams);
        }
        Ok(())
    }
}

/// Returns the rows of an aligned or side input.
fn rows<T: Table>(input: &Inputs, name: &str) -> Result<Vec<T>> {
    let mut rows = input.rows(name)?.unwrap_or_default();
    for message in input.side(name) {
        if let Body::Data(Payload::Table(table)) = &message.body {
            rows.extend(T::decode(table)?);
        }
    }
    Ok(rows)
}

/// Returns the line of statistics. In `complete` mode it contains only values that are the same in every run.
fn stats_line(cx: &Context, frame_rate: &mut FrameRate) -> String {
    let header = cx.header;
    if cx.mode == Mode::Complete {
        let (minutes, seconds) = ((cx.seconds() / 60.0).floor(), cx.seconds().rem_euclid(60.0));
        return format!("{minutes:02}:{seconds:06.3}   frame {}", header.frame);
    }
    let now = cx.now();
    if let Some(last) = frame_rate.last {
        let interval_ns = (now - last).max(0) as f64;
        // Exponential average over about ten frames.
        let change = 0.1 * (interval_ns - frame_rate.interval_ns);
        frame_rate.interval_ns += if frame_rate.interval_ns > 0.0 { change } else { interval_ns };
    }
    frame_rate.last = Some(now);
    let fps = if frame_rate.interval_ns > 0.0 { 1e9 / frame_rate.interval_ns } else { 0.0 };
    let latency_ms = (now - header.captured_at) as f64 * 1e-6;
    format!("{fps:.1} fps   {latency_ms:.0} ms   dropped {}", header.dropped)
}

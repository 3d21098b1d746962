//! Draws what was found onto a copy of each frame; `encode` writes the drawn frames as a video, `preview` shows them.
//!
//! Each overlay is drawn where its inputs are wired, and left out of a frame for which they were skipped. Moves and events
//! are known some frames after they happened: from then on they stand at who made them for a second. The last sentence of
//! `commentary` stands below as a caption. The minimap needs places in metres.
//!
//! With `view` wired the frame is cropped to where the virtual camera looks and scaled to the size that the camera is set to;
//! `width` or `height` scale it further, and another aspect is refused. Everything is
//! drawn on that picture, as sharp as it can be. In a frame without a view the camera stands still; before the first one it
//! shows the widest part. `follow: false` shows the whole frame instead, with the overlay `crop` where the camera looks.
//! Without `view` the key `crop` says what is shown.
#![forbid(unsafe_code)]

mod ball;
pub mod callouts;
pub mod canvas;
pub mod lens;
mod minimap;
pub mod overlay;
mod people;
mod scoreboard;
mod shapes;
mod skeleton;
mod teams;
pub mod text;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Body, Config, Context, Encoding, Error, Frame, Inputs, Mode, Operator, Outputs, Payload, PortType, Resources,
    Result, Spec, Table,
    tables::{Ball, Commentary, Event, Motion, Move, PIXELS, Place, Pose, Possession, Team, Track, View},
};
use sideline_media::{Area, Cropper, to_i420};

use crate::{
    ball::Trail,
    callouts::Callouts,
    canvas::Canvas,
    lens::Lens,
    overlay::{Look, Overlay, Scene},
    scoreboard::Score,
    teams::Teams,
    text::Text,
};

/// What can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Show {
    /// Joints and limbs (`poses`).
    Skeletons,
    /// Boxes of tracks, or of poses where no tracks are wired.
    Boxes,
    /// Names and track numbers at the boxes, with a bar for the speed where `motion` is wired.
    Labels,
    /// A ring around the ball, dashed where its place is predicted (`ball`).
    Ball,
    /// The way the ball came within a second (`ball`).
    Trail,
    /// Boxes in the colours of the teams' jerseys; goalkeepers and referees by their titles (`teams`).
    Teams,
    /// Moves at who made them, with the models' confidence (`moves`).
    Moves,
    /// Events at who made them (`events`).
    Events,
    /// The last sentence, below (`commentary`).
    Captions,
    /// Possession, and passes where `events` is wired, in the middle above (`possession`).
    Scoreboard,
    /// The pitch from above in the lower right corner (`places`, in metres).
    Minimap,
    /// A line in the upper left corner: frames a second, latency and drops when live, else frame number and time.
    Stats,
    /// On the whole frame, what the virtual camera sees (`view`, with `follow: false`).
    Crop,
}

/// All of them; what is not wired draws nothing.
const ALL: [Show; 13] = [
    Show::Skeletons,
    Show::Boxes,
    Show::Labels,
    Show::Ball,
    Show::Trail,
    Show::Teams,
    Show::Moves,
    Show::Events,
    Show::Captions,
    Show::Scoreboard,
    Show::Minimap,
    Show::Stats,
    Show::Crop,
];

/// Draws what was found onto the frames, and crops them to a virtual camera's view.
#[derive(Clone, Debug, Config)]
#[config(check = RenderConfig::check)]
pub struct RenderConfig {
    /// What is drawn, where its inputs are wired: any of skeletons, boxes, labels, ball, trail, teams, moves, events, captions, scoreboard, minimap, stats, crop.
    #[config(default = ALL.to_vec(), live)]
    pub overlays: Vec<Show>,
    /// Joints less visible than this are not drawn. Higher hides guesses; lower shows hidden limbs.
    #[config(default = 0.5, live, range(0.0, 1.0))]
    pub visibility: f32,
    /// Width of the drawn pictures in pixels, even; 0 is that of the frames, of `crop`, or of the camera where `view` is wired, or follows from `height`. Smaller is cheaper to encode.
    #[config(default = 0, range(0, 8192))]
    pub width: u32,
    /// Height of the drawn pictures in pixels, even; 0 is that of the frames, of `crop`, or of the camera where `view` is wired, or follows from `width`.
    #[config(default = 0, range(0, 8192))]
    pub height: u32,
    /// Where `view` is wired, crops to it; false shows the whole frame.
    #[config(default = true, live)]
    pub follow: bool,
    /// Without `view`, the part of the frame that is shown: left, top, width, height in pixels. Empty shows all of it. Another size of the drawn pictures begins another file.
    #[config(default = Vec::new(), live)]
    pub crop: Vec<f32>,
    /// Name of team_1 on the scoreboard.
    #[config(default = "", live)]
    pub home: String,
    /// Name of team_2 on the scoreboard.
    #[config(default = "", live)]
    pub away: String,
    /// Length and width of the pitch on the minimap, metres: those that the places were calibrated for.
    #[config(default = overlay::PITCH.to_vec(), live)]
    pub pitch: Vec<f32>,
}

impl RenderConfig {
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = vec![];
        let numbers = |list: &[f32]| list.iter().all(|number| number.is_finite() && *number >= 0.0);
        let crop = match self.crop[..] {
            [] => true,
            [_, _, width, height] => numbers(&self.crop) && width >= 2.0 && height >= 2.0,
            _ => false,
        };
        if !crop {
            let text =
                format!("{:?} is no part of a picture: write `\"[left, top, width, height]\"` in pixels", self.crop);
            wrong.push(("crop", text));
        }
        if !(self.pitch.len() == 2 && numbers(&self.pitch) && self.pitch.iter().all(|side| *side >= 1.0)) {
            wrong.push(("pitch", format!("{:?} is no pitch: write `\"[length, width]\"` in metres", self.pitch)));
        }
        for (key, side) in [("width", self.width), ("height", self.height)] {
            if side % 2 == 1 {
                wrong.push((key, format!("{side} is odd, and H.264 knows only even sizes: write {}", side + 1)));
            }
        }
        wrong
    }
}

/// Longest side of a picture that a view may ask for, px.
const MOST_SIDE: u32 = 16_384;

/// What is remembered of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Shown {
    pace: Pace,
    pub(crate) callouts: Callouts,
    pub(crate) trail: Trail,
    pub(crate) teams: Teams,
    pub(crate) score: Score,
    /// The part of the frame that the last view asked for: left, top, width, height.
    part: Option<[f64; 4]>,
    /// Size of the pictures that the last view asked for.
    picture: Option<(u32, u32)>,
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
    cropper: Cropper,
    /// Somebody sends views.
    viewed: bool,
    /// It was said that places in pixels make no minimap.
    said: bool,
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
            .optional("ball", PortType::table::<Ball>())
            .optional("teams", PortType::table::<Team>())
            .optional("places", PortType::table::<Place>())
            .optional("possession", PortType::table::<Possession>())
            .optional("events", PortType::table::<Event>())
            .optional("view", PortType::table::<View>())
            .output("overlay", PortType::Frame)
    }

    fn new(config: RenderConfig, resources: &Resources) -> Result<Self> {
        // Without a reader there is no video and no preview: that is never meant.
        if !resources.is_read("overlay") {
            return Err(Error::config(
                "nobody reads the output `overlay`; a node `encode` with `frames: NODE/overlay` among its `inputs` writes it as \
                 a video",
            ));
        }
        let viewed = resources.is_wired("view");
        Ok(Self { config, text: Text::new()?, cropper: Cropper::new(), viewed, said: false })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, shown: &mut Shown, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let view = input.rows::<View>("view")?.and_then(|rows| rows.into_iter().next_back());
        let (area, size) = self.framing(frame, view.as_ref(), shown)?;
        let source = (frame.width(), frame.height());
        let mut picture = vec![];
        if area == Area::whole(source.0, source.1) && size == source {
            to_i420(frame, &mut picture)?;
        } else {
            self.cropper.crop(frame, area, size, &mut picture)?;
        }
        let scene = Scene {
            poses: input.rows("poses")?,
            tracks: input.rows("tracks")?,
            motion: input.rows("motion")?,
            ball: input.rows("ball")?.and_then(|rows| rows.into_iter().next_back()),
            places: input.rows("places")?.unwrap_or_default(),
            view: view.filter(|_| !self.config.follow),
        };
        self.remember(cx.header.pts, input, &scene, shown)?;
        let shows = |what: Show| self.config.overlays.contains(&what);
        let stats = shows(Show::Stats).then(|| stats(cx, &mut shown.pace));
        if shows(Show::Minimap) && !self.said && scene.places.iter().any(|place| place.unit == PIXELS) {
            tracing::info!("no minimap: places are in pixels, for no pitch is calibrated");
            self.said = true;
        }
        let mut canvas = Canvas::new(&mut picture, size.0, size.1)
            .ok_or_else(|| Error::other("the picture is shorter than its size says"))?;
        let look = Look { config: &self.config, lens: Lens::new(area, source, size) };
        Overlay::new(&mut canvas, &mut self.text, frame.color(), look).draw(&scene, shown, stats.as_deref());
        out.frame("overlay", Frame::from_packed(size.0, size.1, Encoding::I420, frame.color(), picture)?.into())
    }

    fn reconfigure(&mut self, config: &RenderConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

impl Render {
    /// Which part of the frame is shown, and how large.
    ///
    /// # Errors
    /// When the keys ask for another shape of picture than the camera was set to.
    fn framing(&self, frame: &Frame, view: Option<&View>, shown: &mut Shown) -> Result<(Area, (u32, u32))> {
        let source = (frame.width(), frame.height());
        let (follows, config) = (self.viewed && self.config.follow, &self.config);
        let crop = if self.viewed { &[][..] } else { &config.crop };
        let asked = view.map(|view| (view.picture_width, view.picture_height));
        let can_be = |side: u32| (2..=MOST_SIDE).contains(&side);
        shown.picture = asked.filter(|(width, height)| can_be(*width) && can_be(*height)).or(shown.picture);
        let mut size = match shown.picture.filter(|_| follows) {
            Some(picture) => self.size_of_picture(picture)?,
            None => lens::size_of((config.width, config.height), crop, source),
        };
        let whole = Area::whole(source.0, source.1);
        if !follows && crop.is_empty() && size == source {
            return Ok((whole, size));
        }
        // What is scaled has an even size.
        size = (size.0.next_multiple_of(2), size.1.next_multiple_of(2));
        let area = if follows {
            if let Some(area) = view.and_then(|view| lens::seen(view, source, size)) {
                shown.part = Some([area.x, area.y, area.width, area.height]);
            }
            // The camera stands still where nothing tells it to move; it stays inside a frame that became smaller.
            let last = shown.part.map(|[x, y, width, height]| [x + width / 2.0, y + height / 2.0, width, height]);
            last.map(|part| lens::fitted(part, source, size))
        } else {
            lens::fixed(crop, source, size)
        };
        Ok((area.unwrap_or_else(|| lens::widest(source, size)), size))
    }

    /// The size of the drawn pictures where the camera was set to pictures of a size.
    fn size_of_picture(&self, picture: (u32, u32)) -> Result<(u32, u32)> {
        let (width, height) = (self.config.width, self.config.height);
        let size = lens::size_of((width, height), &[], picture);
        // Even sides are up to a pixel off the aspect.
        let off = f64::from(size.0) * f64::from(picture.1) / f64::from(picture.0) - f64::from(size.1);
        if off.abs() <= 2.0 {
            return Ok(size);
        }
        Err(Error::config(format!(
            "`width` {width} and `height` {height} are another shape than the {} x {} that the camera (`view`) is set to: leave \
             both out here, or give one of them to scale its picture",
            picture.0, picture.1
        )))
    }

    /// What lasts beyond this frame.
    fn remember(&self, now: i64, input: &Inputs, scene: &Scene, shown: &mut Shown) -> Result<()> {
        shown.callouts.call(now, &rows(input, "moves")?);
        shown.callouts.caption(now, &rows(input, "commentary")?);
        let events: Vec<Event> = rows(input, "events")?;
        shown.callouts.happened(now, &events);
        shown.score.count(&events);
        shown.score.possession(&rows(input, "possession")?);
        shown.trail.follow(now, scene.ball.as_ref());
        if let Some(teams) = input.rows("teams")? {
            shown.teams.learn(&teams);
        }
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

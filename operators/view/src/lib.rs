//! `view`: where the ball and the players are in, where a virtual camera looks out: one row in every frame.
//!
//! `aim` says what is worth looking at and how much of it, `camera` how a camera gets there without a jerk. This file
//! joins both to the runtime.
//!
//! **What it follows.** The ball, a little ahead of it, and the players who are near it. A ball that is lost is waited for
//! where it was while the crop slowly widens; after `players_after` the camera goes to where most players are. Where it sees
//! neither it holds still. In chaos it shows as much as it can and moves as calmly as it can.
//!
//! **Cuts.** A new connection of a stream, or a picture of another size, shows something else: the camera begins anew in the
//! middle, without a glide. A ball that jumps in one picture is glided to.
//!
//! **Units.** Keys in px are for a picture 1080 high, those of a step for a frame of 1/30 s; rows are in px of the source frame. The crop
//! has the aspect of `width` x `height` and never leaves the picture: at zoom 1 it is the widest that fits. Its rows carry
//! that size to `render`.
#![forbid(unsafe_code)]

mod aim;
mod camera;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Ball, Track, View},
};

use aim::Watch;
use camera::Camera;

/// Follows the ball with a steady crop of the picture, as a cameraman would.
#[derive(Clone, Debug, PartialEq, Config)]
#[config(check = ViewConfig::check)]
pub struct ViewConfig {
    /// Width of the pictures that will be made of the crop, px, even; with `height` it gives the aspect. `render` draws
    /// pictures of this size.
    #[config(default = 1280, range(16, 16_384))]
    pub width: u32,
    /// Their height, px, even.
    #[config(default = 720, range(16, 16_384))]
    pub height: u32,
    /// Cutoff of the smoothing for a target at rest, Hz. Lower is calmer and lags more.
    #[config(default = 0.6, live, range(0.001, 100))]
    pub smoothing_min_cutoff: f64,
    /// The same while the ball lies still, and in chaos.
    #[config(default = 0.08, live, range(0.001, 100))]
    pub lock_min_cutoff: f64,
    /// Hz that the cutoff rises for each px a second; half to three times as much by how fast, how jerkily and how lately the
    /// ball moves. Higher follows fast balls more closely.
    #[config(default = 0.004, live, range(0, 10))]
    pub smoothing_beta: f64,
    /// Cutoff of the speed itself, Hz. Higher notices a kick sooner; lower is misled less.
    #[config(default = 1.0, live, range(0.001, 100))]
    pub d_cutoff: f64,
    /// Steers the crop by a PID controller; false puts it where the smoothing says.
    #[config(default = true, live)]
    pub use_pid: bool,
    /// Share of the way that it goes in a frame. Higher is stiffer.
    #[config(default = 0.8, live, range(0, 1))]
    pub pid_p: f64,
    /// What is left over for long counts by this, each frame. Higher catches up with a steady run; too high swings.
    #[config(default = 0.01, live, range(0, 1))]
    pub pid_i: f64,
    /// Share of the change of the way left. Higher answers sooner.
    #[config(default = 0.15, live, range(0, 1))]
    pub pid_d: f64,
    /// Farthest that it moves in a frame, px.
    #[config(default = 500.0, live, range(1, 10_000))]
    pub max_step: f64,
    /// The same while the ball lies still.
    #[config(default = 100.0, live, range(1, 10_000))]
    pub lock_max_step: f64,
    /// Seconds over which its way is evened out at the end; it lags by as many. Higher is steadier; 0 leaves it out.
    #[config(default = 0.2, live, range(0, 4), former_frames = "stability")]
    pub stability_s: f64,
    /// How far the ball may be from the middle before the camera moves, in shares of half the crop; less the faster it runs.
    /// Higher is calmer.
    #[config(default = 0.1, live, range(0, 0.8))]
    pub dead_zone: f64,
    /// Seconds that the ball's way is foreseen.
    #[config(default = 8.0 / 30.0, live, range(0, 4), former_frames = "prediction_steps")]
    pub prediction_s: f64,
    /// Share of the way to the foreseen place by which the camera leads. 0 looks at the ball itself.
    #[config(default = 0.6, live, range(0, 2))]
    pub anticipation: f64,
    /// Space around the ball and the players near it, in shares of what they take. Higher shows more.
    #[config(default = 0.5, live, range(0, 10))]
    pub zoom_padding: f64,
    /// Closest zoom; 1 is the widest crop that fits. Higher shows less and larger.
    #[config(default = 2.0, live, range(1, 20))]
    pub max_zoom: f64,
    /// Players nearest to the ball that are to be in the picture, if there are so many.
    #[config(default = 3, live, range(0, 30))]
    pub players: usize,
    /// Seconds that a lost ball is waited for before the camera goes to the players.
    #[config(default = 3.0, live, range(0, 600))]
    pub players_after: f64,
    /// Seconds that zooming in takes, mostly; out it goes twice as fast, and slower where the ball is lost.
    #[config(default = 1.5, live, range(0.01, 60))]
    pub zoom_seconds: f64,
}

impl Default for ViewConfig {
    fn default() -> Self {
        // The keys' own defaults: there is nothing that can be wrong with them.
        Self::from_values(&sideline_api::Values::new()).unwrap_or_else(|problems| unreachable!("{problems:?}"))
    }
}

impl ViewConfig {
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = vec![];
        let aspect = f64::from(self.width) / f64::from(self.height);
        if !(0.1..=10.0).contains(&aspect) {
            wrong.push(("width", format!("{} x {} is no picture's shape", self.width, self.height)));
        }
        for (key, side) in [("width", self.width), ("height", self.height)] {
            if side % 2 == 1 {
                wrong.push((key, format!("{side} is odd, and H.264 knows only even sizes: write {}", side + 1)));
            }
        }
        wrong
    }
}

/// What is remembered of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Media time of the last frame, ns.
    pts: Option<i64>,
    /// Size of the last frame.
    size: (u32, u32),
    watch: Watch,
    camera: Option<Camera>,
}

/// See the documentation of the [crate].
pub struct ViewOperator {
    config: ViewConfig,
}

/// A picture in units of one that is 1080 high.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture {
    /// Width; the height is [`HEIGHT`].
    width: f64,
    /// Width and height of the widest crop.
    widest: [f64; 2],
}

/// Height of the picture that keys are written for.
pub(crate) const HEIGHT: f64 = 1080.0;

impl Picture {
    fn new(width: u32, height: u32, config: &ViewConfig) -> Self {
        let width = f64::from(width) * HEIGHT / f64::from(height);
        let aspect = f64::from(config.width) / f64::from(config.height);
        let tall = HEIGHT.min(width / aspect);
        Self { width, widest: [tall * aspect, tall] }
    }
}

impl Operator for ViewOperator {
    type Config = ViewConfig;
    type State = Memory;

    fn spec() -> Spec {
        Spec::operator("view")
            // Only their size is read.
            .required("frames", PortType::Frame)
            .optional("ball", PortType::table::<Ball>())
            .optional("tracks", PortType::table::<Track>())
            .output("view", PortType::table::<View>())
    }

    fn new(config: ViewConfig, resources: &Resources) -> Result<Self> {
        if !resources.is_wired("ball") && !resources.is_wired("tracks") {
            return Err(Error::config(
                "there is nothing to follow; wire its input `ball` (`ball: ball/ball`), `tracks` (`tracks: tracker/tracks`) or both",
            ));
        }
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, memory: &mut Memory, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let size = (frame.width(), frame.height());
        if memory.size != size {
            *memory = Memory { size, ..Memory::default() };
        }
        let now = cx.header.pts;
        let seconds = memory.pts.map_or(0.0, |before| (now - before).max(0) as f64 * 1e-9);
        memory.pts = Some(now);
        let scale = f64::from(size.1) / HEIGHT;
        let picture = Picture::new(size.0, size.1, &self.config);
        let ball = input.rows::<Ball>("ball")?.and_then(|mut rows| rows.pop());
        let tracks = input.rows::<Track>("tracks")?.unwrap_or_default();
        let aim = memory.watch.see(ball.as_ref(), &tracks, seconds, scale, &self.config);
        let camera = memory.camera.get_or_insert_with(|| Camera::new(&picture));
        camera.step(&aim, seconds, &picture, &self.config);
        let [width, height] = camera.size(&picture);
        let px = |value: f64| (value * scale) as f32;
        let row = View {
            x: px(camera.place()[0]),
            y: px(camera.place()[1]),
            width: px(width),
            height: px(height),
            zoom: (picture.widest[1] / height) as f32,
            follows: aim.follows.name().into(),
            picture_width: self.config.width,
            picture_height: self.config.height,
        };
        out.rows("view", &[row])
    }

    fn reconfigure(&mut self, config: &ViewConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn session_started(&mut self, _: &Context, memory: &mut Memory) -> Result<()> {
        *memory = Memory::default();
        Ok(())
    }
}

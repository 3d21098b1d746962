//! `view`: a virtual camera. It reads the ball and the players' tracks and writes the crop of each frame, one row per
//! frame.
//!
//! `aim` chooses the target and the extent to show, `camera` moves the crop there smoothly. This file connects both to
//! the runtime.
//!
//! **Target.** The camera follows the ball, led by its predicted motion, and the players near it. While the ball is
//! lost the camera waits at its last position and slowly widens the crop; after `players_after` it moves to the median
//! position of the players. Without either it holds still. In mode `chaos` it shows as much as it can and moves as
//! calmly as it can.
//!
//! **Cuts.** A new connection of a stream, or a frame of another size, shows another scene: the camera restarts in the
//! center without a pan. A ball that jumps within one scene is panned to.
//!
//! **Units.** Keys in px refer to a frame 1080 high, step sizes to a frame of 1/30 s; rows are in px of the source
//! frame. The crop has the aspect ratio of `width` x `height` and never leaves the frame: zoom 1 is the widest crop
//! that fits. The rows carry the output size to `render`.
#![forbid(unsafe_code)]

mod aim;
mod camera;

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables::{self, Ball, Track};

use aim::AimState;
use camera::Camera;

/// Follows the ball with a smoothly moving crop of the frame, like a camera operator.
#[derive(Clone, Debug, PartialEq, Config)]
#[config(check = ViewConfig::check)]
pub struct ViewConfig {
    /// Width of the output video, px, even; with `height` it sets the aspect ratio of the crop. `render` draws images
    /// of this size.
    #[config(default = 1280, range(16, 16_384))]
    pub width: u32,
    /// Height of the output video, px, even.
    #[config(default = 720, range(16, 16_384))]
    pub height: u32,
    /// Minimum cutoff frequency of the One-Euro filter (Casiez et al. 2012), Hz. Lower is calmer and lags more.
    #[config(default = 0.6, live, range(0.001, 100))]
    pub smoothing_min_cutoff: f64,
    /// Minimum cutoff frequency in the ball's modes `locked` and `chaos`, Hz. Lower is calmer and lags more.
    #[config(default = 0.08, live, range(0.001, 100))]
    pub lock_min_cutoff: f64,
    /// Speed coefficient (beta) of the One-Euro filter: increase of the cutoff frequency per px/s, Hz. It is scaled by
    /// 0.5 to 3 with speed, jerk and mode of the ball. Higher follows fast balls more closely.
    #[config(default = 0.004, live, range(0, 10))]
    pub smoothing_beta: f64,
    /// Cutoff frequency of the derivative in the One-Euro filter, Hz. Higher reacts sooner to a kick; lower suppresses
    /// more noise.
    #[config(default = 1.0, live, range(0.001, 100))]
    pub d_cutoff: f64,
    /// Moves the crop with a PID controller; `false` puts it at the filtered target directly.
    #[config(default = true, live)]
    pub use_pid: bool,
    /// Proportional gain, per frame of 1/30 s. Higher follows the target more tightly.
    #[config(default = 0.8, live, range(0, 1))]
    pub pid_p: f64,
    /// Integral gain, per frame of 1/30 s. Higher removes the lag behind steady motion sooner; too high overshoots.
    #[config(default = 0.01, live, range(0, 1))]
    pub pid_i: f64,
    /// Derivative gain. Higher reacts sooner to a change of the error, and amplifies noise.
    #[config(default = 0.15, live, range(0, 1))]
    pub pid_d: f64,
    /// Maximum movement of the crop per frame of 1/30 s, px. Higher catches up with fast balls sooner; lower is calmer.
    #[config(default = 500.0, live, range(1, 10_000))]
    pub max_step: f64,
    /// Maximum movement per frame of 1/30 s in the ball's mode `locked`, px. Lower is calmer.
    #[config(default = 100.0, live, range(1, 10_000))]
    pub lock_max_step: f64,
    /// Duration of the final smoothing, s; the crop lags by as much. Higher is steadier; 0 turns it off.
    #[config(default = 0.2, live, range(0, 4), former_frames = "stability")]
    pub stability_s: f64,
    /// Dead zone: distance of the target from the center within which the camera holds still, as a share of half the
    /// crop. It shrinks as the ball gets faster. Higher is calmer.
    #[config(default = 0.1, live, range(0, 0.8))]
    pub dead_zone: f64,
    /// Prediction horizon of the ball's motion, s. Higher leads fast balls more.
    #[config(default = 8.0 / 30.0, live, range(0, 4), former_frames = "prediction_steps")]
    pub prediction_s: f64,
    /// Share of the predicted displacement by which the camera leads the ball. Higher leads more; 0 aims at the ball
    /// itself.
    #[config(default = 0.6, live, range(0, 2))]
    pub anticipation: f64,
    /// Padding around the ball and the players near it, as a share of their extent. Higher shows more of the
    /// surroundings.
    #[config(default = 0.5, live, range(0, 10))]
    pub zoom_padding: f64,
    /// Maximum zoom; 1 is the widest crop that fits. Higher shows less of the frame, enlarged.
    #[config(default = 2.0, live, range(1, 20))]
    pub max_zoom: f64,
    /// Number of players nearest to the ball that the crop includes. Higher widens the crop.
    #[config(default = 3, live, range(0, 30))]
    pub players: usize,
    /// Time that the camera waits for a lost ball before it follows the players, s. Higher waits longer.
    #[config(default = 3.0, live, range(0, 600))]
    pub players_after: f64,
    /// Time constant of zooming in, s. Zooming out takes half of it, or twice of it while the ball is lost. Higher
    /// zooms more slowly.
    #[config(default = 1.5, live, range(0.01, 60))]
    pub zoom_seconds: f64,
}

impl ViewConfig {
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = vec![];
        let aspect = f64::from(self.width) / f64::from(self.height);
        if !(0.1..=10.0).contains(&aspect) {
            problems.push((
                "width",
                format!("{} x {} is not a usable aspect ratio; 1:10 to 10:1 is allowed", self.width, self.height),
            ));
        }
        for (key, side) in [("width", self.width), ("height", self.height)] {
            if side % 2 == 1 {
                problems.push((key, format!("{side} is odd, but H.264 needs even sizes; set it to {}", side + 1)));
            }
        }
        problems
    }
}

/// State of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ViewState {
    /// Media time of the last frame, ns.
    pts: Option<i64>,
    /// Width and height of the last frame, px.
    size: (u32, u32),
    aim_state: AimState,
    camera: Option<Camera>,
}

/// The operator; see the documentation of the [crate].
pub struct View {
    config: ViewConfig,
}

/// Dimensions of the frame, scaled to a height of 1080 px.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameGeometry {
    /// Width of the frame; its height is [`REFERENCE_HEIGHT`].
    width: f64,
    /// Width and height of the widest crop that fits.
    widest_crop: [f64; 2],
}

/// Height of the frame that keys refer to, px.
pub(crate) const REFERENCE_HEIGHT: f64 = 1080.0;

impl FrameGeometry {
    fn new(width: u32, height: u32, config: &ViewConfig) -> Self {
        let width = f64::from(width) * REFERENCE_HEIGHT / f64::from(height);
        let aspect = f64::from(config.width) / f64::from(config.height);
        let height = REFERENCE_HEIGHT.min(width / aspect);
        Self { width, widest_crop: [height * aspect, height] }
    }
}

impl Operator for View {
    type Config = ViewConfig;
    type State = ViewState;

    fn spec() -> Spec {
        Spec::operator("view")
            // Only the size is read.
            .required("frames", PortType::Frame)
            .optional("ball", PortType::table::<Ball>())
            .optional("tracks", PortType::table::<Track>())
            .output("view", PortType::table::<tables::View>())
    }

    fn new(config: ViewConfig, resources: &Resources) -> Result<Self> {
        if !resources.is_wired("ball") && !resources.is_wired("tracks") {
            return Err(Error::config(
                "no input to follow; connect `ball` (`ball: ball/ball`), `tracks` (`tracks: tracker/tracks`) or both",
            ));
        }
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut ViewState, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let size = (frame.width(), frame.height());
        if state.size != size {
            *state = ViewState { size, ..ViewState::default() };
        }
        let now = cx.header.pts;
        let seconds = state.pts.map_or(0.0, |before| (now - before).max(0) as f64 * 1e-9);
        state.pts = Some(now);
        let scale = f64::from(size.1) / REFERENCE_HEIGHT;
        let geometry = FrameGeometry::new(size.0, size.1, &self.config);
        let ball = input.rows::<Ball>("ball")?.and_then(|mut rows| rows.pop());
        let tracks = input.rows::<Track>("tracks")?.unwrap_or_default();
        let aim = state.aim_state.update(ball.as_ref(), &tracks, seconds, scale, &self.config);
        let camera = state.camera.get_or_insert_with(|| Camera::new(&geometry));
        camera.update(&aim, seconds, &geometry, &self.config);
        let [width, height] = camera.size(&geometry);
        let px = |value: f64| (value * scale) as f32;
        let row = tables::View {
            x: px(camera.center()[0]),
            y: px(camera.center()[1]),
            width: px(width),
            height: px(height),
            zoom: (geometry.widest_crop[1] / height) as f32,
            follows: aim.subject,
            picture_width: self.config.width,
            picture_height: self.config.height,
        };
        out.rows("view", &[row])
    }

    fn reconfigure(&mut self, config: &ViewConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn session_started(&mut self, _: &Context, state: &mut ViewState) -> Result<()> {
        *state = ViewState::default();
        Ok(())
    }
}

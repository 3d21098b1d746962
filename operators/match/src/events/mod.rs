//! `events`: derives passes, interceptions, losses, shots and carries from places and possession, and with a calibrated
//! pitch also corners, throw-ins and goal kicks.
//!
//! A *spell* of possession is a run of frames in which one player has the ball. The motion of the ball between two
//! spells determines the event: a distance of some meters to a teammate is a pass, to an opponent an incomplete pass
//! and an interception, a shorter distance to an opponent a loss. Motion of the ball within a spell is a carry. A ball
//! that leaves a spell fast and towards the goal is a shot instead; the goal that a team attacks is learned from the
//! players' positions. Without a calibrated pitch there are no goals and no lines: a shot is then a fast ball towards
//! the other team's goalkeeper, where that is known, and there are no corners, throw-ins and goal kicks.
//!
//! The row of an event is sent as soon as the event is determined: when the next spell begins or the ball is out.

mod flight;
mod restart;
mod spell;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables::{Event, EventKind, Place, Possession, PossessionState, Team, TeamName, Unit};
use uuid::Uuid;

use crate::{
    calibration::{Calibration, PitchDimensions},
    direction::AttackDirection,
    scene::{Scene, TeamRoles},
};

use flight::Flight;
use spell::{FrameTime, Spell};

/// Derives events: passes, interceptions, losses, shots, carries, corners, throw-ins, goal kicks.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct EventsConfig {
    /// Calibration file, as in `pitch`: it defines goals and lines. Empty: there are none.
    #[config(default = "")]
    pub calibration: std::path::PathBuf,
    /// Minimum distance of a pass, m. Higher leaves out short passes.
    #[config(default = 2.0, live, range(0, 50))]
    pub pass_distance: f32,
    /// Minimum distance of a carry, m. Higher leaves out short carries.
    #[config(default = 5.0, live, range(0, 100))]
    pub carry_distance: f32,
    /// Minimum speed of a shot, m/s. Lower also counts hard passes and crosses.
    #[config(default = 14.0, live, range(1, 100))]
    pub shot_speed: f32,
    /// Maximum distance of a shot from the goal, m. Higher also counts long balls.
    #[config(default = 35.0, live, range(1, 120))]
    pub shot_distance: f32,
    /// Maximum duration of a pass, s: a ball that no player gained by then is no pass. Higher joins spells that are
    /// farther apart.
    #[config(default = 6.0, live, range(0.1, 60), former = "patience")]
    pub pass_timeout_s: f64,
}

/// State of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EventsState {
    roles: TeamRoles,
    direction: AttackDirection,
    /// Current spell of possession.
    spell: Option<Spell>,
    /// Previous spell, and the motion of the ball since.
    flight: Option<(Spell, Flight)>,
    /// Time at which the ball went out, until it is played again; and the time at which it was back on the pitch.
    out_since: Option<(FrameTime, Option<FrameTime>)>,
    /// Recent measured path of the ball: media time (s), x, y.
    path: VecDeque<(f64, f32, f32)>,
    /// Media time of the last frame, s.
    last_frame: f64,
}

/// Context of one frame.
struct FrameContext<'a> {
    at: FrameTime,
    /// Name of the stream and number of its session: part of an event's identifier.
    stream: (&'a str, u32),
    config: &'a EventsConfig,
    pitch: Option<PitchDimensions>,
}

/// See the [module](self).
pub struct Events {
    config: EventsConfig,
    pitch: Option<PitchDimensions>,
}

impl Operator for Events {
    type Config = EventsConfig;
    type State = EventsState;

    fn spec() -> Spec {
        Spec::operator("events")
            .required("places", PortType::table::<Place>())
            .required("possession", PortType::table::<Possession>())
            .optional("teams", PortType::table::<Team>())
            .output("events", PortType::table::<Event>())
    }

    fn new(config: EventsConfig, resources: &Resources) -> Result<Self> {
        let pitch = Calibration::from_key(&config.calibration, resources)?.map(|calibration| calibration.pitch);
        Ok(Self { config, pitch })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut EventsState, out: &mut Outputs) -> Result<()> {
        let places = input.rows::<Place>("places")?.unwrap_or_default();
        let teams = input.rows::<Team>("teams")?.unwrap_or_default();
        let possession = input.rows::<Possession>("possession")?.unwrap_or_default();
        state.roles.update(&teams, &places, cx.seconds());
        let frame = self.frame_context(cx);
        let rows = possession.first().map_or(vec![], |row| state.update(&places, row, &frame));
        out.rows("events", &rows)
    }

    fn reconfigure(&mut self, config: &EventsConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, _: &Inputs, state: &mut EventsState, out: &mut Outputs) -> Result<()> {
        let frame = self.frame_context(cx);
        let mut rows = vec![];
        if let Some(spell) = state.spell.take() {
            rows.extend(spell.carry(&frame));
        }
        if rows.is_empty() { Ok(()) } else { out.rows("events", &rows) }
    }
}

impl Events {
    fn frame_context<'a>(&'a self, cx: &'a Context) -> FrameContext<'a> {
        let header = cx.header;
        FrameContext {
            at: FrameTime { frame: header.frame, seconds: cx.seconds() },
            stream: (&header.stream, header.session),
            config: &self.config,
            pitch: self.pitch,
        }
    }
}

/// Window over which the speed of the ball is measured, s.
const SPEED_WINDOW_S: f64 = 0.15;

impl EventsState {
    /// Updates the state with a frame and returns the events that it completes.
    fn update(&mut self, places: &[Place], row: &Possession, frame: &FrameContext) -> Vec<Event> {
        let scene = Scene::new(places, &self.roles);
        let step = (frame.at.seconds - self.last_frame).clamp(0.0, 1.0);
        self.last_frame = frame.at.seconds;
        self.direction.update(&scene, frame.pitch.filter(|_| scene.is_metric), step);
        if let Some(ball) = scene.ball.filter(|ball| ball.measured) {
            self.path.push_back((frame.at.seconds, ball.x, ball.y));
        }
        while self.path.len() > 2 && self.path.front().is_some_and(|(at, ..)| frame.at.seconds - at > SPEED_WINDOW_S) {
            self.path.pop_front();
        }
        let mut rows = vec![];
        match (row.state.as_str(), scene.ball) {
            ("controlled", Some(ball)) => self.handle_controlled(row.track, ball, &scene, frame, &mut rows),
            ("contested", Some(ball)) if self.spell.as_ref().is_some_and(|spell| spell.track == row.track) => {
                if let Some(spell) = &mut self.spell {
                    spell.extend(frame.at, ball);
                }
            }
            _ => self.handle_free(row.state == PossessionState::Out, &scene, frame, &mut rows),
        }
        rows
    }

    /// Handles a frame in which a player has the ball.
    fn handle_controlled(
        &mut self,
        track: u32,
        ball: &Place,
        scene: &Scene,
        frame: &FrameContext,
        rows: &mut Vec<Event>,
    ) {
        self.handle_restart(ball, Some(track), scene, frame, rows);
        self.out_since = None;
        match &mut self.spell {
            Some(spell) if spell.track == track => return spell.extend(frame.at, ball),
            _ => self.end_spell(),
        }
        let new = Spell::new(track, self.roles.get(track).team, frame.at, ball);
        let Some((before, flight)) = self.flight.take() else {
            self.spell = Some(new);
            return;
        };
        if before.track == track && flight.shot_confidence.is_none() {
            // The same player regained the ball: the spell continues.
            self.spell = Some(before.resumed_by(&new));
            return;
        }
        rows.extend(before.carry(frame));
        rows.extend(flight.finish_at_player(&before, &new, frame));
        self.spell = Some(new);
    }

    /// Handles a frame in which no player has the ball.
    fn handle_free(&mut self, is_out: bool, scene: &Scene, frame: &FrameContext, rows: &mut Vec<Event>) {
        self.end_spell();
        let Some(ball) = scene.ball else {
            // The ball is not visible: another player may still receive it.
            return self.expire_flight(frame, rows);
        };
        if let Some((before, flight)) = &mut self.flight {
            flight.update(before, ball, &self.path, scene, &self.direction, frame);
        }
        if is_out && self.out_since.is_none() {
            self.out_since = Some((frame.at, None));
            if let Some((before, flight)) = self.flight.take() {
                rows.extend(before.carry(frame));
                rows.extend(flight.finish_out_of_play(&before, ball, frame));
            }
        }
        if !is_out {
            self.handle_restart(ball, None, scene, frame, rows);
        }
        self.expire_flight(frame, rows);
    }

    /// Ends the spell; its outcome is not known yet.
    fn end_spell(&mut self) {
        if let Some(spell) = self.spell.take() {
            self.flight = Some((spell, Flight::default()));
        }
    }

    fn expire_flight(&mut self, frame: &FrameContext, rows: &mut Vec<Event>) {
        let is_expired = |spell: &Spell| frame.at.seconds - spell.last.seconds > frame.config.pass_timeout_s;
        if let Some((before, flight)) = self.flight.take_if(|(before, _)| is_expired(before)) {
            rows.extend(before.carry(frame));
            rows.extend(flight.shot_event(&before, [before.position[0], before.position[1]], frame));
        }
    }

    /// Handles a ball that is back on the pitch: the restart is classified by the position of the ball, and its taker
    /// is `holder` or the nearest player.
    fn handle_restart(
        &mut self,
        ball: &Place,
        holder: Option<u32>,
        scene: &Scene,
        frame: &FrameContext,
        rows: &mut Vec<Event>,
    ) {
        let Some((since, back)) = &mut self.out_since else { return };
        let back = *back.get_or_insert(frame.at);
        let kind = frame.pitch.and_then(|pitch| restart::classify([ball.x, ball.y], *since, back, pitch));
        let taker = holder.or_else(|| restart::nearest_player(ball, scene));
        if let (Some(kind), Some(track)) = (kind, taker) {
            let taker = Spell::new(track, self.roles.get(track).team, frame.at, ball);
            let place = [ball.x, ball.y];
            rows.push(taker.event(kind, back, frame.at, (place, place), true, 0, 0.7, frame));
            self.out_since = None;
        } else if frame.at.seconds - back.seconds > frame.config.pass_timeout_s {
            self.out_since = None;
        }
    }
}

impl Spell {
    /// Returns a row with this spell's player and team.
    #[allow(clippy::too_many_arguments, reason = "the columns of a row")]
    fn event(
        &self,
        kind: EventKind,
        at: FrameTime,
        end: FrameTime,
        (from, to_place): ([f32; 2], [f32; 2]),
        complete: bool,
        to: u32,
        confidence: f32,
        frame: &FrameContext,
    ) -> Event {
        let (stream, session) = frame.stream;
        // The bits of the coordinates distinguish two matches with equal stream names.
        let identity = format!(
            "sideline event {stream} {session} {kind} {} {} {} {:08x}{:08x}",
            self.track,
            at.frame,
            end.frame,
            from[0].to_bits(),
            from[1].to_bits()
        );
        Event {
            id: Uuid::new_v5(&Uuid::NAMESPACE_OID, identity.as_bytes()).to_string(),
            kind,
            at: at.frame,
            end: end.frame,
            team: TeamName::from_index(self.team),
            track: self.track,
            to,
            complete,
            x: from[0],
            y: from[1],
            end_x: to_place[0],
            end_y: to_place[1],
            unit: if self.is_metric { Unit::Meters } else { Unit::Pixels },
            confidence: confidence.clamp(0.0, 1.0),
        }
    }
}

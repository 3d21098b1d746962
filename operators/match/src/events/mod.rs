//! `events`: places and possession in; passes, interceptions, losses, shots and carries out, and with a pitch also corners,
//! throw-ins and goal-kicks.
//!
//! A *spell* is a run of frames in which one player has the ball. What lies between two spells says what happened: a way of
//! some metres to one of the same team is a pass, to the other team a pass that failed and an interception, no way at all a
//! loss. A way of the ball within a spell is a carry. A ball that leaves a spell fast, towards the goal, is a shot instead;
//! whose goal it is is learnt from how the teams stand. Without a pitch there are no goals and no lines: a shot is then a fast
//! ball towards the other team's goalkeeper, where one is known, and there are no corners, throw-ins and goal-kicks.
//!
//! An event has a row when it is known, which is when the next spell begins or the ball is out.

mod flight;
mod restart;
mod spell;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Event, METRES, PIXELS, Place, Possession, Team},
};
use uuid::Uuid;

use crate::{
    calibration::{Calibration, Field},
    direction::Direction,
    sides::{Scene, Sides, name},
};

use flight::Flight;
use spell::{Moment, Spell};

/// Says what is done with the ball: passes, interceptions, losses, shots, carries, corners, throw-ins, goal-kicks.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct EventsConfig {
    /// The calibration file, as `pitch` has it: goals and lines are where it says. Empty: there are none.
    #[config(default = "")]
    pub calibration: std::path::PathBuf,
    /// Metres the ball must go from one player to another for a pass. Higher leaves out short ones.
    #[config(default = 2.0, live, range(0, 50))]
    pub pass_distance: f32,
    /// Metres the ball must go with one player for a carry. Higher leaves out short ones.
    #[config(default = 5.0, live, range(0, 100))]
    pub carry_distance: f32,
    /// Metres per second from which a ball towards the goal is a shot. Lower counts hard passes and crosses too.
    #[config(default = 14.0, live, range(1, 100))]
    pub shot_speed: f32,
    /// Metres from the goal within which there are shots. Higher counts long balls too.
    #[config(default = 35.0, live, range(1, 120))]
    pub shot_distance: f32,
    /// Seconds after which a ball that nobody took is nobody's pass any more. Higher joins what is far apart.
    #[config(default = 6.0, live, range(0.1, 60), former = "patience")]
    pub pass_timeout_s: f64,
}

/// What is remembered of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EventsState {
    sides: Sides,
    direction: Direction,
    /// Who has the ball.
    spell: Option<Spell>,
    /// Who had it before, and what it has done since.
    flight: Option<(Spell, Flight)>,
    /// The ball went out then, and nobody has played it since; when it was on the pitch again.
    out: Option<(Moment, Option<Moment>)>,
    /// The ball's last places that were measured.
    path: VecDeque<(f64, f32, f32)>,
    last: f64,
}

/// What is given with a frame.
struct Frame<'a> {
    at: Moment,
    /// Name of the stream and number of its session: part of an event's name.
    stream: (&'a str, u32),
    config: &'a EventsConfig,
    field: Option<Field>,
}

/// See the [module](self).
pub struct Events {
    config: EventsConfig,
    field: Option<Field>,
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
        let field = Calibration::of_key(&config.calibration, resources)?.map(|calibration| calibration.field);
        Ok(Self { config, field })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut EventsState, out: &mut Outputs) -> Result<()> {
        let places = input.rows::<Place>("places")?.unwrap_or_default();
        let teams = input.rows::<Team>("teams")?.unwrap_or_default();
        let possession = input.rows::<Possession>("possession")?.unwrap_or_default();
        state.sides.see(&teams, &places, cx.seconds());
        let frame = self.frame(cx);
        let rows = possession.first().map_or(vec![], |row| state.see(&places, row, &frame));
        out.rows("events", &rows)
    }

    fn reconfigure(&mut self, config: &EventsConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, _: &Inputs, state: &mut EventsState, out: &mut Outputs) -> Result<()> {
        let frame = self.frame(cx);
        let mut rows = vec![];
        if let Some(spell) = state.spell.take() {
            rows.extend(spell.carry(&frame));
        }
        if rows.is_empty() { Ok(()) } else { out.rows("events", &rows) }
    }
}

impl Events {
    fn frame<'a>(&'a self, cx: &'a Context) -> Frame<'a> {
        let header = cx.header;
        Frame {
            at: Moment { frame: header.frame, seconds: cx.seconds() },
            stream: (&header.stream, header.session),
            config: &self.config,
            field: self.field,
        }
    }
}

/// Seconds of the ball's way that are kept, to tell how fast it goes.
const GLANCE: f64 = 0.15;

impl EventsState {
    /// The events that are known by now.
    fn see(&mut self, places: &[Place], row: &Possession, frame: &Frame) -> Vec<Event> {
        let scene = Scene::of(places, &self.sides);
        let step = (frame.at.seconds - self.last).clamp(0.0, 1.0);
        self.last = frame.at.seconds;
        self.direction.see(&scene, frame.field.filter(|_| scene.metric), step);
        if let Some(ball) = scene.ball.filter(|ball| ball.measured) {
            self.path.push_back((frame.at.seconds, ball.x, ball.y));
        }
        while self.path.len() > 2 && self.path.front().is_some_and(|(at, ..)| frame.at.seconds - at > GLANCE) {
            self.path.pop_front();
        }
        let mut rows = vec![];
        match (row.state.as_str(), scene.ball) {
            ("controlled", Some(ball)) => self.controlled(row.track, ball, &scene, frame, &mut rows),
            ("contested", Some(ball)) if self.spell.as_ref().is_some_and(|spell| spell.track == row.track) => {
                if let Some(spell) = &mut self.spell {
                    spell.go_on(frame.at, ball);
                }
            }
            _ => self.free(row.state == "out", &scene, frame, &mut rows),
        }
        rows
    }

    /// Somebody has the ball.
    fn controlled(&mut self, track: u32, ball: &Place, scene: &Scene, frame: &Frame, rows: &mut Vec<Event>) {
        self.back_in(ball, Some(track), scene, frame, rows);
        self.out = None;
        match &mut self.spell {
            Some(spell) if spell.track == track => return spell.go_on(frame.at, ball),
            _ => self.let_go(),
        }
        let new = Spell::begin(track, self.sides.of(track).team, frame.at, ball);
        let Some((before, flight)) = self.flight.take() else {
            self.spell = Some(new);
            return;
        };
        if before.track == track && flight.shot.is_none() {
            // A touch that ran on a little.
            self.spell = Some(before.resumed(&new));
            return;
        }
        rows.extend(before.carry(frame));
        rows.extend(flight.ends(&before, &new, frame));
        self.spell = Some(new);
    }

    /// Nobody has it.
    fn free(&mut self, out: bool, scene: &Scene, frame: &Frame, rows: &mut Vec<Event>) {
        self.let_go();
        let Some(ball) = scene.ball else {
            // Seen no more: what was played may still be taken by somebody.
            return self.give_up(frame, rows);
        };
        if let Some((before, flight)) = &mut self.flight {
            flight.see(before, ball, &self.path, scene, &self.direction, frame);
        }
        if out && self.out.is_none() {
            self.out = Some((frame.at, None));
            if let Some((before, flight)) = self.flight.take() {
                rows.extend(before.carry(frame));
                rows.extend(flight.goes_out(&before, ball, frame));
            }
        }
        if !out {
            self.back_in(ball, None, scene, frame, rows);
        }
        self.give_up(frame, rows);
    }

    /// The spell is over; what comes of it is not known yet.
    fn let_go(&mut self) {
        if let Some(spell) = self.spell.take() {
            self.flight = Some((spell, Flight::default()));
        }
    }

    fn give_up(&mut self, frame: &Frame, rows: &mut Vec<Event>) {
        let late = |spell: &Spell| frame.at.seconds - spell.last.seconds > frame.config.pass_timeout_s;
        if let Some((before, flight)) = self.flight.take_if(|(before, _)| late(before)) {
            rows.extend(before.carry(frame));
            rows.extend(flight.shot_of(&before, [before.place[0], before.place[1]], frame));
        }
    }

    /// The ball is on the pitch again: by whom (`has`, or who stands nearest) and where it is played next says how.
    fn back_in(&mut self, ball: &Place, has: Option<u32>, scene: &Scene, frame: &Frame, rows: &mut Vec<Event>) {
        let Some((since, back)) = &mut self.out else { return };
        let back = *back.get_or_insert(frame.at);
        let kind = frame.field.and_then(|field| restart::kind([ball.x, ball.y], *since, back, field));
        let taker = has.or_else(|| restart::taker(ball, scene));
        if let (Some(kind), Some(track)) = (kind, taker) {
            let taker = Spell::begin(track, self.sides.of(track).team, frame.at, ball);
            let place = [ball.x, ball.y];
            rows.push(taker.event(kind, back, frame.at, (place, place), true, 0, 0.7, frame));
            self.out = None;
        } else if frame.at.seconds - back.seconds > frame.config.pass_timeout_s {
            self.out = None;
        }
    }
}

impl Spell {
    /// A row about this spell's player.
    #[allow(clippy::too_many_arguments, reason = "the columns of a row")]
    fn event(
        &self,
        kind: &str,
        at: Moment,
        end: Moment,
        (from, to_place): ([f32; 2], [f32; 2]),
        complete: bool,
        to: u32,
        confidence: f32,
        frame: &Frame,
    ) -> Event {
        let (stream, session) = frame.stream;
        // The places' bits tell two matches apart whose streams have one name.
        let what = format!(
            "sideline event {stream} {session} {kind} {} {} {} {:08x}{:08x}",
            self.track,
            at.frame,
            end.frame,
            from[0].to_bits(),
            from[1].to_bits()
        );
        Event {
            id: Uuid::new_v5(&Uuid::NAMESPACE_OID, what.as_bytes()).to_string(),
            kind: kind.into(),
            at: at.frame,
            end: end.frame,
            team: name(self.team).into(),
            track: self.track,
            to,
            complete,
            x: from[0],
            y: from[1],
            end_x: to_place[0],
            end_y: to_place[1],
            unit: if self.metric { METRES } else { PIXELS }.into(),
            confidence: confidence.clamp(0.0, 1.0),
        }
    }
}

//! Who is in the picture: boxes, names and colours of people.
//!
//! `fighter_1` is red, his left limbs orange; `fighter_2` is blue, his left limbs cyan. Who belongs to a team has the colour
//! of its jerseys; everybody else is grey.

use sideline_api::tables::Pose;

use crate::{
    Show,
    canvas::Rgb,
    overlay::{Look, Scene},
    teams::Teams,
};

/// Which fighter somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Second,
    Other,
}

impl Side {
    pub(crate) fn of(fighter: &str) -> Self {
        match fighter {
            "fighter_1" => Side::First,
            "fighter_2" => Side::Second,
            _ => Side::Other,
        }
    }

    /// Right limbs, left limbs, trunk.
    pub(crate) fn limbs(self) -> [Rgb; 3] {
        match self {
            Side::First => [Rgb(225, 29, 46), Rgb(255, 152, 62), Rgb(244, 84, 72)],
            Side::Second => [Rgb(32, 92, 240), Rgb(48, 208, 255), Rgb(70, 145, 250)],
            Side::Other => [Rgb(148, 150, 152), Rgb(212, 214, 216), Rgb(180, 182, 184)],
        }
    }

    pub(crate) fn frame(self) -> Rgb {
        match self {
            Side::First => Rgb(240, 52, 58),
            Side::Second => Rgb(52, 122, 255),
            Side::Other => Rgb(205, 208, 210),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Side::First => "FIGHTER 1",
            Side::Second => "FIGHTER 2",
            Side::Other => "",
        }
    }
}

/// Somebody whose box is known.
pub(crate) struct Person {
    pub track: u32,
    pub side: Side,
    /// In the drawn picture.
    pub rect: [f32; 4],
    /// Of the box, and of what is called out.
    pub color: Rgb,
    /// Of a fighter, a goalkeeper, a referee; else empty.
    pub name: &'static str,
    /// Somebody of a team: his box is thin, his number small, for there are many.
    pub team: bool,
    /// Fainter for a predicted box.
    pub alpha: f32,
}

/// The people whose boxes are drawn: of tracks, else of poses. A track that is still tentative may vanish again, one that is
/// lost is nowhere.
pub(crate) fn people(scene: &Scene, look: &Look, teams: &Teams) -> Vec<Person> {
    let lens = look.lens;
    let person = |track: u32, fighter: &str, rect: [f32; 4], alpha: f32| {
        let side = Side::of(fighter);
        let mut person =
            Person { track, side, rect: lens.rect(rect), color: side.frame(), name: side.name(), team: false, alpha };
        if side == Side::Other
            && look.shows(Show::Teams)
            && let Some((color, name)) = teams.of(track)
        {
            (person.color, person.name, person.team) = (color, name, true);
        }
        person
    };
    let mut people: Vec<Person> = match (&scene.tracks, &scene.poses) {
        (Some(tracks), _) => tracks
            .iter()
            .filter(|track| !matches!(track.state.as_str(), "tentative" | "lost"))
            .map(|track| {
                let alpha = if track.state == "predicted" { 0.6 } else { 1.0 };
                person(track.track, &track.fighter, [track.x1, track.y1, track.x2, track.y2], alpha)
            })
            .collect(),
        (None, Some(poses)) => {
            let rect = |pose: &Pose| [pose.x1, pose.y1, pose.x2, pose.y2];
            poses.iter().map(|pose| person(pose.track, &pose.fighter, rect(pose), 1.0)).collect()
        }
        (None, None) => vec![],
    };
    // Fighters last: they are drawn over the others.
    people.retain(|person| person.rect.iter().all(|edge| edge.is_finite()));
    people.sort_by_key(|person| person.side != Side::Other);
    people
}

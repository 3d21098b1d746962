//! People to draw, with their boxes, names and colors.
//!
//! `fighter_1` is red with orange left limbs; `fighter_2` is blue with cyan left limbs. Members of a team have the color of
//! its jerseys; all other people are gray.

use sideline_sport::tables::{Fighter, Pose, TrackState};

use crate::{
    OverlayKind,
    canvas::Rgb,
    overlay::{Scene, Style},
    teams::Teams,
};

/// Returns the colors of the right limbs, the left limbs and the trunk of a fighter or another person.
pub(crate) fn limb_colors(fighter: Fighter) -> [Rgb; 3] {
    match fighter {
        Fighter::One => [Rgb(225, 29, 46), Rgb(255, 152, 62), Rgb(244, 84, 72)],
        Fighter::Two => [Rgb(32, 92, 240), Rgb(48, 208, 255), Rgb(70, 145, 250)],
        Fighter::None => [Rgb(148, 150, 152), Rgb(212, 214, 216), Rgb(180, 182, 184)],
    }
}

/// Returns the color of the box of a fighter or another person.
pub(crate) fn box_color(fighter: Fighter) -> Rgb {
    match fighter {
        Fighter::One => Rgb(240, 52, 58),
        Fighter::Two => Rgb(52, 122, 255),
        Fighter::None => Rgb(205, 208, 210),
    }
}

/// Returns the name on the label of a fighter; empty for other people.
fn label(fighter: Fighter) -> &'static str {
    match fighter {
        Fighter::One => "FIGHTER 1",
        Fighter::Two => "FIGHTER 2",
        Fighter::None => "",
    }
}

/// Person with a box.
pub(crate) struct Person {
    pub track: u32,
    pub fighter: Fighter,
    /// Box in the output image: left, top, right, bottom, px.
    pub rect: [f32; 4],
    /// Color of the box and of callouts.
    pub color: Rgb,
    /// Label of a fighter, a goalkeeper or a referee; else empty.
    pub label: &'static str,
    /// True for a member of a team. Boxes and numbers of team members are smaller, because there are many.
    pub is_team_member: bool,
    /// Opacity, lower for a predicted box.
    pub alpha: f32,
}

/// Returns the people whose boxes are drawn, from tracks or, without tracks, from poses. Tentative tracks are left out,
/// because many of them disappear again, and lost tracks, because their position is unknown.
pub(crate) fn people(scene: &Scene, style: &Style, teams: &Teams) -> Vec<Person> {
    let viewport = style.viewport;
    let person = |track: u32, fighter: Fighter, rect: [f32; 4], alpha: f32| {
        let mut person = Person {
            track,
            fighter,
            rect: viewport.rect(rect),
            color: box_color(fighter),
            label: label(fighter),
            is_team_member: false,
            alpha,
        };
        if fighter == Fighter::None
            && style.is_enabled(OverlayKind::Teams)
            && let Some((color, title)) = teams.color_and_title(track)
        {
            (person.color, person.label, person.is_team_member) = (color, title, true);
        }
        person
    };
    let mut people: Vec<Person> = match (&scene.tracks, &scene.poses) {
        (Some(tracks), _) => tracks
            .iter()
            .filter(|track| matches!(track.state, TrackState::Confirmed | TrackState::Predicted))
            .map(|track| {
                let alpha = if track.state == TrackState::Predicted { 0.6 } else { 1.0 };
                person(
                    track.track,
                    scene.names.fighter_of(track.track),
                    [track.x1, track.y1, track.x2, track.y2],
                    alpha,
                )
            })
            .collect(),
        (None, Some(poses)) => {
            let rect = |pose: &Pose| [pose.x1, pose.y1, pose.x2, pose.y2];
            poses.iter().map(|pose| person(pose.track, scene.names.fighter_of(pose.track), rect(pose), 1.0)).collect()
        }
        (None, None) => vec![],
    };
    people.retain(|person| person.rect.iter().all(|edge| edge.is_finite()));
    // Fighters are last, so that they are drawn above other people.
    people.sort_by_key(|person| person.fighter != Fighter::None);
    people
}

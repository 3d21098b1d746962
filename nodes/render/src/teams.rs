//! Who belongs to which team, and in which colours the teams are drawn.

use serde::{Deserialize, Serialize};
use sideline_api::tables::Team;

use crate::canvas::Rgb;

/// Colours of teams whose jerseys have not been seen, and of a second one that looks like the first.
const OWN: [Rgb; 2] = [Rgb(255, 188, 46), Rgb(64, 190, 255)];
const REFEREE: Rgb = Rgb(250, 224, 92);
const NOBODY: Rgb = Rgb(205, 208, 210);
/// Jerseys of which the mean is made; after so many the newest count by this much.
const JERSEYS: f32 = 500.0;
/// Distance in RGB below which two teams cannot be told apart.
const ALIKE: f32 = 90.0;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Role {
    Player,
    Goalkeeper,
    Referee,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Member {
    track: u32,
    team: Option<usize>,
    role: Role,
}

/// What is known of the teams of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Teams {
    /// Those of the last frame.
    members: Vec<Member>,
    /// Mean colour of each team's players, sRGB, and of how many jerseys.
    jerseys: [([f32; 3], f32); 2],
}

impl Teams {
    /// Learns who is who, and what jerseys look like.
    pub fn learn(&mut self, rows: &[Team]) {
        self.members.clear();
        for row in rows {
            let (team, role) = match (row.role.as_str(), Team::number(&row.team)) {
                ("referee", _) => (None, Role::Referee),
                ("goalkeeper", team) => (team, Role::Goalkeeper),
                (_, Some(team)) => (Some(team), Role::Player),
                _ => continue,
            };
            self.members.push(Member { track: row.track, team, role });
            // A goalkeeper's jersey is of another colour.
            if let (Role::Player, Some(team)) = (role, team)
                && row.jersey.iter().all(|value| value.is_finite())
            {
                let (mean, count) = &mut self.jerseys[team];
                *count = (*count + 1.0).min(JERSEYS);
                for (mean, value) in mean.iter_mut().zip(row.jersey) {
                    *mean += (value - *mean) / *count;
                }
            }
        }
    }

    /// Colour and title of somebody who is known.
    pub(crate) fn of(&self, track: u32) -> Option<(Rgb, &'static str)> {
        let member = self.members.iter().find(|member| member.track == track)?;
        let color = member.team.map_or(NOBODY, |team| self.color(team));
        Some(match member.role {
            Role::Player => (color, ""),
            Role::Goalkeeper => (color, "GK"),
            Role::Referee => (REFEREE, "REF"),
        })
    }

    /// The colour of a team, 0 or 1: that of its jerseys, made legible.
    pub(crate) fn color(&self, team: usize) -> Rgb {
        let own = |team: usize| match self.jerseys[team] {
            (mean, count) if count > 0.0 => legible(mean),
            _ => OWN[team],
        };
        let (first, second) = (own(0), own(1));
        match team {
            0 => first,
            _ if distance(first, second) >= ALIKE => second,
            // Of the two that are ours, the one further away.
            _ if distance(first, OWN[1]) >= distance(first, OWN[0]) => OWN[1],
            _ => OWN[0],
        }
    }
}

fn distance(Rgb(r, g, b): Rgb, Rgb(s, h, c): Rgb) -> f32 {
    let square = |a: u8, b: u8| (f32::from(a) - f32::from(b)).powi(2);
    (square(r, s) + square(g, h) + square(b, c)).sqrt()
}

/// The same hue, neither too dark nor too pale to stand out on grass and shadow (HSL; greys stay greys).
fn legible(rgb: [f32; 3]) -> Rgb {
    let rgb = rgb.map(|value| (value / 255.0).clamp(0.0, 1.0));
    let (most, least) = (rgb.iter().copied().fold(0.0, f32::max), rgb.iter().copied().fold(1.0, f32::min));
    let (light, span) = ((most + least) / 2.0, most - least);
    let saturation = if span > 0.0 { span / (1.0 - (2.0 * light - 1.0).abs()).max(1e-3) } else { 0.0 };
    // A colour of little strength is taken for white, grey or black.
    let (wanted_light, wanted_span) = if saturation < 0.22 || span < 0.08 {
        (light.clamp(0.42, 0.94), 0.0)
    } else {
        let light = light.clamp(0.46, 0.66);
        (light, saturation.clamp(0.7, 0.95) * (1.0 - (2.0 * light - 1.0).abs()))
    };
    let scale = if span > 0.0 { wanted_span / span } else { 0.0 };
    let [r, g, b] = rgb.map(|value| ((wanted_light + (value - light) * scale).clamp(0.0, 1.0) * 255.0).round() as u8);
    Rgb(r, g, b)
}

/// Black or white, whichever is read better on a colour.
pub(crate) fn on(Rgb(r, g, b): Rgb) -> Rgb {
    let light = 0.2126 * f32::from(r) + 0.7152 * f32::from(g) + 0.0722 * f32::from(b);
    if light > 150.0 { Rgb(12, 14, 18) } else { Rgb(255, 255, 255) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(track: u32, team: &str, role: &str, jersey: [f32; 3]) -> Team {
        Team { track, team: team.into(), role: role.into(), confidence: 0.9, jersey }
    }

    #[test]
    fn a_team_has_the_hue_of_its_jerseys_and_can_be_seen() {
        let mut teams = Teams::default();
        // Dark red in the shade, and one that was not seen.
        let rows = [[70.0, 12.0, 16.0], [74.0, 16.0, 20.0], [f32::NAN; 3]];
        let rows: Vec<Team> =
            rows.iter().enumerate().map(|(i, jersey)| row(i as u32, "team_1", "player", *jersey)).collect();
        teams.learn(&rows);
        let (Rgb(r, g, b), title) = teams.of(1).unwrap();
        assert!(r > 190 && g < 70 && b < 70 && title.is_empty(), "{r} {g} {b}");
        assert_eq!(teams.color(1), OWN[1], "not seen yet");
    }

    #[test]
    fn teams_in_like_jerseys_are_told_apart() {
        let mut teams = Teams::default();
        teams.learn(&[
            row(1, "team_1", "player", [40.0, 160.0, 250.0]),
            row(2, "team_2", "player", [44.0, 150.0, 240.0]),
        ]);
        assert!(distance(teams.color(0), teams.color(1)) >= ALIKE);
        assert_eq!(teams.color(1), OWN[0], "ours that is further away");
    }

    #[test]
    fn white_stays_white_and_roles_have_titles() {
        let mut teams = Teams::default();
        teams.learn(&[
            row(1, "team_1", "player", [240.0, 238.0, 236.0]),
            row(2, "team_1", "goalkeeper", [20.0, 220.0, 30.0]),
            row(3, "", "referee", [0.0; 3]),
            row(4, "", "", [0.0; 3]),
        ]);
        let Rgb(r, g, b) = teams.color(0);
        assert!(r > 225 && r == g && g == b, "the goalkeeper does not count: {r} {g} {b}");
        assert_eq!(teams.of(2), Some((teams.color(0), "GK")));
        assert_eq!(teams.of(3), Some((REFEREE, "REF")));
        assert_eq!(teams.of(4), None);
    }
}

//! Teams of one stream: members, roles, and the display colors of the teams.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Role, Team};

use crate::canvas::Rgb;

/// Default colors, for teams whose jerseys have not been visible, and for a second team that resembles the first.
const DEFAULT_COLORS: [Rgb; 2] = [Rgb(255, 188, 46), Rgb(64, 190, 255)];
const REFEREE_COLOR: Rgb = Rgb(250, 224, 92);
const NO_TEAM_COLOR: Rgb = Rgb(205, 208, 210);
/// Number of jerseys in the mean color; beyond it each new one has a weight of 1 / this number.
const MAX_MEAN_JERSEYS: f32 = 500.0;
/// Minimum distance in RGB between the colors of two teams. Nearer colors cannot be distinguished in the image.
const MIN_COLOR_DISTANCE: f32 = 90.0;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Member {
    track: u32,
    team: Option<usize>,
    role: Role,
}

/// State of the teams of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Teams {
    /// Members in the last frame.
    members: Vec<Member>,
    /// Mean color of the jerseys of each team's players, sRGB, and the number of jerseys.
    jerseys: [([f32; 3], f32); 2],
}

impl Teams {
    /// Updates the members and the mean colors.
    pub fn update(&mut self, rows: &[Team]) {
        self.members.clear();
        for row in rows {
            let (team, role) = match (row.role, row.team.index()) {
                (Role::Referee, _) => (None, Role::Referee),
                (Role::Goalkeeper, team) => (team, Role::Goalkeeper),
                (_, Some(team)) => (Some(team), Role::Player),
                _ => continue,
            };
            self.members.push(Member { track: row.track, team, role });
            // A goalkeeper's jersey has another color than those of the team.
            if let (Role::Player, Some(team)) = (role, team)
                && row.jersey.iter().all(|value| value.is_finite())
            {
                let (mean, count) = &mut self.jerseys[team];
                *count = (*count + 1.0).min(MAX_MEAN_JERSEYS);
                for (mean, value) in mean.iter_mut().zip(row.jersey) {
                    *mean += (value - *mean) / *count;
                }
            }
        }
    }

    /// Returns the color and the title of a member.
    pub(crate) fn color_and_title(&self, track: u32) -> Option<(Rgb, &'static str)> {
        let member = self.members.iter().find(|member| member.track == track)?;
        let color = member.team.map_or(NO_TEAM_COLOR, |team| self.color(team));
        Some(match member.role {
            Role::Player | Role::Unknown => (color, ""),
            Role::Goalkeeper => (color, "GK"),
            Role::Referee => (REFEREE_COLOR, "REF"),
        })
    }

    /// Returns the display color of a team (0 or 1): that of its jerseys, adjusted for contrast.
    pub(crate) fn color(&self, team: usize) -> Rgb {
        let jersey_color = |team: usize| match self.jerseys[team] {
            (mean, count) if count > 0.0 => with_contrast(mean),
            _ => DEFAULT_COLORS[team],
        };
        let (first, second) = (jersey_color(0), jersey_color(1));
        match team {
            0 => first,
            _ if distance(first, second) >= MIN_COLOR_DISTANCE => second,
            // The jerseys are too similar: the second team has the default color that is farther from the first team's.
            _ if distance(first, DEFAULT_COLORS[1]) >= distance(first, DEFAULT_COLORS[0]) => DEFAULT_COLORS[1],
            _ => DEFAULT_COLORS[0],
        }
    }
}

fn distance(Rgb(r, g, b): Rgb, Rgb(s, h, c): Rgb) -> f32 {
    let square = |a: u8, b: u8| (f32::from(a) - f32::from(b)).powi(2);
    (square(r, s) + square(g, h) + square(b, c)).sqrt()
}

/// Returns a color of the same hue with a lightness and saturation (HSL) that contrast with grass and shadow. Grays stay
/// gray.
fn with_contrast(rgb: [f32; 3]) -> Rgb {
    let rgb = rgb.map(|value| (value / 255.0).clamp(0.0, 1.0));
    let (max, min) = (rgb.iter().copied().fold(0.0, f32::max), rgb.iter().copied().fold(1.0, f32::min));
    let (lightness, chroma) = ((max + min) / 2.0, max - min);
    let saturation = if chroma > 0.0 { chroma / (1.0 - (2.0 * lightness - 1.0).abs()).max(1e-3) } else { 0.0 };
    // Colors of low saturation are treated as white, gray or black.
    let (new_lightness, new_chroma) = if saturation < 0.22 || chroma < 0.08 {
        (lightness.clamp(0.42, 0.94), 0.0)
    } else {
        let lightness = lightness.clamp(0.46, 0.66);
        (lightness, saturation.clamp(0.7, 0.95) * (1.0 - (2.0 * lightness - 1.0).abs()))
    };
    let scale = if chroma > 0.0 { new_chroma / chroma } else { 0.0 };
    let adjusted = |value: f32| new_lightness + (value - lightness) * scale;
    let [r, g, b] = rgb.map(|value| (adjusted(value).clamp(0.0, 1.0) * 255.0).round() as u8);
    Rgb(r, g, b)
}

/// Returns black or white, whichever has more contrast on a background color.
pub(crate) fn text_color_on(Rgb(r, g, b): Rgb) -> Rgb {
    let luma = 0.2126 * f32::from(r) + 0.7152 * f32::from(g) + 0.0722 * f32::from(b);
    if luma > 150.0 { Rgb(12, 14, 18) } else { Rgb(255, 255, 255) }
}

#[cfg(test)]
mod tests {
    use sideline_sport::tables::TeamName;

    use super::*;

    fn row(track: u32, team: TeamName, role: Role, jersey: [f32; 3]) -> Team {
        Team { track, team, role, confidence: 0.9, jersey }
    }

    #[test]
    fn a_team_has_the_hue_of_its_jerseys_with_more_contrast() {
        let mut teams = Teams::default();
        // Dark red in the shade, and a jersey that is not visible.
        let rows = [[70.0, 12.0, 16.0], [74.0, 16.0, 20.0], [f32::NAN; 3]];
        let rows: Vec<Team> =
            rows.iter().enumerate().map(|(i, jersey)| row(i as u32, TeamName::One, Role::Player, *jersey)).collect();
        teams.update(&rows);
        let (Rgb(r, g, b), title) = teams.color_and_title(1).unwrap();
        assert!(r > 190 && g < 70 && b < 70 && title.is_empty(), "{r} {g} {b}");
        assert_eq!(teams.color(1), DEFAULT_COLORS[1], "no jersey of team_2 was visible");
    }

    #[test]
    fn teams_in_similar_jerseys_have_distinct_colors() {
        let mut teams = Teams::default();
        teams.update(&[
            row(1, TeamName::One, Role::Player, [40.0, 160.0, 250.0]),
            row(2, TeamName::Two, Role::Player, [44.0, 150.0, 240.0]),
        ]);
        assert!(distance(teams.color(0), teams.color(1)) >= MIN_COLOR_DISTANCE);
        assert_eq!(teams.color(1), DEFAULT_COLORS[0], "the default color that is farther from team_1's");
    }

    #[test]
    fn white_stays_white_and_roles_have_titles() {
        let mut teams = Teams::default();
        teams.update(&[
            row(1, TeamName::One, Role::Player, [240.0, 238.0, 236.0]),
            row(2, TeamName::One, Role::Goalkeeper, [20.0, 220.0, 30.0]),
            row(3, TeamName::None, Role::Referee, [0.0; 3]),
            row(4, TeamName::None, Role::Unknown, [0.0; 3]),
        ]);
        let Rgb(r, g, b) = teams.color(0);
        assert!(r > 225 && r == g && g == b, "the jersey of the goalkeeper is excluded: {r} {g} {b}");
        assert_eq!(teams.color_and_title(2), Some((teams.color(0), "GK")));
        assert_eq!(teams.color_and_title(3), Some((REFEREE_COLOR, "REF")));
        assert_eq!(teams.color_and_title(4), None);
    }
}

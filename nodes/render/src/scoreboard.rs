//! Scoreboard at the top center: names, possession and passes of both teams.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Event, EventKind, Possession, PossessionState};

use crate::{canvas::Rgb, overlay::Overlay, teams::Teams, text::TextRenderer};

/// Maximum length of a team name, characters.
const MAX_NAME_CHARS: usize = 16;

/// State of the scoreboard of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ScoreboardState {
    /// Number of completed passes and of all passes of each team.
    passes: [(u32, u32); 2],
    /// Possession of each team, percent; `None` before the first possession.
    possession_percent: [Option<u8>; 2],
    /// Team in possession of the ball.
    team_in_possession: Option<usize>,
    /// True once a row of `possession` has come; before, the scoreboard is not drawn.
    has_data: bool,
}

impl ScoreboardState {
    /// Counts the passes among the events since the last frame.
    pub fn count_passes(&mut self, events: &[Event]) {
        for event in events.iter().filter(|event| event.kind == EventKind::Pass) {
            if let Some(team) = event.team.index() {
                self.passes[team].0 += u32::from(event.complete);
                self.passes[team].1 += 1;
            }
        }
    }

    /// Sets the possession in this frame; a frame without a row changes nothing.
    pub fn set_possession(&mut self, rows: &[Possession]) {
        let Some(row) = rows.last() else { return };
        let percent = |share: f32| share.is_finite().then(|| (100.0 * share.clamp(0.0, 1.0)).round() as u8);
        let first = percent(row.share_1);
        // The two rounded numbers add up to 100.
        self.possession_percent = [first, first.map(|first| 100 - first)];
        self.team_in_possession = if row.state == PossessionState::Controlled { row.team.index() } else { None };
        self.has_data = true;
    }
}

impl Overlay<'_, '_> {
    /// Draws the scoreboard.
    pub(crate) fn draw_scoreboard(&mut self, state: &ScoreboardState, teams: &Teams) {
        if !state.has_data {
            return;
        }
        let s = self.scale;
        let (large, small) = (self.font_size(18.0), self.font_size(12.0));
        let config = self.style.config;
        let names = [(&config.home, "TEAM 1"), (&config.away, "TEAM 2")].map(|(name, default)| {
            let name = if name.trim().is_empty() { default } else { name.trim() };
            name.chars().take(MAX_NAME_CHARS).collect::<String>()
        });
        let percentages =
            state.possession_percent.map(|percent| percent.map_or("–".to_owned(), |percent| format!("{percent} %")));
        let passes = state.passes.map(|(complete, all)| format!("passes {complete}/{all}"));
        let (pad, gap, chip, bar) = (11.0 * s, 13.0 * s, 5.0 * s, 116.0 * s);
        // Columns have the width of the longest possible number, so that the layout is stable while numbers change.
        let percent_width = self.text.width("100 %", large);
        let mut column = self.text.width("passes 888/888", small);
        for name in &names {
            column = column.max(self.text.width(name, large) + 18.0 * s);
        }
        let side = pad + chip + 9.0 * s + column + gap + percent_width + gap;
        let (width, first) = (2.0 * side + bar, 10.0 * s + TextRenderer::cap_height(large));
        let second = first + 9.0 * s + TextRenderer::cap_height(small);
        let height = second + 10.0 * s;
        let (canvas_width, _) = self.canvas.size();
        let top = (12.0 * s).round();
        let Some([left, top, right, bottom]) =
            self.place_label([(canvas_width - width) / 2.0, top, width, height], top)
        else {
            return;
        };
        self.canvas.rounded_rect([left, top, right, bottom], 6.0 * s, self.ink(Rgb(12, 14, 18)).faded(0.78));
        let (white, pale) = (self.ink(Rgb(250, 250, 250)), self.ink(Rgb(214, 218, 222)));
        for (team, ((name, percentage), passes)) in names.iter().zip(&percentages).zip(&passes).enumerate() {
            // The column of the second team mirrors that of the first.
            let left_of = |offset: f32, width: f32| if team == 0 { left + offset } else { right - offset - width };
            let color = self.ink(teams.color(team));
            let x = left_of(pad, chip);
            self.canvas.rounded_rect([x, top + 8.0 * s, x + chip, bottom - 8.0 * s], 2.0 * s, color);
            let offset = pad + chip + 9.0 * s;
            let name_width = self.text.width(name, large);
            self.text.draw(self.canvas, left_of(offset, name_width), top + first, name, large, white);
            let passes_width = self.text.width(passes, small);
            self.text.draw(self.canvas, left_of(offset, passes_width), top + second, passes, small, pale);
            if state.team_in_possession == Some(team) {
                let x = left_of(offset + name_width + 7.0 * s, 8.0 * s) + 4.0 * s;
                self.canvas.disc([x, top + first - 0.5 * TextRenderer::cap_height(large)], 4.0 * s, white);
            }
            // Percentages are aligned with the bar.
            let text_width = self.text.width(percentage, large);
            let x = left_of(offset + column + gap + percent_width - text_width, text_width);
            self.text.draw(self.canvas, x, top + first, percentage, large, white);
        }
        let (bar_left, bar_center) = (left + side, top + first - 0.5 * TextRenderer::cap_height(large));
        let share = state.possession_percent[0].map_or(0.5, |percent| f32::from(percent) / 100.0);
        let split = bar_left + bar * share;
        let rows = (bar_center - 4.0 * s, bar_center + 4.0 * s);
        let [one, other] = [0, 1].map(|team| self.ink(teams.color(team)));
        self.canvas.rect([bar_left, rows.0, split, rows.1], one);
        self.canvas.rect([split, rows.0, bar_left + bar, rows.1], other);
        // A white line separates the two parts, because the colors of the teams may be similar.
        self.canvas.rect([split - s, rows.0 - 2.0 * s, split + s, rows.1 + 2.0 * s], white);
        let text_width = self.text.width("possession", small);
        self.text.draw(self.canvas, bar_left + (bar - text_width) / 2.0, top + second, "possession", small, pale);
    }
}

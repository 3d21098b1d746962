//! The line above: names, possession and passes of both teams.

use serde::{Deserialize, Serialize};
use sideline_api::tables::{Event, Possession, Team};

use crate::{canvas::Rgb, overlay::Overlay, teams::Teams, text::Text};

/// Longest name, letters.
const LETTERS: usize = 16;

/// How it stands in one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Score {
    /// Passes that came to one of the same team, and all.
    passes: [(u32, u32); 2],
    /// Part of the time each team had the ball, in percent; `None` before the first.
    shares: [Option<u8>; 2],
    /// Who has it now.
    has: Option<usize>,
    /// Possession was heard of: there is something to show.
    known: bool,
}

impl Score {
    /// Counts what happened since the last frame.
    pub fn count(&mut self, events: &[Event]) {
        for event in events.iter().filter(|event| event.kind == "pass") {
            if let Some(team) = Team::number(&event.team) {
                self.passes[team].0 += u32::from(event.complete);
                self.passes[team].1 += 1;
            }
        }
    }

    /// Who has the ball in this frame; a frame without an answer changes nothing.
    pub fn possession(&mut self, rows: &[Possession]) {
        let Some(row) = rows.last() else { return };
        let percent = |share: f32| share.is_finite().then(|| (100.0 * share.clamp(0.0, 1.0)).round() as u8);
        let first = percent(row.share_1);
        // Both are rounded to a hundred.
        self.shares = [first, first.map(|first| 100 - first)];
        self.has = if row.state == "controlled" { Team::number(&row.team) } else { None };
        self.known = true;
    }
}

impl Overlay<'_, '_> {
    /// Draws it in the middle above.
    pub(crate) fn scoreboard(&mut self, score: &Score, teams: &Teams) {
        if !score.known {
            return;
        }
        let s = self.scale;
        let (large, small) = (self.size(18.0), self.size(12.0));
        let config = self.look.config;
        let names = [(&config.home, "TEAM 1"), (&config.away, "TEAM 2")].map(|(name, own)| {
            let name = if name.trim().is_empty() { own } else { name.trim() };
            name.chars().take(LETTERS).collect::<String>()
        });
        let figures = score.shares.map(|share| share.map_or("–".to_owned(), |share| format!("{share} %")));
        let passes = score.passes.map(|(complete, all)| format!("passes {complete}/{all}"));
        let (pad, gap, chip, bar) = (11.0 * s, 13.0 * s, 5.0 * s, 116.0 * s);
        // As wide as it may become, so that it stands still while figures change.
        let figure = self.text.width("100 %", large);
        let mut column = self.text.width("passes 888/888", small);
        for name in &names {
            column = column.max(self.text.width(name, large) + 18.0 * s);
        }
        let side = pad + chip + 9.0 * s + column + gap + figure + gap;
        let (wide, first) = (2.0 * side + bar, 10.0 * s + Text::cap_height(large));
        let second = first + 9.0 * s + Text::cap_height(small);
        let tall = second + 10.0 * s;
        let (width, _) = self.canvas.size();
        let top = (12.0 * s).round();
        let Some([left, top, right, bottom]) = self.place([(width - wide) / 2.0, top, wide, tall], top) else { return };
        self.canvas.plate([left, top, right, bottom], 6.0 * s, self.ink(Rgb(12, 14, 18)).faded(0.78));
        let (white, pale) = (self.ink(Rgb(250, 250, 250)), self.ink(Rgb(214, 218, 222)));
        for (team, ((name, figure_text), passes)) in names.iter().zip(&figures).zip(&passes).enumerate() {
            // The second team is the first one's mirror image.
            let at = |from: f32, wide: f32| if team == 0 { left + from } else { right - from - wide };
            let color = self.ink(teams.color(team));
            let x = at(pad, chip);
            self.canvas.plate([x, top + 8.0 * s, x + chip, bottom - 8.0 * s], 2.0 * s, color);
            let from = pad + chip + 9.0 * s;
            let long = self.text.width(name, large);
            self.text.draw(self.canvas, at(from, long), top + first, name, large, white);
            let long_passes = self.text.width(passes, small);
            self.text.draw(self.canvas, at(from, long_passes), top + second, passes, small, pale);
            if score.has == Some(team) {
                let x = at(from + long + 7.0 * s, 8.0 * s) + 4.0 * s;
                self.canvas.disc([x, top + first - 0.5 * Text::cap_height(large)], 4.0 * s, white);
            }
            // Figures stand at the bar.
            let long = self.text.width(figure_text, large);
            let x = at(from + column + gap + figure - long, long);
            self.text.draw(self.canvas, x, top + first, figure_text, large, white);
        }
        let (from, middle) = (left + side, top + first - 0.5 * Text::cap_height(large));
        let part = score.shares[0].map_or(0.5, |share| f32::from(share) / 100.0);
        let cut = from + bar * part;
        let rows = (middle - 4.0 * s, middle + 4.0 * s);
        let [one, other] = [0, 1].map(|team| self.ink(teams.color(team)));
        self.canvas.rect([from, rows.0, cut, rows.1], one);
        self.canvas.rect([cut, rows.0, from + bar, rows.1], other);
        // Teams of like colours are told apart by the cut.
        self.canvas.rect([cut - s, rows.0 - 2.0 * s, cut + s, rows.1 + 2.0 * s], white);
        let long = self.text.width("possession", small);
        self.text.draw(self.canvas, from + (bar - long) / 2.0, top + second, "possession", small, pale);
    }
}

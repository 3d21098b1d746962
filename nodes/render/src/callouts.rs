//! Callouts: moves and events, displayed for a second at the person who made them, and the caption with the last sentence.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Commentary, Event, EventKind, Fighter, Move};

use crate::{
    OverlayKind,
    canvas::Rgb,
    overlay::Overlay,
    people::{Person, box_color},
    teams::text_color_on,
    text::TextRenderer,
};

const SECOND_NS: i64 = 1_000_000_000;
/// Display time of a move or an event, ns.
const CALLOUT_NS: i64 = SECOND_NS;
/// Minimum display time of a caption, ns, and the additional time per character. The next caption replaces it earlier.
const CAPTION_NS: i64 = 3 * SECOND_NS / 2;
const CAPTION_NS_PER_CHAR: i64 = SECOND_NS / 20;
/// Maximum number of lines of a caption.
const MAX_CAPTION_LINES: usize = 3;

/// Move or event at a person.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Callout {
    track: u32,
    fighter: Fighter,
    text: String,
    /// True for an event of a match, false for a move of a fight.
    is_event: bool,
    /// Media time at which the display ends, ns.
    until: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Caption {
    text: String,
    fighter: Fighter,
    /// Media time at which the display ends, ns.
    until: i64,
}

/// Displayed callouts and caption of one stream. There is at most one callout per person, which bounds their number.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Callouts {
    callouts: Vec<Callout>,
    caption: Option<Caption>,
}

impl Callouts {
    /// Removes expired callouts, and displays the moves that came since the last frame.
    pub fn add_moves(&mut self, now: i64, moves: &[Move]) {
        self.callouts.retain(|callout| callout.until > now);
        for row in moves {
            // A confidence of NaN is not displayed.
            let confidence = (100.0 * row.confidence).round();
            let confidence = if confidence.is_finite() { format!("  {confidence:.0} %") } else { String::new() };
            let text = row.label.replace('_', " ").to_uppercase() + &confidence;
            self.add(Callout {
                track: row.track,
                fighter: row.fighter,
                text,
                is_event: false,
                until: now + CALLOUT_NS,
            });
        }
    }

    /// Displays the events that came since the last frame, except carries, which are visible in the image anyway.
    pub fn add_events(&mut self, now: i64, events: &[Event]) {
        for row in events.iter().filter(|row| row.kind != EventKind::Carry) {
            let mut text = row.kind.as_str().replace('_', "-").to_uppercase();
            if row.kind == EventKind::Pass && !row.complete {
                text += " LOST";
            }
            let until = now + CALLOUT_NS;
            self.add(Callout { track: row.track, fighter: Fighter::None, text, is_event: true, until });
        }
    }

    /// Adds a callout, which replaces an earlier one of the same track.
    fn add(&mut self, new: Callout) {
        self.callouts.retain(|callout| callout.track != new.track);
        self.callouts.push(new);
    }

    /// Removes an expired caption, and displays the last of the sentences that came since the last frame.
    pub fn set_caption(&mut self, now: i64, sentences: &[Commentary]) {
        self.caption.take_if(|caption| caption.until <= now);
        if let Some(row) = sentences.last() {
            let until = now + CAPTION_NS + row.text.chars().count() as i64 * CAPTION_NS_PER_CHAR;
            self.caption = Some(Caption { text: row.text.clone(), fighter: row.fighter, until });
        }
    }

    /// Returns the text of a person's newest callout; `is_enabled` selects moves (false) and events (true).
    fn text_for(&self, person: &Person, is_enabled: impl Fn(bool) -> bool) -> Option<&str> {
        let is_of_person = |callout: &&Callout| match callout.fighter {
            Fighter::None => callout.track == person.track,
            fighter => fighter == person.fighter,
        };
        let mut enabled = self.callouts.iter().rev().filter(|callout| is_enabled(callout.is_event));
        enabled.find(is_of_person).map(|callout| callout.text.as_str())
    }
}

impl Overlay<'_, '_> {
    /// Draws the callouts of these people.
    pub(crate) fn draw_callouts(&mut self, callouts: &Callouts, people: &[&Person]) {
        let style = self.style;
        let is_enabled =
            |is_event: bool| style.is_enabled(if is_event { OverlayKind::Events } else { OverlayKind::Moves });
        for person in people.iter().rev() {
            if let Some(text) = callouts.text_for(person, is_enabled) {
                self.draw_callout(person, text);
            }
        }
    }

    /// Draws a callout above a person's label, in the color of the fighter or the team.
    fn draw_callout(&mut self, person: &Person, text: &str) {
        let s = self.scale;
        // Smaller for team members, because there are many.
        let (size, pad) =
            if person.is_team_member { (self.font_size(14.0), 6.0 * s) } else { (self.font_size(21.0), 8.0 * s) };
        let width = self.text.width(text, size) + 2.0 * pad;
        let height = TextRenderer::cap_height(size) + 1.6 * pad;
        let [x1, y1, x2, _] = person.rect;
        if self.is_hidden(person.rect) {
            return;
        }
        let Some([left, top, right, bottom]) =
            self.place_label([(x1 + x2 - width) / 2.0, y1 - height - 5.0 * s, width, height], y1 + 5.0 * s)
        else {
            return;
        };
        // White text would have too little contrast on the gray of people who are neither fighters nor team members.
        let is_gray = person.fighter == Fighter::None && !person.is_team_member;
        let (background, text_color) = match is_gray {
            true => (self.ink(Rgb(12, 14, 18)).faded(0.72), Rgb(255, 255, 255)),
            false if person.is_team_member => (self.ink(person.color).faded(0.92), text_color_on(person.color)),
            false => (self.ink(person.color).faded(0.9), Rgb(255, 255, 255)),
        };
        self.canvas.rounded_rect([left, top, right, bottom], 4.0 * s, background);
        let ink = self.ink(text_color);
        let baseline = top + 0.8 * pad + TextRenderer::cap_height(size);
        self.text.draw(self.canvas, left + pad, baseline, text, size, ink);
    }

    /// Draws the caption at the bottom, centered in the space left of the minimap.
    pub(crate) fn draw_caption(&mut self, callouts: &Callouts) {
        let Some(caption) = &callouts.caption else { return };
        let (free_width, canvas_height) = (self.caption_right, self.canvas.size().1);
        let s = self.scale;
        let size = self.font_size(22.0);
        let pad = 10.0 * s;
        let lines = self.wrap_text(&caption.text, size, 0.82 * free_width - 2.0 * pad);
        let line_height = (1.35 * f32::from(size)).round();
        let text_width = lines.iter().map(|line| self.text.width(line, size)).fold(0.0, f32::max);
        let height = line_height * (lines.len() as f32 - 1.0) + TextRenderer::cap_height(size) + 1.9 * pad;
        let width = text_width + 2.0 * pad;
        let left = ((free_width - width) / 2.0).round();
        let top = (canvas_height - height - 0.045 * canvas_height).round();
        if lines.is_empty() || left < 0.0 || top < 0.0 {
            return;
        }
        let background = self.ink(Rgb(12, 14, 18)).faded(0.72);
        self.canvas.rounded_rect([left, top, left + width, top + height], 5.0 * s, background);
        let fighter = caption.fighter;
        if fighter != Fighter::None {
            let stripe = self.ink(box_color(fighter));
            self.canvas.rounded_rect([left, top, left + 5.0 * s, top + height], 2.0 * s, stripe);
        }
        let ink = self.ink(Rgb(250, 250, 250));
        for (i, line) in lines.iter().enumerate() {
            let x = left + (width - self.text.width(line, size)) / 2.0;
            let baseline = top + 0.95 * pad + TextRenderer::cap_height(size) + line_height * i as f32;
            self.text.draw(self.canvas, x, baseline, line, size, ink);
        }
    }

    /// Wraps a text into at most [`MAX_CAPTION_LINES`] lines of a maximum width; an ellipsis marks text that was cut.
    fn wrap_text(&mut self, text: &str, size: u16, width: f32) -> Vec<String> {
        let mut lines: Vec<String> = vec![];
        for word in text.split_whitespace() {
            let longer = lines.last().map(|line| format!("{line} {word}"));
            match longer {
                Some(longer) if self.text.width(&longer, size) <= width => {
                    lines.pop();
                    lines.push(longer);
                }
                _ => lines.push(word.into()),
            }
        }
        if lines.len() > MAX_CAPTION_LINES {
            lines.truncate(MAX_CAPTION_LINES);
            if let Some(last) = lines.last_mut() {
                last.push('…');
            }
        }
        lines
    }
}

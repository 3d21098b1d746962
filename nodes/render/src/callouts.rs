//! What is called out for a while: a move or an event at who made it, and the last sentence as a caption.

use serde::{Deserialize, Serialize};
use sideline_api::tables::{Commentary, Event, Move};

use crate::{
    Show,
    canvas::Rgb,
    overlay::Overlay,
    people::{Person, Side},
    teams::on,
    text::Text,
};

const SECOND: i64 = 1_000_000_000;
/// How long a move or an event stands at who made it, ns.
const MOVE_STANDS: i64 = SECOND;
/// How long a caption stands, ns: this, and more for each letter. The next one takes its place.
const CAPTION_STANDS: i64 = 3 * SECOND / 2;
const LETTER_STANDS: i64 = SECOND / 20;
/// Most lines of a caption.
const LINES: usize = 3;

/// The name of a move or an event that stands at somebody.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Called {
    track: u32,
    fighter: String,
    text: String,
    /// An event of a match, not a move of a fight.
    event: bool,
    /// Media time until which it stands, ns.
    until: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Caption {
    text: String,
    fighter: String,
    until: i64,
}

/// What stands in the picture of one stream. One move or event for each person, so no more than there are people.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Callouts {
    moves: Vec<Called>,
    caption: Option<Caption>,
}

impl Callouts {
    /// Moves that are known since the last frame; they stand from now on.
    pub fn call(&mut self, now: i64, moves: &[Move]) {
        self.moves.retain(|called| called.until > now);
        for row in moves {
            // A probability that is no number is not shown.
            let confidence = (100.0 * row.confidence).round();
            let confidence = if confidence.is_finite() { format!("  {confidence:.0} %") } else { String::new() };
            let text = row.label.replace('_', " ").to_uppercase() + &confidence;
            let fighter = row.fighter.clone();
            self.stand(Called { track: row.track, fighter, text, event: false, until: now + MOVE_STANDS });
        }
    }

    /// Events that are known since the last frame. Who runs with the ball is seen anyway.
    pub fn happened(&mut self, now: i64, events: &[Event]) {
        for row in events.iter().filter(|row| row.kind != "carry") {
            let mut text = row.kind.replace('_', "-").to_uppercase();
            if row.kind == "pass" && !row.complete {
                text += " LOST";
            }
            let until = now + MOVE_STANDS;
            self.stand(Called { track: row.track, fighter: String::new(), text, event: true, until });
        }
    }

    fn stand(&mut self, new: Called) {
        self.moves.retain(|called| called.track != new.track);
        self.moves.push(new);
    }

    /// Sentences since the last frame: the last one stands from now on.
    pub fn caption(&mut self, now: i64, sentences: &[Commentary]) {
        self.caption.take_if(|caption| caption.until <= now);
        if let Some(row) = sentences.last() {
            let until = now + CAPTION_STANDS + row.text.chars().count() as i64 * LETTER_STANDS;
            self.caption = Some(Caption { text: row.text.clone(), fighter: row.fighter.clone(), until });
        }
    }

    /// What stands at somebody; `shows` says which kinds are to be seen.
    fn of(&self, person: &Person, shows: impl Fn(bool) -> bool) -> Option<&str> {
        let same = |called: &&Called| match called.fighter.as_str() {
            "" => called.track == person.track,
            fighter => Side::of(fighter) == person.side,
        };
        self.moves.iter().rev().filter(|called| shows(called.event)).find(same).map(|called| called.text.as_str())
    }
}

impl Overlay<'_, '_> {
    /// Draws the moves and events at these people.
    pub(crate) fn called(&mut self, callouts: &Callouts, people: &[&Person]) {
        let look = self.look;
        let shows = |event: bool| look.shows(if event { Show::Events } else { Show::Moves });
        for person in people.iter().rev() {
            if let Some(text) = callouts.of(person, shows) {
                self.callout(person, text);
            }
        }
    }

    /// A plate in the colour of the fighter or his team, above his name.
    fn callout(&mut self, person: &Person, text: &str) {
        let s = self.scale;
        // There are many in a team.
        let (size, pad) = if person.team { (self.size(14.0), 6.0 * s) } else { (self.size(21.0), 8.0 * s) };
        let wide = self.text.width(text, size) + 2.0 * pad;
        let tall = Text::cap_height(size) + 1.6 * pad;
        let [x1, y1, x2, _] = person.rect;
        if self.hides(person.rect) {
            return;
        }
        let Some([px, py, pr, pb]) =
            self.place([(x1 + x2 - wide) / 2.0, y1 - tall - 5.0 * s, wide, tall], y1 + 5.0 * s)
        else {
            return;
        };
        // White is hard to read on the grey of who has no name.
        let nobody = person.side == Side::Other && !person.team;
        let (ground, ink) = match nobody {
            true => (self.ink(Rgb(12, 14, 18)).faded(0.72), Rgb(255, 255, 255)),
            false if person.team => (self.ink(person.color).faded(0.92), on(person.color)),
            false => (self.ink(person.color).faded(0.9), Rgb(255, 255, 255)),
        };
        self.canvas.plate([px, py, pr, pb], 4.0 * s, ground);
        let ink = self.ink(ink);
        let baseline = py + 0.8 * pad + Text::cap_height(size);
        self.text.draw(self.canvas, px + pad, baseline, text, size, ink);
    }

    /// Draws the caption below, in the middle of what is free.
    pub(crate) fn caption(&mut self, callouts: &Callouts) {
        let Some(caption) = &callouts.caption else { return };
        let (width, height) = (self.right, self.canvas.size().1);
        let s = self.scale;
        let size = self.size(22.0);
        let pad = 10.0 * s;
        let lines = self.lines(&caption.text, size, 0.82 * width - 2.0 * pad);
        let step = (1.35 * f32::from(size)).round();
        let widest = lines.iter().map(|line| self.text.width(line, size)).fold(0.0, f32::max);
        let tall = step * (lines.len() as f32 - 1.0) + Text::cap_height(size) + 1.9 * pad;
        let wide = widest + 2.0 * pad;
        let (left, top) = (((width - wide) / 2.0).round(), (height - tall - 0.045 * height).round());
        if lines.is_empty() || left < 0.0 || top < 0.0 {
            return;
        }
        self.canvas.plate([left, top, left + wide, top + tall], 5.0 * s, self.ink(Rgb(12, 14, 18)).faded(0.72));
        if Side::of(&caption.fighter) != Side::Other {
            let stripe = self.ink(Side::of(&caption.fighter).frame());
            self.canvas.plate([left, top, left + 5.0 * s, top + tall], 2.0 * s, stripe);
        }
        let ink = self.ink(Rgb(250, 250, 250));
        for (i, line) in lines.iter().enumerate() {
            let x = left + (wide - self.text.width(line, size)) / 2.0;
            let baseline = top + 0.95 * pad + Text::cap_height(size) + step * i as f32;
            self.text.draw(self.canvas, x, baseline, line, size, ink);
        }
    }

    /// Words in lines that are no wider than `width`, the last one cut where there would be too many.
    fn lines(&mut self, text: &str, size: u16, width: f32) -> Vec<String> {
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
        if lines.len() > LINES {
            lines.truncate(LINES);
            if let Some(last) = lines.last_mut() {
                last.push('…');
            }
        }
        lines
    }
}

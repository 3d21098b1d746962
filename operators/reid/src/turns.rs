//! Whom the model looks at in a frame: it is too slow for everybody in every one.
//!
//! Someone new, or who was near another a moment ago, is owed a few looks; everybody else, also those who are near each
//! other for long, has one every so often. Who is half hidden waits: such a look would say little.

use serde::{Deserialize, Serialize};
use sideline_api::boxes::iou;

use crate::{ReidConfig, body::Body};

/// Looks owed to someone new, and to those who were near each other once they have parted.
const OWED: u32 = 4;
/// Quality below which a look is not worth its time.
const WORTH: f32 = 0.4;
/// Overlap (IoU) from which two boxes of successive frames are one person.
const SAME: f32 = 0.3;

/// What is remembered of a stream: the people of the last frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Turns {
    people: Vec<Person>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    corners: [f32; 4],
    /// Frames since the model looked.
    since: u32,
    owed: u32,
    /// Another's box overlaps: what is owed is due once they have parted.
    near: bool,
}

impl Turns {
    /// The people whose turn it is in this frame, by index; at most `config.looks`.
    pub fn take(&mut self, config: &ReidConfig, bodies: &[Body], qualities: &[f32]) -> Vec<usize> {
        let before = std::mem::take(&mut self.people);
        for (index, body) in bodies.iter().enumerate() {
            let corners = body.corners();
            let overlaps = before.iter().map(|person| (iou(&person.corners, &corners), person));
            let known = overlaps.filter(|(overlap, _)| *overlap >= SAME).max_by(|a, b| a.0.total_cmp(&b.0));
            let (since, mut owed) =
                known.map_or((u32::MAX, OWED), |(_, person)| (person.since.saturating_add(1), person.owed));
            let near = |(other, body): (usize, &Body)| other != index && iou(&body.corners(), &corners) > 0.0;
            let near = bodies.iter().enumerate().any(near);
            if near {
                owed = OWED;
            }
            self.people.push(Person { corners, since, owed, near });
        }
        let due = |&index: &usize| {
            let person = &self.people[index];
            qualities[index] >= WORTH && (person.owed > 0 && !person.near || person.since >= config.every)
        };
        let mut turn: Vec<usize> = (0..bodies.len()).filter(due).collect();
        // Who has waited longest is first; of equals the first in the table.
        turn.sort_by_key(|&index| std::cmp::Reverse(self.people[index].since));
        turn.truncate(config.looks as usize);
        for &index in &turn {
            let person = &mut self.people[index];
            person.since = 0;
            person.owed = person.owed.saturating_sub(1);
        }
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    const CONFIG: ReidConfig = ReidConfig { method: Method::Embedding, every: 10, looks: 1 };

    fn at(x: f32) -> Body {
        Body::Box([x, 100.0, x + 60.0, 260.0])
    }

    /// Frames, of `n`, in which each person was looked at.
    fn looks(turns: &mut Turns, n: usize, qualities: &[f32], bodies: &[Body]) -> Vec<usize> {
        let mut count = vec![0; bodies.len()];
        for _ in 0..n {
            turns.take(&CONFIG, bodies, qualities).into_iter().for_each(|person| count[person] += 1);
        }
        count
    }

    #[test]
    fn newcomers_are_looked_at_a_few_times_in_turn_and_then_seldom() {
        let mut turns = Turns::default();
        let people = [at(100.0), at(500.0)];
        assert_eq!(looks(&mut turns, 8, &[1.0, 1.0], &people), [4, 4]);
        assert_eq!(looks(&mut turns, 40, &[1.0, 1.0], &people), [4, 4], "every tenth frame");
    }

    #[test]
    fn those_who_were_near_each_other_are_looked_at_again_once_they_part() {
        let mut turns = Turns::default();
        looks(&mut turns, 20, &[1.0, 1.0], &[at(100.0), at(500.0)]);
        // They come together in steps, so that each is known from frame to frame; half hidden nobody is looked at.
        for x in (280..500).rev().step_by(20) {
            assert_eq!(looks(&mut turns, 1, &[0.2, 0.2], &[at(270.0), at(x as f32)]), [0, 0]);
        }
        for x in (280..420).step_by(20) {
            looks(&mut turns, 1, &[0.2, 0.2], &[at(270.0), at(x as f32)]);
        }
        assert_eq!(looks(&mut turns, 8, &[1.0, 1.0], &[at(270.0), at(420.0)]), [4, 4]);
    }

    #[test]
    fn boxes_that_are_none_overlap_with_nothing() {
        let [sound, none] = [[0.0, 0.0, 10.0, 10.0], [f32::NAN, 0.0, 10.0, 10.0]];
        assert_eq!(iou(&sound, &sound), 1.0);
        assert!(iou(&sound, &none) <= 0.0 && iou(&none, &none) <= 0.0);
    }
}

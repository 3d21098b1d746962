//! Schedule of the embedding model, which is too slow to run on every person in every frame.
//!
//! New people, and people who have just separated from another, are due for a few embeddings. All others, also those
//! who stay close to each other for long, are embedded at a fixed interval. People who are half hidden wait, because
//! their embeddings would be of low quality.

use serde::{Deserialize, Serialize};
use sideline_vision::boxes::iou;

use crate::{ReidConfig, body::Body};

/// Embeddings due for a new person, and for people who were near each other once they have separated.
const EXTRA_EMBEDDINGS: u32 = 4;
/// Quality below which a person is not embedded.
const MIN_QUALITY: f32 = 0.4;
/// IoU from which two boxes of successive frames are the same person.
const SAME_PERSON_IOU: f32 = 0.3;

/// Schedule of one stream: the people of the last frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingSchedule {
    people: Vec<Person>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    corners: [f32; 4],
    /// Frames since the last embedding.
    frames_since: u32,
    /// Extra embeddings still due.
    extra_due: u32,
    /// The box overlaps another: extra embeddings wait until the two have separated.
    overlaps: bool,
}

impl EmbeddingSchedule {
    /// Selects the people to embed in this frame, by index; at most `config.max_embeddings`.
    pub fn select(&mut self, config: &ReidConfig, bodies: &[Body], qualities: &[f32]) -> Vec<usize> {
        let previous = std::mem::take(&mut self.people);
        for (index, body) in bodies.iter().enumerate() {
            let corners = body.corners();
            let candidates = previous.iter().map(|person| (iou(&person.corners, &corners), person));
            let same = candidates.filter(|(iou, _)| *iou >= SAME_PERSON_IOU).max_by(|a, b| a.0.total_cmp(&b.0));
            let (frames_since, mut extra_due) = same.map_or((u32::MAX, EXTRA_EMBEDDINGS), |(_, person)| {
                (person.frames_since.saturating_add(1), person.extra_due)
            });
            let overlaps = |(other, body): (usize, &Body)| other != index && iou(&body.corners(), &corners) > 0.0;
            let overlaps = bodies.iter().enumerate().any(overlaps);
            if overlaps {
                extra_due = EXTRA_EMBEDDINGS;
            }
            self.people.push(Person { corners, frames_since, extra_due, overlaps });
        }
        let is_due = |&index: &usize| {
            let person = &self.people[index];
            qualities[index] >= MIN_QUALITY
                && (person.extra_due > 0 && !person.overlaps || person.frames_since >= config.every)
        };
        let mut selected: Vec<usize> = (0..bodies.len()).filter(is_due).collect();
        // The longest wait comes first; among equals the order of the table decides.
        selected.sort_by_key(|&index| std::cmp::Reverse(self.people[index].frames_since));
        selected.truncate(config.max_embeddings as usize);
        for &index in &selected {
            let person = &mut self.people[index];
            person.frames_since = 0;
            person.extra_due = person.extra_due.saturating_sub(1);
        }
        selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    const CONFIG: ReidConfig = ReidConfig { method: Method::Embedding, every: 10, max_embeddings: 1 };

    fn at(x: f32) -> Body {
        Body::Box([x, 100.0, x + 60.0, 260.0])
    }

    /// Runs the schedule for `frames` frames; returns the number of embeddings of each person.
    fn count_embeddings(
        schedule: &mut EmbeddingSchedule,
        frames: usize,
        qualities: &[f32],
        bodies: &[Body],
    ) -> Vec<usize> {
        let mut count = vec![0; bodies.len()];
        for _ in 0..frames {
            schedule.select(&CONFIG, bodies, qualities).into_iter().for_each(|person| count[person] += 1);
        }
        count
    }

    #[test]
    fn new_people_are_embedded_a_few_times_and_then_at_the_interval() {
        let mut schedule = EmbeddingSchedule::default();
        let people = [at(100.0), at(500.0)];
        assert_eq!(count_embeddings(&mut schedule, 8, &[1.0, 1.0], &people), [4, 4]);
        assert_eq!(count_embeddings(&mut schedule, 40, &[1.0, 1.0], &people), [4, 4], "every tenth frame");
    }

    #[test]
    fn people_who_were_near_each_other_are_embedded_again_once_they_separate() {
        let mut schedule = EmbeddingSchedule::default();
        count_embeddings(&mut schedule, 20, &[1.0, 1.0], &[at(100.0), at(500.0)]);
        // They approach in steps, so that each is matched from frame to frame. At low quality no person is
        // embedded.
        for x in (280..500).rev().step_by(20) {
            assert_eq!(count_embeddings(&mut schedule, 1, &[0.2, 0.2], &[at(270.0), at(x as f32)]), [0, 0]);
        }
        for x in (280..420).step_by(20) {
            count_embeddings(&mut schedule, 1, &[0.2, 0.2], &[at(270.0), at(x as f32)]);
        }
        assert_eq!(count_embeddings(&mut schedule, 8, &[1.0, 1.0], &[at(270.0), at(420.0)]), [4, 4]);
    }

    #[test]
    fn invalid_boxes_overlap_with_nothing() {
        let [valid, invalid] = [[0.0, 0.0, 10.0, 10.0], [f32::NAN, 0.0, 10.0, 10.0]];
        assert_eq!(iou(&valid, &valid), 1.0);
        assert!(iou(&valid, &invalid) <= 0.0 && iou(&invalid, &invalid) <= 0.0);
    }
}

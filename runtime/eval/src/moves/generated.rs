//! Generated bouts as recordings.

use sideline_api::tables::Pose;

use super::{Kind, Labels, Person, RATE, Recording, Set, Span};
use crate::bout::{Bout, IDLE, LABELS, PoseNoise, Setting};

static SET: Set = Set { name: "synthetic", kind: Kind::Synthetic, licence: "open", step: 15 };

static IDLY: Labels = &[IDLE];
static NAMES: [&str; LABELS.len()] = LABELS;

/// The generated bout of a seed: thirty seconds of two who fight. With `noise` the poses err as a pose model's do.
#[must_use]
pub fn synthetic(seed: u64, noise: bool) -> Recording {
    let noise = if noise { PoseNoise::USUAL } else { PoseNoise::NONE };
    of(seed, &Setting { seed, noise, ..Setting::default() })
}

fn of(seed: u64, setting: &Setting) -> Recording {
    let setting = Setting { rate: RATE, ..setting.clone() };
    let Bout { frames, strikes } = Bout::generate(&setting);
    let people = (0..setting.fighters).map(|fighter| {
        let made = strikes.iter().filter(|strike| strike.fighter == fighter);
        let span = |strike: &crate::bout::Strike| {
            let label = NAMES.iter().position(|name| *name == strike.label)?;
            Some(Span {
                start: strike.start_frame as usize,
                end: strike.end_frame as usize + 1,
                labels: std::slice::from_ref(&NAMES[label]),
                peak: Some(strike.peak_frame as usize),
            })
        };
        let mut spans: Vec<Span> = made.filter_map(span).collect();
        spans.sort_by_key(|span| span.start);
        Person { name: format!("{seed}-{}", fighter + 1), spans, otherwise: IDLY }
    });
    let people: Vec<Person> = people.collect();
    let subjects = people.iter().map(|person| person.name.clone()).collect();
    Recording { set: &SET, name: format!("bout-{seed:05}"), subjects, people, frames: in_order(frames) }
}

/// Each frame's poses in the order of their tracks.
fn in_order(mut frames: Vec<Vec<Pose>>) -> Vec<Vec<Pose>> {
    frames.iter_mut().for_each(|poses| poses.sort_by_key(|pose| pose.track));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strike_of_a_bout_is_known_and_a_window_is_about_the_nearest() {
        let recording = synthetic(3, true);
        assert_eq!(recording.people.len(), 2);
        assert_eq!(recording.frames.len(), 900);
        let spans = &recording.people[0].spans;
        assert!(spans.len() > 3, "{} strikes", spans.len());
        for span in spans {
            let peak = span.peak.unwrap();
            assert!((span.start..span.end).contains(&peak));
            if peak > 30 && peak < 880 {
                assert_eq!(recording.people[0].about(peak - 20..=peak + 9, 9), span.labels, "peak at the focus");
            }
        }
    }
}

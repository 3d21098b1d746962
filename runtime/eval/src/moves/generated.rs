//! Generated bouts as recordings with complete labels.

use sideline_sport::tables::Pose;

use super::{Dataset, DatasetKind, FRAME_RATE, Labels, Person, Recording, Span};
use crate::bout::{Bout, BoutSettings, IDLE, LABELS, PoseNoise};

static DATASET: Dataset = Dataset { name: "synthetic", kind: DatasetKind::Synthetic, license: "open", step: 15 };

static BACKGROUND: Labels = &[IDLE];
static LABEL_NAMES: [&str; LABELS.len()] = LABELS;

/// Returns the generated bout of a seed: thirty seconds of two fighters. With `noise` the poses have the errors of a
/// pose model.
#[must_use]
pub fn synthetic(seed: u64, noise: bool) -> Recording {
    let noise = if noise { PoseNoise::TYPICAL } else { PoseNoise::NONE };
    from_settings(seed, &BoutSettings { seed, noise, ..BoutSettings::default() })
}

fn from_settings(seed: u64, settings: &BoutSettings) -> Recording {
    let settings = BoutSettings { rate: FRAME_RATE, ..settings.clone() };
    let Bout { frames, strikes } = Bout::generate(&settings);
    let people = (0..settings.fighters).map(|fighter| {
        let own_strikes = strikes.iter().filter(|strike| strike.fighter == fighter);
        let span = |strike: &crate::bout::Strike| {
            let label = LABEL_NAMES.iter().position(|name| *name == strike.label)?;
            Some(Span {
                start: strike.start_frame as usize,
                end: strike.end_frame as usize + 1,
                labels: std::slice::from_ref(&LABEL_NAMES[label]),
                peak: Some(strike.peak_frame as usize),
            })
        };
        let mut spans: Vec<Span> = own_strikes.filter_map(span).collect();
        spans.sort_by_key(|span| span.start);
        Person { name: format!("{seed}-{}", fighter + 1), spans, background: BACKGROUND }
    });
    let people: Vec<Person> = people.collect();
    let subjects = people.iter().map(|person| person.name.clone()).collect();
    Recording { dataset: &DATASET, name: format!("bout-{seed:05}"), subjects, people, frames: sort_by_track(frames) }
}

/// Sorts the poses of each frame by track.
fn sort_by_track(mut frames: Vec<Vec<Pose>>) -> Vec<Vec<Pose>> {
    frames.iter_mut().for_each(|poses| poses.sort_by_key(|pose| pose.track));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_labeled_with_the_strike_nearest_to_the_focus() {
        let recording = synthetic(3, true);
        assert_eq!(recording.people.len(), 2);
        assert_eq!(recording.frames.len(), 900);
        let spans = &recording.people[0].spans;
        assert!(spans.len() > 3, "{} strikes", spans.len());
        for span in spans {
            let peak = span.peak.unwrap();
            assert!((span.start..span.end).contains(&peak));
            if peak > 30 && peak < 880 {
                assert_eq!(
                    recording.people[0].window_labels(peak - 20..=peak + 9, 9),
                    span.labels,
                    "peak at the focus"
                );
            }
        }
    }
}

//! What is remembered of one track: a filter for each coordinate of its joints, and how large it is.

use serde::{Deserialize, Serialize};
use sideline_api::{
    body::{Scale, in_picture, torso},
    one_euro::{Cutoffs, OneEuro},
    tables::{JOINTS, Pose},
};

use crate::SmoothConfig;

/// A track's filters.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Person {
    /// Media time at which the track was last seen, ns.
    seen: i64,
    picture: Joints,
    world: Joints,
}

/// The joints in one sort of coordinates.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Joints {
    /// Torso length.
    scale: Scale,
    /// x, y, z of each joint; `None` where it was not seen in the last frame. Empty before the first.
    filters: Vec<[Option<OneEuro>; 3]>,
}

impl Person {
    /// Media time at which the track was last seen, ns.
    pub fn seen(&self) -> i64 {
        self.seen
    }

    /// Smooths a pose in place; `now` is media time in nanoseconds.
    pub fn see(&mut self, pose: &mut Pose, now: i64, config: &SmoothConfig) {
        let seconds = (now - self.seen) as f64 * 1e-9;
        self.seen = now;
        let visible: [bool; JOINTS] = std::array::from_fn(|joint| pose.joints[joint][3] >= config.visibility);

        let picture = torso(&in_picture(pose, config.visibility));
        let mut places = seen_of(pose.joints.map(|[x, y, z, _]| [x, y, z]), &visible);
        // x and z are counted in frame widths, y and the torso in frame heights.
        self.picture.see(&mut places, picture, [pose.aspect, 1.0, pose.aspect], now, seconds, config);
        for ((joint, place), _) in pose.joints.iter_mut().zip(places).zip(visible).filter(|(_, seen)| *seen) {
            joint[..3].copy_from_slice(&place);
        }

        let mut places = seen_of(pose.world, &visible);
        let world = torso(&places);
        self.world.see(&mut places, world, [1.0; 3], now, seconds, config);
        for ((joint, place), _) in pose.world.iter_mut().zip(places).zip(visible).filter(|(_, seen)| *seen) {
            *joint = place;
        }
    }
}

/// The places of the joints that are seen, NaN for the others.
fn seen_of(places: [[f32; 3]; JOINTS], visible: &[bool; JOINTS]) -> [[f32; 3]; JOINTS] {
    std::array::from_fn(|joint| if visible[joint] { places[joint] } else { [f32::NAN; 3] })
}

impl Joints {
    /// Smooths places, NaN where not seen, `seconds` after the last ones. `units` says how long one unit of each
    /// coordinate is, in the unit of the torso's length.
    fn see(
        &mut self,
        places: &mut [[f32; 3]; JOINTS],
        torso: f32,
        units: [f32; 3],
        now: i64,
        seconds: f64,
        config: &SmoothConfig,
    ) {
        let torso = self.scale.see(torso, now);
        self.filters.resize(JOINTS, [None; 3]);
        // Without a torso no speed can be judged, and without time there is none: the samples pass, and begin anew.
        let blind = torso.is_nan() || seconds <= 0.0;
        let cutoffs = units.map(|unit| Cutoffs {
            least: config.min_cutoff,
            rise: config.beta * f64::from(unit) / torso,
            speed: config.d_cutoff,
        });
        let filters = self.filters.iter_mut().flat_map(|joint| joint.iter_mut().zip(&cutoffs));
        for (value, (filter, cutoffs)) in places.as_flattened_mut().iter_mut().zip(filters) {
            match filter {
                _ if value.is_nan() => *filter = None,
                Some(filter) if !blind => *value = filter.step(f64::from(*value), seconds, cutoffs) as f32,
                _ => *filter = Some(OneEuro::at(f64::from(*value))),
            }
        }
    }
}

//! One-Euro filters of one track.

use serde::{Deserialize, Serialize};
use sideline_sport::{
    body::{TorsoScale, image_joints, torso_length},
    tables::{JOINTS, Pose},
};
use sideline_vision::one_euro::{OneEuro, OneEuroParams};

use crate::SmoothConfig;

/// Filters of one track, for both sets of coordinates.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TrackFilters {
    /// Media time of the last pose, ns.
    last_seen: i64,
    picture: JointFilters,
    world: JointFilters,
}

/// Filters of the joints in one set of coordinates.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct JointFilters {
    /// Torso length, by which speeds are scaled.
    scale: TorsoScale,
    /// x, y, z of each joint; `None` for one that was not visible in the last frame. Empty before the first frame.
    filters: Vec<[Option<OneEuro>; 3]>,
}

impl TrackFilters {
    /// Returns the media time of the last pose, ns.
    pub fn last_seen(&self) -> i64 {
        self.last_seen
    }

    /// Smooths a pose in place; `now` is media time, ns.
    pub fn smooth(&mut self, pose: &mut Pose, now: i64, config: &SmoothConfig) {
        let seconds = (now - self.last_seen) as f64 * 1e-9;
        self.last_seen = now;
        let visible: [bool; JOINTS] = std::array::from_fn(|joint| pose.joints[joint][3] >= config.visibility);

        let torso = torso_length(&image_joints(pose, config.visibility));
        let mut positions = mask_hidden(pose.joints.map(|[x, y, z, _]| [x, y, z]), &visible);
        // x and z are in frame widths, y and the torso length in frame heights.
        self.picture.smooth(&mut positions, torso, [pose.aspect, 1.0, pose.aspect], now, seconds, config);
        for ((joint, position), _) in pose.joints.iter_mut().zip(positions).zip(visible).filter(|(_, seen)| *seen) {
            joint[..3].copy_from_slice(&position);
        }

        let mut positions = mask_hidden(pose.world, &visible);
        let torso = torso_length(&positions);
        self.world.smooth(&mut positions, torso, [1.0; 3], now, seconds, config);
        for ((joint, position), _) in pose.world.iter_mut().zip(positions).zip(visible).filter(|(_, seen)| *seen) {
            *joint = position;
        }
    }
}

/// Replaces the positions of joints that are not visible with NaN.
fn mask_hidden(positions: [[f32; 3]; JOINTS], visible: &[bool; JOINTS]) -> [[f32; 3]; JOINTS] {
    std::array::from_fn(|joint| if visible[joint] { positions[joint] } else { [f32::NAN; 3] })
}

impl JointFilters {
    /// Smooths positions in place, `seconds` after the previous ones; NaN resets a filter. `units` is the length of one
    /// unit of each coordinate, in the unit of the torso length.
    fn smooth(
        &mut self,
        positions: &mut [[f32; 3]; JOINTS],
        torso: f32,
        units: [f32; 3],
        now: i64,
        seconds: f64,
        config: &SmoothConfig,
    ) {
        let torso = self.scale.update(torso, now);
        self.filters.resize(JOINTS, [None; 3]);
        // Without a torso length or an interval there is no speed: positions are passed through and restart the
        // filters.
        let has_speed = !(torso.is_nan() || seconds <= 0.0);
        let params = units.map(|unit| OneEuroParams {
            min_cutoff: config.min_cutoff,
            beta: config.beta * f64::from(unit) / torso,
            derivative_cutoff: config.d_cutoff,
        });
        let filters = self.filters.iter_mut().flat_map(|joint| joint.iter_mut().zip(&params));
        for (value, (filter, params)) in positions.as_flattened_mut().iter_mut().zip(filters) {
            match filter {
                _ if value.is_nan() => *filter = None,
                Some(filter) if has_speed => *value = filter.update(f64::from(*value), seconds, params) as f32,
                _ => *filter = Some(OneEuro::new(f64::from(*value))),
            }
        }
    }
}

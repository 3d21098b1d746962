//! BlazePose's landmark model: 33 joints of one person in a square region, in pixels and in meters, and two more keypoints that
//! give the region in the next frame (Bazarevsky et al., 2020; Grishchenko et al., BlazePose GHUM Holistic, 2022).

use sideline_api::Result;
use sideline_inference::{Outputs, Session};
use sideline_sport::tables::JOINTS;

use crate::{
    detector::sigmoid,
    landmarks::{Landmarks, bounding_box},
    region::PersonRegion,
};

/// Side of the input, px.
pub(crate) const SIZE: usize = 256;
/// Rows of the output: the joints, center and scale point of the next region, and four that are not used.
const ROWS: usize = 39;
/// Row of the center of the hips, which is the center of the next region.
const CENTER: usize = 33;
/// Row of a point on the circle that contains the whole person.
const SCALE_POINT: usize = 34;
/// Margin of the bounding box around the joints for hair, hands and feet, as a share of the region.
const MARGIN: f32 = 0.04;

/// Checks the inputs and outputs of a model; the batch size must be dynamic.
pub(crate) fn check(session: &Session) -> Result<()> {
    session.expect_inputs(&[("input_1", &[-1, SIZE as i64, SIZE as i64, 3])])?;
    session.expect_output("Identity", &[-1, (5 * ROWS) as i64])?;
    session.expect_output("Identity_1", &[-1, 1])?;
    session.expect_output("Identity_4", &[-1, (3 * ROWS) as i64])
}

/// Decodes the outputs of a run for the crops of some regions.
pub(crate) fn decode_all(
    outputs: &Outputs<'_>,
    regions: &[PersonRegion],
    landmarks: &mut Vec<Option<Landmarks>>,
) -> Result<()> {
    let values = outputs.get("Identity")?.chunks_exact(5 * ROWS);
    let (scores, meters) = (outputs.get("Identity_1")?, outputs.get("Identity_4")?.chunks_exact(3 * ROWS));
    let crops = regions.iter().zip(values).zip(scores).zip(meters);
    landmarks.extend(crops.map(|(((region, values), score), meters)| {
        let landmarks = decode(values, *score, meters, region);
        landmarks.is_finite().then_some(landmarks)
    }));
    Ok(())
}

/// Decodes the output for a region: `values` [39 x 5], `meters` [39 x 3].
fn decode(values: &[f32], score: f32, meters: &[f32], region: &PersonRegion) -> Landmarks {
    let square = region.to_region();
    let place = |row: &[f32]| {
        let (x, y) = square.to_frame(row[0] / SIZE as f32 - 0.5, row[1] / SIZE as f32 - 0.5);
        [x, y]
    };
    let row = |i: usize| &values[5 * i..5 * i + 5];
    let mut joints = [[0.0; 4]; JOINTS];
    for (i, joint) in joints.iter_mut().enumerate() {
        let [x, y] = place(row(i));
        *joint = [x, y, row(i)[2] / SIZE as f32 * region.size, sigmoid(row(i)[3])];
    }
    // The metric coordinates are rotated with the input: undo the rotation.
    let (sin, cos) = region.rotation.sin_cos();
    let mut world = [[0.0; 3]; JOINTS];
    for (joint, m) in world.iter_mut().zip(meters.chunks_exact(3)) {
        *joint = [cos * m[0] - sin * m[1], sin * m[0] + cos * m[1], m[2]];
    }
    let next_region = PersonRegion::from_keypoints(place(row(CENTER)), place(row(SCALE_POINT)));
    let bounding_box = bounding_box(joints.iter().map(|[x, y, ..]| [*x, *y]), MARGIN * next_region.size);
    Landmarks { score, joints, world, bounding_box, next_region }
}

impl Landmarks {
    /// True if all numbers are finite.
    fn is_finite(&self) -> bool {
        self.score.is_finite()
            && self.joints.iter().flatten().all(|value| value.is_finite())
            && self.world.iter().flatten().all(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes joint i at column 100 + i, row 50, in a region that covers two pixels per pixel of the input.
    fn decoded(rotation: f32) -> Landmarks {
        let mut values = vec![0.0; 5 * ROWS];
        let mut meters = vec![0.0; 3 * ROWS];
        for i in 0..ROWS {
            values[5 * i..5 * i + 5].copy_from_slice(&[100.0 + i as f32, 50.0, -16.0, 0.0, 0.0]);
            meters[3 * i..3 * i + 3].copy_from_slice(&[0.5, 0.25, 0.125]);
        }
        values[5 * CENTER..5 * CENTER + 2].copy_from_slice(&[128.0, 140.0]);
        values[5 * SCALE_POINT..5 * SCALE_POINT + 2].copy_from_slice(&[128.0, 40.0]);
        let region = PersonRegion { x: 400.0, y: 300.0, size: 512.0, rotation };
        decode(&values, 0.75, &meters, &region)
    }

    #[test]
    fn joints_are_mapped_to_the_frame() {
        let landmarks = decoded(0.0);
        assert_eq!(landmarks.score, 0.75);
        assert_eq!(landmarks.joints[3], [400.0 + 2.0 * (103.0 - 128.0), 300.0 + 2.0 * (50.0 - 128.0), -32.0, 0.5]);
        assert_eq!(landmarks.world[3], [0.5, 0.25, 0.125]);
        assert_eq!(landmarks.next_region, PersonRegion { x: 400.0, y: 324.0, size: 500.0, rotation: 0.0 });
        assert_eq!(landmarks.bounding_box, [344.0 - 20.0, 144.0 - 20.0, 408.0 + 20.0, 144.0 + 20.0]);
        assert!(landmarks.is_finite());
    }

    #[test]
    fn coordinates_of_a_rotated_region_are_rotated_back() {
        let angle = std::f32::consts::FRAC_PI_2;
        let landmarks = decoded(angle);
        // A point to the left and above in the region is above and to the right in the frame.
        let near = |a: f32, b: f32| (a - b).abs() < 1e-3;
        assert!(
            near(landmarks.joints[0][0], 400.0 + 156.0) && near(landmarks.joints[0][1], 300.0 - 56.0),
            "{:?}",
            landmarks.joints[0]
        );
        assert!(
            near(landmarks.world[0][0], -0.25)
                && near(landmarks.world[0][1], 0.5)
                && near(landmarks.world[0][2], 0.125)
        );
        assert!(near(landmarks.next_region.rotation, angle) && near(landmarks.next_region.size, 500.0));
    }
}

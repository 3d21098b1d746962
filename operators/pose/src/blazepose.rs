//! BlazePose's landmark model: 33 joints of the one person in a square, in pixels and in metres, and from two more points
//! the square to look at in the next frame (Bazarevsky et al., 2020; Grishchenko et al., BlazePose GHUM Holistic, 2022).

use sideline_api::{Result, tables::JOINTS};
use sideline_inference::{Outputs, Session};

use crate::{
    detector::sigmoid,
    landmarks::{Landmarks, outline},
    region::PersonRegion,
};

/// Side of the input, px.
pub(crate) const SIZE: usize = 256;
/// Rows of the output: the joints, centre and scale point of the next region, four more that are not used.
const ROWS: usize = 39;
/// Hip centre, as the model sees it for the next region.
const CENTRE: usize = 33;
/// A point on the circle that holds the whole person.
const SCALE_POINT: usize = 34;
/// Room around the joints for hair, hands and soles, as a share of the region.
const MARGIN: f32 = 0.04;

/// Checks that a model is one of these, and takes any number of crops.
pub(crate) fn check(session: &Session) -> Result<()> {
    session.expect_inputs(&[("input_1", &[-1, SIZE as i64, SIZE as i64, 3])])?;
    session.expect_output("Identity", &[-1, (5 * ROWS) as i64])?;
    session.expect_output("Identity_1", &[-1, 1])?;
    session.expect_output("Identity_4", &[-1, (3 * ROWS) as i64])
}

/// Decodes what a run gave for the crops of some regions.
pub(crate) fn decode_all(
    outputs: &Outputs<'_>,
    regions: &[PersonRegion],
    seen: &mut Vec<Option<Landmarks>>,
) -> Result<()> {
    let values = outputs.get("Identity")?.chunks_exact(5 * ROWS);
    let (scores, metres) = (outputs.get("Identity_1")?, outputs.get("Identity_4")?.chunks_exact(3 * ROWS));
    let crops = regions.iter().zip(values).zip(scores).zip(metres);
    seen.extend(crops.map(|(((region, values), score), metres)| {
        let landmarks = decode(values, *score, metres, region);
        landmarks.is_finite().then_some(landmarks)
    }));
    Ok(())
}

/// Decodes what the model gave for a region: `values` [39 x 5], `metres` [39 x 3].
fn decode(values: &[f32], score: f32, metres: &[f32], region: &PersonRegion) -> Landmarks {
    let square = region.square();
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
    // The model's metres are turned with its input: turn them back.
    let (sin, cos) = region.rotation.sin_cos();
    let mut world = [[0.0; 3]; JOINTS];
    for (joint, m) in world.iter_mut().zip(metres.chunks_exact(3)) {
        *joint = [cos * m[0] - sin * m[1], sin * m[0] + cos * m[1], m[2]];
    }
    let next = PersonRegion::of(place(row(CENTRE)), place(row(SCALE_POINT)));
    let outline = outline(joints.iter().map(|[x, y, ..]| [*x, *y]), MARGIN * next.size);
    Landmarks { score, joints, world, outline, next }
}

impl Landmarks {
    /// True when every number is one.
    fn is_finite(&self) -> bool {
        self.score.is_finite()
            && self.joints.iter().flatten().all(|value| value.is_finite())
            && self.world.iter().flatten().all(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joint i at column 100 + i, row 50, in a region that shows two pixels per pixel of the input.
    fn seen(rotation: f32) -> Landmarks {
        let mut values = vec![0.0; 5 * ROWS];
        let mut metres = vec![0.0; 3 * ROWS];
        for i in 0..ROWS {
            values[5 * i..5 * i + 5].copy_from_slice(&[100.0 + i as f32, 50.0, -16.0, 0.0, 0.0]);
            metres[3 * i..3 * i + 3].copy_from_slice(&[0.5, 0.25, 0.125]);
        }
        values[5 * CENTRE..5 * CENTRE + 2].copy_from_slice(&[128.0, 140.0]);
        values[5 * SCALE_POINT..5 * SCALE_POINT + 2].copy_from_slice(&[128.0, 40.0]);
        let region = PersonRegion { x: 400.0, y: 300.0, size: 512.0, rotation };
        decode(&values, 0.75, &metres, &region)
    }

    #[test]
    fn joints_are_placed_in_the_frame() {
        let seen = seen(0.0);
        assert_eq!(seen.score, 0.75);
        assert_eq!(seen.joints[3], [400.0 + 2.0 * (103.0 - 128.0), 300.0 + 2.0 * (50.0 - 128.0), -32.0, 0.5]);
        assert_eq!(seen.world[3], [0.5, 0.25, 0.125]);
        assert_eq!(seen.next, PersonRegion { x: 400.0, y: 324.0, size: 500.0, rotation: 0.0 });
        assert_eq!(seen.outline, [344.0 - 20.0, 144.0 - 20.0, 408.0 + 20.0, 144.0 + 20.0]);
        assert!(seen.is_finite());
    }

    #[test]
    fn a_turned_region_is_turned_back() {
        let angle = std::f32::consts::FRAC_PI_2;
        let seen = seen(angle);
        // What lies left and above in the region lies above and right in the frame.
        let near = |a: f32, b: f32| (a - b).abs() < 1e-3;
        assert!(
            near(seen.joints[0][0], 400.0 + 156.0) && near(seen.joints[0][1], 300.0 - 56.0),
            "{:?}",
            seen.joints[0]
        );
        assert!(near(seen.world[0][0], -0.25) && near(seen.world[0][1], 0.5) && near(seen.world[0][2], 0.125));
        assert!(near(seen.next.rotation, angle) && near(seen.next.size, 500.0));
    }
}

//! MoveNet (single pose, lightning): COCO's 17 joints of the person in the middle of a square, without depth or metric
//! coordinates.
//!
//! For each cell of a grid over the input, the network outputs the likelihood of each joint, and where the joints of a person
//! centered in the cell are expected. This file selects one person, as the last layers of the published model do (Votel and
//! Li, "Next-Generation Pose Detection with MoveNet and TensorFlow.js", TensorFlow blog, 2021). Those layers process one
//! picture at a time, so the ONNX file does not include them. models/reference/movenet.py has the same code in numpy.

use sideline_api::Result;
use sideline_inference::{Outputs, Session};
use sideline_sport::tables::JOINTS;

use crate::{
    landmarks::{Landmarks, bounding_box},
    region::PersonRegion,
};

/// Side of the input, px.
pub(crate) const SIZE: usize = 192;
/// Side of the output grid, cells.
const GRID: usize = 48;
const CELLS: usize = GRID * GRID;
/// MediaPipe's index of each of COCO's joints: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
const MEDIAPIPE_INDICES: [usize; 17] = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28];
const COCO: usize = MEDIAPIPE_INDICES.len();
const SHOULDERS: [usize; 2] = [5, 6];
const HIPS: [usize; 2] = [11, 12];
/// Offset of the distance weighting, cells: a cell at the distance d from the expected position counts score / (d + offset).
const DISTANCE_OFFSET: f32 = 1.8;

/// Least score of a joint that locates a person (MIN_CROP_KEYPOINT_SCORE of the published crop algorithm).
const MIN_JOINT_SCORE: f32 = 0.2;
/// Score of a joint that is mapped to visibility 0.5: the authors' examples draw joints from 0.3 on.
const HALF_VISIBLE_SCORE: f32 = 0.3;
/// Mean score of all joints that is mapped to the score 0.5. Over 32 people of four clips the mean was at least 0.47 except
/// for one (median 0.61); in nine of ten of 30 squares without a person it was at most 0.32.
const HALF_PERSON_SCORE: f32 = 0.35;
/// Half the side of the next square, relative to the distance of the hips to the farthest joint of the torso, and of the
/// whole body (published crop algorithm, determine_crop_region).
const TORSO_SCALE: f32 = 1.9;
const BODY_SCALE: f32 = 1.2;
/// Margin of the bounding box, as a share of the region: no joint is on hands, feet or the top of the head.
const MARGIN: f32 = 0.06;

/// Checks the inputs and outputs of a model; the batch size must be dynamic.
pub(crate) fn check(session: &Session) -> Result<()> {
    let grid = |channels: usize| [-1, GRID as i64, GRID as i64, channels as i64];
    session.expect_inputs(&[("image", &[-1, SIZE as i64, SIZE as i64, 3])])?;
    session.expect_output("heatmap", &grid(COCO))?;
    session.expect_output("centre", &grid(1))?;
    session.expect_output("regression", &grid(2 * COCO))?;
    session.expect_output("offset", &grid(2 * COCO))
}

/// Outputs of the network for one crop, cell by cell, row by row.
struct Heads<'a> {
    /// Likelihood of each joint: [48, 48, 17], 0..1.
    heatmap: &'a [f32],
    /// Likelihood of the center of a person: [48, 48], 0..1.
    center: &'a [f32],
    /// Offset from the cell of a person's center to the person's joints, in cells: [48, 48, 17, (y, x)].
    regression: &'a [f32],
    /// Offset of a joint within its cell, in cells: [48, 48, 17, (y, x)].
    offset: &'a [f32],
}

/// Decodes the outputs of a run for the crops of some regions.
pub(crate) fn decode_all(
    outputs: &Outputs<'_>,
    regions: &[PersonRegion],
    landmarks: &mut Vec<Option<Landmarks>>,
) -> Result<()> {
    let head = |name: &'static str, channels: usize| Ok(outputs.get(name)?.chunks_exact(CELLS * channels));
    let crops = head("heatmap", COCO)?.zip(head("centre", 1)?);
    let crops = crops.zip(head("regression", 2 * COCO)?).zip(head("offset", 2 * COCO)?);
    landmarks.extend(regions.iter().zip(crops).map(|(region, (((heatmap, center), regression), offset))| {
        to_landmarks(&joints(&Heads { heatmap, center, regression, offset })?, region)
    }));
    Ok(())
}

/// Returns the joints of one person: x, y in 0..1 of the input, and score. `None` if an output is not finite.
fn joints(heads: &Heads<'_>) -> Option<[[f32; 3]; COCO]> {
    let middle = (GRID / 2) as f32;
    let person = best_cell(|cell| heads.center[cell], [middle, middle])?;
    let mut joints = [[0.0; 3]; COCO];
    for (k, joint) in joints.iter_mut().enumerate() {
        let pair = |values: &[f32], cell: usize| [values[2 * (cell * COCO + k)], values[2 * (cell * COCO + k) + 1]];
        let [dy, dx] = pair(heads.regression, person);
        let expected = [(person / GRID) as f32 + dy, (person % GRID) as f32 + dx];
        let cell = best_cell(|cell| heads.heatmap[cell * COCO + k], expected)?;
        let [dy, dx] = pair(heads.offset, cell);
        let place = |at: usize, d: f32| (at as f32 + d) / GRID as f32;
        *joint = [place(cell % GRID, dx), place(cell / GRID, dy), heads.heatmap[cell * COCO + k]];
    }
    joints.iter().flatten().all(|value| value.is_finite()).then_some(joints)
}

/// Returns the cell with the greatest score, weighted by its distance from a point (row, column); the first one of equals.
/// `None` if no score is above 0.
fn best_cell(score: impl Fn(usize) -> f32, [row, column]: [f32; 2]) -> Option<usize> {
    let (mut best, mut found) = (0.0, None);
    for cell in 0..CELLS {
        let score = score(cell);
        // Skips cells that could not win even without distance, which avoids most square roots. NaN fails as well.
        if score > best * DISTANCE_OFFSET {
            let distance = ((cell / GRID) as f32 - row).hypot((cell % GRID) as f32 - column);
            let weighted = score / (distance + DISTANCE_OFFSET);
            if weighted > best {
                (best, found) = (weighted, Some(cell));
            }
        }
    }
    found
}

/// Converts joints to landmarks in the frame. `None` if no shoulder or no hip is visible, as the next region is unknown then.
fn to_landmarks(coco: &[[f32; 3]; COCO], region: &PersonRegion) -> Option<Landmarks> {
    let square = region.without_rotation().to_region();
    let is_located = |joint: usize| coco[joint][2] > MIN_JOINT_SCORE;
    if !SHOULDERS.iter().any(|joint| is_located(*joint)) || !HIPS.iter().any(|joint| is_located(*joint)) {
        return None;
    }
    let place = |joint: usize| {
        let [u, v, _] = coco[joint];
        let (x, y) = square.to_frame(u - 0.5, v - 0.5);
        [x, y]
    };
    let mut joints = [[f32::NAN; 4]; JOINTS];
    for (joint, at) in MEDIAPIPE_INDICES.iter().enumerate() {
        let [x, y] = place(joint);
        joints[*at] = [x, y, f32::NAN, (coco[joint][2] / (2.0 * HALF_VISIBLE_SCORE)).min(1.0)];
    }
    let hips = HIPS.map(place);
    let center = [(hips[0][0] + hips[1][0]) / 2.0, (hips[0][1] + hips[1][1]) / 2.0];
    let reach = |joint: usize| {
        let [x, y] = place(joint);
        (x - center[0]).abs().max((y - center[1]).abs())
    };
    let torso = SHOULDERS.iter().chain(&HIPS).map(|joint| reach(*joint)).fold(0.0, f32::max);
    let body = (0..COCO).filter(|joint| is_located(*joint)).map(reach).fold(0.0, f32::max);
    let size = 2.0 * (TORSO_SCALE * torso).max(BODY_SCALE * body);
    let next_region = PersonRegion { x: center[0], y: center[1], size, rotation: 0.0 };
    let mean = coco.iter().map(|joint| joint[2]).sum::<f32>() / COCO as f32;
    Some(Landmarks {
        score: (mean / (2.0 * HALF_PERSON_SCORE)).min(1.0),
        joints,
        world: [[f32::NAN; 3]; JOINTS],
        bounding_box: bounding_box((0..COCO).filter(|joint| is_located(*joint)).map(place), MARGIN * size),
        next_region,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns outputs with a person centered at cell (20, 26) and joint k at `places[k]` (row, column).
    fn heads_with_joints(places: &[[f32; 2]; COCO], score: f32) -> [Vec<f32>; 4] {
        let mut heads = [CELLS * COCO, CELLS, 2 * CELLS * COCO, 2 * CELLS * COCO].map(|n| vec![0.0; n]);
        let person = 20 * GRID + 26;
        heads[1][person] = 0.5;
        for (k, [row, column]) in places.iter().enumerate() {
            let cell = *row as usize * GRID + *column as usize;
            heads[0][cell * COCO + k] = score;
            let at = |cell: usize| 2 * (cell * COCO + k);
            // The regression is wrong by a cell for each joint; the offset in the joint's own cell is exact.
            heads[2][at(person)..][..2].copy_from_slice(&[row - 20.0 + 1.0, column - 26.0 - 1.0]);
            heads[3][at(cell)..][..2].copy_from_slice(&[row.fract(), column.fract()]);
        }
        heads
    }

    fn decode(heads: &[Vec<f32>; 4]) -> Option<[[f32; 3]; COCO]> {
        let [heatmap, center, regression, offset] = heads;
        joints(&Heads { heatmap, center, regression, offset })
    }

    fn standing() -> [[f32; 2]; COCO] {
        let rows = [6.0, 5.5, 5.5, 6.0, 6.0, 11.0, 11.0, 16.0, 16.0, 21.0, 21.0, 22.0, 22.0, 30.0, 30.0, 38.25, 38.25];
        std::array::from_fn(|k| [rows[k], if k % 2 == 1 { 28.5 } else { 23.25 }])
    }

    #[test]
    fn each_joint_is_decoded_from_its_cell() {
        let places = standing();
        let joints = decode(&heads_with_joints(&places, 0.6)).unwrap();
        for (joint, [row, column]) in joints.iter().zip(places) {
            assert!((joint[0] - column / 48.0).abs() < 1e-6 && (joint[1] - row / 48.0).abs() < 1e-6, "{joint:?}");
            assert_eq!(joint[2], 0.6);
        }
    }

    #[test]
    fn the_person_in_the_middle_is_selected_without_joints_of_another() {
        let mut heads = heads_with_joints(&standing(), 0.6);
        // A stronger nose ten cells away, and an equally likely person at the edge.
        heads[0][(6 * GRID + 40) * COCO] = 0.9;
        heads[1][2 * GRID + 45] = 0.5;
        let joints = decode(&heads).unwrap();
        assert!((joints[0][0] - 23.25 / 48.0).abs() < 1e-6, "{:?}", joints[0]);
        assert_eq!(joints[0][2], 0.6);
    }

    #[test]
    fn non_finite_outputs_give_no_person() {
        let mut heads = heads_with_joints(&standing(), 0.6);
        assert!(decode(&heads).is_some());
        heads[3].fill(f32::NAN);
        assert!(decode(&heads).is_none());
        let mut heads = heads_with_joints(&standing(), 0.6);
        heads[0].fill(f32::NAN);
        assert!(decode(&heads).is_none());
    }

    #[test]
    fn seventeen_joints_are_set_and_the_next_region_is_that_of_the_published_algorithm() {
        let coco = decode(&heads_with_joints(&standing(), 0.6)).unwrap();
        // 480 px for 48 cells, from (100, 50): ten px per cell. The rotation of the region is ignored.
        let region = PersonRegion { x: 340.0, y: 290.0, size: 480.0, rotation: 1.0 };
        let landmarks = to_landmarks(&coco, &region).unwrap();
        let known: Vec<usize> = (0..JOINTS).filter(|i| landmarks.joints[*i][0].is_finite()).collect();
        assert_eq!(known, MEDIAPIPE_INDICES);
        for i in known {
            let [_, _, z, visibility] = landmarks.joints[i];
            assert!(z.is_nan() && visibility == 1.0);
        }
        assert!(
            landmarks.joints[17].iter().all(|value| value.is_nan())
                && landmarks.world.iter().flatten().all(|v| v.is_nan())
        );
        let near = |a: f32, b: f32| (a - b).abs() < 1e-2;
        // Left shoulder: row 11, column 28.5.
        assert!(
            near(landmarks.joints[11][0], 385.0) && near(landmarks.joints[11][1], 160.0),
            "{:?}",
            landmarks.joints[11]
        );
        // Hips at row 22; the torso extends 11 cells, times 1.9; the eyes at 5.5 are 16.5 away, times 1.2: the torso decides.
        assert!(
            near(landmarks.next_region.x, 358.75)
                && near(landmarks.next_region.y, 270.0)
                && near(landmarks.next_region.size, 418.0),
            "{:?}",
            landmarks.next_region
        );
        assert_eq!(landmarks.next_region.rotation, 0.0);
        assert!(near(landmarks.score, 0.6 / 0.7));
        let margin = 0.06 * 418.0;
        assert!(
            near(landmarks.bounding_box[1], 105.0 - margin) && near(landmarks.bounding_box[3], 432.5 + margin),
            "{:?}",
            landmarks.bounding_box
        );
    }

    #[test]
    fn low_scored_joints_extend_neither_the_region_nor_the_box() {
        let coco = decode(&heads_with_joints(&standing(), 0.6)).unwrap();
        let region = PersonRegion { x: 340.0, y: 290.0, size: 480.0, rotation: 0.0 };
        let whole = to_landmarks(&coco, &region).unwrap();
        let mut stray = coco;
        stray[9] = [3.0, 3.0, 0.1];
        let landmarks = to_landmarks(&stray, &region).unwrap();
        assert_eq!((landmarks.next_region, landmarks.bounding_box), (whole.next_region, whole.bounding_box));
        assert!(landmarks.joints[15][3] < 0.5);
        let mut headless = coco;
        SHOULDERS.iter().for_each(|joint| headless[*joint][2] = 0.1);
        assert!(to_landmarks(&headless, &region).is_none(), "without shoulders the next region is unknown");
    }
}

//! MoveNet (single pose, lightning): COCO's 17 joints of the one person in the middle of a square, without depth or metres.
//!
//! The network says for every cell of a grid over its input how likely each joint lies there, and from which cell's person
//! each is to be looked for; this file picks one person, as the published model's own last layers do (Votel and Li,
//! "Next-Generation Pose Detection with MoveNet and TensorFlow.js", TensorFlow blog, 2021). Those layers take one picture
//! at a time, so they are left out of the ONNX file. models/reference/movenet.py has the same in numpy.

use sideline_api::{Result, tables::JOINTS};
use sideline_inference::{Outputs, Session};

use crate::{
    landmarks::{Landmarks, outline},
    region::PersonRegion,
};

/// Side of the input, px.
pub(crate) const SIZE: usize = 192;
/// Side of the grid, cells.
const GRID: usize = 48;
const CELLS: usize = GRID * GRID;
/// MediaPipe's number of each of COCO's joints: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
const AS_MEDIAPIPE: [usize; 17] = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28];
const COCO: usize = AS_MEDIAPIPE.len();
const SHOULDERS: [usize; 2] = [5, 6];
const HIPS: [usize; 2] = [11, 12];
/// A cell counts the less the farther (cells) it is from where the person, or the joint, is looked for: score / (d + NEAR).
const NEAR: f32 = 1.8;

/// Score from which a joint says where a person is (the published crop algorithm's MIN_CROP_KEYPOINT_SCORE).
const TRUSTED: f32 = 0.2;
/// Score at which a joint is as likely seen as not, and is given the visibility 0.5: from 0.3 on the makers draw one.
const SEEN: f32 = 0.3;
/// Mean score of all joints at which there is as likely a person as not, given the score 0.5. Over 32 people of four clips
/// the mean was 0.47 and more but for one (median 0.61); in 30 squares beside them 0.32 and less in nine of ten.
const PERSON: f32 = 0.35;
/// The next square reaches this many times as far from the hips as the torso does, and as any joint does (published crop
/// algorithm, determine_crop_region).
const REACH_OF_TORSO: f32 = 1.9;
const REACH_OF_BODY: f32 = 1.2;
/// Room around the joints, none of which is on hands, soles or the top of the head, as a share of the region.
const MARGIN: f32 = 0.06;

/// Checks that a model is this one, and takes any number of crops.
pub(crate) fn check(session: &Session) -> Result<()> {
    let grid = |channels: usize| [-1, GRID as i64, GRID as i64, channels as i64];
    session.expect_inputs(&[("image", &[-1, SIZE as i64, SIZE as i64, 3])])?;
    session.expect_output("heatmap", &grid(COCO))?;
    session.expect_output("centre", &grid(1))?;
    session.expect_output("regression", &grid(2 * COCO))?;
    session.expect_output("offset", &grid(2 * COCO))
}

/// What the network says of one crop, cell by cell, row by row.
struct Heads<'a> {
    /// [48, 48, 17], 0..1.
    heatmap: &'a [f32],
    /// [48, 48], 0..1.
    centre: &'a [f32],
    /// [48, 48, 17, (y, x)]: from the cell, in cells.
    regression: &'a [f32],
    /// [48, 48, 17, (y, x)]: in the cell, in cells.
    offset: &'a [f32],
}

/// Decodes what a run gave for the crops of some regions.
pub(crate) fn decode_all(
    outputs: &Outputs<'_>,
    regions: &[PersonRegion],
    seen: &mut Vec<Option<Landmarks>>,
) -> Result<()> {
    let head = |name: &'static str, channels: usize| Ok(outputs.get(name)?.chunks_exact(CELLS * channels));
    let crops = head("heatmap", COCO)?.zip(head("centre", 1)?);
    let crops = crops.zip(head("regression", 2 * COCO)?).zip(head("offset", 2 * COCO)?);
    seen.extend(regions.iter().zip(crops).map(|(region, (((heatmap, centre), regression), offset))| {
        landmarks(&joints(&Heads { heatmap, centre, regression, offset })?, region)
    }));
    Ok(())
}

/// The joints of one person: x, y in 0..1 of the input, score. `None` when the heads hold what is no number.
fn joints(heads: &Heads<'_>) -> Option<[[f32; 3]; COCO]> {
    let middle = (GRID / 2) as f32;
    let person = strongest(|cell| heads.centre[cell], [middle, middle])?;
    let mut joints = [[0.0; 3]; COCO];
    for (k, joint) in joints.iter_mut().enumerate() {
        let pair = |of: &[f32], cell: usize| [of[2 * (cell * COCO + k)], of[2 * (cell * COCO + k) + 1]];
        let [dy, dx] = pair(heads.regression, person);
        let about = [(person / GRID) as f32 + dy, (person % GRID) as f32 + dx];
        let cell = strongest(|cell| heads.heatmap[cell * COCO + k], about)?;
        let [dy, dx] = pair(heads.offset, cell);
        let place = |at: usize, d: f32| (at as f32 + d) / GRID as f32;
        *joint = [place(cell % GRID, dx), place(cell / GRID, dy), heads.heatmap[cell * COCO + k]];
    }
    joints.iter().flatten().all(|value| value.is_finite()).then_some(joints)
}

/// The cell with the greatest score for its distance from a point (row, column); the first of equals. `None` when no score
/// is above 0.
fn strongest(score: impl Fn(usize) -> f32, [row, column]: [f32; 2]) -> Option<usize> {
    let (mut best, mut found) = (0.0, None);
    for cell in 0..CELLS {
        let score = score(cell);
        // Even where it is looked for it would not be enough: this spares most of the square roots. NaN fails too.
        if score > best * NEAR {
            let distance = ((cell / GRID) as f32 - row).hypot((cell % GRID) as f32 - column);
            let weighted = score / (distance + NEAR);
            if weighted > best {
                (best, found) = (weighted, Some(cell));
            }
        }
    }
    found
}

/// A person of the frame; `None` when no side of the torso is seen, for then nothing says where to look next.
fn landmarks(coco: &[[f32; 3]; COCO], region: &PersonRegion) -> Option<Landmarks> {
    let square = region.upright().square();
    let trusted = |joint: usize| coco[joint][2] > TRUSTED;
    if !SHOULDERS.iter().any(|joint| trusted(*joint)) || !HIPS.iter().any(|joint| trusted(*joint)) {
        return None;
    }
    let place = |joint: usize| {
        let [u, v, _] = coco[joint];
        let (x, y) = square.to_frame(u - 0.5, v - 0.5);
        [x, y]
    };
    let mut joints = [[f32::NAN; 4]; JOINTS];
    for (joint, at) in AS_MEDIAPIPE.iter().enumerate() {
        let [x, y] = place(joint);
        joints[*at] = [x, y, f32::NAN, (coco[joint][2] / (2.0 * SEEN)).min(1.0)];
    }
    let hips = HIPS.map(place);
    let centre = [(hips[0][0] + hips[1][0]) / 2.0, (hips[0][1] + hips[1][1]) / 2.0];
    let reach = |joint: usize| {
        let [x, y] = place(joint);
        (x - centre[0]).abs().max((y - centre[1]).abs())
    };
    let torso = SHOULDERS.iter().chain(&HIPS).map(|joint| reach(*joint)).fold(0.0, f32::max);
    let body = (0..COCO).filter(|joint| trusted(*joint)).map(reach).fold(0.0, f32::max);
    let size = 2.0 * (REACH_OF_TORSO * torso).max(REACH_OF_BODY * body);
    let next = PersonRegion { x: centre[0], y: centre[1], size, rotation: 0.0 };
    let mean = coco.iter().map(|joint| joint[2]).sum::<f32>() / COCO as f32;
    Some(Landmarks {
        score: (mean / (2.0 * PERSON)).min(1.0),
        joints,
        world: [[f32::NAN; 3]; JOINTS],
        outline: outline((0..COCO).filter(|joint| trusted(*joint)).map(place), MARGIN * size),
        next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heads in which a person stands at cell (20, 26) and joint k of theirs at `places[k]` (row, column).
    fn heads_of(places: &[[f32; 2]; COCO], score: f32) -> [Vec<f32>; 4] {
        let mut heads = [CELLS * COCO, CELLS, 2 * CELLS * COCO, 2 * CELLS * COCO].map(|n| vec![0.0; n]);
        let person = 20 * GRID + 26;
        heads[1][person] = 0.5;
        for (k, [row, column]) in places.iter().enumerate() {
            let cell = *row as usize * GRID + *column as usize;
            heads[0][cell * COCO + k] = score;
            let at = |cell: usize| 2 * (cell * COCO + k);
            // The person's middle is a cell wrong about each joint; the cell itself knows better.
            heads[2][at(person)..][..2].copy_from_slice(&[row - 20.0 + 1.0, column - 26.0 - 1.0]);
            heads[3][at(cell)..][..2].copy_from_slice(&[row.fract(), column.fract()]);
        }
        heads
    }

    fn read(heads: &[Vec<f32>; 4]) -> Option<[[f32; 3]; COCO]> {
        let [heatmap, centre, regression, offset] = heads;
        joints(&Heads { heatmap, centre, regression, offset })
    }

    fn standing() -> [[f32; 2]; COCO] {
        let rows = [6.0, 5.5, 5.5, 6.0, 6.0, 11.0, 11.0, 16.0, 16.0, 21.0, 21.0, 22.0, 22.0, 30.0, 30.0, 38.25, 38.25];
        std::array::from_fn(|k| [rows[k], if k % 2 == 1 { 28.5 } else { 23.25 }])
    }

    #[test]
    fn each_joint_is_read_where_the_grid_has_it() {
        let places = standing();
        let joints = read(&heads_of(&places, 0.6)).unwrap();
        for (joint, [row, column]) in joints.iter().zip(places) {
            assert!((joint[0] - column / 48.0).abs() < 1e-6 && (joint[1] - row / 48.0).abs() < 1e-6, "{joint:?}");
            assert_eq!(joint[2], 0.6);
        }
    }

    #[test]
    fn another_person_beside_lends_no_joint_and_the_middle_one_is_taken() {
        let mut heads = heads_of(&standing(), 0.6);
        // A stronger nose ten cells off, and a person as likely at the edge.
        heads[0][(6 * GRID + 40) * COCO] = 0.9;
        heads[1][2 * GRID + 45] = 0.5;
        let joints = read(&heads).unwrap();
        assert!((joints[0][0] - 23.25 / 48.0).abs() < 1e-6, "{:?}", joints[0]);
        assert_eq!(joints[0][2], 0.6);
    }

    #[test]
    fn what_is_no_number_is_nobody() {
        let mut heads = heads_of(&standing(), 0.6);
        assert!(read(&heads).is_some());
        heads[3].fill(f32::NAN);
        assert!(read(&heads).is_none());
        let mut heads = heads_of(&standing(), 0.6);
        heads[0].fill(f32::NAN);
        assert!(read(&heads).is_none());
    }

    #[test]
    fn seventeen_joints_are_known_and_the_next_square_is_the_published_one() {
        let coco = read(&heads_of(&standing(), 0.6)).unwrap();
        // 480 px for 48 cells, from (100, 50): ten a cell. Turned regions are looked at upright.
        let region = PersonRegion { x: 340.0, y: 290.0, size: 480.0, rotation: 1.0 };
        let seen = landmarks(&coco, &region).unwrap();
        let known: Vec<usize> = (0..JOINTS).filter(|i| seen.joints[*i][0].is_finite()).collect();
        assert_eq!(known, AS_MEDIAPIPE);
        for i in known {
            let [_, _, z, visibility] = seen.joints[i];
            assert!(z.is_nan() && visibility == 1.0);
        }
        assert!(seen.joints[17].iter().all(|value| value.is_nan()) && seen.world.iter().flatten().all(|v| v.is_nan()));
        let near = |a: f32, b: f32| (a - b).abs() < 1e-2;
        // Left shoulder: row 11, column 28.5.
        assert!(near(seen.joints[11][0], 385.0) && near(seen.joints[11][1], 160.0), "{:?}", seen.joints[11]);
        // Hips at row 22; the torso reaches 11 cells, times 1.9; the eyes at 5.5 reach 16.5, times 1.2: the torso decides.
        assert!(
            near(seen.next.x, 358.75) && near(seen.next.y, 270.0) && near(seen.next.size, 418.0),
            "{:?}",
            seen.next
        );
        assert_eq!(seen.next.rotation, 0.0);
        assert!(near(seen.score, 0.6 / 0.7));
        let margin = 0.06 * 418.0;
        assert!(near(seen.outline[1], 105.0 - margin) && near(seen.outline[3], 432.5 + margin), "{:?}", seen.outline);
    }

    #[test]
    fn joints_that_are_not_trusted_neither_widen_the_square_nor_the_box() {
        let coco = read(&heads_of(&standing(), 0.6)).unwrap();
        let region = PersonRegion { x: 340.0, y: 290.0, size: 480.0, rotation: 0.0 };
        let whole = landmarks(&coco, &region).unwrap();
        let mut stray = coco;
        stray[9] = [3.0, 3.0, 0.1];
        let seen = landmarks(&stray, &region).unwrap();
        assert_eq!((seen.next, seen.outline), (whole.next, whole.outline));
        assert!(seen.joints[15][3] < 0.5);
        let mut headless = coco;
        SHOULDERS.iter().for_each(|joint| headless[*joint][2] = 0.1);
        assert!(landmarks(&headless, &region).is_none(), "without shoulders nothing says where to look");
    }
}

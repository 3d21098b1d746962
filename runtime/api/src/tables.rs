//! The tables that operators exchange. Pixels are pixels of the source frame; lengths on a body are torso lengths.
//!
//! No table holds a wall-clock or measured value: a run in `complete` mode gives the same bytes again.

mod football;

use crate::table;

pub use football::*;

table! {
    /// An object that a detector saw in this frame.
    pub struct Detection in "detections" {
        /// Left edge, px.
        pub x1: f32,
        /// Top edge, px.
        pub y1: f32,
        /// Right edge, px.
        pub x2: f32,
        /// Bottom edge, px.
        pub y2: f32,
        /// Confidence, 0..1.
        pub score: f32,
        /// Class number; names are in the model file.
        pub class: u16,
        /// True when a second model confirmed or corrected the class.
        pub refined: bool,
    }
}

table! {
    /// An object with an identity.
    pub struct Track in "tracks" {
        /// Identity, from 1; never used again within a stream.
        pub track: u32,
        /// `fighter_1`, `fighter_2` or empty.
        pub fighter: String,
        /// `tentative`, `confirmed`, `predicted` (unseen for a frame or two, the box is predicted) or `lost`.
        pub state: String,
        /// Left edge, px.
        pub x1: f32,
        /// Top edge, px.
        pub y1: f32,
        /// Right edge, px.
        pub x2: f32,
        /// Bottom edge, px.
        pub y2: f32,
        /// Confidence of the last detection, 0..1.
        pub score: f32,
        /// Class number of the detection.
        pub class: u16,
        /// Frames since the track began.
        pub age: u32,
    }
}

/// Number of joints of a [`Pose`]: MediaPipe's BlazePose topology.
pub const JOINTS: usize = 33;

table! {
    /// A person's joints.
    pub struct Pose in "poses" {
        /// Identity of the track, 0 when none is known yet.
        pub track: u32,
        /// `fighter_1`, `fighter_2` or empty.
        pub fighter: String,
        /// Left edge of the person, px.
        pub x1: f32,
        /// Top edge, px.
        pub y1: f32,
        /// Right edge, px.
        pub x2: f32,
        /// Bottom edge, px.
        pub y2: f32,
        /// Confidence that a person is there, 0..1.
        pub score: f32,
        /// Name of the model that saw it.
        pub model: String,
        /// Width of the frame by its height: x and z of a joint times this, and its y, are all in frame heights.
        pub aspect: f32,
        /// x, y, z, visibility of each joint: x by frame width, y by frame height, z by frame width with the hips at 0 (MediaPipe's landmarks). NaN where the model does not know the joint.
        pub joints: [[f32; 4]; 33],
        /// x, y, z of each joint in metres, origin between the hips.
        pub world: [[f32; 3]; 33],
    }
}

table! {
    /// How a person looked in this frame: what they are known by again.
    pub struct Appearance in "appearance" {
        /// Row of this frame's poses (or detections) that it is about, from 0.
        pub person: u32,
        /// How much of the person was seen, hidden neither by others nor by the edge, and large enough: 0..1.
        pub quality: f32,
        /// Unit vector: the more two are alike, the nearer their scalar product is to 1. Empty where nobody looked.
        pub vector: Vec<f32>,
        /// Pieces of equal length that the vector is made of: a piece of zeros was not seen and is not to be compared.
        pub pieces: u16,
    }
}

/// Most joint angles of a [`Motion`] row.
pub const ANGLES: usize = 20;

table! {
    /// How a track moves: the 198 values, joint angles and a norm.
    pub struct Motion in "motion" {
        /// Identity of the track.
        pub track: u32,
        /// `fighter_1`, `fighter_2` or empty.
        pub fighter: String,
        /// Velocity of each joint, hip-centred, torso lengths per second; NaN where not known.
        pub velocity: [[f32; 3]; 33],
        /// Acceleration of each joint, hip-centred, torso lengths per second squared; NaN where not known.
        pub acceleration: [[f32; 3]; 33],
        /// Angles at the joints, radians, in the order of the motion operator's `ANGLES`; NaN where not known.
        pub joint_angles: [f32; 20],
        /// Euclidean norm of all known velocities, torso lengths per second.
        pub velocity_norm: f32,
    }
}

table! {
    /// A run of samples of the stream's own sound. A source with sound sends at least one row a frame, also without samples; one without sound sends none.
    pub struct Audio in "audio", carried {
        /// Media time of the first sample, ns, on the clock of the frames' `pts`.
        pub start: i64,
        /// Samples a second of each channel.
        pub rate: u32,
        /// Channels: 1 or 2.
        pub channels: u16,
        /// The samples, -1..1: those of one moment stand side by side, left before right.
        pub samples: Vec<f32>,
    }
}

table! {
    /// How two people stand to each other, across the picture: how deep they stand in it one camera does not tell.
    pub struct Interaction in "interaction" {
        /// Identity of the first: `fighter_1`, or the lower number.
        pub track_a: u32,
        /// `fighter_1` or empty.
        pub fighter_a: String,
        /// Identity of the second.
        pub track_b: u32,
        /// `fighter_2` or empty.
        pub fighter_b: String,
        /// Between the middles of their hips, torso lengths (the mean of both); NaN where hips are not seen.
        pub distance: f32,
        /// How fast `distance` shrinks, torso lengths per second: above 0 they approach; NaN where not known.
        pub closing_speed: f32,
        /// Between where the first's chest points and the direction to the second, over the ground, radians: 0 faces, pi has the back turned; NaN where not known.
        pub facing_a: f32,
        /// The same of the second.
        pub facing_b: f32,
        /// From the first's nearest hand or foot to the second's trunk or head, torso lengths: 0 covers it in the picture; NaN where not seen.
        pub reach_a: f32,
        /// From the second's nearest hand or foot to the first's trunk or head.
        pub reach_b: f32,
    }
}

table! {
    /// What a model makes of the last moments of a track.
    pub struct Scores in "scores" {
        /// Identity of the track.
        pub track: u32,
        /// `fighter_1`, `fighter_2` or empty.
        pub fighter: String,
        /// Name of the model, from its file; `fusion` for all of them together.
        pub model: String,
        /// What the probabilities are of, in their order: names separated by spaces, from the model's file.
        pub labels: String,
        /// Probability of each label, together 1; empty where nothing was judged.
        pub probabilities: Vec<f32>,
        /// Why nothing was judged: `short`, the track is younger than the model's window; `unseen`, too few of its joints were seen; `unscored`, no model gave an opinion; else empty.
        pub unjudged: String,
    }
}

table! {
    /// A strike or another move. It is known some frames after it happened, and names its own frames.
    pub struct Move in "moves" {
        /// Name of the move in all recordings: a UUID of version 5.
        pub id: String,
        /// Identity of the track.
        pub track: u32,
        /// `fighter_1`, `fighter_2` or empty.
        pub fighter: String,
        /// What it was, or `unsure`.
        pub label: String,
        /// Frame in which it began.
        pub start: u64,
        /// Frame in which the limb was fastest.
        pub peak: u64,
        /// Frame in which it was over.
        pub end: u64,
        /// What moved: `left_hand`, `right_hand`, `left_foot`, `right_foot`, `head`, ...
        pub limb: String,
        /// Probability that the most likely label is right, 0..1.
        pub confidence: f32,
        /// How fast the limb was at most, torso lengths per second beside the hips.
        pub speed: f32,
        /// What the probabilities are of: names separated by spaces.
        pub labels: String,
        /// Probability of each label, together 1.
        pub probabilities: Vec<f32>,
        /// Models that were asked: names separated by spaces.
        pub models: String,
        /// What each of them counted for, together 1.
        pub weights: Vec<f32>,
    }
}

table! {
    /// A sentence about what happened.
    pub struct Commentary in "commentary" {
        /// At most 200 characters.
        pub text: String,
        /// Whom it is about: `fighter_1`, `fighter_2`, or empty where it is both.
        pub fighter: String,
        /// The newest move that it is about, by its `id`; empty where it is about none.
        pub move_id: String,
        /// Frame that it is about.
        pub at: u64,
        /// `low`, `medium`, `high` or `knockout`.
        pub excitement: String,
    }
}

impl Motion {
    /// Numbers that models take of a row: velocity, then acceleration, of every joint.
    pub const VALUES: usize = 2 * 3 * JOINTS;
}

impl Interaction {
    /// Numbers that models take of a row.
    pub const VALUES: usize = 6;

    /// The row as one of the two sees it: distance, closing speed, own facing, the other's, own reach, the other's. `None`
    /// for anybody else.
    pub fn seen_by(&self, track: u32) -> Option<[f32; Self::VALUES]> {
        let (facing, reach) = ([self.facing_a, self.facing_b], [self.reach_a, self.reach_b]);
        let (own, other) = match track {
            _ if track == self.track_a => (0, 1),
            _ if track == self.track_b => (1, 0),
            _ => return None,
        };
        Some([self.distance, self.closing_speed, facing[own], facing[other], reach[own], reach[other]])
    }
}

impl Move {
    /// The label of a move that no label is sure for.
    pub const UNSURE: &str = "unsure";
}

table! {
    /// A running number, for the first operator and for tests of the runtime.
    pub struct Count in "counts" {
        /// Frames of this stream so far.
        pub frames: u64,
        /// Sum of the frame's sampled bytes: tells frames apart.
        pub checksum: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Table, TableType};

    #[test]
    fn rows_survive_the_struct_array() {
        let mut pose = Pose {
            track: 3,
            fighter: "fighter_1".into(),
            x1: 1.0,
            y1: 2.0,
            x2: 3.0,
            y2: 4.0,
            score: 0.5,
            model: "lite".into(),
            aspect: 16.0 / 9.0,
            joints: [[0.25; 4]; JOINTS],
            world: [[0.0; 3]; JOINTS],
        };
        pose.joints[32] = [1.0, 2.0, 3.0, 4.0];
        let rows = vec![pose.clone(), Pose { track: 4, ..pose }];
        assert_eq!(Pose::decode(&Pose::encode(&rows)).unwrap(), rows);
        assert_eq!(Pose::decode(&Pose::encode(&rows).slice_rows(1, 1)).unwrap(), rows[1..]);
        assert_eq!(Pose::decode(&Pose::encode(&[])).unwrap(), []);
    }

    trait SliceRows {
        fn slice_rows(&self, at: usize, len: usize) -> Self;
    }
    impl SliceRows for arrow_array::StructArray {
        fn slice_rows(&self, at: usize, len: usize) -> Self {
            self.slice(at, len)
        }
    }

    #[test]
    fn a_table_of_another_type_is_named() {
        let tracks = Track::encode(&[]);
        let error = TableType::of::<Detection>().check(arrow_array::Array::data_type(&tracks)).unwrap_err();
        assert!(
            error.message.contains("table `detections`: column `x1: Float32` expected, found `track: UInt32`"),
            "{error}"
        );
        assert!(
            Detection::decode(&tracks).unwrap_err().message.contains("no column `score`")
                || Detection::decode(&tracks).is_err()
        );
    }
}

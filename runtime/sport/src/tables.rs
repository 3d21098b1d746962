//! Tables of people and their moves, and of football. Pixels are those of the source frame; lengths on a body are in torso lengths.
//!
//! No table holds a wall-clock time or a measured duration: a run in `complete` mode is reproducible byte for byte.

mod football;

use sideline_api::{column_enum, table};

use crate::{
    Excitement,
    body::{ANGLE_NAMES, JOINT_NAMES},
};

pub use football::*;

column_enum! {
    /// State of a track.
    pub enum TrackState {
        /// Not detected often enough to be confirmed.
        Tentative = "tentative",
        /// Detected in this frame.
        Confirmed = "confirmed",
        /// Not detected for a frame or two; the box is predicted.
        Predicted = "predicted",
        /// Not detected for longer.
        Lost = "lost",
    }
}

column_enum! {
    /// Name of one of the two fighters.
    pub enum Fighter {
        /// No fighter, or not known.
        None = "",
        /// The one on the left when the names were given.
        One = "fighter_1",
        /// The one on the right when the names were given.
        Two = "fighter_2",
    }
}

column_enum! {
    /// Presence of a prediction, or the reason for its absence.
    pub enum PredictionStatus {
        /// There is a prediction.
        Present = "",
        /// The track is younger than the model's window.
        Short = "short",
        /// Too few visible joints.
        Unseen = "unseen",
        /// No model gave a prediction.
        Unscored = "unscored",
    }
}

table! {
    /// Object that a detector found in this frame.
    pub struct Detection in "detections" {
        /// Left edge, px.
        #[column(unit = "px")]
        pub x1: f32,
        /// Top edge, px.
        #[column(unit = "px")]
        pub y1: f32,
        /// Right edge, px.
        #[column(unit = "px")]
        pub x2: f32,
        /// Bottom edge, px.
        #[column(unit = "px")]
        pub y2: f32,
        /// Confidence, 0..1.
        #[column(unit = "fraction")]
        pub score: f32,
        /// Class number; names are in the model file.
        pub class: u16,
        /// True if a second model confirmed or corrected the class.
        pub refined: bool,
    }
}

table! {
    /// Tracked object.
    pub struct Track in "tracks" {
        /// Track number, from 1; never reused within a stream.
        pub track: u32,
        /// State of the track.
        pub state: TrackState,
        /// Left edge, px.
        #[column(unit = "px")]
        pub x1: f32,
        /// Top edge, px.
        #[column(unit = "px")]
        pub y1: f32,
        /// Right edge, px.
        #[column(unit = "px")]
        pub x2: f32,
        /// Bottom edge, px.
        #[column(unit = "px")]
        pub y2: f32,
        /// Confidence of the last detection, 0..1.
        #[column(unit = "fraction")]
        pub score: f32,
        /// Class number of the last detection.
        pub class: u16,
        /// Age of the track, frames.
        #[column(unit = "frames")]
        pub age: u32,
    }
}

column_enum! {
    /// Relation of track numbers by appearance.
    pub enum IdentityRelation {
        /// The body that had the number `other` has the number `track` from this frame on.
        Renumbered = "renumbered",
        /// No body has the number `track`; its appearance is remembered, and it may be recognized.
        Remembered = "remembered",
        /// The identity of `track` is uncertain: the track is new, or was hidden or absent.
        Uncertain = "uncertain",
        /// The identity of `track` is uncertain, and there are too few embeddings yet to compare it with others.
        Undecided = "undecided",
        /// `track`, which is new, looks different from `other`, which is lost or remembered.
        Different = "different",
    }
}

table! {
    /// Relation of a track number to another by appearance, in this frame.
    pub struct Identity in "identities" {
        /// Track number.
        pub track: u32,
        /// Other track number; null for a relation that concerns one number.
        pub other: Option<u32>,
        /// Kind of the relation.
        pub relation: IdentityRelation,
    }
}

table! {
    /// Name of a fighter: one row for each track of the frame that has a name.
    pub struct FighterName in "fighters" {
        /// Track number.
        pub track: u32,
        /// Fighter of the track.
        pub fighter: Fighter,
    }
}

/// Number of joints of a [`Pose`], in MediaPipe's BlazePose topology.
pub const JOINTS: usize = 33;

table! {
    /// Pose of a person: 33 joints in the topology of MediaPipe's BlazePose.
    pub struct Pose in "poses" {
        /// Track number; 0 if the person has no track yet.
        pub track: u32,
        /// Left edge of the person, px.
        #[column(unit = "px")]
        pub x1: f32,
        /// Top edge, px.
        #[column(unit = "px")]
        pub y1: f32,
        /// Right edge, px.
        #[column(unit = "px")]
        pub x2: f32,
        /// Bottom edge, px.
        #[column(unit = "px")]
        pub y2: f32,
        /// Confidence of the person, 0..1.
        #[column(unit = "fraction")]
        pub score: f32,
        /// Name of the pose model.
        pub model: String,
        /// Aspect ratio of the frame, width by height. x and z of a joint times this, and its y, are all in frame heights.
        pub aspect: f32,
        /// Joints in the image: x (frame widths), y (frame heights), z (frame widths, 0 at the hips) and visibility (0..1), as
        /// MediaPipe's landmarks. NaN where the model has no such joint.
        #[column(names = [JOINT_NAMES, ["x", "y", "z", "visibility"]])]
        pub joints: [[f32; 4]; 33],
        /// Joints in space: x, y, z in meters, with the origin between the hips.
        #[column(unit = "m", names = [JOINT_NAMES, ["x", "y", "z"]])]
        pub world: [[f32; 3]; 33],
    }
}

table! {
    /// Appearance embedding of a person in this frame, for re-identification.
    pub struct Appearance in "appearance" {
        /// Index of the person among the rows of this frame's poses (or detections), from 0.
        pub person: u32,
        /// Quality of the view, 0..1: lower where the person is occluded, cut off by the edge of the frame, or small.
        #[column(unit = "fraction")]
        pub quality: f32,
        /// Embedding, a unit vector: the cosine similarity of two is their scalar product. Empty where none was computed.
        pub vector: Vec<f32>,
        /// Number of parts of equal length in the vector. A part of zeros was not visible and is excluded from comparisons.
        pub pieces: u16,
    }
}

/// Number of joint angles of a [`Motion`] row.
pub const ANGLES: usize = 20;

table! {
    /// Motion of a track: velocity and acceleration of the 33 joints (198 values), joint angles and a norm.
    pub struct Motion in "motion" {
        /// Track number.
        pub track: u32,
        /// Velocity of each joint relative to the hips, torso lengths per second; NaN where unknown.
        #[column(unit = "torso lengths/s", names = [JOINT_NAMES, ["x", "y", "z"]])]
        pub velocity: [[f32; 3]; 33],
        /// Acceleration of each joint relative to the hips, torso lengths per second squared; NaN where unknown.
        #[column(unit = "torso lengths/s^2", names = [JOINT_NAMES, ["x", "y", "z"]])]
        pub acceleration: [[f32; 3]; 33],
        /// Joint angles, radians, in the order of `ANGLE_NAMES`; NaN where unknown.
        #[column(unit = "rad", names = [ANGLE_NAMES])]
        pub joint_angles: [f32; 20],
        /// Euclidean norm of all known joint velocities, torso lengths per second.
        #[column(unit = "torso lengths/s")]
        pub velocity_norm: f32,
    }
}

table! {
    /// Relation of two people in the image plane; one camera does not give their distance in depth.
    pub struct Interaction in "interaction" {
        /// Track number of the first person: `fighter_1`, or the lower number.
        pub track_a: u32,
        /// Fighter of the first person.
        pub fighter_a: Fighter,
        /// Track number of the second person.
        pub track_b: u32,
        /// Fighter of the second person.
        pub fighter_b: Fighter,
        /// Distance between the midpoints of their hips, torso lengths (mean of both people); NaN where hips are not visible.
        #[column(unit = "torso lengths")]
        pub distance: f32,
        /// Rate at which `distance` decreases, torso lengths per second: positive if they approach; NaN where unknown.
        #[column(unit = "torso lengths/s")]
        pub closing_speed: f32,
        /// Angle on the ground plane between the chest direction of the first and the direction to the second, radians: 0 faces
        /// the second, pi turns the back; NaN where unknown.
        #[column(unit = "rad")]
        pub facing_a: f32,
        /// Angle on the ground plane between the chest direction of the second and the direction to the first, radians.
        #[column(unit = "rad")]
        pub facing_b: f32,
        /// Distance from the nearest hand or foot of the first to the trunk or head of the second, torso lengths: 0 where they
        /// overlap in the image; NaN where not visible.
        #[column(unit = "torso lengths")]
        pub reach_a: f32,
        /// Distance from the nearest hand or foot of the second to the trunk or head of the first, torso lengths.
        #[column(unit = "torso lengths")]
        pub reach_b: f32,
    }
}

table! {
    /// Prediction of a classifier over the most recent window of a track.
    pub struct Scores in "scores" {
        /// Track number.
        pub track: u32,
        /// Fighter of the track.
        pub fighter: Fighter,
        /// Name of the model, from its file; `fusion` for the fused prediction.
        pub model: String,
        /// Labels in the order of the probabilities: names separated by spaces, from the model's file.
        pub labels: String,
        /// Probability of each label, sum 1; empty where there is no prediction.
        #[column(unit = "fraction")]
        pub probabilities: Vec<f32>,
        /// Presence of a prediction.
        pub unjudged: PredictionStatus,
    }
}

table! {
    /// Strike or other move. The row comes some frames after the move and gives the move's own frames.
    pub struct Move in "moves" {
        /// Identifier of the move, the same in all recordings: a UUID of version 5.
        pub id: String,
        /// Track number.
        pub track: u32,
        /// Fighter of the track.
        pub fighter: Fighter,
        /// Label of the move; `unsure` if the confidence is too low.
        pub label: String,
        /// First frame of the move.
        #[column(unit = "frame")]
        pub start: u64,
        /// Frame of the maximum speed of the limb.
        #[column(unit = "frame")]
        pub peak: u64,
        /// Last frame of the move.
        #[column(unit = "frame")]
        pub end: u64,
        /// Limb that moved: `left_hand`, `right_hand`, `left_foot`, `right_foot`, `head` and others.
        pub limb: String,
        /// Probability of the most likely label, 0..1.
        #[column(unit = "fraction")]
        pub confidence: f32,
        /// Maximum speed of the limb relative to the hips, torso lengths per second.
        #[column(unit = "torso lengths/s")]
        pub speed: f32,
        /// Labels in the order of the probabilities: names separated by spaces.
        pub labels: String,
        /// Probability of each label, sum 1.
        #[column(unit = "fraction")]
        pub probabilities: Vec<f32>,
        /// Models that contributed: names separated by spaces.
        pub models: String,
        /// Weight of each model, sum 1.
        #[column(unit = "fraction")]
        pub weights: Vec<f32>,
    }
}

table! {
    /// Sentence of the commentary.
    pub struct Commentary in "commentary" {
        /// Text of at most 200 characters.
        pub text: String,
        /// Subject of the sentence; empty for both.
        pub fighter: Fighter,
        /// `id` of the newest move that the sentence refers to; empty for none.
        pub move_id: String,
        /// Frame that the sentence refers to.
        #[column(unit = "frame")]
        pub at: u64,
        /// Level of excitement.
        pub excitement: Excitement,
    }
}

impl Fighter {
    /// The two fighters.
    pub const FIGHTERS: [Self; 2] = [Self::One, Self::Two];

    /// Returns the index of the fighter in [`Self::FIGHTERS`].
    pub fn index(self) -> Option<usize> {
        Self::FIGHTERS.iter().position(|fighter| *fighter == self)
    }

    /// Returns the fighter with an index in [`Self::FIGHTERS`], else none.
    pub fn from_index(index: usize) -> Self {
        Self::FIGHTERS.get(index).copied().unwrap_or_default()
    }

    /// Returns the other fighter.
    #[must_use]
    pub fn opponent(self) -> Self {
        match self {
            Self::None => Self::None,
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }
}

impl Motion {
    /// Number of features that models read from a row: velocity, then acceleration, of every joint.
    pub const FEATURES: usize = 2 * 3 * JOINTS;
}

impl Interaction {
    /// Number of features that models read from a row.
    pub const FEATURES: usize = 6;

    /// Returns the features from the point of view of one of the two people: distance, closing speed, own facing, facing of
    /// the other, own reach, reach of the other. Returns `None` for other tracks.
    pub fn features_for(&self, track: u32) -> Option<[f32; Self::FEATURES]> {
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
    /// Label of a move whose most likely label has too low a probability.
    pub const UNSURE_LABEL: &str = "unsure";
}

#[cfg(test)]
mod tests {
    use sideline_api::{Table, TableType};

    use super::*;

    #[test]
    fn encoded_rows_are_decoded_unchanged() {
        let mut pose = Pose {
            track: 3,
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
    impl SliceRows for sideline_api::arrow::array::StructArray {
        fn slice_rows(&self, at: usize, len: usize) -> Self {
            self.slice(at, len)
        }
    }

    #[test]
    fn errors_of_another_table_type_name_the_first_differing_column() {
        let tracks = Track::encode(&[]);
        let error =
            TableType::for_row::<Detection>().check(sideline_api::arrow::array::Array::data_type(&tracks)).unwrap_err();
        assert!(
            error.message.contains("table `detections`: column `x1: Float32` expected, found `track: UInt32`"),
            "{error}"
        );
        assert!(Detection::decode(&tracks).is_err());
    }
}

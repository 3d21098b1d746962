//! The models that place joints: how they are named in configurations, in tables and in models.yml.

use serde::{Deserialize, Serialize};

/// What the key `model` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// BlazePose lite.
    Lite,
    /// BlazePose full.
    Full,
    /// BlazePose heavy.
    Heavy,
    /// MoveNet lightning.
    Movenet,
    /// BlazePose lite, full or heavy, whichever keeps up.
    Auto,
}

impl Choice {
    /// The models that may run, fastest first: one, but for `Auto`.
    pub fn models(self) -> &'static [Model] {
        match self {
            Choice::Lite => &[Model::Lite],
            Choice::Full => &[Model::Full],
            Choice::Heavy => &[Model::Heavy],
            Choice::Movenet => &[Model::Movenet],
            Choice::Auto => &[Model::Lite, Model::Full, Model::Heavy],
        }
    }
}

/// A model that places joints on the people in squares of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// BlazePose: 33 joints with depth and metres; the fastest.
    Lite,
    /// More exact, at about twice the time.
    Full,
    /// The most exact; many times slower.
    Heavy,
    /// MoveNet lightning: 17 joints in the picture.
    Movenet,
}

impl Model {
    /// All, as `bench pose` goes through them.
    pub const ALL: [Model; 4] = [Model::Lite, Model::Full, Model::Heavy, Model::Movenet];

    /// As written in configurations and in the column `model`.
    pub fn name(self) -> &'static str {
        match self {
            Model::Lite => "lite",
            Model::Full => "full",
            Model::Heavy => "heavy",
            Model::Movenet => "movenet",
        }
    }

    /// Name in models.yml.
    pub fn entry(self) -> &'static str {
        match self {
            Model::Lite => "blazepose_lite",
            Model::Full => "blazepose_full",
            Model::Heavy => "blazepose_heavy",
            Model::Movenet => "movenet_lightning",
        }
    }
}

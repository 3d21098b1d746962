//! Landmark models and their names in configurations, tables and models.yml.

use serde::{Deserialize, Serialize};

/// Value of the key `model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelChoice {
    /// BlazePose lite.
    Lite,
    /// BlazePose full.
    Full,
    /// BlazePose heavy.
    Heavy,
    /// MoveNet lightning.
    Movenet,
    /// The heaviest of BlazePose lite, full and heavy that keeps up.
    Auto,
}

impl ModelChoice {
    /// Returns the models that may run, fastest first: a single one, except for `Auto`.
    pub fn models(self) -> &'static [Model] {
        match self {
            ModelChoice::Lite => &[Model::Lite],
            ModelChoice::Full => &[Model::Full],
            ModelChoice::Heavy => &[Model::Heavy],
            ModelChoice::Movenet => &[Model::Movenet],
            ModelChoice::Auto => &[Model::Lite, Model::Full, Model::Heavy],
        }
    }
}

/// A model that detects landmarks of the people in square regions of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// BlazePose lite: 33 joints with depth and metric coordinates; the fastest.
    Lite,
    /// BlazePose full: more accurate, in about twice the time.
    Full,
    /// BlazePose heavy: the most accurate, and many times slower.
    Heavy,
    /// MoveNet lightning: 17 joints in image coordinates.
    Movenet,
}

impl Model {
    /// All models, in the order of `bench pose`.
    pub const ALL: [Model; 4] = [Model::Lite, Model::Full, Model::Heavy, Model::Movenet];

    /// Returns the name in configurations and in the column `model`.
    pub fn name(self) -> &'static str {
        match self {
            Model::Lite => "lite",
            Model::Full => "full",
            Model::Heavy => "heavy",
            Model::Movenet => "movenet",
        }
    }

    /// Returns the name in models.yml.
    pub fn catalog_name(self) -> &'static str {
        match self {
            Model::Lite => "blazepose_lite",
            Model::Full => "blazepose_full",
            Model::Heavy => "blazepose_heavy",
            Model::Movenet => "movenet_lightning",
        }
    }
}

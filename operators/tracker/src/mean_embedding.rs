//! Mean appearance embedding of a person, with the spread of the embeddings that it was averaged from.
//!
//! The spread gives each person a threshold of their own: how similar embeddings of one person are depends on the
//! camera, the clothes and the method.

use serde::{Deserialize, Serialize};

/// Time constant of the running mean, seconds.
const AVERAGING_TIME_S: f32 = 10.0;
/// Embeddings after which the measured spread replaces the prior one. The first few come from one moment and are too
/// similar to each other.
const MIN_COUNT_FOR_SPREAD: u32 = 5;
/// Prior cosine similarity of the embeddings of one person, and its mean absolute deviation.
const PRIOR_SIMILARITY: f32 = 0.97;
const PRIOR_DEVIATION: f32 = 0.02;
/// Deviations below the mean similarity at which an embedding still counts as the same person.
const THRESHOLD_DEVIATIONS: f32 = 4.0;
/// Share of the mean's length that must lie in the common pieces for a comparison.
const MIN_COMMON_SHARE: f32 = 0.6;

/// Running mean of embeddings, and their similarity to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeanEmbedding {
    /// Mean vector; empty before the first embedding. Not of unit length.
    pub mean: Vec<f32>,
    /// Number of equally long pieces of the vector; an all-zero piece was not visible.
    pub pieces: u16,
    /// Embeddings so far.
    pub count: u32,
    /// Mean cosine similarity of an embedding to the mean before it.
    similarity: f32,
    /// Mean absolute deviation of that similarity.
    deviation: f32,
}

impl MeanEmbedding {
    /// Averages in an embedding, a unit vector, `seconds` after the previous one.
    pub fn add(&mut self, vector: &[f32], pieces: u16, seconds: f32) {
        if self.mean.len() != vector.len() || self.pieces != pieces {
            // The first embedding, or another method since a restart.
            let (similarity, deviation) = (PRIOR_SIMILARITY, PRIOR_DEVIATION);
            *self = Self { mean: vector.to_vec(), pieces, count: 1, similarity, deviation };
            return;
        }
        let similarity = self.similarity(vector);
        let weight = (1.0 / (self.count as f32 + 1.0)).max(seconds / AVERAGING_TIME_S).min(1.0);
        self.deviation += weight * ((similarity - self.similarity).abs() - self.deviation);
        self.similarity += weight * (similarity - self.similarity);
        // A unit vector with few visible pieces has larger values in them: scale it to the length of the mean there.
        let common = common_pieces(&self.mean, vector, pieces);
        let scale =
            if common.squared_norm_b > 0.0 { (common.squared_norm_a / common.squared_norm_b).sqrt() } else { 1.0 };
        let size = piece_len(vector.len(), pieces);
        for (mean, piece) in self.mean.chunks_mut(size).zip(vector.chunks(size)) {
            if !is_zero(piece) {
                let weight = if is_zero(mean) { 1.0 } else { weight };
                mean.iter_mut().zip(piece).for_each(|(mean, value)| *mean += weight * (scale * value - *mean));
            }
        }
        self.count += 1;
    }

    /// Returns the cosine similarity over the pieces visible in both, -1 to 1; 0 if these are too few to compare.
    pub fn similarity(&self, vector: &[f32]) -> f32 {
        let CommonPieces { product, squared_norm_a, squared_norm_b, share } =
            common_pieces(&self.mean, vector, self.pieces);
        if share < MIN_COMMON_SHARE { 0.0 } else { product / (squared_norm_a * squared_norm_b).sqrt().max(1e-9) }
    }

    /// Returns the similarity of an embedding, or of a mean of embeddings, minus the lowest similarity at which it
    /// still counts as the same person.
    pub fn margin(&self, vector: &[f32]) -> f32 {
        let (similarity, deviation) = if self.count < MIN_COUNT_FOR_SPREAD {
            (self.similarity.min(PRIOR_SIMILARITY), PRIOR_DEVIATION)
        } else {
            (self.similarity, self.deviation)
        };
        let threshold = similarity - THRESHOLD_DEVIATIONS * deviation.max(PRIOR_DEVIATION / 2.0);
        self.similarity(vector) - threshold.min(PRIOR_SIMILARITY - PRIOR_DEVIATION)
    }

    /// True after the first embedding.
    pub fn has_data(&self) -> bool {
        self.count > 0
    }

    /// True if a vector can be compared with the mean: both exist and come from the same method.
    pub fn is_comparable(&self, vector: &[f32]) -> bool {
        self.has_data() && self.mean.len() == vector.len()
    }
}

/// Products of two vectors `a` and `b` over the pieces that are visible in both.
struct CommonPieces {
    /// Scalar product.
    product: f32,
    squared_norm_a: f32,
    squared_norm_b: f32,
    /// Length of `a` in these pieces, as a share of its whole length.
    share: f32,
}

fn common_pieces(a: &[f32], b: &[f32], pieces: u16) -> CommonPieces {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let mut common = CommonPieces { product: 0.0, squared_norm_a: 0.0, squared_norm_b: 0.0, share: 0.0 };
    let size = piece_len(a.len(), pieces);
    for (a, b) in a.chunks(size).zip(b.chunks(size)).filter(|(a, b)| !is_zero(a) && !is_zero(b)) {
        common.product += product(a, b);
        common.squared_norm_a += product(a, a);
        common.squared_norm_b += product(b, b);
    }
    common.share = (common.squared_norm_a / product(a, a).max(1e-9)).sqrt();
    common
}

/// Returns the number of values in a piece.
fn piece_len(length: usize, pieces: u16) -> usize {
    (length / usize::from(pieces).max(1)).max(1)
}

fn is_zero(piece: &[f32]) -> bool {
    piece.iter().all(|value| *value == 0.0)
}

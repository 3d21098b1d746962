//! How somebody looks: the mean of their views, how alike these were, and so whether a view may be of the same person.

use serde::{Deserialize, Serialize};

/// Seconds over which a portrait forgets.
const MEMORY: f32 = 10.0;
/// Views after which a portrait knows how alike its views are.
const SETTLED: u32 = 5;
/// How alike views of one person are taken to be at least, and their spread: the few first ones are all of one moment.
const USUAL: f32 = 0.97;
const SPREAD: f32 = 0.02;
/// Spreads below the usual likeness at which a view is still the same person.
const STILL_SAME: f32 = 4.0;
/// Share of a portrait that a view has to show, to be compared with it.
const ENOUGH: f32 = 0.6;

/// How one looks, and how alike the views of it were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Portrait {
    /// Mean of the views; empty without any. Not of unit length.
    pub mean: Vec<f32>,
    /// Pieces of equal length that a vector is made of; one of zeros was not seen.
    pub pieces: u16,
    /// Views so far.
    pub views: u32,
    /// Mean likeness of a view to the mean before it, and mean distance from that.
    usual: f32,
    spread: f32,
}

impl Portrait {
    /// Takes in a view, a unit vector; `seconds` have passed since the last.
    pub fn add(&mut self, vector: &[f32], pieces: u16, seconds: f32) {
        if self.mean.len() != vector.len() || self.pieces != pieces {
            // The first view, or another method since a restart.
            *self = Self { mean: vector.to_vec(), pieces, views: 1, usual: USUAL, spread: SPREAD };
            return;
        }
        let likeness = self.likeness(vector);
        let share = (1.0 / (self.views as f32 + 1.0)).max(seconds / MEMORY).min(1.0);
        self.spread += share * ((likeness - self.usual).abs() - self.spread);
        self.usual += share * (likeness - self.usual);
        // A unit vector of few pieces has larger values in them: it is made as long as the mean is in the same ones.
        let common = common(&self.mean, vector, pieces);
        let scale = if common.of_b > 0.0 { (common.of_a / common.of_b).sqrt() } else { 1.0 };
        let size = piece(vector.len(), pieces);
        for (mean, seen) in self.mean.chunks_mut(size).zip(vector.chunks(size)) {
            if !zeros(seen) {
                let share = if zeros(mean) { 1.0 } else { share };
                mean.iter_mut().zip(seen).for_each(|(mean, value)| *mean += share * (scale * value - *mean));
            }
        }
        self.views += 1;
    }

    /// Cosine over the pieces that both have seen, -1 to 1; 0 when that is not much.
    pub fn likeness(&self, vector: &[f32]) -> f32 {
        let Common { product, of_a, of_b, share } = common(&self.mean, vector, self.pieces);
        if share < ENOUGH { 0.0 } else { product / (of_a * of_b).sqrt().max(1e-9) }
    }

    /// Likeness of a view or a mean of views, over the least at which it is still the same person.
    pub fn fits(&self, vector: &[f32]) -> f32 {
        let (usual, spread) =
            if self.views < SETTLED { (self.usual.min(USUAL), SPREAD) } else { (self.usual, self.spread) };
        self.likeness(vector) - (usual - STILL_SAME * spread.max(SPREAD / 2.0)).min(USUAL - SPREAD)
    }

    /// True after the first view.
    pub fn known(&self) -> bool {
        self.views > 0
    }

    /// True when a vector can be compared with it: both are there, and of one method.
    pub fn comparable(&self, vector: &[f32]) -> bool {
        self.known() && self.mean.len() == vector.len()
    }
}

/// Of two vectors, over the pieces that neither has as zeros.
struct Common {
    product: f32,
    /// Squared lengths.
    of_a: f32,
    of_b: f32,
    /// How much of the length of the first they are.
    share: f32,
}

fn common(a: &[f32], b: &[f32], pieces: u16) -> Common {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let mut common = Common { product: 0.0, of_a: 0.0, of_b: 0.0, share: 0.0 };
    let size = piece(a.len(), pieces);
    for (a, b) in a.chunks(size).zip(b.chunks(size)).filter(|(a, b)| !zeros(a) && !zeros(b)) {
        common.product += product(a, b);
        common.of_a += product(a, a);
        common.of_b += product(b, b);
    }
    common.share = (common.of_a / product(a, a).max(1e-9)).sqrt();
    common
}

/// Length of a piece.
fn piece(length: usize, pieces: u16) -> usize {
    (length / usize::from(pieces).max(1)).max(1)
}

fn zeros(piece: &[f32]) -> bool {
    piece.iter().all(|value| *value == 0.0)
}

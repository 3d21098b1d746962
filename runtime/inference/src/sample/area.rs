//! Area filter for upright regions that are scaled down: every output pixel is the mean of its area, with source pixels at the
//! border weighted by their coverage.
//!
//! Rows are summed column by column first (a loop over bytes that the compiler vectorizes), then columns: every source
//! pixel is read once.

use super::{Plane, Planes, Region, Rows};

#[derive(Default)]
/// Buffers of the filter.
pub(super) struct Scratch {
    /// Spans of the output columns, in luma (or packed) and in chroma columns.
    spans: [Spans; 2],
    /// Sum of every source column; channels stay interleaved.
    sums: Vec<f32>,
    /// Share of each output column that lies inside the frame, 0..1.
    inside: Vec<f32>,
}

/// Output columns as continuous ranges of source columns, clipped to the frame.
#[derive(Default)]
struct Spans {
    edges: Vec<(f32, f32)>,
}

/// Computes the values that are the same for every row.
pub(super) fn prepare(planes: &Planes, region: &Region, columns: usize, scratch: &mut Scratch) {
    let left = f64::from(region.x) - f64::from(region.width) / 2.0;
    let step = f64::from(region.width) / columns as f64;
    let mut fill = |plane: usize, divide: f64, shift: f64, limit: usize| {
        let spans = &mut scratch.spans[plane];
        spans.edges.clear();
        spans.edges.extend((0..columns).map(|j| {
            let from = (left + j as f64 * step + shift) / divide;
            let limit = limit as f64;
            (from.clamp(0.0, limit) as f32, (from + step / divide).clamp(0.0, limit) as f32)
        }));
    };
    match planes {
        Planes::Yuv { y, u, .. } => {
            fill(0, 1.0, 0.0, y.columns);
            // Chroma column i covers luma columns from 2 i - 1/2 to 2 i + 3/2: its sample is sited on column 2 i.
            fill(1, 2.0, 0.5, u.columns);
        }
        Planes::Packed { plane, .. } => fill(0, 1.0, 0.0, plane.columns),
    }
    scratch.inside.clear();
    scratch.inside.extend(scratch.spans[0].edges.iter().map(|(from, to)| (to - from) / step as f32));
}

/// Computes one output row from the source rows between the vertical positions `from` and `to`. Writes R, G, B in 0..255.
pub(super) fn sample_row(planes: &Planes, from: f64, to: f64, scratch: &mut Scratch, rows: &mut Rows) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor supports AVX2.
        unsafe { sample_row_avx2(planes, from, to, scratch, rows) };
        return;
    }
    sample_row_any(planes, from, to, scratch, rows);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sample_row_avx2(planes: &Planes, from: f64, to: f64, scratch: &mut Scratch, rows: &mut Rows) {
    sample_row_any(planes, from, to, scratch, rows);
}

#[inline(always)]
fn sample_row_any(planes: &Planes, from: f64, to: f64, scratch: &mut Scratch, rows: &mut Rows) {
    let Scratch { spans, sums, inside } = scratch;
    let [a, b, c] = rows;
    match planes {
        Planes::Yuv { y, u, v, step, color } => {
            let luma_rows = sum_rows(y, 1, from, to, sums);
            average_columns(sums, 1, &spans[0], luma_rows, a);
            let chroma_rows = sum_rows(u, *step, from / 2.0, to / 2.0, sums);
            average_columns(sums, *step, &spans[1], chroma_rows, b);
            // NV12: V is interleaved with U, and is already summed.
            if *step == 1 {
                let chroma_rows = sum_rows(v, 1, from / 2.0, to / 2.0, sums);
                average_columns(sums, 1, &spans[1], chroma_rows, c);
            } else {
                average_columns(&sums[1..], 2, &spans[1], chroma_rows, c);
            }
            // The area outside the frame is black, and its chroma neutral.
            let inside_rows = (f64::from(luma_rows) / (to - from)) as f32;
            for (((luma, cb), cr), inside) in a.iter_mut().zip(&mut *b).zip(&mut *c).zip(&*inside) {
                let inside = inside * inside_rows;
                *luma = color.black + inside * (*luma - color.black);
                *cb = 128.0 + inside * (*cb - 128.0);
                *cr = 128.0 + inside * (*cr - 128.0);
            }
            color.apply(rows);
        }
        Planes::Packed { plane, order } => {
            let covered = sum_rows(plane, 3, from, to, sums);
            let inside_rows = (f64::from(covered) / (to - from)) as f32;
            for (row, offset) in [a, b, c].into_iter().zip(order) {
                average_columns(&sums[*offset..], 3, &spans[0], covered, row);
                row.iter_mut().zip(&*inside).for_each(|(value, inside)| *value *= inside * inside_rows);
            }
        }
    }
}

/// Sums the rows of a plane between two vertical positions, weighted by coverage. Returns the number of rows covered, which
/// may be fractional. A row holds `step` interleaved channels.
#[inline(always)]
fn sum_rows(plane: &Plane, step: usize, from: f64, to: f64, sums: &mut Vec<f32>) -> f32 {
    sums.clear();
    sums.resize(plane.columns * step, 0.0);
    let (from, to) = (from.clamp(0.0, plane.rows as f64), to.clamp(0.0, plane.rows as f64));
    for row in from.floor() as usize..to.ceil() as usize {
        let weight = ((row as f64 + 1.0).min(to) - (row as f64).max(from)) as f32;
        for (sum, byte) in sums.iter_mut().zip(&plane.data[row * plane.stride..]) {
            *sum += weight * f32::from(*byte);
        }
    }
    (to - from) as f32
}

/// Writes the mean of the column sums over each span; 0 for an empty span. One channel is every `step`-th sum.
#[inline(always)]
fn average_columns(sums: &[f32], step: usize, spans: &Spans, rows: f32, into: &mut [f32]) {
    let columns = sums.len().div_ceil(step);
    for (value, (from, to)) in into.iter_mut().zip(&spans.edges) {
        let (first, last) = (*from as usize, (to.ceil() as usize).min(columns));
        let area = (to - from) * rows;
        if first >= last || area <= 0.0 {
            *value = 0.0;
            continue;
        }
        let covered = &sums[first * step..(last - 1) * step + 1];
        // Two sums in parallel: additions to a single one would depend on each other.
        let (mut even, mut odd) = (0.0, 0.0);
        for pair in covered.chunks(2 * step) {
            even += pair[0];
            odd += pair.get(step).copied().unwrap_or(0.0);
        }
        // The first and the last source column are weighted by their coverage.
        let uncovered = covered[0] * (from - first as f32) + covered[covered.len() - 1] * (last as f32 - to);
        *value = (even + odd - uncovered) / area;
    }
}

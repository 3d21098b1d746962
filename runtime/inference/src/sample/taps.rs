//! Bilinear samples along a line through the frame.
//!
//! The points of a line are evenly spaced, so those whose neighbors are all in bounds form one range. For it, a first loop
//! reads the pixels around each point, and loops that the compiler vectorizes do the arithmetic, with AVX2 if the processor
//! supports it (no operations are fused, so the values are the same without). At the borders a slower loop blends with
//! black.

use super::{Plane, Planes, Rows};

/// Line of sample points in 16.16 fixed point; integers are centers of pixels.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub x: i32,
    pub y: i32,
    pub dx: i32,
    pub dy: i32,
}

impl Line {
    /// Returns the position of point `j`. Never wraps: `Sampler::sample` bounds regions. Overflow checks would only prevent
    /// vectorization.
    #[inline(always)]
    fn at(&self, j: usize) -> (i32, i32) {
        let along = |start: i32, step: i32| start.wrapping_add(step.wrapping_mul(j as i32));
        (along(self.x, self.dx), along(self.y, self.dy))
    }
}

/// Buffer of the pixels around each point: the left neighbor in the low byte, the right one in the high byte.
#[derive(Default)]
pub(super) struct Scratch {
    /// Upper and lower pairs of Y, U, V.
    pairs: [Vec<u16>; 6],
}

const ONE: i32 = 1 << 16;

/// Samples the points of a line into R, G, B rows (0..255), whose length is the number of points.
pub(super) fn sample_row(planes: &Planes, line: Line, scratch: &mut Scratch, rows: &mut Rows) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor supports AVX2.
        unsafe { sample_row_avx2(planes, line, scratch, rows) };
        return;
    }
    sample_row_any(planes, line, scratch, rows);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sample_row_avx2(planes: &Planes, line: Line, scratch: &mut Scratch, rows: &mut Rows) {
    sample_row_any(planes, line, scratch, rows);
}

#[inline(always)]
fn sample_row_any(planes: &Planes, line: Line, scratch: &mut Scratch, rows: &mut Rows) {
    let n = rows[0].len();
    match planes {
        Planes::Yuv { y, u, v, step, color } => {
            let inside = inner_points(line, n, y, u);
            for j in (0..inside.start).chain(inside.end..n) {
                let (px, py) = line.at(j);
                let [luma, cb, cr] = sample_border_yuv(y, u, v, *step, color.black, px, py);
                (rows[0][j], rows[1][j], rows[2][j]) = (luma, cb, cr);
            }
            if !inside.is_empty() {
                sample_inner_yuv([y, u, v], *step, line, inside, scratch, rows);
            }
            color.apply(rows);
        }
        Planes::Packed { plane, order } => {
            let [red, green, blue] = rows;
            for (j, ((r, g), b)) in red.iter_mut().zip(green).zip(blue).enumerate() {
                let (px, py) = line.at(j);
                [*r, *g, *b] = sample_packed(plane, order, px, py);
            }
        }
    }
}

/// Returns the least and greatest position with all neighbors in luma and chroma in bounds: x, then y.
fn bounds(y: &Plane, c: &Plane) -> [(i64, i64); 2] {
    let (w, h) = (y.columns as i64 - 1, y.rows as i64 - 1);
    let (cw, ch) = (c.columns as i64 - 1, c.rows as i64 - 1);
    // Chroma is at x / 2 and (y - 1/2) / 2.
    [(0, (w << 16).min(cw << 17) - 1), (1 << 15, (h << 16).min((ch << 17) + (1 << 15)) - 1)]
}

/// Returns the points whose neighbors are all in bounds.
fn inner_points(line: Line, n: usize, y: &Plane, c: &Plane) -> std::ops::Range<usize> {
    let bounds = bounds(y, c);
    let (mut from, mut to) = (0, n as i64);
    for ((start, step), (least, most)) in [(line.x, line.dx), (line.y, line.dy)].into_iter().zip(bounds) {
        let (start, step) = (i64::from(start), i64::from(step));
        // least <= start + step j <= most
        match step {
            0 if start < least || start > most => return 0..0,
            0 => {}
            1.. => {
                from = from.max((least - start + step - 1).div_euclid(step));
                to = to.min((most - start).div_euclid(step) + 1);
            }
            _ => {
                from = from.max((start - most - step - 1).div_euclid(-step));
                to = to.min((start - least).div_euclid(-step) + 1);
            }
        }
    }
    let inside = |j: i64| {
        let (px, py) = (i64::from(line.x) + i64::from(line.dx) * j, i64::from(line.y) + i64::from(line.dy) * j);
        (bounds[0].0..=bounds[0].1).contains(&px) && (bounds[1].0..=bounds[1].1).contains(&py)
    };
    // The unchecked reads rely on this: both ends are in bounds, and so are all points between them.
    if from < to && from >= 0 && to <= n as i64 && inside(from) && inside(to - 1) {
        from as usize..to as usize
    } else {
        0..0
    }
}

#[inline(always)]
fn sample_inner_yuv(
    [y, u, v]: [&Plane; 3],
    step: usize,
    line: Line,
    inside: std::ops::Range<usize>,
    scratch: &mut Scratch,
    rows: &mut Rows,
) {
    let n = inside.len();
    scratch.pairs.iter_mut().for_each(|pairs| pairs.resize(n, 0));
    let [y0, y1, u0, u1, v0, v1] = &mut scratch.pairs;
    let (y0, y1) = (&mut y0[..n], &mut y1[..n]);
    let (u0, u1, v0, v1) = (&mut u0[..n], &mut u1[..n], &mut v0[..n], &mut v1[..n]);
    let line = Line { x: line.at(inside.start).0, y: line.at(inside.start).1, ..line };

    let (mut px, mut py) = (line.x, line.y);
    for j in 0..n {
        let at = pixel_index(px, py, 1, y.stride);
        let c_at = pixel_index(px >> 1, chroma_y(py), step, u.stride);
        // SAFETY: `inner_points` returned this range: 0 <= px >> 16 <= columns - 2 and the same for rows, for luma and for
        // chroma, at both ends of a straight line and so at every point. `Plane::new` has checked that a plane holds
        // stride * (rows - 1) + step * (columns - 1) + 1 bytes, so a pair in the last row ends in bounds; NV12's quads are read
        // from `u`, whose plane includes the last V.
        unsafe {
            y0[j] = read_pair(y.data, at);
            y1[j] = read_pair(y.data, at.wrapping_add(y.stride));
            let c_below = c_at.wrapping_add(u.stride);
            if step == 1 {
                u0[j] = read_pair(u.data, c_at);
                u1[j] = read_pair(u.data, c_below);
                let v_at = pixel_index(px >> 1, chroma_y(py), 1, v.stride);
                v0[j] = read_pair(v.data, v_at);
                v1[j] = read_pair(v.data, v_at.wrapping_add(v.stride));
            } else {
                (u0[j], v0[j]) = deinterleave(read_quad(u.data, c_at));
                (u1[j], v1[j]) = deinterleave(read_quad(u.data, c_below));
            }
        }
        (px, py) = (px.wrapping_add(line.dx), py.wrapping_add(line.dy));
    }
    let [ry, ru, rv] = rows;
    let (ry, ru, rv) = (&mut ry[inside.clone()], &mut ru[inside.clone()], &mut rv[inside]);
    for j in 0..n {
        let (px, py) = line.at(j);
        ry[j] = blend(y0[j], y1[j], fraction(px), fraction(py));
    }
    for j in 0..n {
        let (px, py) = line.at(j);
        let (fx, fy) = (fraction(px >> 1), fraction(chroma_y(py)));
        ru[j] = blend(u0[j], u1[j], fx, fy);
        rv[j] = blend(v0[j], v1[j], fx, fy);
    }
}

/// Maps a vertical position from luma to chroma; the horizontal one is half of luma's.
#[inline(always)]
fn chroma_y(py: i32) -> i32 {
    py.wrapping_sub(ONE / 2) >> 1
}

/// Returns the index of the pixel above and to the left of a point.
#[inline(always)]
fn pixel_index(px: i32, py: i32, step: usize, stride: usize) -> usize {
    ((py >> 16) as usize).wrapping_mul(stride).wrapping_add(((px >> 16) as usize).wrapping_mul(step))
}

#[inline(always)]
fn fraction(position: i32) -> f32 {
    (position & 0xffff) as f32 * (1.0 / 65_536.0)
}

/// Interpolates between an upper and a lower pair of pixels.
#[inline(always)]
fn blend(upper: u16, lower: u16, fx: f32, fy: f32) -> f32 {
    let left_right = |pair: u16| {
        let (left, right) = (i32::from(pair & 0xff) as f32, i32::from(pair >> 8) as f32);
        left + (right - left) * fx
    };
    let (upper, lower) = (left_right(upper), left_right(lower));
    upper + (lower - upper) * fy
}

/// Reads two bytes.
///
/// # Safety
/// `at + 1` is in `data`.
#[inline(always)]
unsafe fn read_pair(data: &[u8], at: usize) -> u16 {
    // SAFETY: in bounds by the function's contract; the read allows any alignment.
    unsafe { u16::from_le(data.as_ptr().wrapping_add(at).cast::<u16>().read_unaligned()) }
}

/// Reads four bytes.
///
/// # Safety
/// `at + 3` is in `data`.
#[inline(always)]
unsafe fn read_quad(data: &[u8], at: usize) -> u32 {
    // SAFETY: in bounds by the function's contract; the read allows any alignment.
    unsafe { u32::from_le(data.as_ptr().wrapping_add(at).cast::<u32>().read_unaligned()) }
}

/// Splits NV12's U V U V into U U and V V.
#[inline(always)]
fn deinterleave(quad: u32) -> (u16, u16) {
    let u = (quad & 0xff) | ((quad >> 8) & 0xff00);
    let v = ((quad >> 8) & 0xff) | ((quad >> 16) & 0xff00);
    (u as u16, v as u16)
}

/// Samples a point at or beyond the border: luma outside is black, and chroma is scaled by the share inside.
fn sample_border_yuv(y: &Plane, u: &Plane, v: &Plane, step: usize, black: f32, px: i32, py: i32) -> [f32; 3] {
    let (mut luma, mut share) = (0.0, 0.0);
    for (x, row, weight) in corners(px, py) {
        if x >= 0 && row >= 0 && (x as usize) < y.columns && (row as usize) < y.rows {
            luma += weight * f32::from(y.data[row as usize * y.stride + x as usize]);
            share += weight;
        }
    }
    if share == 0.0 {
        return [black, 128.0, 128.0];
    }
    let (mut cb, mut cr) = (0.0, 0.0);
    for (x, row, weight) in corners(px >> 1, chroma_y(py)) {
        let x = (x.max(0) as usize).min(u.columns - 1);
        let row = (row.max(0) as usize).min(u.rows - 1);
        cb += weight * f32::from(u.data[row * u.stride + x * step]);
        cr += weight * f32::from(v.data[row * v.stride + x * step]);
    }
    [luma + (1.0 - share) * black, 128.0 + share * (cb - 128.0), 128.0 + share * (cr - 128.0)]
}

/// Samples a point of a packed frame; outside is black.
#[inline(always)]
fn sample_packed(plane: &Plane, order: &[usize; 3], px: i32, py: i32) -> [f32; 3] {
    let mut pixel = [0.0; 3];
    for (x, row, weight) in corners(px, py) {
        if x >= 0 && row >= 0 && (x as usize) < plane.columns && (row as usize) < plane.rows {
            let at = row as usize * plane.stride + 3 * x as usize;
            let source = &plane.data[at..at + 3];
            for (value, offset) in pixel.iter_mut().zip(order) {
                *value += weight * f32::from(source[*offset]);
            }
        }
    }
    pixel
}

/// Returns the four pixels around a point, as column, row and weight.
#[inline(always)]
fn corners(px: i32, py: i32) -> [(i32, i32, f32); 4] {
    let (x, y, fx, fy) = (px >> 16, py >> 16, fraction(px), fraction(py));
    [(x, y, (1.0 - fx) * (1.0 - fy)), (x + 1, y, fx * (1.0 - fy)), (x, y + 1, (1.0 - fx) * fy), (x + 1, y + 1, fx * fy)]
}

//! Sampling of a frame region into an input tensor, directly from the decoded planes in one pass: crop, rotation, scaling,
//! color conversion and normalization, without an intermediate RGB picture.
//!
//! Positions are continuous: a frame spans `[0, width] x [0, height]`, and the center of its first pixel is (0.5, 0.5). Output
//! pixel (row i, column j) of n x m samples the region at u = (j + 0.5) / m - 0.5, v = (i + 0.5) / n - 0.5, which is the point
//! `center + R(rotation) (width u, height v)` of the frame. The area outside the frame is black (RGB 0); a pixel that is half
//! outside is blended with black.
//!
//! Chroma of I420 and NV12 is interpolated like luma. Its samples are assumed to be sited as H.264 does by default (ITU-T H.264
//! Annex E, chroma_sample_loc_type 0): on every second luma column, between two luma rows.

mod area;
mod taps;

use sideline_api::{Encoding, Error, Frame, Matrix, Result};

use taps::Line;

/// A rectangle of a frame, px, which may be rotated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Center, from the left edge of the frame.
    pub x: f32,
    /// Center, from the top edge of the frame.
    pub y: f32,
    /// Width before the rotation.
    pub width: f32,
    /// Height before the rotation.
    pub height: f32,
    /// Rotation in radians; positive rotates x towards y: clockwise on the screen.
    pub rotation: f32,
}

impl Region {
    /// Creates a square region.
    pub fn square(x: f32, y: f32, size: f32, rotation: f32) -> Self {
        Self { x, y, width: size, height: size, rotation }
    }

    /// Returns the smallest upright square around the whole frame, centered on it: a letterbox.
    pub fn letterbox(frame: &Frame) -> Self {
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        Self::square(width / 2.0, height / 2.0, width.max(height), 0.0)
    }

    /// Maps (u, v) of the region, each -0.5 to 0.5, to a point of the frame.
    pub fn to_frame(&self, u: f32, v: f32) -> (f32, f32) {
        let (sin, cos) = self.rotation.sin_cos();
        let (along, across) = (self.width * u, self.height * v);
        (self.x + cos * along - sin * across, self.y + sin * along + cos * across)
    }
}

/// Order of the values in a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Interleaved: R G B R G B ... for each pixel.
    Nhwc,
    /// Planar: all R, all G, all B.
    Nchw,
}

/// Resampling filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Bilinear interpolation at the center of the output pixel. For models that were trained on such crops; it aliases if the
    /// region is scaled to less than half its size.
    Bilinear,
    /// Mean over the area of the output pixel, with source pixels weighted by their coverage. In a rotated region, the mean
    /// of as many points as pixels are covered (at most [`MAX_TAPS`] squared). The same as `Bilinear` without downscaling.
    Area,
}

/// Maximum number of points per axis that [`Filter::Area`] averages in a rotated region.
pub const MAX_TAPS: usize = 8;

/// Input tensor of a model: size, layout, filter and normalization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorSpec {
    /// Width, columns.
    pub width: usize,
    /// Height, rows.
    pub height: usize,
    /// Order of the values.
    pub layout: Layout,
    /// Resampling filter.
    pub filter: Filter,
    /// Factor of each channel: a value is `scale * c + offset`, with c from 0 to 255.
    pub scale: [f32; 3],
    /// Offset of each channel.
    pub offset: [f32; 3],
}

impl TensorSpec {
    /// Returns a square RGB tensor, interleaved, bilinear, with values from `low` (black) to `high` (white).
    pub fn square(size: usize, low: f32, high: f32) -> Self {
        Self {
            width: size,
            height: size,
            layout: Layout::Nhwc,
            filter: Filter::Bilinear,
            scale: [(high - low) / 255.0; 3],
            offset: [low; 3],
        }
    }
}

/// Sampler of regions into one kind of tensor. It keeps its buffers: nothing is allocated per frame.
pub struct Sampler {
    spec: TensorSpec,
    rows: Rows,
    sums: [Vec<f32>; 3],
    taps: taps::Scratch,
    area: area::Scratch,
}

/// Three rows of values: Y, U, V, then R, G, B in 0..255 after the color conversion.
type Rows = [Vec<f32>; 3];

/// Largest coordinate, px: positions are 16.16 fixed point.
const MAX_COORDINATE: f32 = 32_000.0;
/// One in 16.16 fixed point.
const ONE: f64 = 65_536.0;

impl Sampler {
    /// Creates a sampler.
    pub fn new(spec: TensorSpec) -> Self {
        Self {
            spec,
            rows: Default::default(),
            sums: Default::default(),
            taps: taps::Scratch::default(),
            area: area::Scratch::default(),
        }
    }

    /// Returns the number of values of a tensor: columns x rows x 3.
    pub fn len(&self) -> usize {
        self.spec.width * self.spec.height * 3
    }

    /// True for a tensor without values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Samples a region into a tensor.
    ///
    /// # Errors
    /// If the tensor does not have [`Self::len`] values, the frame is JPEG, or the region is not finite or extends beyond
    /// 32,000 px.
    pub fn sample(&mut self, frame: &Frame, region: &Region, into: &mut [f32]) -> Result<()> {
        if into.len() != self.len() {
            return Err(Error::other(format!("the tensor has {} values, expected {}", into.len(), self.len())));
        }
        let reach = region.width.abs() + region.height.abs();
        let in_range = |at: f32| at.abs() + reach < MAX_COORDINATE;
        let Region { width, height, rotation, .. } = *region;
        // This form of the condition also rejects NaN.
        if !(in_range(region.x) && in_range(region.y) && width > 0.0 && height > 0.0 && rotation.is_finite()) {
            return Err(Error::other(format!("a region cannot be sampled: {region:?}")));
        }
        if frame.width() as f32 >= MAX_COORDINATE || frame.height() as f32 >= MAX_COORDINATE {
            return Err(Error::input(format!("a frame of {}x{} is too large", frame.width(), frame.height())));
        }
        let planes = Planes::from_frame(frame)?;
        let shrink = (width / self.spec.width as f32).max(height / self.spec.height as f32);
        match self.spec.filter {
            Filter::Area if shrink > 1.0 && rotation == 0.0 => self.sample_area(&planes, region, into),
            Filter::Area => self.sample_taps(&planes, region, (shrink.ceil() as usize).clamp(1, MAX_TAPS), into),
            Filter::Bilinear => self.sample_taps(&planes, region, 1, into),
        }
        Ok(())
    }

    /// Averages `taps` x `taps` bilinear points per output pixel.
    fn sample_taps(&mut self, planes: &Planes, region: &Region, taps: usize, into: &mut [f32]) {
        let (columns, lines) = (self.spec.width * taps, self.spec.height * taps);
        let (sin, cos) = f64::from(region.rotation).sin_cos();
        let (width, height) = (f64::from(region.width), f64::from(region.height));
        let fixed = |pixels: f64| (pixels * ONE).round() as i32;
        let u = 0.5 / columns as f64 - 0.5;
        self.rows.iter_mut().for_each(|row| row.resize(columns, 0.0));
        for i in 0..self.spec.height {
            for tap in 0..taps {
                let v = ((i * taps + tap) as f64 + 0.5) / lines as f64 - 0.5;
                let line = Line {
                    x: fixed(f64::from(region.x) + cos * width * u - sin * height * v - 0.5),
                    y: fixed(f64::from(region.y) + sin * width * u + cos * height * v - 0.5),
                    dx: fixed(cos * width / columns as f64),
                    dy: fixed(sin * width / columns as f64),
                };
                taps::sample_row(planes, line, &mut self.taps, &mut self.rows);
                if taps > 1 {
                    sum_groups(&self.rows, &mut self.sums, taps, tap == 0);
                }
            }
            if taps > 1 {
                let factor = 1.0 / (taps * taps) as f32;
                write_row(&self.sums, &self.spec, i, factor, into);
            } else {
                write_row(&self.rows, &self.spec, i, 1.0, into);
            }
        }
    }

    /// Averages the area of each output pixel; the region is not rotated.
    fn sample_area(&mut self, planes: &Planes, region: &Region, into: &mut [f32]) {
        let columns = self.spec.width;
        self.rows.iter_mut().for_each(|row| row.resize(columns, 0.0));
        area::prepare(planes, region, columns, &mut self.area);
        let step = f64::from(region.height) / self.spec.height as f64;
        let top = f64::from(region.y) - f64::from(region.height) / 2.0;
        for i in 0..self.spec.height {
            let from = top + i as f64 * step;
            area::sample_row(planes, from, from + step, &mut self.area, &mut self.rows);
            write_row(&self.rows, &self.spec, i, 1.0, into);
        }
    }
}

/// Sums groups of `taps` neighbors of a row; `first` resets the sums.
fn sum_groups(rows: &Rows, sums: &mut Rows, taps: usize, first: bool) {
    for (row, sum) in rows.iter().zip(sums) {
        sum.resize(row.len() / taps, 0.0);
        for (sum, group) in sum.iter_mut().zip(row.chunks_exact(taps)) {
            let group: f32 = group.iter().sum();
            *sum = if first { group } else { *sum + group };
        }
    }
}

/// Writes row `i` of the tensor, normalized, in its layout. `factor` scales the values.
fn write_row(rows: &Rows, spec: &TensorSpec, i: usize, factor: f32, into: &mut [f32]) {
    let columns = spec.width;
    let [r, g, b] = [&rows[0][..columns], &rows[1][..columns], &rows[2][..columns]];
    let scale = spec.scale.map(|scale| scale * factor);
    let offset = spec.offset;
    match spec.layout {
        Layout::Nhwc => {
            let row = &mut into[i * columns * 3..(i + 1) * columns * 3];
            for (j, pixel) in row.chunks_exact_mut(3).enumerate() {
                pixel[0] = r[j] * scale[0] + offset[0];
                pixel[1] = g[j] * scale[1] + offset[1];
                pixel[2] = b[j] * scale[2] + offset[2];
            }
        }
        Layout::Nchw => {
            for (c, values) in [r, g, b].into_iter().enumerate() {
                let at = (c * spec.height + i) * columns;
                for (into, value) in into[at..at + columns].iter_mut().zip(values) {
                    *into = value * scale[c] + offset[c];
                }
            }
        }
    }
}

/// Planes of a frame.
enum Planes<'a> {
    /// I420 (`step` 1), or NV12 (`step` 2: `u` and `v` are the same bytes, offset by one).
    Yuv { y: Plane<'a>, u: Plane<'a>, v: Plane<'a>, step: usize, color: Conversion },
    /// RGB8 or BGR8: `order` holds the positions of R, G and B in a pixel.
    Packed { plane: Plane<'a>, order: [usize; 3] },
}

/// A plane: `rows` rows of `columns` samples.
#[derive(Clone, Copy)]
struct Plane<'a> {
    data: &'a [u8],
    stride: usize,
    columns: usize,
    rows: usize,
}

impl<'a> Plane<'a> {
    /// Returns plane `i` of a frame without its first `skip` bytes: rows of `columns` samples, `step` bytes apart; `after` bytes
    /// follow the last sample of the last row.
    fn new(
        frame: &'a Frame,
        i: usize,
        skip: usize,
        (columns, rows): (usize, usize),
        (step, after): (usize, usize),
    ) -> Result<Self> {
        let (data, stride) = frame.plane(i);
        // `Frame` has checked this; the sampler's unchecked reads must not depend on another crate.
        if data.len() < skip + stride * (rows - 1) + step * (columns - 1) + 1 + after {
            return Err(Error::input(format!(
                "plane {i} of a {}x{} frame is too short",
                frame.width(),
                frame.height()
            )));
        }
        Ok(Self { data: &data[skip..], stride, columns, rows })
    }
}

impl<'a> Planes<'a> {
    fn from_frame(frame: &'a Frame) -> Result<Self> {
        let size = (frame.width() as usize, frame.height() as usize);
        if size.0 == 0 || size.1 == 0 {
            return Err(Error::input("a frame without pixels cannot be sampled"));
        }
        let half = (size.0.div_ceil(2), size.1.div_ceil(2));
        let color = Conversion::new(frame.color().matrix, frame.color().full_range);
        let packed = |order| Ok(Planes::Packed { plane: Plane::new(frame, 0, 0, size, (3, 2))?, order });
        match frame.encoding() {
            Encoding::I420 => Ok(Planes::Yuv {
                y: Plane::new(frame, 0, 0, size, (1, 0))?,
                u: Plane::new(frame, 1, 0, half, (1, 0))?,
                v: Plane::new(frame, 2, 0, half, (1, 0))?,
                step: 1,
                color,
            }),
            Encoding::Nv12 => Ok(Planes::Yuv {
                y: Plane::new(frame, 0, 0, size, (1, 0))?,
                u: Plane::new(frame, 1, 0, half, (2, 1))?,
                v: Plane::new(frame, 1, 1, half, (2, 0))?,
                step: 2,
                color,
            }),
            Encoding::Rgb8 => packed([0, 1, 2]),
            Encoding::Bgr8 => packed([2, 1, 0]),
            Encoding::Jpeg => Err(Error::input("JPEG frames must be decoded before they are sampled for a model")),
        }
    }
}

/// Conversion from Y'CbCr to R'G'B', 0..255 (ITU-R BT.601-7 section 2.5, BT.709-6 section 3).
#[derive(Clone, Copy)]
struct Conversion {
    /// Y' of black.
    black: f32,
    luma: f32,
    r_v: f32,
    g_u: f32,
    g_v: f32,
    b_u: f32,
}

impl Conversion {
    fn new(matrix: Matrix, full_range: bool) -> Self {
        let (kr, kb) = match matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
        };
        let (black, luma, chroma) = if full_range { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
        let (r_v, b_u) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
        let kg = 1.0 - kr - kb;
        Self { black, luma, r_v, g_u: kb * b_u / kg, g_v: kr * r_v / kg, b_u }
    }

    /// Converts a row in place. Chroma is centered on 128.
    #[inline(always)]
    fn apply(&self, rows: &mut Rows) {
        let n = rows[0].len();
        let [a, b, c] = rows;
        let (a, b, c) = (&mut a[..n], &mut b[..n], &mut c[..n]);
        for j in 0..n {
            let luma = self.luma * (a[j] - self.black);
            let (u, v) = (b[j] - 128.0, c[j] - 128.0);
            a[j] = (luma + self.r_v * v).clamp(0.0, 255.0);
            b[j] = (luma - self.g_u * u - self.g_v * v).clamp(0.0, 255.0);
            c[j] = (luma + self.b_u * u).clamp(0.0, 255.0);
        }
    }
}

#[cfg(test)]
mod tests;

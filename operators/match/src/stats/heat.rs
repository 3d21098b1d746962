//! Heat map of a team: a grid of seconds per cell, written as an image.

use std::{io::Write, path::Path};

use flate2::{Compression, write::ZlibEncoder};
use serde::{Deserialize, Serialize};
use sideline_api::{Failure, OrFail, Result};

use crate::calibration::PitchDimensions;

/// Number of cells along the pitch: with [`ROWS`] enough for one-meter cells of any pitch with its surroundings.
const COLUMNS: usize = 256;
/// Number of cells across the pitch.
const ROWS: usize = 144;
/// Initial size of a cell with places in meters, m.
const CELL_M: f32 = 1.0;
/// Initial size of a cell with places in pixels, px.
const CELL_PX: f32 = 16.0;
/// Standard deviation of the Gaussian blur, cells.
const BLUR_STD_CELLS: f32 = 2.0;
/// Length of the longer side of the image, px.
const IMAGE_SIDE_PX: f32 = 1050.0;

/// Time spent in each cell, s. The grid grows with the places: for a place outside, the cell size doubles.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HeatMap {
    cell: f32,
    seconds: Vec<f32>,
}

impl HeatMap {
    /// Adds time at a place, s; places with a negative coordinate lie outside any frame and pitch and are ignored.
    pub fn add(&mut self, [x, y]: [f32; 2], seconds: f32, is_metric: bool) {
        if self.seconds.is_empty() {
            self.seconds = vec![0.0; COLUMNS * ROWS];
            self.cell = if is_metric { CELL_M } else { CELL_PX };
        }
        // Positive comparisons also reject NaN. An outlier at a great distance would merge all other places into one
        // cell.
        if !(x >= 0.0 && y >= 0.0 && x < 100_000.0 && y < 100_000.0) {
            return;
        }
        while (x / self.cell) as usize >= COLUMNS || (y / self.cell) as usize >= ROWS {
            self.grow();
        }
        self.seconds[(y / self.cell) as usize * COLUMNS + (x / self.cell) as usize] += seconds;
    }

    fn grow(&mut self) {
        let old = std::mem::replace(&mut self.seconds, vec![0.0; COLUMNS * ROWS]);
        self.cell *= 2.0;
        for (i, seconds) in old.into_iter().enumerate() {
            self.seconds[i / COLUMNS / 2 * COLUMNS + i % COLUMNS / 2] += seconds;
        }
    }

    /// Returns true where no time was added.
    pub fn is_empty(&self) -> bool {
        self.seconds.iter().all(|seconds| *seconds == 0.0)
    }

    /// Writes the image as a PNG file, from dark for no time to red for most time; with the lines of the pitch where it
    /// is known, else cropped to the places.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path, pitch: Option<PitchDimensions>) -> Result<()> {
        let (width, height) = match pitch {
            Some(pitch) => (pitch.length, pitch.width),
            None => self.extent(),
        };
        let zoom = IMAGE_SIDE_PX / width.max(height).max(1.0);
        let (w, h) = ((width * zoom).round().max(1.0) as usize, (height * zoom).round().max(1.0) as usize);
        let smooth = self.blurred();
        let max = smooth.iter().copied().fold(0.0, f32::max).max(f32::MIN_POSITIVE);
        let mut pixels = Vec::with_capacity(3 * w * h);
        for row in 0..h {
            for column in 0..w {
                let (x, y) = ((column as f32 + 0.5) / zoom, (row as f32 + 0.5) / zoom);
                let heat = interpolate(&smooth, x / self.cell - 0.5, y / self.cell - 0.5) / max;
                let line = pitch.is_some_and(|pitch| is_on_line(x, y, pitch, 1.2 / zoom));
                pixels.extend(if line { [235; 3] } else { heat_color(heat.sqrt()) });
            }
        }
        let png = encode_png(w as u32, h as u32, &pixels);
        std::fs::write(path, png).or_fail(Failure::Output, || path.display().to_string())
    }

    /// Returns width and height of the area with places, with a margin of one cell.
    fn extent(&self) -> (f32, f32) {
        let used = |i: &usize| self.seconds[*i] > 0.0;
        let (right, bottom) = (0..self.seconds.len())
            .filter(used)
            .fold((0, 0), |(right, bottom), i| (right.max(i % COLUMNS), bottom.max(i / COLUMNS)));
        ((right + 2) as f32 * self.cell, (bottom + 2) as f32 * self.cell)
    }

    /// Returns the grid after a separable Gaussian blur.
    fn blurred(&self) -> Vec<f32> {
        let radius = (3.0 * BLUR_STD_CELLS) as isize;
        let weights: Vec<f32> =
            (-radius..=radius).map(|i| (-(i as f32 / BLUR_STD_CELLS).powi(2) / 2.0).exp()).collect();
        let sum: f32 = weights.iter().sum();
        let pass = |from: &[f32], along: bool| -> Vec<f32> {
            let mut into = vec![0.0; from.len()];
            for (i, value) in from.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                let (x, y) = ((i % COLUMNS) as isize, (i / COLUMNS) as isize);
                for (k, weight) in (-radius..=radius).zip(&weights) {
                    let (x, y) = if along { (x + k, y) } else { (x, y + k) };
                    if (0..COLUMNS as isize).contains(&x) && (0..ROWS as isize).contains(&y) {
                        into[y as usize * COLUMNS + x as usize] += value * weight / sum;
                    }
                }
            }
            into
        };
        pass(&pass(&self.seconds, true), false)
    }
}

/// Interpolates the grid bilinearly.
fn interpolate(grid: &[f32], x: f32, y: f32) -> f32 {
    let (x, y) = (x.clamp(0.0, COLUMNS as f32 - 1.0), y.clamp(0.0, ROWS as f32 - 1.0));
    let (c, r) = (x as usize, y as usize);
    let (c2, r2) = ((c + 1).min(COLUMNS - 1), (r + 1).min(ROWS - 1));
    let (fx, fy) = (x.fract(), y.fract());
    let cell = |c: usize, r: usize| grid[r * COLUMNS + c];
    (cell(c, r) * (1.0 - fx) + cell(c2, r) * fx) * (1.0 - fy) + (cell(c, r2) * (1.0 - fx) + cell(c2, r2) * fx) * fy
}

/// Maps 0 to 1 to a color from dark green through yellow to red.
fn heat_color(heat: f32) -> [u8; 3] {
    const STOPS: [[f32; 3]; 5] =
        [[14.0, 44.0, 28.0], [28.0, 110.0, 60.0], [190.0, 200.0, 60.0], [245.0, 140.0, 40.0], [215.0, 35.0, 35.0]];
    let along = heat.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let i = (along as usize).min(STOPS.len() - 2);
    std::array::from_fn(|c| (STOPS[i][c] + (STOPS[i + 1][c] - STOPS[i][c]) * (along - i as f32)) as u8)
}

/// Returns true on the lines of the pitch (Laws of the Game, law 1), `half_width` meters to each side.
fn is_on_line(x: f32, y: f32, pitch: PitchDimensions, half_width: f32) -> bool {
    let (length, middle) = (pitch.length, pitch.width / 2.0);
    let near = |value: f32, line: f32| (value - line).abs() <= half_width;
    let from_end = x.min(length - x);
    let circle = near((x - length / 2.0).hypot(y - middle), 9.15);
    let edge =
        near(x, half_width) || near(x, length - half_width) || near(y, half_width) || near(y, pitch.width - half_width);
    let area = |depth: f32, half_span: f32| {
        let across = (y - middle).abs();
        (near(from_end, depth) && across <= half_span) || (near(across, half_span) && from_end <= depth)
    };
    edge || near(x, length / 2.0) || circle || area(16.5, 20.16) || area(5.5, 9.16)
}

/// Encodes an RGB image as a PNG file (W3C, "Portable Network Graphics", third edition).
fn encode_png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        file.extend((data.len() as u32).to_be_bytes());
        let begin = file.len();
        file.extend(kind);
        file.extend(data);
        let sum = crc32fast::hash(&file[begin..]);
        file.extend(sum.to_be_bytes());
    };
    // Eight bits, red, green and blue, not interlaced.
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat());
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks(3 * width as usize) {
        // Filter 1: each pixel but the first is stored as the difference from the one before it.
        let mut line = vec![1];
        line.extend(row.iter().enumerate().map(|(i, byte)| byte.wrapping_sub(if i < 3 { 0 } else { row[i - 3] })));
        // Writing to memory does not fail.
        let _ = rows.write_all(&line);
    }
    chunk(b"IDAT", &rows.finish().unwrap_or_default());
    chunk(b"IEND", &[]);
    file
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Reads width, height and pixels of a file written by [`encode_png`].
    fn read_png(path: &Path) -> (u32, u32, Vec<u8>) {
        let file = std::fs::read(path).unwrap();
        let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        let (width, height, length) = (number(16), number(20), number(33) as usize);
        assert_eq!(&file[37..41], b"IDAT");
        let mut rows = vec![];
        flate2::read::ZlibDecoder::new(&file[41..41 + length]).read_to_end(&mut rows).unwrap();
        let pixels = rows.chunks(1 + 3 * width as usize).flat_map(|row| {
            let mut line = row[1..].to_vec();
            (3..line.len()).for_each(|i| line[i] = line[i].wrapping_add(line[i - 3]));
            line
        });
        (width, height, pixels.collect())
    }

    #[test]
    fn cells_grow_with_the_places_and_keep_the_total_time() {
        let mut heat = HeatMap::default();
        heat.add([100.0, 50.0], 1.0, false);
        heat.add([9000.0, 400.0], 2.0, false);
        heat.add([f32::NAN, 1.0], 5.0, false);
        heat.add([-3.0, 1.0], 5.0, false);
        assert_eq!(heat.seconds.iter().sum::<f32>(), 3.0);
        assert_eq!(heat.cell, 64.0);
        let (width, height) = heat.extent();
        assert!((9000.0..9200.0).contains(&width) && (400.0..600.0).contains(&height), "{width} {height}");
    }

    #[test]
    fn the_image_is_brightest_at_the_visited_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heat.png");
        let mut heat = HeatMap::default();
        heat.add([80.0, 20.0], 10.0, true);
        heat.write(&path, Some(PitchDimensions { length: 105.0, width: 68.0 })).unwrap();
        let (width, height, pixels) = read_png(&path);
        assert_eq!((width, height), (1050, 680));
        let red = |x: usize, y: usize| pixels[3 * (y * 1050 + x)];
        assert!(red(805, 205) > 200 && red(305, 505) < 40, "{} {}", red(805, 205), red(305, 505));
        let unwritable = heat.write(Path::new("/no/such/folder/heat.png"), None).unwrap_err();
        assert_eq!(unwritable.failure, Failure::Output);
    }
}

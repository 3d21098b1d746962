//! Frame on which models are measured.

use sideline_api::{Color, Encoding, Frame, Matrix, Result};

/// Creates a frame (I420, BT.709, video range) of gradients with noise: models take as long for it as for frames with people.
///
/// # Errors
/// If a side is odd.
pub fn test_frame(width: usize, height: usize) -> Result<Frame> {
    let slope = |at: usize| (at % 400).abs_diff(200) / 2;
    let value = |i: usize| (40 + slope(i % width) + slope(i / width) / 2 + (i * i) % 11) as u8;
    let bytes: Vec<u8> = (0..width * height * 3 / 2).map(value).collect();
    let color = Color { matrix: Matrix::Bt709, full_range: false };
    Frame::from_packed(width as u32, height as u32, Encoding::I420, color, bytes)
}

//! Decoded video frames: planes in Arrow buffers that wrap the decoder's memory without a copy.

use arrow_buffer::Buffer;

use crate::{Error, Result};

/// Pixel format. The names are those of dora's camera nodes (metadata key `encoding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Planar Y, U, V; chroma halved in both directions.
    I420,
    /// Planar Y, interleaved UV; chroma halved in both directions.
    Nv12,
    /// Packed 8-bit R, G, B.
    Rgb8,
    /// Packed 8-bit B, G, R.
    Bgr8,
    /// One JPEG image.
    Jpeg,
}

impl Encoding {
    /// All encodings.
    pub const ALL: [Encoding; 5] = [Encoding::I420, Encoding::Nv12, Encoding::Rgb8, Encoding::Bgr8, Encoding::Jpeg];

    /// Returns the value of the metadata key `encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::I420 => "i420",
            Encoding::Nv12 => "nv12",
            Encoding::Rgb8 => "rgb8",
            Encoding::Bgr8 => "bgr8",
            Encoding::Jpeg => "jpeg",
        }
    }

    /// Returns the encoding of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|e| e.name() == name)
            .ok_or_else(|| Error::input(format!("frame encoding `{name}` is not one of i420, nv12, rgb8, bgr8, jpeg")))
    }

    /// Returns the bytes per row and the number of rows of each plane of a `width` x `height` frame; empty for JPEG.
    pub fn planes(self, width: usize, height: usize) -> Vec<(usize, usize)> {
        (0..self.plane_count()).map(|plane| self.plane_size(plane, width, height)).collect()
    }

    /// Returns the number of planes; 0 for JPEG.
    pub fn plane_count(self) -> usize {
        match self {
            Encoding::I420 => 3,
            Encoding::Nv12 => 2,
            Encoding::Rgb8 | Encoding::Bgr8 => 1,
            Encoding::Jpeg => 0,
        }
    }

    /// Returns the bytes per row and the number of rows of a plane that the encoding has.
    fn plane_size(self, plane: usize, width: usize, height: usize) -> (usize, usize) {
        let (cw, ch) = (width.div_ceil(2), height.div_ceil(2));
        match (self, plane) {
            (Encoding::I420 | Encoding::Nv12, 0) => (width, height),
            (Encoding::I420, _) => (cw, ch),
            (Encoding::Nv12, _) => (2 * cw, ch),
            (Encoding::Rgb8 | Encoding::Bgr8, _) => (3 * width, height),
            (Encoding::Jpeg, _) => (0, 0),
        }
    }
}

/// Matrix coefficients of the conversion between Y'CbCr and R'G'B'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matrix {
    /// ITU-R BT.601 (standard definition).
    Bt601,
    /// ITU-R BT.709 (high definition).
    Bt709,
}

/// Color description of Y'CbCr values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Color {
    /// Matrix coefficients.
    pub matrix: Matrix,
    /// True for 0..255 (JPEG), false for 16..235 (video).
    pub full_range: bool,
}

impl Color {
    /// Returns the color description of a video that declares none: BT.709 from 720 lines up, else BT.601; video range.
    pub fn default_for_height(height: u32) -> Self {
        Color { matrix: if height >= 720 { Matrix::Bt709 } else { Matrix::Bt601 }, full_range: false }
    }
}

/// Plane of a frame: rows of bytes, `stride` apart.
#[derive(Clone, Debug)]
pub struct Plane {
    /// Bytes of all rows, including padding.
    pub data: Buffer,
    /// Distance between rows in bytes.
    pub stride: usize,
}

/// Video frame. Immutable once sent; [`Frame::into_packed_mut`] returns bytes that can be drawn on.
#[derive(Clone, Debug)]
pub struct Frame {
    width: u32,
    height: u32,
    encoding: Encoding,
    color: Color,
    storage: Storage,
}

#[derive(Clone, Debug)]
enum Storage {
    /// The decoder's planes, with rows padded to a stride.
    Planes(Vec<Plane>),
    /// One buffer without padding, plane after plane.
    Packed(Buffer),
}

impl Frame {
    /// Maximum width and height, px. No supported codec exceeds it.
    pub const MAX_SIDE: u32 = 65_535;

    /// Creates a frame from planes, without copying them.
    ///
    /// # Errors
    /// When the width or height is 0 or above [`Self::MAX_SIDE`], or when the number or size of the planes does not fit it.
    pub fn from_planes(width: u32, height: u32, encoding: Encoding, color: Color, planes: Vec<Plane>) -> Result<Self> {
        check_sides(width, height)?;
        let count = encoding.plane_count();
        if count == 0 {
            return Err(Error::input(format!("a {} frame has no planes: it is one buffer", encoding.name())));
        }
        if count != planes.len() {
            return Err(Error::input(format!("a {} frame has {count} planes, not {}", encoding.name(), planes.len())));
        }
        for (i, plane) in planes.iter().enumerate() {
            let (row, rows) = encoding.plane_size(i, width as usize, height as usize);
            let need = (rows - 1).saturating_mul(plane.stride).saturating_add(row);
            if plane.stride < row || plane.data.len() < need {
                return Err(Error::input(format!(
                    "plane {i} of a {width}x{height} {} frame holds {} bytes at stride {}, needs {need}",
                    encoding.name(),
                    plane.data.len(),
                    plane.stride
                )));
            }
        }
        Ok(Self { width, height, encoding, color, storage: Storage::Planes(planes) })
    }

    /// Creates a frame from packed bytes (no padding, plane after plane), the form in which it is sent between processes.
    ///
    /// # Errors
    /// When the width or height is 0 or above [`Self::MAX_SIDE`], or when `data` is too short.
    pub fn from_packed(
        width: u32,
        height: u32,
        encoding: Encoding,
        color: Color,
        data: impl Into<Buffer>,
    ) -> Result<Self> {
        check_sides(width, height)?;
        let data = data.into();
        let need: usize = encoding.planes(width as usize, height as usize).iter().map(|(row, rows)| row * rows).sum();
        if data.len() < need {
            return Err(Error::input(format!(
                "a packed {width}x{height} {} frame needs {need} bytes, has {}",
                encoding.name(),
                data.len()
            )));
        }
        Ok(Self { width, height, encoding, color, storage: Storage::Packed(data) })
    }

    /// Returns the width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns the pixel format.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the color description.
    pub fn color(&self) -> Color {
        self.color
    }

    /// Returns the bytes of plane `i` and its stride. Plane 0 of a JPEG frame is the whole image file.
    ///
    /// # Panics
    /// When the encoding has no plane `i`.
    pub fn plane(&self, i: usize) -> (&[u8], usize) {
        match &self.storage {
            Storage::Planes(planes) => (&planes[i].data, planes[i].stride),
            Storage::Packed(data) if self.encoding == Encoding::Jpeg => (data, data.len()),
            Storage::Packed(data) => {
                let size = |plane| self.encoding.plane_size(plane, self.width as usize, self.height as usize);
                assert!(i < self.encoding.plane_count(), "a {} frame has no plane {i}", self.encoding.name());
                let offset: usize = (0..i).map(size).map(|(row, rows)| row * rows).sum();
                let (row, rows) = size(i);
                (&data[offset..offset + row * rows], row)
            }
        }
    }

    /// Returns the rows of plane `i` without their padding. Plane 0 of a JPEG frame has one row, the whole image file.
    ///
    /// # Panics
    /// When the encoding has no plane `i`.
    pub fn rows(&self, i: usize) -> impl Iterator<Item = &[u8]> {
        let (data, stride) = self.plane(i);
        let (row, rows) = match self.encoding {
            Encoding::Jpeg => (data.len(), 1),
            encoding => encoding.plane_size(i, self.width as usize, self.height as usize),
        };
        data.chunks(stride.max(1)).take(rows).map(move |padded| &padded[..row])
    }

    /// Returns the packed bytes if the frame is stored in packed form.
    pub fn packed(&self) -> Option<&Buffer> {
        match &self.storage {
            Storage::Packed(data) => Some(data),
            Storage::Planes(_) => None,
        }
    }

    /// Returns the number of bytes of the packed form.
    pub fn packed_len(&self) -> usize {
        match (&self.storage, self.encoding) {
            (Storage::Packed(data), Encoding::Jpeg) => data.len(),
            (_, e) => e.planes(self.width as usize, self.height as usize).iter().map(|(row, rows)| row * rows).sum(),
        }
    }

    /// Writes the packed form in one pass over the data.
    ///
    /// # Panics
    /// When `into` is not [`Self::packed_len`] bytes long.
    pub fn pack_into(&self, into: &mut [u8]) {
        match &self.storage {
            Storage::Packed(data) => into.copy_from_slice(&data[..self.packed_len()]),
            Storage::Planes(planes) => {
                let mut rest = into;
                for ((row, rows), plane) in
                    self.encoding.planes(self.width as usize, self.height as usize).into_iter().zip(planes)
                {
                    let (this, next) = rest.split_at_mut(row * rows);
                    for (to, from) in this.chunks_exact_mut(row).zip(plane.data.chunks(plane.stride)) {
                        to.copy_from_slice(&from[..row]);
                    }
                    rest = next;
                }
            }
        }
    }

    /// Returns packed bytes that can be drawn on: the frame's own buffer if this is the sole owner of a packed frame, else
    /// a copy.
    ///
    /// A decoder's frame is always copied, because the decoder still predicts other frames from it.
    pub fn into_packed_mut(self) -> Vec<u8> {
        match self.storage {
            Storage::Packed(data) => data.into_vec().unwrap_or_else(|shared| shared.to_vec()),
            Storage::Planes(_) => {
                let mut bytes = vec![0; self.packed_len()];
                self.pack_into(&mut bytes);
                bytes
            }
        }
    }
}

/// Refuses a frame without pixels, and one whose size in bytes could overflow.
fn check_sides(width: u32, height: u32) -> Result<()> {
    let max = Frame::MAX_SIDE;
    if (1..=max).contains(&width) && (1..=max).contains(&height) {
        return Ok(());
    }
    Err(Error::input(format!("a frame of {width}x{height} pixels: width and height must be from 1 to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded() -> Frame {
        let plane = |row: usize, rows: usize, stride: usize, base: u8| {
            let mut data = vec![255; stride * rows];
            for y in 0..rows {
                for x in 0..row {
                    data[y * stride + x] = base + (y * row + x) as u8;
                }
            }
            Plane { data: data.into(), stride }
        };
        // Odd size: the chroma planes are 2x2.
        Frame::from_planes(
            3,
            3,
            Encoding::I420,
            Color::default_for_height(3),
            vec![plane(3, 3, 8, 0), plane(2, 2, 4, 50), plane(2, 2, 4, 60)],
        )
        .unwrap()
    }

    #[test]
    fn packing_removes_the_padding_and_keeps_every_pixel() {
        let frame = padded();
        let bytes = frame.clone().into_packed_mut();
        assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 50, 51, 52, 53, 60, 61, 62, 63]);
        let packed = Frame::from_packed(3, 3, Encoding::I420, frame.color(), bytes).unwrap();
        assert_eq!(packed.plane(1), ([50, 51, 52, 53].as_slice(), 2));
        assert_eq!(packed.plane(2).0, [60, 61, 62, 63]);
    }

    #[test]
    fn rows_have_no_padding() {
        let frame = padded();
        assert_eq!(frame.rows(0).collect::<Vec<_>>(), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]);
        assert_eq!(frame.rows(2).collect::<Vec<_>>(), [[60, 61], [62, 63]]);
        let packed = Frame::from_packed(3, 3, Encoding::I420, frame.color(), frame.clone().into_packed_mut()).unwrap();
        assert!((0..3).all(|plane| packed.rows(plane).eq(frame.rows(plane))));
        let image = Frame::from_packed(3, 3, Encoding::Jpeg, frame.color(), vec![1u8, 2, 3, 4]).unwrap();
        assert_eq!(image.rows(0).collect::<Vec<_>>(), [[1, 2, 3, 4]]);
    }

    #[test]
    fn drawing_is_in_place_only_for_the_sole_owner() {
        let bytes = vec![7u8; 12];
        let at = bytes.as_ptr();
        let frame = Frame::from_packed(2, 2, Encoding::Rgb8, Color::default_for_height(2), bytes).unwrap();
        let other = frame.clone();
        let copy = frame.into_packed_mut();
        assert_ne!(copy.as_ptr(), at, "shared: a copy");
        let same = other.into_packed_mut();
        assert_eq!(same.as_ptr(), at, "sole owner: in place");
    }

    #[test]
    fn a_short_plane_is_refused() {
        let short = vec![Plane { data: vec![0u8; 5].into(), stride: 6 }];
        let error = Frame::from_planes(2, 2, Encoding::Rgb8, Color::default_for_height(2), short).unwrap_err();
        assert!(error.message.contains("holds 5 bytes"), "{error}");
        assert!(Frame::from_packed(2, 2, Encoding::Rgb8, Color::default_for_height(2), vec![0u8; 11]).is_err());
    }

    #[test]
    fn a_frame_without_pixels_or_with_too_many_is_refused() {
        let plane = || vec![Plane { data: vec![0u8; 5].into(), stride: 0 }];
        for (width, height) in [(0, 2), (2, 0), (0, 0), (65_536, 1), (u32::MAX, u32::MAX)] {
            let color = Color::default_for_height(height);
            let planes = Frame::from_planes(width, height, Encoding::Rgb8, color, plane()).unwrap_err();
            let packed = Frame::from_packed(width, height, Encoding::Rgb8, color, vec![0u8; 5]).unwrap_err();
            assert_eq!(planes.message, packed.message);
            assert!(packed.message.contains(&format!("{width}x{height}")), "{packed}");
        }
        // A stride with which the size of the plane overflows.
        let long = vec![Plane { data: vec![0u8; 5].into(), stride: usize::MAX }];
        assert!(Frame::from_planes(1, 3, Encoding::Rgb8, Color::default_for_height(3), long).is_err());
        assert!(Frame::from_planes(1, 1, Encoding::Jpeg, Color::default_for_height(1), vec![]).is_err());
    }
}

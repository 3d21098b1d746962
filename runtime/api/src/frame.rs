//! A decoded frame of video: planes in Arrow buffers, wrapped where the decoder left them.

use arrow_buffer::Buffer;

use crate::{Error, Result};

/// How pixels are laid out. Names are those of dora's own camera nodes (metadata key `encoding`).
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
    /// All of them.
    pub const ALL: [Encoding; 5] = [Encoding::I420, Encoding::Nv12, Encoding::Rgb8, Encoding::Bgr8, Encoding::Jpeg];

    /// The value of the metadata key `encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::I420 => "i420",
            Encoding::Nv12 => "nv12",
            Encoding::Rgb8 => "rgb8",
            Encoding::Bgr8 => "bgr8",
            Encoding::Jpeg => "jpeg",
        }
    }

    /// The encoding of that name.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|e| e.name() == name)
            .ok_or_else(|| Error::input(format!("frame encoding `{name}` is not one of i420, nv12, rgb8, bgr8, jpeg")))
    }

    /// Bytes per row and number of rows of each plane of a `width` x `height` picture (none for JPEG).
    pub fn planes(self, width: usize, height: usize) -> Vec<(usize, usize)> {
        let (cw, ch) = (width.div_ceil(2), height.div_ceil(2));
        match self {
            Encoding::I420 => vec![(width, height), (cw, ch), (cw, ch)],
            Encoding::Nv12 => vec![(width, height), (2 * cw, ch)],
            Encoding::Rgb8 | Encoding::Bgr8 => vec![(3 * width, height)],
            Encoding::Jpeg => vec![],
        }
    }
}

/// The matrix between Y'CbCr and R'G'B'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matrix {
    /// ITU-R BT.601 (standard definition).
    Bt601,
    /// ITU-R BT.709 (high definition).
    Bt709,
}

/// How Y'CbCr values are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Color {
    /// The matrix.
    pub matrix: Matrix,
    /// True for 0..255 (JPEG), false for 16..235 (video).
    pub full_range: bool,
}

impl Color {
    /// What a video is taken to be when it does not say: BT.709 from 720 lines on, else BT.601; video range.
    pub fn assumed(height: u32) -> Self {
        Color { matrix: if height >= 720 { Matrix::Bt709 } else { Matrix::Bt601 }, full_range: false }
    }
}

/// One plane: rows of bytes, `stride` apart.
#[derive(Clone, Debug)]
pub struct Plane {
    /// The bytes, row after row, padding included.
    pub data: Buffer,
    /// Distance between rows in bytes.
    pub stride: usize,
}

/// A picture. Immutable once sent; [`Frame::into_packed_mut`] gives bytes to draw on.
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
    /// Planes where the decoder left them, rows padded to a stride.
    Planes(Vec<Plane>),
    /// One buffer without padding, planes one after another.
    Packed(Buffer),
}

impl Frame {
    /// Pixels of a side, at most; no codec that is read goes beyond.
    pub const MAX_SIDE: u32 = 65_535;

    /// A frame over planes that lie where the decoder left them.
    ///
    /// # Errors
    /// When a side is no number of pixels, or the number of planes or the size of one does not fit the picture.
    pub fn from_planes(width: u32, height: u32, encoding: Encoding, color: Color, planes: Vec<Plane>) -> Result<Self> {
        check_sides(width, height)?;
        let want = encoding.planes(width as usize, height as usize);
        if want.is_empty() {
            return Err(Error::input(format!("a {} frame has no planes: it is one buffer", encoding.name())));
        }
        if want.len() != planes.len() {
            return Err(Error::input(format!(
                "a {} frame has {} planes, not {}",
                encoding.name(),
                want.len(),
                planes.len()
            )));
        }
        for (i, ((row, rows), plane)) in want.iter().zip(&planes).enumerate() {
            let need = (rows - 1).saturating_mul(plane.stride).saturating_add(*row);
            if plane.stride < *row || plane.data.len() < need {
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

    /// A frame over packed bytes (no padding, planes one after another), as it crosses between processes.
    ///
    /// # Errors
    /// When a side is no number of pixels, or there are fewer bytes than the picture needs.
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

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Layout of the pixels.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Meaning of Y'CbCr values.
    pub fn color(&self) -> Color {
        self.color
    }

    /// The bytes of plane `i` and the distance between its rows. JPEG: plane 0 is the file.
    ///
    /// # Panics
    /// When the encoding has no plane `i`.
    pub fn plane(&self, i: usize) -> (&[u8], usize) {
        match &self.storage {
            Storage::Planes(planes) => (&planes[i].data, planes[i].stride),
            Storage::Packed(data) if self.encoding == Encoding::Jpeg => (data, data.len()),
            Storage::Packed(data) => {
                let planes = self.encoding.planes(self.width as usize, self.height as usize);
                let at: usize = planes[..i].iter().map(|(row, rows)| row * rows).sum();
                let (row, rows) = planes[i];
                (&data[at..at + row * rows], row)
            }
        }
    }

    /// The packed bytes, if the frame lies so already.
    pub fn packed(&self) -> Option<&Buffer> {
        match &self.storage {
            Storage::Packed(data) => Some(data),
            Storage::Planes(_) => None,
        }
    }

    /// Bytes of the packed form.
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

    /// Packed bytes to draw on: in place when this is the sole owner of a packed frame, else a copy.
    ///
    /// A decoder's frame is always copied: the decoder still predicts others from it.
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

/// Refuses a picture without pixels, and one whose size in bytes might not fit a number.
fn check_sides(width: u32, height: u32) -> Result<()> {
    let most = Frame::MAX_SIDE;
    if (1..=most).contains(&width) && (1..=most).contains(&height) {
        return Ok(());
    }
    Err(Error::input(format!("a picture of {width}x{height} pixels; each side has from 1 to {most}")))
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
        // An odd size: chroma planes are 2x2.
        Frame::from_planes(
            3,
            3,
            Encoding::I420,
            Color::assumed(3),
            vec![plane(3, 3, 8, 0), plane(2, 2, 4, 50), plane(2, 2, 4, 60)],
        )
        .unwrap()
    }

    #[test]
    fn packing_drops_the_padding_and_keeps_every_pixel() {
        let frame = padded();
        let bytes = frame.clone().into_packed_mut();
        assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 50, 51, 52, 53, 60, 61, 62, 63]);
        let packed = Frame::from_packed(3, 3, Encoding::I420, frame.color(), bytes).unwrap();
        assert_eq!(packed.plane(1), ([50, 51, 52, 53].as_slice(), 2));
        assert_eq!(packed.plane(2).0, [60, 61, 62, 63]);
    }

    #[test]
    fn drawing_is_in_place_only_for_the_sole_owner() {
        let bytes = vec![7u8; 12];
        let at = bytes.as_ptr();
        let frame = Frame::from_packed(2, 2, Encoding::Rgb8, Color::assumed(2), bytes).unwrap();
        let other = frame.clone();
        let copy = frame.into_packed_mut();
        assert_ne!(copy.as_ptr(), at, "shared: a copy");
        let same = other.into_packed_mut();
        assert_eq!(same.as_ptr(), at, "sole owner: in place");
    }

    #[test]
    fn a_short_plane_is_refused() {
        let short = vec![Plane { data: vec![0u8; 5].into(), stride: 6 }];
        let error = Frame::from_planes(2, 2, Encoding::Rgb8, Color::assumed(2), short).unwrap_err();
        assert!(error.message.contains("holds 5 bytes"), "{error}");
        assert!(Frame::from_packed(2, 2, Encoding::Rgb8, Color::assumed(2), vec![0u8; 11]).is_err());
    }

    #[test]
    fn a_picture_without_pixels_or_with_too_many_is_refused() {
        let plane = || vec![Plane { data: vec![0u8; 5].into(), stride: 0 }];
        for (width, height) in [(0, 2), (2, 0), (0, 0), (65_536, 1), (u32::MAX, u32::MAX)] {
            let color = Color::assumed(height);
            let planes = Frame::from_planes(width, height, Encoding::Rgb8, color, plane()).unwrap_err();
            let packed = Frame::from_packed(width, height, Encoding::Rgb8, color, vec![0u8; 5]).unwrap_err();
            assert_eq!(planes.message, packed.message);
            assert!(packed.message.contains(&format!("{width}x{height}")), "{packed}");
        }
        // A stride so long that a plane's size fits no number.
        let long = vec![Plane { data: vec![0u8; 5].into(), stride: usize::MAX }];
        assert!(Frame::from_planes(1, 3, Encoding::Rgb8, Color::assumed(3), long).is_err());
        assert!(Frame::from_planes(1, 1, Encoding::Jpeg, Color::assumed(1), vec![]).is_err());
    }
}

//! Declared geometry of a picture: orientation and pixel aspect ratio.

use ffmpeg_next::{Rational, Stream, codec, ffi, frame};

/// Orientation of a stored picture. Its eight values are those of the EXIF tag Orientation (CIPA DC-008, tag 0x0112) and of
/// display matrices of quarter turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orientation {
    /// True if the picture is mirrored left to right before it is rotated.
    pub mirrored: bool,
    /// Clockwise rotation, degrees: 0, 90, 180 or 270.
    pub rotation: u16,
}

impl Orientation {
    /// Orientation of a picture that is stored upright.
    pub const UPRIGHT: Self = Self { mirrored: false, rotation: 0 };

    /// Converts EXIF's values 1 to 8; `None` for others, which EXIF reserves.
    pub fn from_exif(value: u16) -> Option<Self> {
        let (mirrored, rotation) = match value {
            1 => (false, 0),
            2 => (true, 0),
            3 => (false, 180),
            4 => (true, 180),
            5 => (true, 270),
            6 => (false, 90),
            7 => (true, 90),
            8 => (false, 270),
            _ => return None,
        };
        Some(Self { mirrored, rotation })
    }

    /// Returns the width and height after the rotation; also maps them back.
    pub fn rotate_size(self, width: u32, height: u32) -> (u32, u32) {
        if self.rotation % 180 == 90 { (height, width) } else { (width, height) }
    }
}

/// A display matrix (ISO/IEC 14496-12, 8.3.2): the stored point (x, y) is shown at (a x + c y, b x + d y).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DisplayMatrix {
    a: f64,
    b: f64,
    c: f64,
    d: f64,
}

/// Elements of a display matrix in FFmpeg, row by row, in 16.16 fixed point.
const ELEMENTS: usize = 9;
/// Size of a display matrix, bytes.
const BYTES: usize = ELEMENTS * size_of::<i32>();
/// One in 16.16 fixed point.
const ONE: f64 = 65_536.0;

impl DisplayMatrix {
    /// Reads the matrix of a stream, if its container has one.
    pub fn from_stream(stream: &Stream) -> Option<Self> {
        let mut size = 0;
        // SAFETY: the stream belongs to the open input; the matrix, if there is one, has nine elements (checked).
        unsafe {
            let kind = ffi::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX;
            let data = ffi::av_stream_get_side_data(stream.as_ptr(), kind, &mut size);
            (!data.is_null() && size >= BYTES).then(|| Self::read(data)).flatten()
        }
    }

    /// Reads the matrix of a decoded picture: from EXIF of a photograph, from the packet or the coded stream of a frame.
    pub fn from_frame(picture: &frame::Video) -> Option<Self> {
        // SAFETY: the frame is a valid AVFrame; the matrix, if there is one, has nine elements (checked).
        unsafe {
            let kind = ffi::AVFrameSideDataType::AV_FRAME_DATA_DISPLAYMATRIX;
            let data = ffi::av_frame_get_side_data(picture.as_ptr(), kind);
            (!data.is_null() && (*data).size >= BYTES).then(|| Self::read((*data).data)).flatten()
        }
    }

    /// Reads a matrix from memory.
    ///
    /// # Safety
    /// `data` points to nine 32-bit numbers in native byte order.
    unsafe fn read(data: *const u8) -> Option<Self> {
        // SAFETY: by the function's contract; the read allows any alignment.
        let numbers = unsafe { data.cast::<[i32; ELEMENTS]>().read_unaligned() };
        Self::new([numbers[0], numbers[1], numbers[3], numbers[4]])
    }

    /// Creates a matrix from a, b, c, d in 16.16 fixed point, without their scale: the size of the shown picture does not
    /// matter here. `None` for a degenerate matrix.
    fn new(numbers: [i32; 4]) -> Option<Self> {
        let [a, b, c, d] = numbers.map(|number| f64::from(number) / ONE);
        let (across, down) = (a.hypot(c), b.hypot(d));
        (across > 0.0 && down > 0.0).then(|| Self { a: a / across, b: b / down, c: c / across, d: d / down })
    }

    /// Returns the nearest orientation by quarter turns.
    pub fn orientation(self) -> Orientation {
        let mirrored = self.a * self.d - self.b * self.c < 0.0;
        // The first column is the direction of the stored x axis; mirroring reverses it.
        let sign = if mirrored { -1.0 } else { 1.0 };
        let degrees = (sign * self.b).atan2(sign * self.a).to_degrees();
        Orientation { mirrored, rotation: ((degrees / 90.0).round() as i32 * 90).rem_euclid(360) as u16 }
    }

    /// Returns the angle between the matrix and its nearest orientation, degrees; more if the matrix also shears.
    pub fn rotation_error_degrees(self) -> f64 {
        let Orientation { mirrored, rotation } = self.orientation();
        let sign = if mirrored { -1.0 } else { 1.0 };
        let (sin, cos) = f64::from(rotation).to_radians().sin_cos();
        let off = [self.a - sign * cos, self.b - sign * sin, self.c + sin, self.d - cos];
        off.iter().map(|off| off.abs()).fold(0.0, f64::max).min(1.0).asin().to_degrees()
    }
}

/// Sample aspect ratio: width of a pixel to its height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PixelAspect {
    num: u32,
    den: u32,
}

/// Largest plausible aspect ratio of a pixel, either way; a larger one is an error in the file. Anamorphic formats stay
/// within 2.
const MAX_PIXEL_ASPECT: u32 = 4;
/// Longest side of a picture that encoders support, px.
const MAX_SIDE_PX: u32 = 16_384;

impl PixelAspect {
    /// Aspect ratio of square pixels.
    pub const SQUARE: Self = Self { num: 1, den: 1 };

    /// Converts a ratio; `None` for 0:1, which stands for an unknown one, and for invalid ones.
    pub fn from_ratio(ratio: Rational) -> Option<Self> {
        let side = |side: i32| u32::try_from(side).ok().filter(|side| *side > 0);
        side(ratio.numerator()).zip(side(ratio.denominator())).map(|(num, den)| Self { num, den })
    }

    /// Reads the aspect ratio that the container declares for a stream.
    pub fn from_stream(stream: &Stream) -> Option<Self> {
        // SAFETY: the stream belongs to the open input.
        Self::from_ratio(unsafe { (*stream.as_ptr()).sample_aspect_ratio }.into())
    }

    /// Reads the aspect ratio that the coded stream declares, before a picture is decoded.
    pub fn from_decoder(decoder: &codec::decoder::Video) -> Option<Self> {
        Self::from_ratio(decoder.aspect_ratio())
    }

    /// True if the ratio is plausible for a picture of this width.
    pub fn is_plausible(self, width: u32) -> bool {
        let (num, den) = (u64::from(self.num), u64::from(self.den));
        let most = u64::from(MAX_PIXEL_ASPECT);
        num <= den * most && den <= num * most && (num == den || u64::from(width) * num <= u64::from(MAX_SIDE_PX) * den)
    }

    /// Returns the width of a picture in square pixels, with the height kept: the nearest even number, or the width itself if it
    /// would change by less than a pixel.
    pub fn square_width(self, width: u32) -> u32 {
        let (width64, num, den) = (u64::from(width), u64::from(self.num), u64::from(self.den));
        let exact = width64 * num;
        if exact.abs_diff(width64 * den) < den {
            return width;
        }
        (((exact + den) / (2 * den)) * 2).max(2) as u32
    }
}

impl std::fmt::Display for PixelAspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.num, self.den)
    }
}

/// Geometry that a file declares for all pictures of a stream. A picture's own display matrix takes precedence; its own
/// pixel aspect ratio counts if the container declares none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeclaredGeometry {
    /// Display matrix of the container.
    pub matrix: Option<DisplayMatrix>,
    /// Orientation from another source than a matrix.
    pub orientation: Orientation,
    /// Pixel aspect ratio declared by the container.
    pub aspect: Option<PixelAspect>,
    /// Pixel aspect ratio declared by the coded stream at its start.
    pub coded_aspect: Option<PixelAspect>,
}

impl DeclaredGeometry {
    /// Reads the declarations of an open stream.
    pub fn read(stream: &Stream, decoder: &codec::decoder::Video) -> Self {
        Self {
            matrix: DisplayMatrix::from_stream(stream),
            orientation: Orientation::UPRIGHT,
            aspect: PixelAspect::from_stream(stream),
            coded_aspect: PixelAspect::from_decoder(decoder),
        }
    }

    /// Returns the geometry that applies before any picture is decoded.
    pub fn geometry(&self) -> Geometry {
        self.combine(self.matrix, None)
    }

    /// Returns the geometry of a decoded picture. `own` is the display matrix of the coded stream that applies to it.
    pub fn geometry_of_frame(&self, picture: &frame::Video, own: Option<DisplayMatrix>) -> Geometry {
        self.combine(own.or(self.matrix), PixelAspect::from_ratio(picture.aspect_ratio()))
    }

    fn combine(&self, matrix: Option<DisplayMatrix>, picture: Option<PixelAspect>) -> Geometry {
        Geometry {
            matrix,
            orientation: matrix.map_or(self.orientation, DisplayMatrix::orientation),
            aspect: self.aspect.or(picture).or(self.coded_aspect).unwrap_or(PixelAspect::SQUARE),
        }
    }
}

/// Geometry of one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Geometry {
    /// Matrix that the orientation was derived from.
    pub matrix: Option<DisplayMatrix>,
    /// Orientation of the stored picture.
    pub orientation: Orientation,
    /// Declared pixel aspect ratio.
    pub aspect: PixelAspect,
}

impl Geometry {
    /// Returns the size at which a stored picture is shown: upright, in square pixels.
    pub fn display_size(&self, width: u32, height: u32) -> (u32, u32) {
        let square = if self.aspect.is_plausible(width) { self.aspect.square_width(width) } else { width };
        self.orientation.rotate_size(square, height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIF: [(u16, [i32; 4]); 8] = [
        (1, [1, 0, 0, 1]),
        (2, [-1, 0, 0, 1]),
        (3, [-1, 0, 0, -1]),
        (4, [1, 0, 0, -1]),
        (5, [0, 1, 1, 0]),
        (6, [0, 1, -1, 0]),
        (7, [0, -1, -1, 0]),
        (8, [0, -1, 1, 0]),
    ];

    fn matrix(numbers: [f64; 4]) -> Option<DisplayMatrix> {
        DisplayMatrix::new(numbers.map(|number| (number * ONE) as i32))
    }

    #[test]
    fn every_display_matrix_has_the_orientation_of_exif_at_any_scale() {
        for (exif, numbers) in EXIF {
            for (x, y) in [(1.0, 1.0), (2.5, 2.5), (0.5, 3.0)] {
                let [a, b, c, d] = numbers.map(f64::from);
                let found = matrix([a * x, b * y, c * x, d * y]).unwrap();
                assert_eq!(Some(found.orientation()), Orientation::from_exif(exif), "{exif} scaled by {x}, {y}");
                assert!(found.rotation_error_degrees() < 0.01, "{exif}");
            }
        }
        assert_eq!(matrix([0.0; 4]), None);
        assert_eq!(Orientation::from_exif(0).or(Orientation::from_exif(9)), None);
    }

    #[test]
    fn an_odd_angle_maps_to_the_nearest_quarter_turn_with_its_error() {
        for (degrees, quarter, off) in [(10.0_f64, 0, 10.0), (80.0, 90, 10.0), (-89.5, 270, 0.5)] {
            let (sin, cos) = degrees.to_radians().sin_cos();
            for mirrored in [false, true] {
                let sign = if mirrored { -1.0 } else { 1.0 };
                let found = matrix([sign * cos, sign * sin, -sin, cos]).unwrap();
                assert_eq!(found.orientation(), Orientation { mirrored, rotation: quarter });
                assert!(
                    (found.rotation_error_degrees() - off).abs() < 0.1,
                    "{degrees}: {}",
                    found.rotation_error_degrees()
                );
            }
        }
        assert!(matrix([1.0, 0.0, 0.5, 1.0]).unwrap().rotation_error_degrees() > 10.0, "a shear is not a rotation");
    }

    fn aspect(num: i32, den: i32) -> Option<PixelAspect> {
        PixelAspect::from_ratio(Rational(num, den))
    }

    #[test]
    fn pixels_become_square_by_changing_the_width_only() {
        for (num, den, width, square) in
            [(64, 45, 720, 1024), (4, 3, 1440, 1920), (8, 9, 720, 640), (10, 11, 720, 654), (16, 15, 720, 768)]
        {
            assert_eq!(aspect(num, den).unwrap().square_width(width), square, "{num}:{den}");
        }
        assert_eq!(aspect(1281, 1280).unwrap().square_width(853), 853, "less than a pixel is rounding");
        assert_eq!(aspect(1, 4).unwrap().square_width(3), 2, "there is always a pixel");
    }

    #[test]
    fn an_unknown_aspect_is_none_and_an_implausible_one_is_ignored() {
        assert_eq!([aspect(0, 1), aspect(1, 0), aspect(-4, 3)], [None; 3]);
        for (num, den) in [(5, 1), (1, 1000), (i32::MAX, 1), (1, i32::MAX)] {
            let declared = DeclaredGeometry { aspect: aspect(num, den), ..DeclaredGeometry::default() };
            assert_eq!(declared.geometry().display_size(720, 576), (720, 576), "{num}:{den}");
        }
        let wide = DeclaredGeometry { aspect: aspect(3, 1), ..DeclaredGeometry::default() };
        assert_eq!(wide.geometry().display_size(8000, 100), (8000, 100), "no encoder takes 24,000 pixels");
    }

    #[test]
    fn the_aspect_applies_to_the_stored_picture_before_the_rotation() {
        let rotated = DeclaredGeometry {
            matrix: matrix([0.0, 1.0, -1.0, 0.0]),
            aspect: aspect(64, 45),
            ..DeclaredGeometry::default()
        };
        assert_eq!(rotated.geometry().display_size(720, 576), (576, 1024));
    }
}

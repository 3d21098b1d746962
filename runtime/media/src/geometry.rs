//! Geometry of a picture as its file says: its orientation, and the shape of its pixels.

use ffmpeg_next::{Rational, Stream, codec, ffi, frame};

/// Orientation of a stored picture. The eight values are those of EXIF's tag Orientation (CIPA DC-008, tag 0x0112) and of
/// display matrices that turn by quarters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orientation {
    /// True where the picture is mirrored left to right, before it is turned.
    pub mirrored: bool,
    /// Degrees, clockwise: 0, 90, 180 or 270.
    pub rotation: u16,
}

impl Orientation {
    /// The picture as it is stored.
    pub const UPRIGHT: Self = Self { mirrored: false, rotation: 0 };

    /// Returns the orientation of EXIF's values 1 to 8; `None` for others, which EXIF reserves.
    pub fn of_exif(value: u16) -> Option<Self> {
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

    /// Sides of a picture of these sides once it is turned; also those before it is turned.
    pub fn sides(self, width: u32, height: u32) -> (u32, u32) {
        if self.rotation % 180 == 90 { (height, width) } else { (width, height) }
    }
}

/// A display matrix (ISO/IEC 14496-12, 8.3.2): a stored place (x, y) is shown at (a x + c y, b x + d y).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DisplayMatrix {
    a: f64,
    b: f64,
    c: f64,
    d: f64,
}

/// Numbers of a display matrix as FFmpeg keeps it, row by row, in 16.16 fixed point.
const NUMBERS: usize = 9;
/// Bytes of a display matrix.
const BYTES: usize = NUMBERS * size_of::<i32>();
/// One in 16.16 fixed point.
const ONE: f64 = 65_536.0;

impl DisplayMatrix {
    /// Reads the matrix of a stream, where its container has one.
    pub fn of_stream(stream: &Stream) -> Option<Self> {
        let mut size = 0;
        // SAFETY: the stream belongs to the open input; the matrix, where there is one, has nine numbers (checked).
        unsafe {
            let kind = ffi::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX;
            let data = ffi::av_stream_get_side_data(stream.as_ptr(), kind, &mut size);
            (!data.is_null() && size >= BYTES).then(|| Self::read(data)).flatten()
        }
    }

    /// Reads the matrix of a decoded picture: of a photograph by EXIF, of a frame by its packet or its coded stream.
    pub fn of_picture(picture: &frame::Video) -> Option<Self> {
        // SAFETY: the frame is a valid AVFrame; the matrix, where there is one, has nine numbers (checked).
        unsafe {
            let kind = ffi::AVFrameSideDataType::AV_FRAME_DATA_DISPLAYMATRIX;
            let data = ffi::av_frame_get_side_data(picture.as_ptr(), kind);
            (!data.is_null() && (*data).size >= BYTES).then(|| Self::read((*data).data)).flatten()
        }
    }

    /// # Safety
    /// `data` has nine numbers of 32 bits, in the order of this machine.
    unsafe fn read(data: *const u8) -> Option<Self> {
        // SAFETY: as the caller promises; the address may be any.
        let numbers = unsafe { data.cast::<[i32; NUMBERS]>().read_unaligned() };
        Self::new([numbers[0], numbers[1], numbers[3], numbers[4]])
    }

    /// Takes a, b, c, d in 16.16 fixed point and drops their scale: how large a picture is shown is no matter here.
    /// `None` for a matrix that shows nothing.
    fn new(numbers: [i32; 4]) -> Option<Self> {
        let [a, b, c, d] = numbers.map(|number| f64::from(number) / ONE);
        let (across, down) = (a.hypot(c), b.hypot(d));
        (across > 0.0 && down > 0.0).then(|| Self { a: a / across, b: b / down, c: c / across, d: d / down })
    }

    /// Returns the nearest orientation by quarter turns.
    pub fn orientation(self) -> Orientation {
        let mirrored = self.a * self.d - self.b * self.c < 0.0;
        // The first column is where the stored x axis points to; mirrored, that axis points the other way.
        let sign = if mirrored { -1.0 } else { 1.0 };
        let degrees = (sign * self.b).atan2(sign * self.a).to_degrees();
        Orientation { mirrored, rotation: ((degrees / 90.0).round() as i32 * 90).rem_euclid(360) as u16 }
    }

    /// Degrees by which the matrix differs from its nearest orientation, or more where it also shears.
    pub fn residue_degrees(self) -> f64 {
        let Orientation { mirrored, rotation } = self.orientation();
        let sign = if mirrored { -1.0 } else { 1.0 };
        let (sin, cos) = f64::from(rotation).to_radians().sin_cos();
        let off = [self.a - sign * cos, self.b - sign * sin, self.c + sin, self.d - cos];
        off.iter().map(|off| off.abs()).fold(0.0, f64::max).min(1.0).asin().to_degrees()
    }
}

/// Shape of a pixel, width to height: the sample aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PixelAspect {
    num: u32,
    den: u32,
}

/// Pixels that are wider or higher than this, in units of the other side, are a slip in the file: what is sold as anamorphic
/// stays within 2.
const ODDEST: u32 = 4;
/// Longest side of a picture that encoders take.
const LONGEST: u32 = 16_384;

impl PixelAspect {
    /// Pixels as high as they are wide.
    pub const SQUARE: Self = Self { num: 1, den: 1 };

    /// Returns the aspect where one is stated: 0:1 stands for none.
    pub fn stated(ratio: Rational) -> Option<Self> {
        let side = |side: i32| u32::try_from(side).ok().filter(|side| *side > 0);
        side(ratio.numerator()).zip(side(ratio.denominator())).map(|(num, den)| Self { num, den })
    }

    /// Reads the aspect that the container states for a stream.
    pub fn of_container(stream: &Stream) -> Option<Self> {
        // SAFETY: the stream belongs to the open input.
        Self::stated(unsafe { (*stream.as_ptr()).sample_aspect_ratio }.into())
    }

    /// Reads the aspect that the coded stream states before a picture of it is decoded.
    pub fn of_decoder(decoder: &codec::decoder::Video) -> Option<Self> {
        Self::stated(decoder.aspect_ratio())
    }

    /// True where a picture of this width can be meant so.
    pub fn is_plausible(self, width: u32) -> bool {
        let (num, den) = (u64::from(self.num), u64::from(self.den));
        let most = u64::from(ODDEST);
        num <= den * most && den <= num * most && (num == den || u64::from(width) * num <= u64::from(LONGEST) * den)
    }

    /// Width in square pixels of a picture whose lines are kept: the nearest even number, or the width itself where less than
    /// a pixel would change.
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

/// What a file states of all pictures of a stream. A picture's own display matrix precedes it; a picture's own pixel aspect
/// counts where the container states none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Declared {
    /// Display matrix of the container.
    pub matrix: Option<DisplayMatrix>,
    /// Orientation that is known otherwise than by a matrix.
    pub orientation: Orientation,
    /// Pixel aspect of the container.
    pub aspect: Option<PixelAspect>,
    /// Pixel aspect of the coded stream at its beginning.
    pub coded_aspect: Option<PixelAspect>,
}

impl Declared {
    /// Reads what is stated of a stream that was opened.
    pub fn read(stream: &Stream, decoder: &codec::decoder::Video) -> Self {
        Self {
            matrix: DisplayMatrix::of_stream(stream),
            orientation: Orientation::UPRIGHT,
            aspect: PixelAspect::of_container(stream),
            coded_aspect: PixelAspect::of_decoder(decoder),
        }
    }

    /// Geometry before any picture is decoded.
    pub fn geometry(&self) -> Geometry {
        self.of(self.matrix, None)
    }

    /// Geometry of a decoded picture that has, or keeps, this display matrix of its own.
    pub fn geometry_of(&self, picture: &frame::Video, own: Option<DisplayMatrix>) -> Geometry {
        self.of(own.or(self.matrix), PixelAspect::stated(picture.aspect_ratio()))
    }

    fn of(&self, matrix: Option<DisplayMatrix>, picture: Option<PixelAspect>) -> Geometry {
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
    /// Matrix that gave the orientation.
    pub matrix: Option<DisplayMatrix>,
    /// What makes it upright.
    pub orientation: Orientation,
    /// Shape of its pixels, as stated.
    pub aspect: PixelAspect,
}

impl Geometry {
    /// Sides of a stored picture as it is shown: upright, in square pixels.
    pub fn shown(&self, width: u32, height: u32) -> (u32, u32) {
        let square = if self.aspect.is_plausible(width) { self.aspect.square_width(width) } else { width };
        self.orientation.sides(square, height)
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
    fn every_display_matrix_is_the_orientation_of_exif_whatever_its_scale() {
        for (exif, numbers) in EXIF {
            for (x, y) in [(1.0, 1.0), (2.5, 2.5), (0.5, 3.0)] {
                let [a, b, c, d] = numbers.map(f64::from);
                let found = matrix([a * x, b * y, c * x, d * y]).unwrap();
                assert_eq!(Some(found.orientation()), Orientation::of_exif(exif), "{exif} scaled by {x}, {y}");
                assert!(found.residue_degrees() < 0.01, "{exif}");
            }
        }
        assert_eq!(matrix([0.0; 4]), None);
        assert_eq!(Orientation::of_exif(0).or(Orientation::of_exif(9)), None);
    }

    #[test]
    fn an_odd_angle_is_the_nearest_quarter_and_says_by_how_much_it_is_off() {
        for (degrees, quarter, off) in [(10.0_f64, 0, 10.0), (80.0, 90, 10.0), (-89.5, 270, 0.5)] {
            let (sin, cos) = degrees.to_radians().sin_cos();
            for mirrored in [false, true] {
                let sign = if mirrored { -1.0 } else { 1.0 };
                let found = matrix([sign * cos, sign * sin, -sin, cos]).unwrap();
                assert_eq!(found.orientation(), Orientation { mirrored, rotation: quarter });
                assert!((found.residue_degrees() - off).abs() < 0.1, "{degrees}: {}", found.residue_degrees());
            }
        }
        assert!(matrix([1.0, 0.0, 0.5, 1.0]).unwrap().residue_degrees() > 10.0, "a shear is no turn");
    }

    fn aspect(num: i32, den: i32) -> Option<PixelAspect> {
        PixelAspect::stated(Rational(num, den))
    }

    #[test]
    fn pixels_become_square_by_the_width_and_the_lines_stay() {
        for (num, den, width, square) in
            [(64, 45, 720, 1024), (4, 3, 1440, 1920), (8, 9, 720, 640), (10, 11, 720, 654), (16, 15, 720, 768)]
        {
            assert_eq!(aspect(num, den).unwrap().square_width(width), square, "{num}:{den}");
        }
        assert_eq!(aspect(1281, 1280).unwrap().square_width(853), 853, "less than a pixel is rounding");
        assert_eq!(aspect(1, 4).unwrap().square_width(3), 2, "there is always a pixel");
    }

    #[test]
    fn an_aspect_of_nothing_is_none_and_an_absurd_one_changes_nothing() {
        assert_eq!([aspect(0, 1), aspect(1, 0), aspect(-4, 3)], [None; 3]);
        for (num, den) in [(5, 1), (1, 1000), (i32::MAX, 1), (1, i32::MAX)] {
            let declared = Declared { aspect: aspect(num, den), ..Declared::default() };
            assert_eq!(declared.geometry().shown(720, 576), (720, 576), "{num}:{den}");
        }
        let wide = Declared { aspect: aspect(3, 1), ..Declared::default() };
        assert_eq!(wide.geometry().shown(8000, 100), (8000, 100), "no encoder takes 24,000 pixels");
    }

    #[test]
    fn the_aspect_is_that_of_the_stored_picture_before_it_is_turned() {
        let turned = Declared { matrix: matrix([0.0, 1.0, -1.0, 0.0]), aspect: aspect(64, 45), ..Declared::default() };
        assert_eq!(turned.geometry().shown(720, 576), (576, 1024));
    }
}

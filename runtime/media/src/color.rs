//! Color of decoded pictures: matrix and range of their values, and warnings about color that is not converted.

use ffmpeg_next::{
    codec,
    color::{Primaries, Range, Space, TransferCharacteristic as Transfer},
    format::Pixel,
    frame,
};
use sideline_api::{Color, Matrix};

/// Color properties that a stream or picture declares (ITU-T H.273).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColorDescription {
    /// Matrix coefficients between R'G'B' and Y'CbCr.
    pub space: Space,
    /// Range of the values: video (limited) or full.
    pub range: Range,
    /// Color primaries.
    pub primaries: Primaries,
    /// Transfer characteristic.
    pub transfer: Transfer,
    /// Pixel format.
    pub format: Pixel,
    /// Height of the stored picture, px.
    pub height: u32,
}

impl ColorDescription {
    /// Reads the properties of a decoded picture.
    pub fn from_frame(picture: &frame::Video) -> Self {
        Self {
            space: picture.color_space(),
            range: picture.color_range(),
            primaries: picture.color_primaries(),
            transfer: picture.color_transfer_characteristic(),
            format: picture.format(),
            height: picture.height(),
        }
    }

    /// Reads the properties that a coded stream declares, before a picture is decoded.
    pub fn from_decoder(decoder: &codec::decoder::Video) -> Self {
        Self {
            space: decoder.color_space(),
            range: decoder.color_range(),
            primaries: decoder.color_primaries(),
            transfer: decoder.color_transfer_characteristic(),
            format: decoder.format(),
            height: decoder.height(),
        }
    }

    /// Returns matrix and range of the values; undeclared properties are assumed from the height.
    pub fn color(self) -> Color {
        use Space as S;
        let assumed = Color::default_for_height(self.height);
        let matrix = match self.space {
            // RGB becomes video-range Y'CbCr, whatever its own range.
            S::RGB => return assumed,
            S::BT709 => Matrix::Bt709,
            S::FCC | S::BT470BG | S::SMPTE170M => Matrix::Bt601,
            // Their coefficients are closer to those of BT.709.
            S::BT2020NCL | S::BT2020CL | S::SMPTE240M => Matrix::Bt709,
            _ => assumed.matrix,
        };
        Color { matrix, full_range: self.range == Range::JPEG || is_full_range(self.format) }
    }

    /// Returns a warning if the color is neither BT.709 nor BT.601 nor converted; `None` if the difference is not visible.
    pub fn unconverted_warning(self) -> Option<String> {
        let is_hdr = matches!(self.transfer, Transfer::SMPTE2084 | Transfer::ARIB_STD_B67);
        let is_other_transfer =
            matches!(self.transfer, Transfer::Linear | Transfer::Log | Transfer::LogSqrt | Transfer::SMPTE428);
        let is_wide = matches!(
            self.primaries,
            Primaries::BT2020 | Primaries::SMPTE428 | Primaries::SMPTE431 | Primaries::SMPTE432
        );
        let is_other_matrix = matches!(
            self.space,
            Space::BT2020NCL
                | Space::BT2020CL
                | Space::YCGCO
                | Space::SMPTE2085
                | Space::ChromaDerivedNCL
                | Space::ChromaDerivedCL
                | Space::ICTCP
        );
        if !(is_hdr || is_other_transfer || is_wide || is_other_matrix) {
            return None;
        }
        let name = |name: Option<&'static str>| name.unwrap_or("not declared");
        let properties = format!(
            "primaries {}, transfer {}, matrix {}",
            name(self.primaries.name()),
            name(self.transfer.name()),
            name(self.space.name())
        );
        let (kind, filter) = match is_hdr {
            true => ("HDR", "zscale=t=linear:npl=100,tonemap=hable,zscale=p=bt709:t=bt709:m=bt709:r=tv"),
            false => ("not those of BT.709", "zscale=p=bt709:t=bt709:m=bt709:r=tv"),
        };
        Some(format!(
            "its colors are {kind} ({properties}) and are not converted: its values are processed and written as BT.709, so \
             pictures look paler or darker than intended; to convert them first: ffmpeg -i IN -vf {filter},format=yuv420p OUT"
        ))
    }
}

/// True for pixel formats that imply full range.
fn is_full_range(format: Pixel) -> bool {
    use Pixel as P;
    matches!(
        format,
        P::YUVJ420P
            | P::YUVJ422P
            | P::YUVJ444P
            | P::YUVJ440P
            | P::YUVJ411P
            | P::GRAY8
            | P::GRAY9LE
            | P::GRAY10LE
            | P::GRAY12LE
            | P::GRAY14LE
            | P::GRAY16LE
            | P::GRAY16BE
            | P::YA8
            | P::YA16LE
            | P::YA16BE
            | P::MonoWhite
            | P::MonoBlack
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HD: ColorDescription = ColorDescription {
        space: Space::BT709,
        range: Range::MPEG,
        primaries: Primaries::BT709,
        transfer: Transfer::BT709,
        format: Pixel::YUV420P,
        height: 1080,
    };

    #[test]
    fn undeclared_color_is_assumed_without_a_warning() {
        let undeclared = ColorDescription {
            space: Space::Unspecified,
            range: Range::Unspecified,
            primaries: Primaries::Unspecified,
            transfer: Transfer::Unspecified,
            ..HD
        };
        for height in [576, 720] {
            assert_eq!(ColorDescription { height, ..undeclared }.color(), Color::default_for_height(height));
            assert_eq!(ColorDescription { height, ..undeclared }.unconverted_warning(), None);
        }
    }

    #[test]
    fn standard_color_gives_no_warning_and_other_color_is_named() {
        let pal = ColorDescription {
            space: Space::BT470BG,
            primaries: Primaries::BT470BG,
            transfer: Transfer::GAMMA28,
            height: 576,
            ..HD
        };
        let early = ColorDescription {
            space: Space::SMPTE240M,
            primaries: Primaries::SMPTE240M,
            transfer: Transfer::SMPTE240M,
            ..HD
        };
        let photo = ColorDescription { space: Space::RGB, transfer: Transfer::IEC61966_2_1, ..HD };
        for coding in [HD, pal, early, photo] {
            assert_eq!(coding.unconverted_warning(), None, "{coding:?}");
        }
        for transfer in [Transfer::SMPTE2084, Transfer::ARIB_STD_B67] {
            let hdr = ColorDescription { space: Space::BT2020NCL, primaries: Primaries::BT2020, transfer, ..HD };
            let warning = hdr.unconverted_warning().unwrap();
            assert!(warning.contains("HDR (primaries bt2020") && warning.contains("tonemap"), "{warning}");
            assert!(warning.contains(transfer.name().unwrap()), "{warning}");
        }
        let wide = ColorDescription { primaries: Primaries::SMPTE432, ..HD }.unconverted_warning().unwrap();
        assert!(wide.contains("not those of BT.709 (primaries smpte432") && !wide.contains("tonemap"), "{wide}");
    }

    #[test]
    fn the_range_is_that_of_the_picture_or_of_its_pixel_format() {
        assert!(!HD.color().full_range);
        assert!(ColorDescription { range: Range::JPEG, ..HD }.color().full_range);
        for format in [Pixel::YUVJ420P, Pixel::GRAY8, Pixel::GRAY16BE, Pixel::YA8] {
            assert!(ColorDescription { format, range: Range::Unspecified, ..HD }.color().full_range, "{format:?}");
        }
        let rgb = ColorDescription { space: Space::RGB, range: Range::JPEG, ..HD };
        assert_eq!(rgb.color(), Color::default_for_height(1080), "RGB is converted");
    }
}

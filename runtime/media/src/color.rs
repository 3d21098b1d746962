//! Color of decoded pictures: how their values are to be read, and what of it is not converted.

use ffmpeg_next::{
    codec,
    color::{Primaries, Range, Space, TransferCharacteristic as Transfer},
    format::Pixel,
    frame,
};
use sideline_api::{Color, Matrix};

/// What a stream or picture states of its color.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coding {
    /// Matrix between R'G'B' and Y'CbCr.
    pub space: Space,
    /// Range of the values.
    pub range: Range,
    /// Colors of the three lights.
    pub primaries: Primaries,
    /// Transfer function between light and value.
    pub transfer: Transfer,
    /// Layout of the pixels.
    pub format: Pixel,
    /// Lines of the stored picture.
    pub height: u32,
}

impl Coding {
    /// Reads what a decoded picture states.
    pub fn of(picture: &frame::Video) -> Self {
        Self {
            space: picture.color_space(),
            range: picture.color_range(),
            primaries: picture.color_primaries(),
            transfer: picture.color_transfer_characteristic(),
            format: picture.format(),
            height: picture.height(),
        }
    }

    /// Reads what a coded stream states before a picture of it is decoded.
    pub fn declared(decoder: &codec::decoder::Video) -> Self {
        Self {
            space: decoder.color_space(),
            range: decoder.color_range(),
            primaries: decoder.color_primaries(),
            transfer: decoder.color_transfer_characteristic(),
            format: decoder.format(),
            height: decoder.height(),
        }
    }

    /// Matrix and range of the values; what is not stated is assumed from the height.
    pub fn color(self) -> Color {
        use Space as S;
        let assumed = Color::assumed(self.height);
        let matrix = match self.space {
            // RGB becomes video-range Y'CbCr, whatever range it had itself.
            S::RGB => return assumed,
            S::BT709 => Matrix::Bt709,
            S::FCC | S::BT470BG | S::SMPTE170M => Matrix::Bt601,
            // Their coefficients lie nearer to BT.709's.
            S::BT2020NCL | S::BT2020CL | S::SMPTE240M => Matrix::Bt709,
            _ => assumed.matrix,
        };
        Color { matrix, full_range: self.range == Range::JPEG || is_full_range(self.format) }
    }

    /// Says what of the color is neither BT.709 nor BT.601 nor converted; `None` where nothing differs by more than eyes
    /// notice.
    pub fn unconverted(self) -> Option<String> {
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
        let name = |name: Option<&'static str>| name.unwrap_or("not stated");
        let stated = format!(
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
            "its colors are {kind} ({stated}) and are not converted: its values are handled and written as BT.709, so \
             pictures look paler or darker than meant; to convert them first: ffmpeg -i IN -vf {filter},format=yuv420p OUT"
        ))
    }
}

/// True for layouts whose values are of the full range by themselves.
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

    const HD: Coding = Coding {
        space: Space::BT709,
        range: Range::MPEG,
        primaries: Primaries::BT709,
        transfer: Transfer::BT709,
        format: Pixel::YUV420P,
        height: 1080,
    };

    #[test]
    fn what_is_not_stated_is_assumed_and_told_by_nobody() {
        let silent = Coding {
            space: Space::Unspecified,
            range: Range::Unspecified,
            primaries: Primaries::Unspecified,
            transfer: Transfer::Unspecified,
            ..HD
        };
        for height in [576, 720] {
            assert_eq!(Coding { height, ..silent }.color(), Color::assumed(height));
            assert_eq!(Coding { height, ..silent }.unconverted(), None);
        }
    }

    #[test]
    fn colors_of_television_need_no_word_and_others_are_named() {
        let pal = Coding {
            space: Space::BT470BG,
            primaries: Primaries::BT470BG,
            transfer: Transfer::GAMMA28,
            height: 576,
            ..HD
        };
        let early =
            Coding { space: Space::SMPTE240M, primaries: Primaries::SMPTE240M, transfer: Transfer::SMPTE240M, ..HD };
        let photo = Coding { space: Space::RGB, transfer: Transfer::IEC61966_2_1, ..HD };
        for coding in [HD, pal, early, photo] {
            assert_eq!(coding.unconverted(), None, "{coding:?}");
        }
        for transfer in [Transfer::SMPTE2084, Transfer::ARIB_STD_B67] {
            let hdr = Coding { space: Space::BT2020NCL, primaries: Primaries::BT2020, transfer, ..HD };
            let told = hdr.unconverted().unwrap();
            assert!(told.contains("HDR (primaries bt2020") && told.contains("tonemap"), "{told}");
            assert!(told.contains(transfer.name().unwrap()), "{told}");
        }
        let wide = Coding { primaries: Primaries::SMPTE432, ..HD }.unconverted().unwrap();
        assert!(wide.contains("not those of BT.709 (primaries smpte432") && !wide.contains("tonemap"), "{wide}");
    }

    #[test]
    fn the_range_is_that_of_the_picture_or_of_its_layout() {
        assert!(!HD.color().full_range);
        assert!(Coding { range: Range::JPEG, ..HD }.color().full_range);
        for format in [Pixel::YUVJ420P, Pixel::GRAY8, Pixel::GRAY16BE, Pixel::YA8] {
            assert!(Coding { format, range: Range::Unspecified, ..HD }.color().full_range, "{format:?}");
        }
        let rgb = Coding { space: Space::RGB, range: Range::JPEG, ..HD };
        assert_eq!(rgb.color(), Color::assumed(1080), "RGB is converted");
    }
}

//! EXIF orientation of PNG and WebP images, whose decoders ignore it.

use std::path::Path;

use crate::geometry::Orientation;

/// FFmpeg's demuxers of single images.
const IMAGE_DEMUXERS: [&str; 3] = ["png_pipe", "webp_pipe", "image2"];

/// Reads the orientation of a file that FFmpeg opened with `demuxer`; upright if that does not read single images.
pub(crate) fn orientation_of_file(path: &Path, demuxer: &str) -> Orientation {
    let is_image = IMAGE_DEMUXERS.contains(&demuxer);
    is_image.then(|| std::fs::read(path).ok()).flatten().map_or(Orientation::UPRIGHT, |image| orientation(&image))
}

/// EXIF tag of the orientation (CIPA DC-008, Exif 2.32, 4.6.4).
const ORIENTATION: u16 = 0x0112;
/// Type of a 16-bit EXIF field.
const SHORT: u16 = 3;

/// Reads the orientation of a PNG (chunk `eXIf`) or WebP (chunk `EXIF`); upright if none is stored.
pub(crate) fn orientation(image: &[u8]) -> Orientation {
    let exif = match image {
        [0x89, b'P', b'N', b'G', _, _, _, _, chunks @ ..] => chunk(chunks, b"eXIf", ChunkLayout::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', chunks @ ..] => {
            chunk(chunks, b"EXIF", ChunkLayout::Riff)
        }
        _ => None,
    };
    exif.and_then(read_orientation).and_then(Orientation::from_exif).unwrap_or_default()
}

#[derive(Clone, Copy)]
enum ChunkLayout {
    /// PNG: length (big-endian), name, data, checksum.
    Png,
    /// RIFF: name, length (little-endian), data, padding to an even length.
    Riff,
}

/// Returns the data of the first chunk with a name.
fn chunk<'a>(mut chunks: &'a [u8], name: &[u8; 4], layout: ChunkLayout) -> Option<&'a [u8]> {
    loop {
        let (head, rest) = chunks.split_first_chunk::<8>()?;
        let [first, second] = [[head[0], head[1], head[2], head[3]], [head[4], head[5], head[6], head[7]]];
        let (found, length, behind) = match layout {
            ChunkLayout::Png => (second, u32::from_be_bytes(first) as usize, 4),
            ChunkLayout::Riff => (first, u32::from_le_bytes(second) as usize, u32::from_le_bytes(second) as usize % 2),
        };
        let data = rest.get(..length)?;
        if found == *name {
            return Some(data);
        }
        chunks = rest.get(length + behind..)?;
    }
}

/// Reads the orientation from the first directory of EXIF data.
fn read_orientation(exif: &[u8]) -> Option<u16> {
    // WebP sometimes has the signature of JPEG's EXIF segment before it.
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match tiff.get(..4)? {
        [b'I', b'I', 42, 0] => true,
        [b'M', b'M', 0, 42] => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = tiff.get(at..at + 2)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let bytes = tiff.get(4..8)?.try_into().ok()?;
    let directory = (if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }) as usize;
    let count = usize::from(short(directory)?);
    (0..count).find_map(|i| {
        let field = directory + 2 + i * 12;
        (short(field)? == ORIENTATION && short(field + 2)? == SHORT).then(|| short(field + 8))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(little: bool, value: u16) -> Vec<u8> {
        let mark: &[u8] = if little { b"II*\0" } else { b"MM\0*" };
        let short = |value: u16| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let long = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        // Two fields: the make, which is text, and the orientation.
        let make = [&short(0x010f)[..], &short(2), &long(2), b"A\0\0\0"].concat();
        let orientation = [&short(ORIENTATION)[..], &short(SHORT), &long(1), &short(value), &[0, 0]].concat();
        [mark, &long(8)[..], &short(2), &make, &orientation, &long(0)].concat()
    }

    fn png(exif: &[u8]) -> Vec<u8> {
        let chunk =
            |name: &[u8; 4], data: &[u8]| [&(data.len() as u32).to_be_bytes()[..], name, data, &[0; 4]].concat();
        [b"\x89PNG\r\n\x1a\n".as_slice(), &chunk(b"IHDR", &[0; 13]), &chunk(b"eXIf", exif)].concat()
    }

    fn webp(exif: &[u8]) -> Vec<u8> {
        let chunk = |name: &[u8; 4], data: &[u8]| {
            [name.as_slice(), &(data.len() as u32).to_le_bytes(), data, &vec![0; data.len() % 2]].concat()
        };
        [b"RIFF\0\0\0\0WEBP".as_slice(), &chunk(b"VP8 ", &[0; 9]), &chunk(b"EXIF", exif)].concat()
    }

    #[test]
    fn both_byte_orders_in_both_containers_are_read() {
        for value in 1..=8 {
            let want = Orientation::from_exif(value).unwrap();
            for little in [true, false] {
                let exif = exif(little, value);
                assert_eq!(orientation(&png(&exif)), want);
                assert_eq!(orientation(&webp(&exif)), want);
                assert_eq!(orientation(&webp(&[b"Exif\0\0", &exif[..]].concat())), want);
            }
        }
    }

    #[test]
    fn truncated_reserved_and_unknown_values_are_upright() {
        let whole = png(&exif(true, 6));
        for end in 0..whole.len() - 8 {
            assert_eq!(orientation(&whole[..end]), Orientation::UPRIGHT, "{end}");
        }
        for strange in [png(&exif(true, 0)), png(&exif(true, 9)), png(b"II*\0\xff\xff\xff\xff"), b"BM".to_vec()] {
            assert_eq!(orientation(&strange), Orientation::UPRIGHT);
        }
    }
}

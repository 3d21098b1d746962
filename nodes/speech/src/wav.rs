//! Parses the WAV output of a voice program.

/// Mono sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Sample rate per second.
    pub rate: u32,
    /// Samples from -1 to 1.
    pub samples: Vec<f32>,
}

/// Parses a WAV file of 16-bit PCM and averages its channels. Returns `None` for any other format.
///
/// A program that writes to a pipe does not know the length in advance, so a declared length beyond the end of the data
/// is accepted.
pub fn parse(bytes: &[u8]) -> Option<Sound> {
    let (head, mut rest) = bytes.split_at_checked(12)?;
    if !head.starts_with(b"RIFF") || !head.ends_with(b"WAVE") {
        return None;
    }
    let mut format = None;
    loop {
        let (chunk, body) = rest.split_at_checked(8)?;
        let declared = u32::from_le_bytes(chunk[4..].try_into().ok()?) as usize;
        let body = &body[..declared.min(body.len())];
        match &chunk[..4] {
            b"fmt " => {
                let short = |at: usize| Some(u16::from_le_bytes(body.get(at..at + 2)?.try_into().ok()?));
                let rate = u32::from_le_bytes(body.get(4..8)?.try_into().ok()?);
                // Format 1 is PCM.
                if short(0)? != 1 || short(14)? != 16 || short(2)? == 0 || rate == 0 {
                    return None;
                }
                format = Some((usize::from(short(2)?), rate));
            }
            b"data" => {
                let (channels, rate) = format?;
                let samples =
                    body.as_chunks::<2>().0.iter().map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 32_768.0);
                let samples: Vec<f32> = samples.collect();
                let mean = |frame: &[f32]| frame.iter().sum::<f32>() / channels as f32;
                return Some(Sound { rate, samples: samples.chunks_exact(channels).map(mean).collect() });
            }
            _ => {}
        }
        // Chunks begin at even offsets.
        rest = rest.get(8 + declared.checked_next_multiple_of(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(channels: u16, declared: u32, data: &[i16]) -> Vec<u8> {
        let mut bytes = b"RIFF\xff\xff\xff\xffWAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0".to_vec();
        bytes.extend(channels.to_le_bytes());
        bytes.extend(16_000_u32.to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(16_u16.to_le_bytes());
        bytes.extend(b"data");
        bytes.extend(declared.to_le_bytes());
        bytes.extend(data.iter().flat_map(|sample| sample.to_le_bytes()));
        bytes
    }

    #[test]
    fn a_declared_length_beyond_the_data_ends_with_the_data() {
        let sound = parse(&wav(1, 0x7fff_f000, &[0, 16_384, -32_768])).unwrap();
        assert_eq!(sound, Sound { rate: 16_000, samples: vec![0.0, 0.5, -1.0] });
        assert_eq!(parse(&wav(2, 8, &[16_384, 0, -16_384, 16_384, 9, 9])).unwrap().samples, [0.25, 0.0]);
    }

    #[test]
    fn formats_other_than_16_bit_pcm_are_refused() {
        let mut float = wav(1, 4, &[1, 2]);
        float[32] = 3;
        for bytes in [&b""[..], b"Error: no voice", &wav(1, 4, &[])[..40], &float, &wav(0, 4, &[1, 2])] {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }
}

//! Audio track of a video: AAC, with each sample at its media time, independent of the frames.

use ff::{Dictionary, Packet, Rational, codec, encoder, format, frame};
use ffmpeg_next as ff;

/// Receiver of encoded packets.
pub(super) type PacketSink<'a> = &'a mut dyn FnMut(&mut Packet) -> Result<(), ff::Error>;

/// Index of the audio track in the container.
pub(super) const AUDIO_TRACK: usize = 1;

use crate::{AAC_SAMPLE_RATES, AudioFormat};

/// Bit rate of each channel, bits per second.
const BITRATE_PER_CHANNEL: usize = 64_000;
/// Longest gap filled with silence, s. After a longer one the next packet is written at its time, and players wait as long.
const MAX_SILENCE_S: i64 = 60;
/// Samples in a frame of AAC.
const AAC_FRAME_SAMPLES: usize = 1024;

/// Encoder of the second track of a video.
pub(super) struct AudioTrack {
    pub format: AudioFormat,
    encoder: encoder::audio::Encoder,
    packet: Packet,
    /// Samples that do not fill a frame yet.
    pending: Vec<f32>,
    /// Index of the first sample of the file, in media time; known with the first frame of video.
    origin: Option<i64>,
    /// Index of the next sample, in media time.
    next: i64,
    /// Samples written per channel, including silence.
    pub samples: u64,
}

impl AudioTrack {
    /// Creates an empty track.
    ///
    /// # Errors
    /// If AAC does not support the format, or this FFmpeg has no AAC encoder.
    pub fn new(format: AudioFormat) -> Result<Self, ff::Error> {
        if !AAC_SAMPLE_RATES.contains(&format.rate) || !matches!(format.channels, 1 | 2) {
            return Err(ff::Error::Other { errno: ff::util::error::EINVAL });
        }
        let codec = encoder::find_by_name("aac").ok_or(ff::Error::EncoderNotFound)?;
        let mut settings = codec::context::Context::new_with_codec(codec).encoder().audio()?;
        settings.set_rate(format.rate as i32);
        settings.set_channel_layout(format.layout());
        settings.set_format(format::Sample::F32(format::sample::Type::Planar));
        settings.set_bit_rate(BITRATE_PER_CHANNEL * usize::from(format.channels));
        settings.set_time_base(Rational(1, format.rate as i32));
        settings.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::BITEXACT);
        let encoder = settings.open_with(Dictionary::new())?;
        Ok(Self { format, encoder, packet: Packet::empty(), pending: vec![], origin: None, next: 0, samples: 0 })
    }

    /// Returns the codec parameters for the muxer.
    pub fn parameters(&self) -> codec::Parameters {
        codec::Parameters::from(&self.encoder)
    }

    /// Starts the track at the presentation time of the first frame of video, ns. Later calls have no effect.
    pub fn begin(&mut self, pts: i64) {
        if self.origin.is_none() {
            self.next = self.format.sample_at(pts);
            self.origin = Some(self.next);
        }
    }

    /// Writes samples; the first is heard at `start` nanoseconds. Samples before the end of the written audio, or before the
    /// first frame of video, are skipped; gaps are filled with silence.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, sink: PacketSink<'_>, start: i64, samples: &[f32]) -> Result<(), ff::Error> {
        let channels = usize::from(self.format.channels);
        if self.origin.is_none() {
            return Ok(());
        }
        let rate = i64::from(self.format.rate);
        let at = self.format.sample_at(start);
        let mut samples = samples;
        // Samples within a millisecond of the expected time continue the track: times are rounded.
        if at.saturating_sub(self.next) > MAX_SILENCE_S * rate {
            self.pad_frame(sink)?;
            self.next = at;
        } else if at - self.next > rate / 1000 {
            let silence = (at - self.next) as usize * channels;
            self.pending.resize(self.pending.len() + silence, 0.0);
            self.next = at;
        } else if self.next - at > rate / 1000 {
            let overlap = (self.next - at).saturating_mul(channels as i64).min(samples.len() as i64);
            samples = &samples[overlap as usize..];
        }
        self.pending.extend_from_slice(samples);
        self.next += (samples.len() / channels) as i64;
        self.encode_frames(sink)
    }

    /// Completes the track.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(&mut self, sink: PacketSink<'_>) -> Result<(), ff::Error> {
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.send_frame(&rest, self.next - (rest.len() / usize::from(self.format.channels)) as i64)?;
        }
        self.encoder.send_eof()?;
        self.drain(sink)
    }

    /// Fills the pending frame with silence.
    fn pad_frame(&mut self, sink: PacketSink<'_>) -> Result<(), ff::Error> {
        let channels = usize::from(self.format.channels);
        let whole = self.pending.len().next_multiple_of(AAC_FRAME_SAMPLES * channels);
        self.next += ((whole - self.pending.len()) / channels) as i64;
        self.pending.resize(whole, 0.0);
        self.encode_frames(sink)
    }

    /// Encodes the pending samples that fill a frame.
    fn encode_frames(&mut self, sink: PacketSink<'_>) -> Result<(), ff::Error> {
        let channels = usize::from(self.format.channels);
        let pending = std::mem::take(&mut self.pending);
        let mut at = self.next - (pending.len() / channels) as i64;
        let (frames, rest) = pending.split_at(pending.len() - pending.len() % (AAC_FRAME_SAMPLES * channels));
        for samples in frames.chunks_exact(AAC_FRAME_SAMPLES * channels) {
            self.send_frame(samples, at)?;
            self.drain(sink)?;
            at += AAC_FRAME_SAMPLES as i64;
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// Sends a frame to the encoder; `at` is the index of its first sample. The last frame of a file may be shorter.
    fn send_frame(&mut self, samples: &[f32], at: i64) -> Result<(), ff::Error> {
        let channels = usize::from(self.format.channels);
        let planar = format::Sample::F32(format::sample::Type::Planar);
        let mut frame = frame::Audio::new(planar, samples.len() / channels, self.format.layout());
        frame.set_rate(self.format.rate);
        frame.set_pts(Some(at));
        for channel in 0..channels {
            for (to, from) in
                frame.plane_mut::<f32>(channel).iter_mut().zip(samples[channel..].iter().step_by(channels))
            {
                // NaN and infinity would corrupt the encoder's state, and with it all following frames.
                *to = if from.is_finite() { from.clamp(-1.0, 1.0) } else { 0.0 };
            }
        }
        self.samples += (samples.len() / channels) as u64;
        self.encoder.send_frame(&frame)
    }

    /// Writes the packets that the encoder has ready.
    fn drain(&mut self, sink: PacketSink<'_>) -> Result<(), ff::Error> {
        while self.encoder.receive_packet(&mut self.packet).is_ok() {
            // The encoder's first packet lies before the first sample: it only primes the decoder. Writing it would need an
            // edit list, which players interpret differently in a fragmented file, or delay the audio by 23 ms against the
            // video. Without it, the first 23 ms are faded in.
            if self.packet.pts().is_none_or(|pts| self.origin.is_none_or(|origin| pts < origin)) {
                continue;
            }
            self.packet.set_stream(AUDIO_TRACK);
            sink(&mut self.packet)?;
        }
        Ok(())
    }
}

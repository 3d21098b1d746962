//! The sound track of a video: AAC, each sample at its media time, whatever happens to the pictures.

use ff::{Dictionary, Packet, Rational, codec, encoder, format, frame};
use ffmpeg_next as ff;

/// Where packets go.
pub(super) type Put<'a> = &'a mut dyn FnMut(&mut Packet) -> Result<(), ff::Error>;

/// Number of the sound's track.
pub(super) const TRACK: usize = 1;

use crate::{RATES, SoundFormat};

/// Bits a second for each channel.
const BITRATE: usize = 64_000;
/// A gap of more seconds than this is none of silence: the next packet is put at its time. A player waits the same.
const LONGEST_SILENCE: i64 = 60;
/// Samples that are encoded at once, in a frame of AAC.
const AAC_FRAME: usize = 1024;

/// Encodes samples into the second track of a video.
pub(super) struct SoundTrack {
    pub format: SoundFormat,
    encoder: encoder::audio::Encoder,
    packet: Packet,
    /// Samples that do not fill a frame yet.
    pending: Vec<f32>,
    /// Number of the first sample of the file, by media time; known with the first picture.
    origin: Option<i64>,
    /// Number of the sample that is due.
    next: i64,
    /// Samples written, silence included.
    pub samples: u64,
}

impl SoundTrack {
    /// A track without a sample yet.
    ///
    /// # Errors
    /// When AAC cannot hold the format, or this FFmpeg has no encoder for it.
    pub fn new(format: SoundFormat) -> Result<Self, ff::Error> {
        if !RATES.contains(&format.rate) || !matches!(format.channels, 1 | 2) {
            return Err(ff::Error::Other { errno: ff::util::error::EINVAL });
        }
        let codec = encoder::find_by_name("aac").ok_or(ff::Error::EncoderNotFound)?;
        let mut settings = codec::context::Context::new_with_codec(codec).encoder().audio()?;
        settings.set_rate(format.rate as i32);
        settings.set_channel_layout(format.layout());
        settings.set_format(format::Sample::F32(format::sample::Type::Planar));
        settings.set_bit_rate(BITRATE * usize::from(format.channels));
        settings.set_time_base(Rational(1, format.rate as i32));
        settings.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::BITEXACT);
        let encoder = settings.open_with(Dictionary::new())?;
        Ok(Self { format, encoder, packet: Packet::empty(), pending: vec![], origin: None, next: 0, samples: 0 })
    }

    /// What a container must know of it.
    pub fn parameters(&self) -> codec::Parameters {
        codec::Parameters::from(&self.encoder)
    }

    /// The first picture of the file is shown at this time: the sound begins with it.
    pub fn begin(&mut self, pts: i64) {
        if self.origin.is_none() {
            self.next = self.format.sample(pts);
            self.origin = Some(self.next);
        }
    }

    /// Writes samples of which the first is heard at `start` nanoseconds. What was written before, or is heard before the
    /// first picture, is left out; where sound is missing there is silence.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, put: Put<'_>, start: i64, samples: &[f32]) -> Result<(), ff::Error> {
        let channels = usize::from(self.format.channels);
        if self.origin.is_none() {
            return Ok(());
        }
        let rate = i64::from(self.format.rate);
        let at = self.format.sample(start);
        let mut samples = samples;
        // A stretch that begins within a millisecond of its due time follows on: times are rounded.
        if at.saturating_sub(self.next) > LONGEST_SILENCE * rate {
            self.complete(put)?;
            self.next = at;
        } else if at - self.next > rate / 1000 {
            let silence = (at - self.next) as usize * channels;
            self.pending.resize(self.pending.len() + silence, 0.0);
            self.next = at;
        } else if self.next - at > rate / 1000 {
            let known = (self.next - at).saturating_mul(channels as i64).min(samples.len() as i64);
            samples = &samples[known as usize..];
        }
        self.pending.extend_from_slice(samples);
        self.next += (samples.len() / channels) as i64;
        self.encode(put)
    }

    /// Ends the track.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(&mut self, put: Put<'_>) -> Result<(), ff::Error> {
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.send(&rest, self.next - (rest.len() / usize::from(self.format.channels)) as i64)?;
        }
        self.encoder.send_eof()?;
        self.drain(put)
    }

    /// Fills the frame at hand with silence.
    fn complete(&mut self, put: Put<'_>) -> Result<(), ff::Error> {
        let channels = usize::from(self.format.channels);
        let whole = self.pending.len().next_multiple_of(AAC_FRAME * channels);
        self.next += ((whole - self.pending.len()) / channels) as i64;
        self.pending.resize(whole, 0.0);
        self.encode(put)
    }

    /// Encodes the whole frames of what is pending.
    fn encode(&mut self, put: Put<'_>) -> Result<(), ff::Error> {
        let channels = usize::from(self.format.channels);
        let pending = std::mem::take(&mut self.pending);
        let mut at = self.next - (pending.len() / channels) as i64;
        let (frames, rest) = pending.split_at(pending.len() - pending.len() % (AAC_FRAME * channels));
        for samples in frames.chunks_exact(AAC_FRAME * channels) {
            self.send(samples, at)?;
            self.drain(put)?;
            at += AAC_FRAME as i64;
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// Gives the encoder a frame, the last one of a file also a shorter one, of which the first sample is number `at`.
    fn send(&mut self, samples: &[f32], at: i64) -> Result<(), ff::Error> {
        let channels = usize::from(self.format.channels);
        let planar = format::Sample::F32(format::sample::Type::Planar);
        let mut frame = frame::Audio::new(planar, samples.len() / channels, self.format.layout());
        frame.set_rate(self.format.rate);
        frame.set_pts(Some(at));
        for channel in 0..channels {
            for (to, from) in
                frame.plane_mut::<f32>(channel).iter_mut().zip(samples[channel..].iter().step_by(channels))
            {
                // What is no number would spoil the encoder's memory, and with it all that follows.
                *to = if from.is_finite() { from.clamp(-1.0, 1.0) } else { 0.0 };
            }
        }
        self.samples += (samples.len() / channels) as u64;
        self.encoder.send_frame(&frame)
    }

    /// Moves what the encoder has ready into the file.
    fn drain(&mut self, put: Put<'_>) -> Result<(), ff::Error> {
        while self.encoder.receive_packet(&mut self.packet).is_ok() {
            // The encoder's first packet lies before the first sample: it only runs the decoder in. Kept, it would need an
            // edit list, which players heed differently in a file that is written as it goes, or it would move the sound
            // 23 ms behind the picture. Without it, the first 23 ms are faded in.
            if self.packet.pts().is_none_or(|pts| self.origin.is_none_or(|origin| pts < origin)) {
                continue;
            }
            self.packet.set_stream(TRACK);
            put(&mut self.packet)?;
        }
        Ok(())
    }
}

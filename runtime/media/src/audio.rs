//! Decoder of the audio stream of a file: interleaved samples with their media time.

use std::collections::VecDeque;

use ff::{Packet, codec, format, frame, software::resampling};
use ffmpeg_next as ff;

use crate::info::Timebase;

/// Sample rates that AAC, and so the written audio, supports, Hz. Audio at another rate is resampled to 48,000 Hz.
pub const AAC_SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Format of decoded or written samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioFormat {
    /// Sample rate of each channel, Hz.
    pub rate: u32,
    /// Number of channels: 1, or 2 with the left sample before the right.
    pub channels: u16,
}

impl AudioFormat {
    /// Returns the index of the sample at a time, ns.
    pub fn sample_at(self, ns: i64) -> i64 {
        let (value, unit) = (i128::from(ns) * i128::from(self.rate), 1_000_000_000);
        (value + unit / 2).div_euclid(unit).clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// Returns the time of a sample, ns.
    pub fn sample_time_ns(self, sample: i64) -> i64 {
        let (value, unit) = (i128::from(sample) * 1_000_000_000, i128::from(self.rate.max(1)));
        (value + unit / 2).div_euclid(unit) as i64
    }

    /// Returns FFmpeg's channel layout.
    pub(crate) fn layout(self) -> ff::ChannelLayout {
        if self.channels == 1 { ff::ChannelLayout::MONO } else { ff::ChannelLayout::STEREO }
    }
}

/// Contiguous samples of audio.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioSegment {
    /// Media time of the first sample, ns, on the clock of the frames.
    pub start_ns: i64,
    /// Interleaved samples, -1..1.
    pub samples: Vec<f32>,
}

/// Contiguous samples; the first has index `at`, counted in the file's own time.
struct SampleRun {
    at: i64,
    samples: Vec<f32>,
}

/// Decoder of one audio stream, with the samples that are decoded and not yet taken.
pub(crate) struct AudioDecoder {
    /// Index of the audio stream.
    pub stream: usize,
    /// Format of the returned samples.
    pub format: AudioFormat,
    /// Packets that could not be decoded.
    pub undecodable: u64,
    decoder: codec::decoder::Audio,
    timebase: Timebase,
    /// Converter from the decoder's format to `format`; made at the first frame, and again where the decoder's format changes.
    converter: Option<resampling::Context>,
    frame: frame::Audio,
    runs: VecDeque<SampleRun>,
    /// Index of the sample after the last decoded one.
    next: Option<i64>,
}

impl AudioDecoder {
    /// Opens the decoder of an audio stream. Logs a warning and returns `None` if it cannot be decoded.
    pub fn open(input: &format::context::Input, stream: usize, path: &str) -> Option<Self> {
        let stream = input.stream(stream)?;
        let name = stream.parameters().id().name();
        let opened = codec::context::Context::from_parameters(stream.parameters()).and_then(|context| {
            let mut decoder = context.decoder();
            // Without the time base, the encoder's priming samples are cut off and the timestamps are not corrected for it.
            decoder.set_packet_time_base(stream.time_base());
            decoder.audio()
        });
        let decoder = opened
            .inspect_err(|cause| {
                tracing::warn!(file = path, codec = name, %cause, "its audio cannot be decoded and is left out");
            })
            .ok()?;
        let (rate, time_base) = (decoder.rate(), stream.time_base());
        let rate = if AAC_SAMPLE_RATES.contains(&rate) { rate } else { 48_000 };
        Some(Self {
            stream: stream.index(),
            format: AudioFormat { rate, channels: if decoder.channels() == 1 { 1 } else { 2 } },
            undecodable: 0,
            decoder,
            timebase: Timebase { start: 0, num: time_base.numerator(), den: time_base.denominator() },
            converter: None,
            frame: frame::Audio::empty(),
            runs: VecDeque::new(),
            next: None,
        })
    }

    /// Decodes a packet of the stream.
    pub fn decode(&mut self, packet: &Packet) {
        if self.decoder.send_packet(packet).is_err() {
            self.undecodable += 1;
        }
        self.receive();
    }

    /// Drains the decoder at the end of the stream.
    pub fn drain(&mut self) {
        // It fails only if the end was sent before.
        let _ = self.decoder.send_eof();
        self.receive();
    }

    /// Discards all samples and the decoder's state, as after a seek.
    pub fn reset(&mut self) {
        self.decoder.flush();
        self.runs.clear();
        (self.next, self.undecodable) = (None, 0);
    }

    /// True if all audio before this time of the file (ns) is decoded.
    pub fn has_decoded_until(&self, ns: i64) -> bool {
        self.next.is_some_and(|next| next >= self.format.sample_at(ns))
    }

    /// Takes the decoded audio between two times of the file (ns), and discards what is before. `origin` is the time of the
    /// file that is media time 0.
    pub fn take(&mut self, from: i64, until: i64, origin: i64) -> Vec<AudioSegment> {
        let (from, until) = (self.format.sample_at(from), self.format.sample_at(until));
        let channels = usize::from(self.format.channels);
        let mut taken = vec![];
        while let Some(mut run) = self.runs.pop_front_if(|run| run.at < until) {
            let length = (run.samples.len() / channels) as i64;
            if run.at + length > until {
                let rest = run.samples.split_off((until - run.at) as usize * channels);
                self.runs.push_front(SampleRun { at: until, samples: rest });
            }
            let early = (from - run.at).clamp(0, (run.samples.len() / channels) as i64);
            run.samples.drain(..early as usize * channels);
            if !run.samples.is_empty() {
                let start_ns = self.format.sample_time_ns(run.at + early) - origin;
                taken.push(AudioSegment { start_ns, samples: run.samples });
            }
        }
        taken
    }

    fn receive(&mut self) {
        while self.decoder.receive_frame(&mut self.frame).is_ok() {
            match self.convert() {
                Ok(samples) => self.append(samples),
                Err(_) => self.undecodable += 1,
            }
        }
    }

    /// Converts the samples of `frame` to `format`.
    fn convert(&mut self) -> Result<Vec<f32>, ff::Error> {
        let frame = &mut self.frame;
        if frame.channel_layout().is_empty() {
            frame.set_channel_layout(ff::ChannelLayout::default(frame.channels().into()));
        }
        let (from, to) = (frame.rate().max(1), self.format.rate);
        let input = resampling::context::Definition {
            format: frame.format(),
            channel_layout: frame.channel_layout(),
            rate: from,
        };
        if self.converter.as_ref().is_none_or(|converter| *converter.input() != input) {
            let packed = format::Sample::F32(format::sample::Type::Packed);
            let (layout, target) = (input.channel_layout, self.format.layout());
            self.converter = Some(resampling::Context::get(input.format, layout, from, packed, target, to)?);
        }
        let Some(converter) = &mut self.converter else { return Ok(vec![]) };
        // The resampler may also return samples that it held back.
        let room = frame.samples() * to as usize / from as usize + 1024;
        let mut output =
            frame::Audio::new(format::Sample::F32(format::sample::Type::Packed), room, self.format.layout());
        converter.run(frame, &mut output)?;
        let bytes = output.samples() * usize::from(self.format.channels) * size_of::<f32>();
        let samples = output.data(0).get(..bytes).ok_or(ff::Error::InvalidData)?.as_chunks().0.iter();
        Ok(samples.map(|bytes| f32::from_ne_bytes(*bytes)).collect())
    }

    /// Appends samples to the last run, or starts a new run after a gap; overlapping samples are dropped.
    fn append(&mut self, mut samples: Vec<f32>) {
        let channels = usize::from(self.format.channels);
        let ticks = self.frame.timestamp().or(self.frame.pts());
        let stamped = ticks.map(|ticks| self.format.sample_at(self.timebase.to_ns(ticks)));
        // Without a timestamp so far, samples cannot be placed.
        let Some(mut at) = stamped.or(self.next) else { return };
        // Timestamps are rounded, in some files to the millisecond, and clocks of sound cards drift: within 10 ms of the
        // expected time, samples count as contiguous. The error cannot grow beyond that.
        let tolerance = i64::from(self.format.rate / 100);
        if let Some(next) = self.next {
            if (at - next).abs() <= tolerance {
                at = next;
            } else if at < next {
                let overlap = ((next - at) as usize * channels).min(samples.len());
                samples.drain(..overlap);
                at = next;
            }
        }
        self.next = Some(at + (samples.len() / channels) as i64);
        match self.runs.back_mut() {
            Some(run) if run.at + (run.samples.len() / channels) as i64 == at => run.samples.append(&mut samples),
            _ if samples.is_empty() => {}
            _ => self.runs.push_back(SampleRun { at, samples }),
        }
    }
}

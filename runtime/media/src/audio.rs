//! The sound beside the picture: decoded from the same file, as interleaved samples that know their media time.

use std::collections::VecDeque;

use ff::{Packet, codec, format, frame, software::resampling};
use ffmpeg_next as ff;

use crate::info::Times;

/// Rates that AAC, and so what is written, can hold: samples a second. Sound at another one is brought to 48,000.
pub const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// How samples are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundFormat {
    /// Samples a second of each channel.
    pub rate: u32,
    /// 1, or 2 with the left sample before the right.
    pub channels: u16,
}

impl SoundFormat {
    /// Number of the sample that is heard at a time in nanoseconds.
    pub fn sample(self, ns: i64) -> i64 {
        let (value, unit) = (i128::from(ns) * i128::from(self.rate), 1_000_000_000);
        (value + unit / 2).div_euclid(unit).clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// The time in nanoseconds of a sample.
    pub fn ns(self, sample: i64) -> i64 {
        let (value, unit) = (i128::from(sample) * 1_000_000_000, i128::from(self.rate.max(1)));
        (value + unit / 2).div_euclid(unit) as i64
    }

    /// FFmpeg's name for one or two channels.
    pub(crate) fn layout(self) -> ff::ChannelLayout {
        if self.channels == 1 { ff::ChannelLayout::MONO } else { ff::ChannelLayout::STEREO }
    }
}

/// A stretch of sound without a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Media time of the first sample, nanoseconds, on the clock of the frames.
    pub start_ns: i64,
    /// Samples, -1..1: those of one moment stand side by side.
    pub samples: Vec<f32>,
}

/// Samples of which the first is number `at` of the file's own time.
struct Run {
    at: i64,
    samples: Vec<f32>,
}

/// The decoder of one file's sound, and what it decoded and nobody has taken yet.
pub(crate) struct Listener {
    /// Index of the stream.
    pub stream: usize,
    /// Of what is handed out.
    pub format: SoundFormat,
    /// Packets that gave no sound.
    pub undecodable: u64,
    decoder: codec::decoder::Audio,
    base: Times,
    /// From what the decoder gives to `format`; made at the first frame, and anew where the sound changes.
    converter: Option<resampling::Context>,
    frame: frame::Audio,
    runs: VecDeque<Run>,
    /// Number of the sample after the last decoded one.
    next: Option<i64>,
}

impl Listener {
    /// Opens the sound of a stream; `None`, with a word in the log, where it cannot be decoded.
    pub fn open(input: &format::context::Input, stream: usize, path: &str) -> Option<Self> {
        let stream = input.stream(stream)?;
        let name = stream.parameters().id().name();
        let opened = codec::context::Context::from_parameters(stream.parameters()).and_then(|context| {
            let mut decoder = context.decoder();
            // Without it, what an encoder put before the first sample is cut off and the times are not moved.
            decoder.set_packet_time_base(stream.time_base());
            decoder.audio()
        });
        let decoder = opened
            .inspect_err(|cause| {
                tracing::warn!(file = path, codec = name, %cause, "its sound cannot be decoded and is left out");
            })
            .ok()?;
        let (rate, base) = (decoder.rate(), stream.time_base());
        let rate = if RATES.contains(&rate) { rate } else { 48_000 };
        Some(Self {
            stream: stream.index(),
            format: SoundFormat { rate, channels: if decoder.channels() == 1 { 1 } else { 2 } },
            undecodable: 0,
            decoder,
            base: Times { start: 0, num: base.numerator(), den: base.denominator() },
            converter: None,
            frame: frame::Audio::empty(),
            runs: VecDeque::new(),
            next: None,
        })
    }

    /// Decodes a packet of the stream.
    pub fn hear(&mut self, packet: &Packet) {
        if self.decoder.send_packet(packet).is_err() {
            self.undecodable += 1;
        }
        self.receive();
    }

    /// No packet follows: what the decoder holds comes out.
    pub fn drain(&mut self) {
        // It can only say that it was told before.
        let _ = self.decoder.send_eof();
        self.receive();
    }

    /// Forgets everything, as after a seek.
    pub fn restart(&mut self) {
        self.decoder.flush();
        self.runs.clear();
        (self.next, self.undecodable) = (None, 0);
    }

    /// True when all sound before this time of the file (nanoseconds) is decoded.
    pub fn reaches(&self, ns: i64) -> bool {
        self.next.is_some_and(|next| next >= self.format.sample(ns))
    }

    /// The sound between two times of the file (nanoseconds), as far as it is decoded; what is before is dropped.
    /// `zero` is the file's time that counts as media time 0.
    pub fn take(&mut self, from: i64, until: i64, zero: i64) -> Vec<Sound> {
        let (from, until) = (self.format.sample(from), self.format.sample(until));
        let channels = usize::from(self.format.channels);
        let mut taken = vec![];
        while let Some(mut run) = self.runs.pop_front_if(|run| run.at < until) {
            let length = (run.samples.len() / channels) as i64;
            if run.at + length > until {
                let rest = run.samples.split_off((until - run.at) as usize * channels);
                self.runs.push_front(Run { at: until, samples: rest });
            }
            let early = (from - run.at).clamp(0, (run.samples.len() / channels) as i64);
            run.samples.drain(..early as usize * channels);
            if !run.samples.is_empty() {
                let start_ns = self.format.ns(run.at + early) - zero;
                taken.push(Sound { start_ns, samples: run.samples });
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

    /// The samples of `frame` in the format asked for.
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
        // Room for what the resampler may have held back as well.
        let room = frame.samples() * to as usize / from as usize + 1024;
        let mut output =
            frame::Audio::new(format::Sample::F32(format::sample::Type::Packed), room, self.format.layout());
        converter.run(frame, &mut output)?;
        let bytes = output.samples() * usize::from(self.format.channels) * size_of::<f32>();
        let samples = output.data(0).get(..bytes).ok_or(ff::Error::InvalidData)?.as_chunks().0.iter();
        Ok(samples.map(|bytes| f32::from_ne_bytes(*bytes)).collect())
    }

    /// Puts samples behind those that are there, or after a gap; what overlaps is dropped.
    fn append(&mut self, mut samples: Vec<f32>) {
        let channels = usize::from(self.format.channels);
        let ticks = self.frame.timestamp().or(self.frame.pts());
        let stamped = ticks.map(|ticks| self.format.sample(self.base.ns(ticks)));
        // Before anything tells the time there is nothing to place it by.
        let Some(mut at) = stamped.or(self.next) else { return };
        // Stamps are rounded, in some files to the millisecond, and clocks of sound cards drift: up to 10 ms the samples
        // are taken to follow each other, and the error cannot grow beyond.
        let slack = i64::from(self.format.rate / 100);
        if let Some(next) = self.next {
            if (at - next).abs() <= slack {
                at = next;
            } else if at < next {
                let known = ((next - at) as usize * channels).min(samples.len());
                samples.drain(..known);
                at = next;
            }
        }
        self.next = Some(at + (samples.len() / channels) as i64);
        match self.runs.back_mut() {
            Some(run) if run.at + (run.samples.len() / channels) as i64 == at => run.samples.append(&mut samples),
            _ if samples.is_empty() => {}
            _ => self.runs.push_back(Run { at, samples }),
        }
    }
}

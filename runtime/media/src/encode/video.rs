//! The H.264 encoder itself: x264, or NVENC where there is one.

use ff::{Dictionary, Packet, Rational, codec, color, encoder, format::Pixel, frame};
use ffmpeg_next as ff;
use sideline_api::{Color, Error, Matrix, Result};

use super::{EncodeOptions, PRESETS, Quality, TICKS};

/// Which encoder is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// NVENC where it can be opened, else x264; which one it is is logged.
    #[default]
    Auto,
    /// x264, on the CPU.
    X264,
    /// NVENC; fails where it cannot be used.
    Nvenc,
}

/// An encoder and the picture that it is given.
pub(super) struct VideoTrack {
    encoder: encoder::video::Encoder,
    picture: frame::Video,
    size: (usize, usize),
    color: Option<Color>,
    quality: Quality,
}

/// Why a picture was not taken.
pub(super) enum Refused {
    /// A plane is too short: its number and bytes.
    Plane(usize, usize),
    /// FFmpeg's own reason.
    Ffmpeg(ff::Error),
}

/// Looks whether this FFmpeg can encode H.264.
///
/// # Errors
/// `Output`, with what to install.
pub fn available() -> Result<()> {
    find("libx264").map(|_| ())
}

fn find(name: &str) -> Result<ff::Codec> {
    crate::open::start_ffmpeg();
    encoder::find_by_name(name).ok_or_else(|| {
        Error::output(format!(
            "this build of FFmpeg has no {name}; install one with it (Debian: libavcodec-extra or libavcodec59)"
        ))
    })
}

impl VideoTrack {
    /// Opens the encoder that is asked for.
    ///
    /// # Errors
    /// `Config` for a preset that x264 does not know; `Output` for a size that cannot be encoded, or an encoder that cannot
    /// be used; `Gpu` where that is NVENC.
    pub fn open(width: u32, height: u32, options: &EncodeOptions) -> Result<Self> {
        let preset = options.preset.as_str();
        if !PRESETS.contains(&preset) {
            let hint = sideline_api::config::did_you_mean(preset, PRESETS);
            return Err(Error::config(format!("x264 has no preset `{preset}`{hint}")));
        }
        if width == 0 || height == 0 || width > 16384 || height > 16384 {
            return Err(Error::output(format!("x264 cannot encode {width}x{height} pixels")));
        }
        let x264 = || {
            Self::with("libx264", width, height, options)?.map_err(|cause| {
                Error::output(format!("libx264 refuses these settings: {cause}; look at preset, quality and size"))
            })
        };
        match options.codec {
            Codec::X264 => x264(),
            Codec::Nvenc => Self::with("h264_nvenc", width, height, options)?.map_err(|cause| {
                Error::gpu(format!(
                    "NVENC cannot be used: {cause}; look at the driver, or set `encoder` to x264 or auto"
                ))
            }),
            Codec::Auto => match Self::with("h264_nvenc", width, height, options) {
                Ok(Ok(track)) => {
                    tracing::info!("encoded by NVENC");
                    Ok(track)
                }
                Ok(Err(cause)) => {
                    tracing::info!(%cause, "no NVENC: encoded by x264");
                    x264()
                }
                Err(error) => {
                    tracing::info!(cause = error.message, "no NVENC: encoded by x264");
                    x264()
                }
            },
        }
    }

    /// Opens one; the inner error is FFmpeg's own.
    fn with(name: &str, width: u32, height: u32, options: &EncodeOptions) -> Result<Result<Self, ff::Error>> {
        let codec = find(name)?;
        Ok(Self::set_up(codec, name == "libx264", width, height, options))
    }

    fn set_up(
        codec: ff::Codec,
        x264: bool,
        width: u32,
        height: u32,
        options: &EncodeOptions,
    ) -> Result<Self, ff::Error> {
        let even = (width.next_multiple_of(2), height.next_multiple_of(2));
        let mut settings = codec::context::Context::new_with_codec(codec).encoder().video()?;
        settings.set_width(even.0);
        settings.set_height(even.1);
        settings.set_format(Pixel::YUV420P);
        settings.set_time_base(Rational(1, TICKS));
        settings.set_frame_rate(Some(Rational::from(options.fps.clamp(1.0, 1000.0))));
        settings.set_gop(options.gop.max(1));
        // Without B-frames a frame's decoding time is its presentation time, so fragments need no shifted clock.
        settings.set_max_b_frames(0);
        settings.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::BITEXACT);
        if let Some(meaning) = options.color {
            let (space, primaries, transfer) = match meaning.matrix {
                Matrix::Bt601 => {
                    (color::Space::SMPTE170M, color::Primaries::SMPTE170M, color::TransferCharacteristic::SMPTE170M)
                }
                Matrix::Bt709 => (color::Space::BT709, color::Primaries::BT709, color::TransferCharacteristic::BT709),
            };
            settings.set_colorspace(space);
            settings.set_color_primaries(primaries);
            settings.set_color_transfer_characteristic(transfer);
            settings.set_color_range(range(meaning));
        }
        let mut own = Dictionary::new();
        if x264 {
            own.set("preset", &options.preset);
            own.set("threads", &options.threads.to_string());
            if options.low_delay {
                own.set("tune", "zerolatency");
                own.set("forced-idr", "1");
            }
        } else {
            // Its presets are p1, the fastest, to p7.
            let speed = PRESETS.iter().position(|preset| *preset == options.preset).unwrap_or(0).min(6) + 1;
            own.set("preset", &format!("p{speed}"));
            own.set("tune", if options.low_delay { "ull" } else { "hq" });
            own.set("forced-idr", "1");
            own.set("delay", "0");
        }
        match options.quality {
            Quality::Crf(crf) if x264 => own.set("crf", &crf.clamp(0.0, 51.0).to_string()),
            Quality::Crf(crf) => {
                own.set("rc", "vbr");
                own.set("cq", &crf.clamp(1.0, 51.0).to_string());
            }
            Quality::Bitrate(bits) => set_bitrate(&mut settings, bits, options.low_delay),
        }
        let encoder = settings.open_with(own)?;
        let picture = frame::Video::new(Pixel::YUV420P, even.0, even.1);
        let size = (width as usize, height as usize);
        Ok(Self { encoder, picture, size, color: options.color, quality: options.quality })
    }

    /// Width and height of the pictures it takes.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// How the pixels of its pictures are meant.
    pub fn color(&self) -> Option<Color> {
        self.color
    }

    /// What a muxer must know of it.
    pub fn parameters(&self) -> codec::Parameters {
        codec::Parameters::from(&self.encoder)
    }

    /// From the next picture on another mean of bits a second. False where none was asked for at the start.
    pub fn set_bitrate(&mut self, bits: usize) -> bool {
        let Quality::Bitrate(_) = self.quality else { return false };
        self.quality = Quality::Bitrate(bits);
        // SAFETY: the context is open and ours. The wrappers of x264 and NVENC compare these fields with what the encoder
        // runs with before each picture, and reconfigure it where they differ.
        unsafe {
            let context = self.encoder.as_mut_ptr();
            (*context).bit_rate = bits as i64;
            if (*context).rc_max_rate > 0 {
                (*context).rc_max_rate = bits as i64;
                (*context).rc_buffer_size = bits as i32;
            }
        }
        true
    }

    /// Gives the encoder a picture: three planes, each with the distance between its rows; `key` makes it one that players
    /// can begin at.
    pub fn send(&mut self, planes: [(&[u8], usize); 3], ticks: i64, key: bool) -> Result<(), Refused> {
        // SAFETY: `picture` owns a valid AVFrame with buffers; the call gives it buffers of its own where x264's wrapper
        // still refers to the present ones, and leaves it unchanged when it fails.
        let code = unsafe { ff::ffi::av_frame_make_writable(self.picture.as_mut_ptr()) };
        if code < 0 {
            return Err(Refused::Ffmpeg(code.into()));
        }
        let (w, h) = self.size;
        for (i, (from, from_stride)) in planes.into_iter().enumerate() {
            let (row, rows) = if i == 0 { (w, h) } else { (w.div_ceil(2), h.div_ceil(2)) };
            if from_stride < row || from.len() < (rows - 1) * from_stride + row {
                return Err(Refused::Plane(i, from.len()));
            }
            let stride = self.picture.stride(i);
            let to = self.picture.data_mut(i);
            for (to, from) in to.chunks_mut(stride).zip(from.chunks(from_stride).take(rows)) {
                to[..row].copy_from_slice(&from[..row]);
                if i == 0 && w % 2 == 1 {
                    to[row] = to[row - 1];
                }
            }
            if i == 0 && h % 2 == 1 {
                to.copy_within((h - 1) * stride..h * stride, h * stride);
            }
        }
        self.picture.set_pts(Some(ticks));
        self.picture.set_kind(if key { ff::picture::Type::I } else { ff::picture::Type::None });
        self.encoder.send_frame(&self.picture).map_err(Refused::Ffmpeg)
    }

    /// No picture follows.
    pub fn finish(&mut self) -> Result<(), ff::Error> {
        self.encoder.send_eof()
    }

    /// The next packet, if one is ready; its times in [`TICKS`].
    pub fn receive(&mut self, packet: &mut Packet) -> bool {
        self.encoder.receive_packet(packet).is_ok()
    }
}

fn range(meaning: Color) -> color::Range {
    if meaning.full_range { color::Range::JPEG } else { color::Range::MPEG }
}

fn set_bitrate(settings: &mut encoder::video::Video, bits: usize, low_delay: bool) {
    settings.set_bit_rate(bits);
    if low_delay {
        settings.set_max_bit_rate(bits);
        // SAFETY: the context is ours and not open yet. A second's worth: what a line must carry at most.
        unsafe { (*settings.as_mut_ptr()).rc_buffer_size = bits as i32 };
    }
}

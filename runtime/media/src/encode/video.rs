//! H.264 encoder: x264, or NVENC if available.

use ff::{Dictionary, Packet, Rational, codec, color, encoder, format::Pixel, frame};
use ffmpeg_next as ff;
use sideline_api::{Color, Error, Matrix, Result};

use super::{EncodeOptions, Quality, TICKS_PER_S, X264_PRESETS};

/// Encoder to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// NVENC if it can be opened, otherwise x264; the choice is logged.
    #[default]
    Auto,
    /// x264, on the CPU.
    X264,
    /// NVENC; fails if it is unavailable.
    Nvenc,
}

/// A video encoder and its input picture.
pub(super) struct VideoTrack {
    encoder: encoder::video::Encoder,
    picture: frame::Video,
    size: (usize, usize),
    color: Option<Color>,
    quality: Quality,
}

/// Reason why a picture was not encoded.
pub(super) enum SendError {
    /// A plane is too short: its index and length in bytes.
    PlaneTooShort(usize, usize),
    /// Error of FFmpeg.
    Ffmpeg(ff::Error),
}

/// Checks that this FFmpeg has an H.264 encoder.
///
/// # Errors
/// `Output` if it has none; the message names the package to install.
pub fn check_encoder() -> Result<()> {
    find_encoder("libx264").map(|_| ())
}

fn find_encoder(name: &str) -> Result<ff::Codec> {
    crate::open::init_ffmpeg();
    encoder::find_by_name(name).ok_or_else(|| {
        Error::output(format!(
            "this build of FFmpeg has no {name}; install one with it (Debian: libavcodec-extra or libavcodec59)"
        ))
    })
}

impl VideoTrack {
    /// Opens the encoder that `options` request.
    ///
    /// # Errors
    /// `Config` for an unknown preset; `Output` for a size that cannot be encoded, or if x264 is unavailable; `Gpu` if NVENC
    /// is requested and unavailable.
    pub fn open(width: u32, height: u32, options: &EncodeOptions) -> Result<Self> {
        let preset = options.preset.as_str();
        if !X264_PRESETS.contains(&preset) {
            let hint = sideline_api::config::did_you_mean(preset, X264_PRESETS);
            return Err(Error::config(format!("x264 has no preset `{preset}`{hint}")));
        }
        if width == 0 || height == 0 || width > 16384 || height > 16384 {
            return Err(Error::output(format!("x264 cannot encode {width}x{height} pixels")));
        }
        let x264 = || {
            Self::open_named("libx264", width, height, options)?.map_err(|cause| {
                Error::output(format!("libx264 rejects these settings: {cause}; check preset, quality and size"))
            })
        };
        match options.codec {
            Codec::X264 => x264(),
            Codec::Nvenc => Self::open_named("h264_nvenc", width, height, options)?.map_err(|cause| {
                Error::gpu(format!("NVENC cannot be used: {cause}; check the driver, or set `encoder` to x264 or auto"))
            }),
            Codec::Auto => match Self::open_named("h264_nvenc", width, height, options) {
                Ok(Ok(track)) => {
                    tracing::info!("the video is encoded by NVENC");
                    Ok(track)
                }
                Ok(Err(cause)) => {
                    tracing::info!(%cause, "NVENC is unavailable: the video is encoded by x264");
                    x264()
                }
                Err(error) => {
                    tracing::info!(cause = error.message, "NVENC is unavailable: the video is encoded by x264");
                    x264()
                }
            },
        }
    }

    /// Opens an encoder by its name. The inner error is FFmpeg's.
    fn open_named(name: &str, width: u32, height: u32, options: &EncodeOptions) -> Result<Result<Self, ff::Error>> {
        let codec = find_encoder(name)?;
        Ok(Self::open_codec(codec, name == "libx264", width, height, options))
    }

    fn open_codec(
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
        settings.set_time_base(Rational(1, TICKS_PER_S));
        settings.set_frame_rate(Some(Rational::from(options.fps.clamp(1.0, 1000.0))));
        settings.set_gop(options.gop.max(1));
        // Without B-frames decoding times equal presentation times, so fragments need no shifted clock.
        settings.set_max_b_frames(0);
        settings.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::BITEXACT);
        if let Some(color_space) = options.color {
            let (space, primaries, transfer) = match color_space.matrix {
                Matrix::Bt601 => {
                    (color::Space::SMPTE170M, color::Primaries::SMPTE170M, color::TransferCharacteristic::SMPTE170M)
                }
                Matrix::Bt709 => (color::Space::BT709, color::Primaries::BT709, color::TransferCharacteristic::BT709),
            };
            settings.set_colorspace(space);
            settings.set_color_primaries(primaries);
            settings.set_color_transfer_characteristic(transfer);
            settings.set_color_range(color_range(color_space));
        }
        let mut codec_options = Dictionary::new();
        if x264 {
            codec_options.set("preset", &options.preset);
            codec_options.set("threads", &options.threads.to_string());
            if options.low_delay {
                codec_options.set("tune", "zerolatency");
                codec_options.set("forced-idr", "1");
            }
        } else {
            // NVENC's presets are p1, the fastest, to p7.
            let speed = X264_PRESETS.iter().position(|preset| *preset == options.preset).unwrap_or(0).min(6) + 1;
            codec_options.set("preset", &format!("p{speed}"));
            codec_options.set("tune", if options.low_delay { "ull" } else { "hq" });
            codec_options.set("forced-idr", "1");
            codec_options.set("delay", "0");
        }
        match options.quality {
            Quality::Crf(crf) if x264 => codec_options.set("crf", &crf.clamp(0.0, 51.0).to_string()),
            Quality::Crf(crf) => {
                codec_options.set("rc", "vbr");
                codec_options.set("cq", &crf.clamp(1.0, 51.0).to_string());
            }
            Quality::Bitrate(bits) => set_bitrate(&mut settings, bits, options.low_delay),
        }
        let encoder = settings.open_with(codec_options)?;
        let picture = frame::Video::new(Pixel::YUV420P, even.0, even.1);
        let size = (width as usize, height as usize);
        Ok(Self { encoder, picture, size, color: options.color, quality: options.quality })
    }

    /// Returns the width and height of the input pictures.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Returns the matrix and range of the input pictures.
    pub fn color(&self) -> Option<Color> {
        self.color
    }

    /// Returns the codec parameters for the muxer.
    pub fn parameters(&self) -> codec::Parameters {
        codec::Parameters::from(&self.encoder)
    }

    /// Changes the average bit rate, bits per second, from the next picture on. Returns false with constant quality.
    pub fn set_bitrate(&mut self, bits: usize) -> bool {
        let Quality::Bitrate(_) = self.quality else { return false };
        self.quality = Quality::Bitrate(bits);
        // SAFETY: the context is open and owned here. The wrappers of x264 and NVENC compare these fields with the encoder's
        // configuration before each picture, and reconfigure it where they differ.
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

    /// Sends a picture to the encoder: three planes with their strides in bytes, and its time in ticks. `key` makes it a key
    /// frame.
    pub fn send(&mut self, planes: [(&[u8], usize); 3], ticks: i64, key: bool) -> Result<(), SendError> {
        // SAFETY: `picture` owns a valid AVFrame with buffers; the call gives it new buffers if x264's wrapper still refers
        // to the present ones, and leaves it unchanged if it fails.
        let code = unsafe { ff::ffi::av_frame_make_writable(self.picture.as_mut_ptr()) };
        if code < 0 {
            return Err(SendError::Ffmpeg(code.into()));
        }
        let (w, h) = self.size;
        for (i, (from, from_stride)) in planes.into_iter().enumerate() {
            let (row, rows) = if i == 0 { (w, h) } else { (w.div_ceil(2), h.div_ceil(2)) };
            if from_stride < row || from.len() < (rows - 1) * from_stride + row {
                return Err(SendError::PlaneTooShort(i, from.len()));
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
        self.encoder.send_frame(&self.picture).map_err(SendError::Ffmpeg)
    }

    /// Signals the end of the pictures.
    pub fn finish(&mut self) -> Result<(), ff::Error> {
        self.encoder.send_eof()
    }

    /// Receives the next packet, with times in [`TICKS_PER_S`]. Returns false if none is ready.
    pub fn receive(&mut self, packet: &mut Packet) -> bool {
        self.encoder.receive_packet(packet).is_ok()
    }
}

fn color_range(color_space: Color) -> color::Range {
    if color_space.full_range { color::Range::JPEG } else { color::Range::MPEG }
}

fn set_bitrate(settings: &mut encoder::video::Video, bits: usize, low_delay: bool) {
    settings.set_bit_rate(bits);
    if low_delay {
        settings.set_max_bit_rate(bits);
        // SAFETY: the context is owned here and not open yet. The buffer of one second limits the bits of each second.
        unsafe { (*settings.as_mut_ptr()).rc_buffer_size = bits as i32 };
    }
}

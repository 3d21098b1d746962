//! Muxer: writes packets of video and audio to a target.

use std::{ffi::CString, sync::Arc};

use ff::{Dictionary, Packet, Rational, codec, ffi, format, packet::Mut};
use ffmpeg_next as ff;
use sideline_api::{Error, Result};

use super::{TICKS_PER_S, target::Target};
use crate::interrupt::Interrupt;

/// Longest step from a packet of a track to the next within an MP4 fragment, s. FFmpeg aborts the process if a step does not
/// fit 31 bits of the track's unit (49 minutes of [`TICKS_PER_S`]); after a longer step a new fragment begins, which
/// states its own time.
const MAX_STEP_S: i64 = 600;

/// Parameters of the tracks of a container.
pub(super) struct TrackParameters {
    pub video: codec::Parameters,
    pub audio: Option<codec::Parameters>,
    /// Audio sample rate, Hz.
    pub rate: u32,
}

/// An open container. The output is dropped before the interrupt that it refers to.
pub(super) struct Muxer {
    output: format::context::Output,
    /// Time units of each track: of the incoming packets, and of the container.
    units: Vec<(Rational, Rational)>,
    /// Decoding time of each track's last packet, in the container's unit.
    last: Vec<Option<i64>>,
    /// Smallest step between the decoding times of two packets of a track, in the container's unit.
    least_step: i64,
    is_fragmented: bool,
    is_unbuffered: bool,
    _interrupt: Arc<Interrupt>,
}

impl Muxer {
    /// Opens the target and writes the header.
    pub fn open(target: &Target, tracks: &TrackParameters, interrupt: Arc<Interrupt>) -> Result<Self> {
        let fail = |what: &str, cause| target.failure(what, cause);
        let mut output = open(target, &interrupt)?;
        let mut given = vec![Rational(1, TICKS_PER_S)];
        given.extend(tracks.audio.as_ref().map(|_| Rational(1, tracks.rate as i32)));
        for (parameters, unit) in [Some(&tracks.video), tracks.audio.as_ref()].into_iter().flatten().zip(&given) {
            let codec = ff::encoder::find(parameters.id());
            let mut stream = output.add_stream(codec).map_err(|e| fail("cannot be set up", e))?;
            stream.set_parameters(parameters.clone());
            stream.set_time_base(*unit);
        }
        output.write_header_with(muxer_options(target)).map_err(|e| fail("the header cannot be written", e))?;
        let units = given.iter().enumerate().map(|(i, unit)| {
            // The container may have changed the unit it was given.
            (*unit, output.stream(i).map_or(*unit, |stream| stream.time_base()))
        });
        let units: Vec<_> = units.collect();
        // SAFETY: the output is open, and its format is static.
        let flags = unsafe { (*(*output.as_ptr()).oformat).flags };
        Ok(Self {
            last: vec![None; units.len()],
            least_step: i64::from(flags & ffi::AVFMT_TS_NONSTRICT == 0),
            is_fragmented: matches!(target, Target::File(_)),
            is_unbuffered: matches!(target, Target::Rtmp(_)),
            output,
            units,
            _interrupt: interrupt,
        })
    }

    /// Writes a packet with times in the unit of its track. If it has the same time as the previous one in the container's
    /// unit, it is moved behind it.
    pub fn write(&mut self, packet: &mut Packet) -> Result<(), ff::Error> {
        let track = packet.stream();
        let Some((from, to)) = self.units.get(track).copied() else { return Err(ff::Error::InvalidData) };
        packet.rescale_ts(from, to);
        let Some(dts) = packet.dts().or(packet.pts()) else { return Err(ff::Error::InvalidData) };
        let earliest = self.last[track].map_or(dts, |last| last.saturating_add(self.least_step));
        let delay = earliest.saturating_sub(dts).max(0);
        let dts = dts.saturating_add(delay);
        packet.set_dts(Some(dts));
        packet.set_pts(Some(packet.pts().map_or(dts, |pts| pts.saturating_add(delay)).max(dts)));
        let max_step = MAX_STEP_S * i64::from(to.denominator()) / i64::from(to.numerator().max(1));
        if self.is_fragmented && self.last[track].is_some_and(|last| dts.saturating_sub(last) > max_step) {
            self.begin_fragment(track)?;
        }
        self.last[track] = Some(dts);
        if self.is_unbuffered {
            // Written at once: interleaving would make a video packet wait for the audio beside it.
            packet.write(&mut self.output).map(|_| ())
        } else {
            packet.write_interleaved(&mut self.output)
        }
    }

    /// Ends the fragments of all tracks, before a packet of `track` that does not continue the previous one.
    fn begin_fragment(&mut self, track: usize) -> Result<(), ff::Error> {
        let Some(last) = self.last[track] else { return Ok(()) };
        // An empty packet is not written, but makes the muxer apply the option. With a real packet, the muxer would check
        // the length of the step first.
        let mut notice = Packet::empty();
        notice.set_stream(track);
        notice.set_pts(Some(last + 1));
        notice.set_dts(Some(last + 1));
        // SAFETY: the output is open, the packet is valid and stays with its owner; a null packet flushes the queue. Strings
        // are static.
        unsafe {
            let context = self.output.as_mut_ptr();
            let queue = ffi::av_interleaved_write_frame(context, std::ptr::null_mut());
            let fragment = ffi::av_write_frame(context, std::ptr::null_mut());
            let option = ffi::av_opt_set((*context).priv_data, c"movflags".as_ptr(), c"+frag_discont".as_ptr(), 0);
            let noticed = ffi::av_write_frame(context, notice.as_mut_ptr());
            match [queue, fragment, option, noticed].into_iter().find(|code| *code < 0) {
                Some(code) => Err(code.into()),
                None => Ok(()),
            }
        }
    }

    /// Writes the trailer.
    pub fn finish(&mut self) -> Result<(), ff::Error> {
        self.output.write_trailer()
    }
}

/// Returns the options of the container.
fn muxer_options(target: &Target) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    options.set("fflags", "+bitexact");
    options.set("flush_packets", "1");
    // Packets of video and audio are interleaved; if one of them has none for a second, the other goes on without it.
    options.set("max_interleave_delta", "1000000");
    match target {
        Target::File(_) => {
            // A fragment ends at each key frame and after a second: a killed run loses no more than that, and the frames that
            // x264 holds. The first frame's time is kept, not moved to 0. `bitexact` leaves out version strings.
            options.set("movflags", "frag_keyframe+empty_moov+default_base_moof+frag_discont");
            options.set("use_editlist", "0");
            options.set("avoid_negative_ts", "make_non_negative");
            options.set("frag_duration", "1000000");
        }
        Target::Hls(path) => {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // Escapes the pattern character of FFmpeg.
            let name = path.with_file_name(format!("{}-%05d.ts", stem.replace('%', "%%")));
            options.set("hls_segment_filename", &format!("file:{}", name.display()));
            options.set("hls_time", "2");
            // Segments are never removed, and playback may start anywhere.
            options.set("hls_list_size", "0");
            options.set("hls_playlist_type", "event");
            options.set("hls_flags", "independent_segments+temp_file");
        }
        Target::Rtmp(_) => options.set("flvflags", "no_duration_filesize"),
    }
    options
}

/// Connects to a server, or creates the file.
fn open(target: &Target, interrupt: &Arc<Interrupt>) -> Result<format::context::Output> {
    crate::open::init_ffmpeg();
    let fail = |cause| target.failure("cannot be opened", cause);
    let name = |text: &[u8]| {
        CString::new(text)
            .map_err(|_| Error::output(format!("{}: a path cannot contain a NUL byte", target.display_name())))
    };
    let (kind, address) = match target {
        // Without the prefix, FFmpeg would take the file name `rtmp:...` for a URL.
        Target::File(path) => (c"mp4", name(&[b"file:", path.as_os_str().as_encoded_bytes()].concat())?),
        Target::Hls(path) => (c"hls", name(&[b"file:", path.as_os_str().as_encoded_bytes()].concat())?),
        Target::Rtmp(server) => (c"flv", name(server.address.resolved().as_bytes())?),
    };
    let mut options = Dictionary::new();
    if let Target::Rtmp(server) = target {
        server.trust.apply_to(&mut options);
        options.set("rtmp_live", "live");
        options.set("tcp_nodelay", "1");
    }
    // SAFETY: the strings outlive the calls; the context is allocated here and owned by the `Output`, which closes `pb` and
    // frees it; the dictionary is freed once. The owner of the output keeps the interrupt alive.
    unsafe {
        let mut context = std::ptr::null_mut();
        let code = ffi::avformat_alloc_output_context2(&mut context, std::ptr::null(), kind.as_ptr(), address.as_ptr());
        if code < 0 {
            return Err(fail(code.into()));
        }
        let callback = interrupt.callback();
        (*context).interrupt_callback = callback;
        // The HLS muxer opens its files itself.
        if (*(*context).oformat).flags & ffi::AVFMT_NOFILE == 0 {
            let mut own = options.disown();
            let code = ffi::avio_open2(&mut (*context).pb, address.as_ptr(), ffi::AVIO_FLAG_WRITE, &callback, &mut own);
            ffi::av_dict_free(&mut own);
            if code < 0 {
                ffi::avformat_free_context(context);
                return Err(fail(code.into()));
            }
        }
        Ok(format::context::Output::wrap(context))
    }
}

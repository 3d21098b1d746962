//! The container: packets of picture and sound in, bytes out to wherever the target is.

use std::{ffi::CString, sync::Arc};

use ff::{Dictionary, Packet, Rational, codec, ffi, format, packet::Mut};
use ffmpeg_next as ff;
use sideline_api::{Error, Result};

use super::{TICKS, target::Target};
use crate::watch::Watch;

/// Longest step, seconds, from a packet of a track to the next within a fragment of mp4. FFmpeg aborts the process where one
/// does not fit 31 bits of the track's unit (49 minutes of [`TICKS`]); behind a longer step a new fragment begins, which
/// states its own time.
const LONGEST_STEP_S: i64 = 600;

/// What a container must know of the tracks in it.
pub(super) struct Tracks {
    pub video: codec::Parameters,
    pub sound: Option<codec::Parameters>,
    /// Samples of sound a second.
    pub rate: u32,
}

/// An open container. The output is dropped before what it asks.
pub(super) struct Muxer {
    output: format::context::Output,
    /// Units of the packets that come, and of those that go, for each track.
    units: Vec<(Rational, Rational)>,
    /// Decoding time of each track's last packet, in the unit of the container.
    last: Vec<Option<i64>>,
    /// Step that each packet must be behind the one before it, in the unit of the container.
    least_step: i64,
    is_fragmented: bool,
    direct: bool,
    _watch: Arc<Watch>,
}

impl Muxer {
    /// Opens the target and writes the header.
    pub fn open(target: &Target, tracks: &Tracks, watch: Arc<Watch>) -> Result<Self> {
        let fail = |what: &str, cause| target.failure(what, cause);
        let mut output = open(target, &watch)?;
        let mut given = vec![Rational(1, TICKS)];
        given.extend(tracks.sound.as_ref().map(|_| Rational(1, tracks.rate as i32)));
        for (parameters, unit) in [Some(&tracks.video), tracks.sound.as_ref()].into_iter().flatten().zip(&given) {
            let codec = ff::encoder::find(parameters.id());
            let mut stream = output.add_stream(codec).map_err(|e| fail("cannot be set up", e))?;
            stream.set_parameters(parameters.clone());
            stream.set_time_base(*unit);
        }
        output.write_header_with(settings(target)).map_err(|e| fail("the header cannot be written", e))?;
        let units = given.iter().enumerate().map(|(i, unit)| {
            // A container may have changed the unit it was given.
            (*unit, output.stream(i).map_or(*unit, |stream| stream.time_base()))
        });
        let units: Vec<_> = units.collect();
        // SAFETY: the output is open, and its format is static.
        let flags = unsafe { (*(*output.as_ptr()).oformat).flags };
        Ok(Self {
            last: vec![None; units.len()],
            least_step: i64::from(flags & ffi::AVFMT_TS_NONSTRICT == 0),
            is_fragmented: matches!(target, Target::File(_)),
            direct: matches!(target, Target::Rtmp(_)),
            output,
            units,
            _watch: watch,
        })
    }

    /// Writes a packet, its times in the unit of its track. Of two that have one time in the container's unit, the second is
    /// put behind the first.
    pub fn put(&mut self, packet: &mut Packet) -> Result<(), ff::Error> {
        let track = packet.stream();
        let Some((from, to)) = self.units.get(track).copied() else { return Err(ff::Error::InvalidData) };
        packet.rescale_ts(from, to);
        let Some(dts) = packet.dts().or(packet.pts()) else { return Err(ff::Error::InvalidData) };
        let earliest = self.last[track].map_or(dts, |last| last.saturating_add(self.least_step));
        let late = earliest.saturating_sub(dts).max(0);
        let dts = dts.saturating_add(late);
        packet.set_dts(Some(dts));
        packet.set_pts(Some(packet.pts().map_or(dts, |pts| pts.saturating_add(late)).max(dts)));
        let longest = LONGEST_STEP_S * i64::from(to.denominator()) / i64::from(to.numerator().max(1));
        if self.is_fragmented && self.last[track].is_some_and(|last| dts.saturating_sub(last) > longest) {
            self.begin_fragment(track)?;
        }
        self.last[track] = Some(dts);
        if self.direct {
            // At once: put in order, a picture would wait for the sound beside it.
            packet.write(&mut self.output).map(|_| ())
        } else {
            packet.write_interleaved(&mut self.output)
        }
    }

    /// Ends the fragment of all tracks, before a packet of one that does not follow on the one before it.
    fn begin_fragment(&mut self, track: usize) -> Result<(), ff::Error> {
        let Some(last) = self.last[track] else { return Ok(()) };
        // An empty packet is not written. It makes the muxer take note of the option; with a real one, it would look at the
        // length of the step before it does.
        let mut notice = Packet::empty();
        notice.set_stream(track);
        notice.set_pts(Some(last + 1));
        notice.set_dts(Some(last + 1));
        // SAFETY: the output is open, the packet valid and left to its owner; a null packet stands for all that waits. Strings
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

    /// Ends what is written.
    pub fn finish(&mut self) -> Result<(), ff::Error> {
        self.output.write_trailer()
    }
}

/// What the container is told.
fn settings(target: &Target) -> Dictionary<'static> {
    let mut settings = Dictionary::new();
    settings.set("fflags", "+bitexact");
    settings.set("flush_packets", "1");
    // Packets of picture and sound are put in order; where one is silent for a second the other goes on without it.
    settings.set("max_interleave_delta", "1000000");
    match target {
        Target::File(_) => {
            // A fragment ends at each key frame and after a second: a killed run loses no more than that and what x264
            // holds. The first frame's time is kept, not moved to 0. `bitexact` leaves out versions.
            settings.set("movflags", "frag_keyframe+empty_moov+default_base_moof+frag_discont");
            settings.set("use_editlist", "0");
            settings.set("avoid_negative_ts", "make_non_negative");
            settings.set("frag_duration", "1000000");
        }
        Target::Hls(path) => {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // A sign of FFmpeg's own patterns in a name stands for itself.
            let name = path.with_file_name(format!("{}-%05d.ts", stem.replace('%', "%%")));
            settings.set("hls_segment_filename", &format!("file:{}", name.display()));
            settings.set("hls_time", "2");
            // Nothing is taken away while it runs, and a player may begin anywhere.
            settings.set("hls_list_size", "0");
            settings.set("hls_playlist_type", "event");
            settings.set("hls_flags", "independent_segments+temp_file");
        }
        Target::Rtmp(_) => settings.set("flvflags", "no_duration_filesize"),
    }
    settings
}

/// Connects to a server, or makes the file.
fn open(target: &Target, watch: &Arc<Watch>) -> Result<format::context::Output> {
    crate::open::start_ffmpeg();
    let fail = |cause| target.failure("cannot be opened", cause);
    let name = |text: &[u8]| {
        CString::new(text).map_err(|_| Error::output(format!("{}: a path cannot contain a NUL byte", target.shown())))
    };
    let (kind, address) = match target {
        // FFmpeg would take `rtmp:...` for an address.
        Target::File(path) => (c"mp4", name(&[b"file:", path.as_os_str().as_encoded_bytes()].concat())?),
        Target::Hls(path) => (c"hls", name(&[b"file:", path.as_os_str().as_encoded_bytes()].concat())?),
        Target::Rtmp(server) => (c"flv", name(server.address.resolved().as_bytes())?),
    };
    let mut options = Dictionary::new();
    if let Target::Rtmp(server) = target {
        server.trust.set(&mut options);
        options.set("rtmp_live", "live");
        options.set("tcp_nodelay", "1");
    }
    // SAFETY: the strings outlive the calls; the context is allocated here and owned by the `Output`, which closes `pb` and
    // frees it; the dictionary is freed once. The watch is kept by whoever keeps the output.
    unsafe {
        let mut context = std::ptr::null_mut();
        let code = ffi::avformat_alloc_output_context2(&mut context, std::ptr::null(), kind.as_ptr(), address.as_ptr());
        if code < 0 {
            return Err(fail(code.into()));
        }
        let callback = watch.callback();
        (*context).interrupt_callback = callback;
        // HLS opens its files itself.
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

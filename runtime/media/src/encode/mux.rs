//! The container: packets of picture and sound in, bytes out to wherever the target is.

use std::{ffi::CString, sync::Arc};

use ff::{Dictionary, Packet, Rational, codec, ffi, format};
use ffmpeg_next as ff;
use sideline_api::{Error, Result};

use super::{TICKS, target::Target};
use crate::watch::Watch;

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
        let units = units.collect();
        Ok(Self { output, units, direct: matches!(target, Target::Rtmp(_)), _watch: watch })
    }

    /// Writes a packet, its times in the unit of its track.
    pub fn put(&mut self, packet: &mut Packet) -> Result<(), ff::Error> {
        let Some((from, to)) = self.units.get(packet.stream()) else { return Err(ff::Error::InvalidData) };
        packet.rescale_ts(*from, *to);
        if self.direct {
            // At once: put in order, a picture would wait for the sound beside it.
            packet.write(&mut self.output).map(|_| ())
        } else {
            packet.write_interleaved(&mut self.output)
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
        Target::Rtmp(address) => (c"flv", name(address.as_bytes())?),
    };
    let mut options = Dictionary::new();
    if matches!(target, Target::Rtmp(_)) {
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

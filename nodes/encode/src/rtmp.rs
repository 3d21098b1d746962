//! Output to an RTMP server: one connection per stream, replaced whenever the frame size, the color description or the audio
//! format changes.
//!
//! While the server is unreachable the run continues: frames are dropped and counted until it is back or no reconnect attempt
//! is left.

use sideline_api::{Error, Result, StreamName, stream_file_name, tables::Audio};
use sideline_media::{
    AudioFormat,
    encode::{self, Broadcast, BroadcastOptions, BroadcastStats, EncodeOptions, Quality, Target},
};

use crate::writer::{FramePlanes, Writer};

/// Placeholder in an address for the name of the stream.
const STREAM_PLACEHOLDER: &str = "{stream}";

/// The server connections of one node.
pub struct RtmpOutput {
    server: encode::RtmpServer,
    /// True if the address has a placeholder for the name of the stream.
    has_placeholder: bool,
    options: EncodeOptions,
    broadcast_options: BroadcastOptions,
    open: Vec<(StreamName, Broadcast)>,
    /// Counts of the connections that are closed.
    closed_stats: BroadcastStats,
}

impl RtmpOutput {
    /// Returns an output without a connection: each is made at the first frame of its stream.
    ///
    /// # Errors
    /// `Output` if H.264 cannot be encoded on this machine.
    pub fn new(
        server: encode::RtmpServer,
        options: EncodeOptions,
        broadcast_options: BroadcastOptions,
    ) -> Result<Self> {
        encode::check_encoder()?;
        let has_placeholder = server.address.resolved().contains(STREAM_PLACEHOLDER);
        if server.trust.is_insecure() {
            tracing::warn!(
                to = server.address.redacted(),
                "`insecure` is set: the server's certificate is not verified, so an impostor may receive the video"
            );
        }
        Ok(Self {
            server,
            has_placeholder,
            options,
            broadcast_options,
            open: vec![],
            closed_stats: BroadcastStats::default(),
        })
    }

    fn index_of(&self, stream: &str) -> Option<usize> {
        self.open.iter().position(|(name, _)| **name == *stream)
    }

    fn start(&mut self, stream: &StreamName, frame: &FramePlanes, audio: Option<AudioFormat>) -> Result<()> {
        if !self.open.is_empty() && !self.has_placeholder {
            return Err(Error::config(format!(
                "key `output`: {} takes one stream, and `{stream}` is a second one: write `{STREAM_PLACEHOLDER}` in the \
                 address",
                self.server.address.redacted()
            )));
        }
        let address = self.server.address.replace(STREAM_PLACEHOLDER, &stream_file_name(stream));
        let target = Target::Rtmp(encode::RtmpServer { address, ..self.server.clone() });
        let options = EncodeOptions { color: Some(frame.color), audio, ..self.options.clone() };
        let (width, height) = frame.size;
        self.open.push((stream.clone(), Broadcast::start(target, width, height, &options, self.broadcast_options)?));
        Ok(())
    }

    /// Finishes a connection and adds its counts to the total.
    fn disconnect(&mut self, index: usize) -> Result<()> {
        let (stream, broadcast) = self.open.swap_remove(index);
        let (stats, result) = broadcast.finish();
        add(&mut self.closed_stats, stats);
        let to = self.server.address.redacted();
        tracing::info!(%stream, sent = stats.sent, dropped = stats.dropped, "video sent: {to}");
        if stats.dropped > 0 {
            tracing::warn!(%stream, dropped = stats.dropped, "frames did not reach {to}");
        }
        result
    }
}

fn add(total: &mut BroadcastStats, stats: BroadcastStats) {
    total.sent += stats.sent;
    total.dropped += stats.dropped;
    total.connections += stats.connections;
    total.alerts += stats.alerts;
}

impl Writer for RtmpOutput {
    fn needs_new_output(&self, stream: &str, frame: &FramePlanes) -> bool {
        let open = self.index_of(stream).map(|index| &self.open[index].1);
        open.is_some_and(|open| frame.differs_from(open.size(), open.color()))
    }

    fn write(&mut self, stream: &StreamName, pts: i64, frame: FramePlanes, audio: &[Audio]) -> Result<()> {
        let is_cut = self.needs_new_output(stream, &frame);
        let open_format = self.index_of(stream).and_then(|index| self.open[index].1.audio_format());
        let format = audio.last().map(|row| AudioFormat { rate: row.rate, channels: row.channels }).or(open_format);
        if let Some(index) = self.index_of(stream)
            && (is_cut || format != open_format)
        {
            self.write_audio(stream, audio)?;
            self.disconnect(index)?;
        }
        if self.index_of(stream).is_none() {
            self.start(stream, &frame, format)?;
        }
        if let Some(index) = self.index_of(stream) {
            self.open[index].1.write_planes(frame.planes, pts)?;
        }
        self.write_audio(stream, audio)
    }

    fn write_audio(&mut self, stream: &str, audio: &[Audio]) -> Result<()> {
        let Some(index) = self.index_of(stream) else { return Ok(()) };
        let broadcast = &mut self.open[index].1;
        let format = broadcast.audio_format();
        let fits = |row: &&Audio| format == Some(AudioFormat { rate: row.rate, channels: row.channels });
        audio.iter().filter(fits).try_for_each(|row| broadcast.write_audio(row.start, &row.samples))
    }

    fn set_bitrate(&mut self, bits_per_s: usize) {
        self.options.quality = Quality::Bitrate(bits_per_s);
        self.open.iter_mut().for_each(|(_, broadcast)| broadcast.set_bitrate(bits_per_s));
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let mut total = self.closed_stats;
        self.open.iter().for_each(|(_, broadcast)| add(&mut total, broadcast.stats()));
        vec![
            ("sent", total.sent),
            ("dropped", total.dropped),
            ("connections", total.connections),
            ("alerts", total.alerts),
        ]
    }

    fn end(&mut self, stream: &str) -> Result<()> {
        self.index_of(stream).map_or(Ok(()), |index| self.disconnect(index))
    }

    fn close(&mut self) -> Result<()> {
        let mut result = Ok(());
        while !self.open.is_empty() {
            let ended = self.disconnect(0);
            result = result.and(ended);
        }
        result
    }
}

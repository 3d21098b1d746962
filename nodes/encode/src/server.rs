//! An RTMP server: a connection for each stream, anew where the size or the color of the pictures or the kind of sound changes.
//!
//! A server that is away ends nothing: frames are dropped and counted until it is back or the tries are used up.

use sideline_api::{Error, Result, StreamName, tables::Audio};
use sideline_media::{
    SoundFormat,
    encode::{self, Broadcast, BroadcastOptions, EncodeOptions, Quality, Sent, Target},
};

use crate::{
    files::file_name,
    writer::{Picture, Writer},
};

/// What stands in an address for the name of the stream.
const STREAM: &str = "{stream}";

/// The connections of one node.
pub struct Server {
    server: encode::Server,
    /// The address has a place for the name of the stream.
    is_named: bool,
    options: EncodeOptions,
    line: BroadcastOptions,
    open: Vec<(StreamName, Broadcast)>,
    /// Frames of connections that are closed.
    before: Sent,
}

impl Server {
    /// No connection yet: they begin with the first frame.
    ///
    /// # Errors
    /// `Output` when H.264 cannot be encoded here.
    pub fn new(server: encode::Server, options: EncodeOptions, line: BroadcastOptions) -> Result<Self> {
        encode::available()?;
        let is_named = server.address.resolved().contains(STREAM);
        if server.trust.is_blind() {
            tracing::warn!(
                to = server.address.shown(),
                "`insecure` is set: it is not verified who answers there, and what is sent may be read by others"
            );
        }
        Ok(Self { server, is_named, options, line, open: vec![], before: Sent::default() })
    }

    fn at(&self, stream: &str) -> Option<usize> {
        self.open.iter().position(|(name, _)| **name == *stream)
    }

    fn start(&mut self, stream: &StreamName, picture: &Picture, sound: Option<SoundFormat>) -> Result<()> {
        if !self.open.is_empty() && !self.is_named {
            return Err(Error::config(format!(
                "key `output`: {} takes one stream, and `{stream}` is a second one: write `{STREAM}` in the address",
                self.server.address.shown()
            )));
        }
        let address = self.server.address.with(STREAM, &file_name(stream));
        let target = Target::Rtmp(encode::Server { address, ..self.server.clone() });
        let options = EncodeOptions { color: Some(picture.color), sound, ..self.options.clone() };
        let (width, height) = picture.size;
        self.open.push((stream.clone(), Broadcast::start(target, width, height, &options, self.line)?));
        Ok(())
    }

    /// Ends a connection, and adds up what became of its frames.
    fn hang_up(&mut self, at: usize) -> Result<()> {
        let (stream, broadcast) = self.open.swap_remove(at);
        let (sent, ended) = broadcast.finish();
        add(&mut self.before, sent);
        let to = self.server.address.shown();
        tracing::info!(%stream, sent = sent.sent, dropped = sent.dropped, "video sent: {to}");
        if sent.dropped > 0 {
            tracing::warn!(%stream, dropped = sent.dropped, "frames did not reach {to}");
        }
        ended
    }
}

fn add(all: &mut Sent, more: Sent) {
    all.sent += more.sent;
    all.dropped += more.dropped;
    all.connections += more.connections;
    all.alerts += more.alerts;
}

impl Writer for Server {
    fn cuts(&self, stream: &str, picture: &Picture) -> bool {
        self.at(stream).map(|at| &self.open[at].1).is_some_and(|open| picture.differs(open.size(), open.color()))
    }

    fn write(&mut self, stream: &StreamName, pts: i64, picture: Picture, sound: &[Audio]) -> Result<()> {
        let cut = self.cuts(stream, &picture);
        let heard = self.at(stream).and_then(|at| self.open[at].1.sound());
        let format = sound.last().map(|row| SoundFormat { rate: row.rate, channels: row.channels }).or(heard);
        if let Some(at) = self.at(stream)
            && (cut || format != heard)
        {
            self.write_sound(stream, sound)?;
            self.hang_up(at)?;
        }
        if self.at(stream).is_none() {
            self.start(stream, &picture, format)?;
        }
        if let Some(at) = self.at(stream) {
            self.open[at].1.write_planes(picture.planes, pts)?;
        }
        self.write_sound(stream, sound)
    }

    fn write_sound(&mut self, stream: &str, sound: &[Audio]) -> Result<()> {
        let Some(at) = self.at(stream) else { return Ok(()) };
        let broadcast = &mut self.open[at].1;
        let format = broadcast.sound();
        let fits = |row: &&Audio| format == Some(SoundFormat { rate: row.rate, channels: row.channels });
        sound.iter().filter(fits).try_for_each(|row| broadcast.write_sound(row.start, &row.samples))
    }

    fn set_bitrate(&mut self, bits: usize) {
        self.options.quality = Quality::Bitrate(bits);
        self.open.iter_mut().for_each(|(_, broadcast)| broadcast.set_bitrate(bits));
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let mut all = self.before;
        self.open.iter().for_each(|(_, broadcast)| add(&mut all, broadcast.sent()));
        vec![("sent", all.sent), ("dropped", all.dropped), ("connections", all.connections), ("alerts", all.alerts)]
    }

    fn end(&mut self, stream: &str) -> Result<()> {
        self.at(stream).map_or(Ok(()), |at| self.hang_up(at))
    }

    fn close(&mut self) -> Result<()> {
        let mut ends = Ok(());
        while !self.open.is_empty() {
            let ended = self.hang_up(0);
            ends = ends.and(ended);
        }
        ends
    }
}

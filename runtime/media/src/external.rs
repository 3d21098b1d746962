//! State of a source outside the local file system: a device, or a stream or file on the network.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use ffmpeg_next as ff;

use crate::{PacketHistory, network::Connection, timeline::ForwardJumpPolicy};

/// Longest time without a frame after which a device counts as lost.
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// Packets in a row without a frame after which a stream counts as undecodable: ten seconds at 60 frames a second. A
/// client that joins a stream waits for the next key frame.
const MAX_UNDECODABLE_PACKETS: u64 = 600;

/// A device, or a stream or file on the network, while it is read.
#[derive(Default)]
pub(crate) struct ExternalSource {
    /// Returns true to stop the wait for a frame of a device.
    pub should_stop: Option<Box<dyn Fn() -> bool + Send>>,
    /// Cause of the end of the frames, if it was a failure.
    pub lost: Option<String>,
    /// Connection of a network source.
    pub connection: Option<Connection>,
    /// Packets of this connection and of the previous ones.
    pub history: PacketHistory,
    /// Timestamps of the packets that a previous connection has delivered already.
    pub repeated_stamps: HashSet<i64>,
    /// Frames of these packets that were left out.
    pub repeated_frames: u64,
    /// Packets since the last frame.
    pub packets_without_frame: u64,
}

impl ExternalSource {
    /// True for a source without recorded media: a device or a live stream. False for a file on the network.
    pub fn is_live(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| !connection.is_recorded)
    }

    /// True if reading can start in the middle.
    pub fn is_seekable(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| connection.is_seekable)
    }

    /// Starts the timeout for the next frame.
    pub fn restart_timeout(&self) {
        if let Some(connection) = &self.connection {
            connection.interrupt.set_timeout(connection.frame_timeout);
        }
    }

    /// Returns true if a failed read is to be retried; otherwise sets `lost` if the source failed.
    pub fn should_retry(&mut self, cause: ff::Error, since: Instant) -> bool {
        if let Some(connection) = &self.connection {
            self.lost = match cause {
                _ if connection.interrupt.is_stopped() => None,
                _ if connection.interrupt.is_timed_out() => {
                    Some(format!("no video frame for {} s", connection.frame_timeout.as_secs_f64()))
                }
                // Invalid data is skipped, and the end of the stream is no failure.
                ff::Error::InvalidData | ff::Error::Eof => None,
                cause => Some(cause.to_string()),
            };
            return false;
        }
        if cause != (ff::Error::Other { errno: ff::error::EAGAIN }) {
            self.lost = (cause != ff::Error::Eof).then(|| cause.to_string());
            return false;
        }
        if self.should_stop.as_ref().is_some_and(|should_stop| should_stop()) {
            return false;
        }
        let is_silent = since.elapsed() > MAX_SILENCE;
        if is_silent {
            self.lost = Some(format!("no video frame for {} s", MAX_SILENCE.as_secs()));
        }
        !is_silent
    }

    /// Returns the policy for long forward jumps of the timestamps.
    pub fn forward_jump_policy(&self, container: &str) -> ForwardJumpPolicy {
        match &self.connection {
            Some(connection) if !connection.is_recorded => ForwardJumpPolicy::RestartUnlessWaited,
            Some(_) if container == "hls" => ForwardJumpPolicy::Restart,
            _ => ForwardJumpPolicy::Pause,
        }
    }

    /// Records a video packet. Returns true if a previous connection has delivered it.
    pub fn record(&mut self, packet: &ff::Packet) -> bool {
        if self.connection.is_none() {
            return false;
        }
        self.packets_without_frame += 1;
        if self.packets_without_frame > MAX_UNDECODABLE_PACKETS {
            self.lost = Some(format!("none of its last {MAX_UNDECODABLE_PACKETS} packets could be decoded"));
        }
        self.history.record(packet)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{DecodeOptions, Decoder, NetworkSource, OpenErrorKind, device::Device};

    #[test]
    fn the_wait_for_a_device_ends_with_a_stop_or_after_the_longest_silence() {
        let mut device = ExternalSource::default();
        let (nothing, now) = (ff::Error::Other { errno: ff::error::EAGAIN }, Instant::now());
        assert!(device.should_retry(nothing, now));
        device.should_stop = Some(Box::new(|| true));
        assert!(!device.should_retry(nothing, now) && device.lost.is_none(), "a stop is no failure");
        device.should_stop = Some(Box::new(|| false));
        if let Some(long_ago) = now.checked_sub(MAX_SILENCE * 2) {
            assert!(!device.should_retry(nothing, long_ago));
            assert_eq!(device.lost.as_deref(), Some("no video frame for 10 s"));
        }
        assert!(!device.should_retry(ff::Error::Other { errno: ff::error::ENODEV }, now));
        assert_eq!(device.lost.as_deref(), Some("No such device"));
        let graph = Device { format: "lavfi".into(), address: "testsrc2".into(), size: None, fps: None };
        if let Ok(mut generator) = Decoder::open_device(&graph, DecodeOptions::default()) {
            assert!(generator.next().unwrap().is_some() && generator.disconnect_cause().is_none());
        }
    }

    /// Starts a server that accepts connections, and sends nothing or hangs up at once. Returns its port.
    fn server(hangs_up: bool) -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut open = vec![];
            for stream in listener.incoming() {
                if !hangs_up {
                    open.push(stream);
                }
            }
        });
        port
    }

    fn refused(address: String, stop: bool) -> crate::OpenError {
        let network = NetworkSource {
            name: address.clone(),
            address,
            timeout: Duration::from_millis(300),
            buffer_bytes: 100_000,
            trust: crate::TlsTrust::default(),
            stop: Arc::new(move || stop),
            previous: None,
        };
        Decoder::open_network(&network, DecodeOptions::default()).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_silent_closing_or_absent_server_fails_in_time_and_is_named() {
        for scheme in ["rtmp", "rtsp", "http"] {
            let silent = refused(format!("{scheme}://u:s3cret@127.0.0.1:{}/live/x", server(false)), false);
            assert_eq!(silent.kind, OpenErrorKind::Unreachable, "{}", silent.error);
            let text = silent.error.message;
            assert!(text.contains("sent no video within 0.3 s") && !text.contains("s3cret"), "{text}");
            let gone = refused(format!("{scheme}://127.0.0.1:{}/live/x", server(true)), false);
            // Over HTTP an empty response may also be a file without video.
            let empty = scheme == "http" && gone.kind == OpenErrorKind::NotVideo;
            assert!(empty || gone.kind == OpenErrorKind::Unreachable, "{}", gone.error);
            let stopped = refused(format!("{scheme}://127.0.0.1:{}/live/x", server(false)), true);
            assert_eq!(stopped.kind, OpenErrorKind::Stopped, "{}", stopped.error);
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dead = refused(format!("rtmp://127.0.0.1:{free}/live/x"), false);
        assert!(dead.error.message.contains("nothing listens there"), "{}", dead.error);
        assert_eq!(refused("gopher://h/x".into(), false).kind, OpenErrorKind::Denied);
        assert_eq!(refused("http://no.such.host.invalid/x.mp4".into(), false).kind, OpenErrorKind::Denied);
    }
}

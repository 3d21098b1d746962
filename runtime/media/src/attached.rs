//! What a decoder knows of a source that shows what is now: a device, or a stream on the network.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use ffmpeg_next as ff;

use crate::{Repeats, network::Link, timeline::StepAhead};

/// How long a device may give no picture before it counts as gone.
const SILENCE: Duration = Duration::from_secs(10);
/// Packets in a row without a picture after which a stream counts as one that cannot be decoded: ten seconds at 60 frames
/// a second. Whoever joins in waits for the next key frame.
const HOPELESS: u64 = 600;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Attached {
    /// Asked while a picture of a device is waited for.
    pub stop: Option<Box<dyn Fn() -> bool + Send>>,
    /// Why it gives no more pictures.
    pub lost: Option<String>,
    /// For a stream on the network.
    pub link: Option<Link>,
    /// What the connection brought, and the one before.
    pub repeats: Repeats,
    /// Time stamps of the packets that the connection before had brought.
    pub again: HashSet<i64>,
    /// Frames of these that were left out.
    pub repeated: u64,
    /// Packets since the last frame.
    pub fruitless: u64,
}

impl Attached {
    /// True for what shows what is now, whenever it is read; false for a file on the network.
    pub fn is_live(&self) -> bool {
        self.link.as_ref().is_none_or(|link| !link.recorded)
    }

    /// True where reading may begin in the middle.
    pub fn is_seekable(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.is_seekable)
    }

    /// A picture is waited for from now on.
    pub fn expect(&self) {
        if let Some(link) = &self.link {
            link.watch.allow(link.limit);
        }
    }

    /// After a packet could not be read: true when it is to be asked for again.
    pub fn waits(&mut self, cause: ff::Error, since: Instant) -> bool {
        if let Some(link) = &self.link {
            self.lost = match cause {
                _ if link.watch.stopped() => None,
                _ if link.watch.late() => Some(format!("no picture came for {} s", link.limit.as_secs_f64())),
                // Noise is read over, an end is none.
                ff::Error::InvalidData | ff::Error::Eof => None,
                cause => Some(cause.to_string()),
            };
            return false;
        }
        if cause != (ff::Error::Other { errno: ff::error::EAGAIN }) {
            self.lost = (cause != ff::Error::Eof).then(|| cause.to_string());
            return false;
        }
        if self.stop.as_ref().is_some_and(|stop| stop()) {
            return false;
        }
        let silent = since.elapsed() > SILENCE;
        if silent {
            self.lost = Some(format!("no picture came for {} s", SILENCE.as_secs()));
        }
        !silent
    }

    /// Meaning of a long step ahead in what comes.
    pub fn step_ahead(&self, container: &str) -> StepAhead {
        match &self.link {
            Some(link) if !link.recorded => StepAhead::RestartUnlessAwaited,
            Some(_) if container == "hls" => StepAhead::Restart,
            _ => StepAhead::Pause,
        }
    }

    /// Takes note of a packet of the picture. True when a connection before had brought it.
    pub fn has(&mut self, packet: &ff::Packet) -> bool {
        if self.link.is_none() {
            return false;
        }
        self.fruitless += 1;
        if self.fruitless > HOPELESS {
            self.lost = Some(format!("none of its last {HOPELESS} packets could be decoded"));
        }
        self.repeats.has(packet)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{DecodeOptions, Decoder, Network, Refused, device::Device};

    #[test]
    fn a_device_without_a_picture_is_waited_for_until_a_stop_and_not_for_ever() {
        let mut device = Attached::default();
        let (nothing, now) = (ff::Error::Other { errno: ff::error::EAGAIN }, Instant::now());
        assert!(device.waits(nothing, now));
        device.stop = Some(Box::new(|| true));
        assert!(!device.waits(nothing, now) && device.lost.is_none(), "a stop is no failure");
        device.stop = Some(Box::new(|| false));
        if let Some(long_ago) = now.checked_sub(SILENCE * 2) {
            assert!(!device.waits(nothing, long_ago));
            assert_eq!(device.lost.as_deref(), Some("no picture came for 10 s"));
        }
        assert!(!device.waits(ff::Error::Other { errno: ff::error::ENODEV }, now));
        assert_eq!(device.lost.as_deref(), Some("No such device"));
        let graph = Device { format: "lavfi".into(), address: "testsrc2".into(), size: None, fps: None };
        if let Ok(mut generator) = Decoder::device(&graph, DecodeOptions::default()) {
            assert!(generator.next().unwrap().is_some() && generator.lost().is_none());
        }
    }

    /// A server that takes connections, and says nothing or hangs up at once.
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

    fn refused(address: String, stop: bool) -> crate::Unopened {
        let network = Network {
            name: address.clone(),
            address,
            timeout: Duration::from_millis(300),
            buffer_bytes: 100_000,
            trust: crate::Trust::default(),
            stop: Arc::new(move || stop),
            before: None,
        };
        Decoder::network(&network, DecodeOptions::default()).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_server_that_is_silent_hangs_up_or_is_not_there_is_given_up_in_time_and_named() {
        for scheme in ["rtmp", "rtsp", "http"] {
            let silent = refused(format!("{scheme}://u:s3cret@127.0.0.1:{}/live/x", server(false)), false);
            assert_eq!(silent.refused, Refused::Away, "{}", silent.error);
            let text = silent.error.message;
            assert!(text.contains("brought no picture within 0.3 s") && !text.contains("s3cret"), "{text}");
            let gone = refused(format!("{scheme}://127.0.0.1:{}/live/x", server(true)), false);
            // Over HTTP an empty answer may as well be a file without a video in it.
            let empty = scheme == "http" && gone.refused == Refused::NoVideo;
            assert!(empty || gone.refused == Refused::Away, "{}", gone.error);
            let stopped = refused(format!("{scheme}://127.0.0.1:{}/live/x", server(false)), true);
            assert_eq!(stopped.refused, Refused::Stopped, "{}", stopped.error);
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dead = refused(format!("rtmp://127.0.0.1:{free}/live/x"), false);
        assert!(dead.error.message.contains("nothing listens there"), "{}", dead.error);
        assert_eq!(refused("gopher://h/x".into(), false).refused, Refused::Denied);
        assert_eq!(refused("http://no.such.host.invalid/x.mp4".into(), false).refused, Refused::Denied);
    }
}

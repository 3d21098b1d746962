//! Reads and writes that end by a deadline, however little comes at a time.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// A stream whose single reads and writes can be bounded in time.
pub trait Timeouts {
    /// Bounds each read from now on.
    ///
    /// # Errors
    /// When the system refuses it.
    fn bound_reads(&self, longest: Duration) -> io::Result<()>;

    /// Bounds each write from now on.
    ///
    /// # Errors
    /// When the system refuses it.
    fn bound_writes(&self, longest: Duration) -> io::Result<()>;
}

impl Timeouts for TcpStream {
    fn bound_reads(&self, longest: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(longest))
    }

    fn bound_writes(&self, longest: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(longest))
    }
}

impl Timeouts for UnixStream {
    fn bound_reads(&self, longest: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(longest))
    }

    fn bound_writes(&self, longest: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(longest))
    }
}

impl<T: Timeouts> Timeouts for &T {
    fn bound_reads(&self, longest: Duration) -> io::Result<()> {
        (**self).bound_reads(longest)
    }

    fn bound_writes(&self, longest: Duration) -> io::Result<()> {
        (**self).bound_writes(longest)
    }
}

/// A stream with a deadline for all reads and writes together. A timeout of the socket alone begins anew with every byte,
/// so a peer that sends a byte now and then would hold a thread for as long as it likes.
#[derive(Debug)]
pub struct Timed<S> {
    stream: S,
    deadline: Instant,
}

impl<S: Timeouts> Timed<S> {
    /// A stream that has `time` from now on.
    pub fn new(stream: S, time: Duration) -> Self {
        Self { stream, deadline: Instant::now() + time }
    }

    /// Gives it `time` from now on.
    pub fn extend(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    /// The stream itself.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// The kind of an expired timeout is `WouldBlock` on some systems.
fn timed_out(cause: io::Error) -> io::Error {
    if cause.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { cause }
}

impl<S: Timeouts + Read> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.bound_reads(self.left()?)?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl<S: Timeouts + Write> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.bound_writes(self.left()?)?;
        self.stream.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn a_peer_that_sends_without_end_is_read_until_the_deadline_alone() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let trickle = std::thread::spawn(move || while far.write_all(b"x").is_ok() {});
        let mut reader = BufReader::new(Timed::new(near, Duration::from_millis(50)));
        let mut line = vec![];
        let ended = reader.read_until(b'\n', &mut line).unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::TimedOut);
        assert!(!line.is_empty());
        drop(reader);
        trickle.join().unwrap();
    }

    #[test]
    fn a_silent_peer_and_one_that_does_not_read_are_left_at_the_deadline() {
        let (near, _far) = UnixStream::pair().unwrap();
        let mut timed = Timed::new(&near, Duration::from_millis(20));
        assert_eq!(timed.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        timed.extend(Duration::from_millis(20));
        let more_than_fits = vec![0; 16 << 20];
        assert_eq!(timed.write_all(&more_than_fits).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}

//! Reads and writes bounded by one deadline, however few bytes each of them transfers.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// A socket that supports a timeout for each read and each write.
pub trait SocketTimeouts {
    /// Sets the timeout of each following read.
    ///
    /// # Errors
    /// When the system refuses the timeout.
    fn limit_reads(&self, timeout: Duration) -> io::Result<()>;

    /// Sets the timeout of each following write.
    ///
    /// # Errors
    /// When the system refuses the timeout.
    fn limit_writes(&self, timeout: Duration) -> io::Result<()>;
}

impl SocketTimeouts for TcpStream {
    fn limit_reads(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))
    }

    fn limit_writes(&self, timeout: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(timeout))
    }
}

impl SocketTimeouts for UnixStream {
    fn limit_reads(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))
    }

    fn limit_writes(&self, timeout: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(timeout))
    }
}

impl<T: SocketTimeouts> SocketTimeouts for &T {
    fn limit_reads(&self, timeout: Duration) -> io::Result<()> {
        (**self).limit_reads(timeout)
    }

    fn limit_writes(&self, timeout: Duration) -> io::Result<()> {
        (**self).limit_writes(timeout)
    }
}

/// A stream with one deadline for all its reads and writes together. The timeout of a socket restarts with every byte,
/// so with that alone a peer that sends a byte now and then could hold a thread for any length of time.
#[derive(Debug)]
pub struct DeadlineStream<S> {
    stream: S,
    deadline: Instant,
}

impl<S: SocketTimeouts> DeadlineStream<S> {
    /// Wraps a stream whose deadline is `timeout` from now.
    pub fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, deadline: Instant::now() + timeout }
    }

    /// Moves the deadline to `timeout` from now.
    pub fn reset(&mut self, timeout: Duration) {
        self.deadline = Instant::now() + timeout;
    }

    /// Returns the wrapped stream.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Returns the time until the deadline, or `TimedOut`.
    fn remaining(&self) -> io::Result<Duration> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(remaining) }
    }
}

/// Maps `WouldBlock`, the error kind of an expired timeout on some systems, to `TimedOut`.
fn map_timeout(cause: io::Error) -> io::Error {
    if cause.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { cause }
}

impl<S: SocketTimeouts + Read> Read for DeadlineStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.limit_reads(self.remaining()?)?;
        self.stream.read(buffer).map_err(map_timeout)
    }
}

impl<S: SocketTimeouts + Write> Write for DeadlineStream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.limit_writes(self.remaining()?)?;
        self.stream.write(bytes).map_err(map_timeout)
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
    fn an_endless_sender_is_read_until_the_deadline_only() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let trickle = std::thread::spawn(move || while far.write_all(b"x").is_ok() {});
        let mut reader = BufReader::new(DeadlineStream::new(near, Duration::from_millis(50)));
        let mut line = vec![];
        let ended = reader.read_until(b'\n', &mut line).unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::TimedOut);
        assert!(!line.is_empty());
        drop(reader);
        trickle.join().unwrap();
    }

    #[test]
    fn reads_from_a_silent_peer_and_writes_to_one_that_does_not_read_time_out() {
        let (near, _far) = UnixStream::pair().unwrap();
        let mut stream = DeadlineStream::new(&near, Duration::from_millis(20));
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        stream.reset(Duration::from_millis(20));
        let more_than_fits = vec![0; 16 << 20];
        assert_eq!(stream.write_all(&more_than_fits).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}

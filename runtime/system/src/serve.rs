//! A socket server: one thread accepts, and one serves each connection, of which there is a bounded number.
//!
//! [`Server::stop`] ends every connection, also one that comes while it stops or whose client is silent, and waits for
//! all threads. Nothing it does can fail, so nothing is left behind.

use std::{
    io::{self, ErrorKind},
    net::{Shutdown, TcpListener, TcpStream},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Pause before another connection is accepted after the system refused one, most likely for want of file descriptors.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A connection that can be ended from another thread.
pub trait Socket: Send + Sync + 'static {
    /// Ends reads and writes that wait, and those to come.
    fn end(&self);
}

impl Socket for TcpStream {
    fn end(&self) {
        // Fails only where the peer has ended it already.
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Socket for UnixStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// A socket on which connections come in.
pub trait Listener: AsFd + Send + 'static {
    /// A connection.
    type Socket: Socket;

    /// Makes [`Listener::accept_now`] return at once.
    ///
    /// # Errors
    /// When the system refuses it.
    fn set_nonblocking(&self) -> io::Result<()>;

    /// The next connection, for blocking reads and writes.
    ///
    /// # Errors
    /// When none is waiting, or the system refuses it.
    fn accept_now(&self) -> io::Result<Self::Socket>;
}

impl Listener for TcpListener {
    type Socket = TcpStream;

    fn set_nonblocking(&self) -> io::Result<()> {
        TcpListener::set_nonblocking(self, true)
    }

    fn accept_now(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept()?;
        // On some systems a connection inherits it from the listener.
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Socket = UnixStream;

    fn set_nonblocking(&self) -> io::Result<()> {
        UnixListener::set_nonblocking(self, true)
    }

    fn accept_now(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.accept()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

/// A server that runs until it is stopped or dropped.
pub struct Server<S: Socket> {
    shared: Arc<Shared<S>>,
    acceptor: Option<Acceptor>,
}

/// The accepting thread; it ends when `alive` is dropped.
struct Acceptor {
    thread: JoinHandle<()>,
    alive: UnixStream,
}

struct Shared<S> {
    name: String,
    most: usize,
    serve: Box<dyn Fn(&S) + Send + Sync>,
    open: Mutex<Open<S>>,
}

struct Open<S> {
    stopped: bool,
    sockets: Vec<Arc<S>>,
}

impl<S: Socket> Server<S> {
    /// Serves connections, at most `most` at a time; further ones are closed at once. `serve` is called in a thread of its
    /// own for each, and the connection is closed when it returns. Threads have the name `name`.
    ///
    /// # Errors
    /// When the system refuses a thread or a socket.
    pub fn start<L: Listener<Socket = S>>(
        listener: L,
        name: &str,
        most: usize,
        serve: impl Fn(&S) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        listener.set_nonblocking()?;
        let (alive, stopped) = UnixStream::pair()?;
        let open = Mutex::new(Open { stopped: false, sockets: vec![] });
        let shared = Arc::new(Shared { name: name.to_owned(), most, serve: Box::new(serve), open });
        let accepting = shared.clone();
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || accepting.accept(&listener, &stopped))?;
        Ok(Self { shared, acceptor: Some(Acceptor { thread, alive }) })
    }

    /// Ends every connection and the server, and waits for their threads.
    pub fn stop(&mut self) {
        let Some(Acceptor { thread, alive }) = self.acceptor.take() else { return };
        let mut open = self.shared.open();
        open.stopped = true;
        open.sockets.iter().for_each(|socket| socket.end());
        drop((open, alive));
        // An error is a panic of the thread, which has been printed.
        let _ = thread.join();
    }
}

impl<S: Socket> Drop for Server<S> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<S: Socket> Shared<S> {
    fn open(&self) -> MutexGuard<'_, Open<S>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept<L: Listener<Socket = S>>(self: Arc<Self>, listener: &L, stopped: &UnixStream) {
        let mut threads: Vec<JoinHandle<()>> = vec![];
        while wait(Some(listener), stopped, None) {
            threads.retain(|thread| !thread.is_finished());
            match listener.accept_now() {
                Ok(socket) => threads.extend(self.take(socket)),
                Err(cause) => match cause.kind() {
                    // Whoever was about to connect has gone.
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        wait(None::<&L>, stopped, Some(&PAUSE));
                    }
                },
            }
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// Begins to serve a connection, unless the server stops or has as many as it may.
    fn take(self: &Arc<Self>, socket: S) -> Option<JoinHandle<()>> {
        let socket = Arc::new(socket);
        {
            // Looked at under the lock: what is in the list when the server stops is ended by it, and nothing is added then.
            let mut open = self.open();
            if open.stopped || open.sockets.len() >= self.most {
                return None;
            }
            open.sockets.push(socket.clone());
        }
        let served = Served { shared: self.clone(), socket };
        // Where the system refuses a thread, `served` is dropped, and so is the connection.
        std::thread::Builder::new().name(self.name.clone()).spawn(move || (served.shared.serve)(&served.socket)).ok()
    }
}

/// A connection that is served; it leaves the list also when serving it panics.
struct Served<S: Socket> {
    shared: Arc<Shared<S>>,
    socket: Arc<S>,
}

impl<S: Socket> Drop for Served<S> {
    fn drop(&mut self) {
        self.shared.open().sockets.retain(|open| !Arc::ptr_eq(open, &self.socket));
    }
}

/// Waits for a connection; false when the server stops. Without a listener it waits for `longest` alone.
fn wait(listener: Option<&impl AsFd>, stopped: &UnixStream, longest: Option<&Timespec>) -> bool {
    let mut waited: Vec<PollFd<'_>> = vec![PollFd::new(stopped, PollFlags::IN)];
    waited.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
    loop {
        match poll(&mut waited, longest) {
            Ok(_) => return waited[0].revents().is_empty(),
            Err(rustix::io::Errno::INTR) => {}
            // Short of memory: whoever waits is served later.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::SocketAddr,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use super::*;

    /// Sends back what comes.
    fn echo<S>(socket: &S)
    where
        for<'a> &'a S: Read + Write,
    {
        let (mut input, mut output) = (socket, socket);
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = input.read(&mut bytes) {
            if output.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    }

    fn tcp(most: usize, serve: impl Fn(&TcpStream) + Send + Sync + 'static) -> (Server<TcpStream>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (Server::start(listener, "test", most, serve).unwrap(), address)
    }

    fn is_answered(mut client: impl Read + Write) -> bool {
        let mut answer = [0; 2];
        client.write_all(b"hi").is_ok() && client.read_exact(&mut answer).is_ok() && &answer == b"hi"
    }

    #[test]
    fn tcp_and_unix_clients_are_served_side_by_side_and_silent_ones_do_not_keep_the_server() {
        let (mut server, address) = tcp(4, echo);
        let silent = TcpStream::connect(address).unwrap();
        assert!(is_answered(TcpStream::connect(address).unwrap()));
        server.stop();
        assert_eq!((&silent).read(&mut [0]).unwrap_or(0), 0, "the connection is over");
        assert!(TcpStream::connect(address).is_err(), "nobody listens");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut server = Server::start(UnixListener::bind(&path).unwrap(), "test", 4, echo).unwrap();
        let silent = UnixStream::connect(&path).unwrap();
        assert!(is_answered(UnixStream::connect(&path).unwrap()));
        // Also with the file gone, by which it could have been woken.
        std::fs::remove_file(&path).unwrap();
        server.stop();
        assert_eq!((&silent).read(&mut [0]).unwrap_or(0), 0);
    }

    #[test]
    fn clients_that_connect_while_the_server_stops_and_stay_do_not_keep_it() {
        for _ in 0..50 {
            let (mut server, address) = tcp(64, echo);
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let connect = || {
                    let mut clients = vec![];
                    while !over.load(Ordering::Relaxed) && clients.len() < 64 {
                        clients.extend(TcpStream::connect(address));
                    }
                    clients
                };
                let workers = [scope.spawn(connect), scope.spawn(connect)];
                let _first = TcpStream::connect(address);
                server.stop();
                over.store(true, Ordering::Relaxed);
                workers.into_iter().for_each(|worker| drop(worker.join().unwrap()));
            });
        }
    }

    #[test]
    fn more_clients_than_allowed_are_closed_at_once_and_a_place_is_free_again_when_one_leaves() {
        let (_server, address) = tcp(2, echo);
        let clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        assert!(clients.iter().all(is_answered));
        let one_more = TcpStream::connect(address).unwrap();
        assert_eq!((&one_more).read(&mut [0]).unwrap_or(0), 0, "closed without an answer");
        drop(clients);
        while !is_answered(TcpStream::connect(address).unwrap()) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_panic_while_serving_ends_its_connection_alone() {
        let calls = AtomicUsize::new(0);
        let (_server, address) = tcp(1, move |socket| {
            assert!(calls.fetch_add(1, Ordering::Relaxed) > 0, "the first client is unlucky");
            echo(socket);
        });
        let unlucky = TcpStream::connect(address).unwrap();
        assert_eq!((&unlucky).read(&mut [0]).unwrap_or(0), 0);
        while !is_answered(TcpStream::connect(address).unwrap()) {
            std::thread::yield_now();
        }
    }
}

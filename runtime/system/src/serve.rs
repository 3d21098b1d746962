//! A socket server: one thread accepts connections, and one thread serves each of them, up to a fixed number.
//!
//! [`Server::stop`] shuts down every connection, including one accepted while the server stops and one with a silent
//! client, and joins all threads. No step of it can fail, so no thread or connection outlives it.

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

/// Pause after a failed accept, 100 ms. The usual cause is a lack of file descriptors, and an immediate retry would
/// spin.
const ACCEPT_BACKOFF: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A connection that can be shut down from another thread.
pub trait Socket: Send + Sync + 'static {
    /// Ends pending and future reads and writes.
    fn shut_down(&self);
}

impl Socket for TcpStream {
    fn shut_down(&self) {
        // Fails only if the peer has closed the connection already.
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Socket for UnixStream {
    fn shut_down(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// A socket that accepts connections.
pub trait Listener: AsFd + Send + 'static {
    /// Type of the accepted connections.
    type Socket: Socket;

    /// Makes [`Listener::accept_now`] return at once.
    ///
    /// # Errors
    /// When the system call fails.
    fn set_nonblocking(&self) -> io::Result<()>;

    /// Accepts the next connection, with blocking reads and writes.
    ///
    /// # Errors
    /// `WouldBlock` when no connection is pending, else the error of the system call.
    fn accept_now(&self) -> io::Result<Self::Socket>;
}

impl Listener for TcpListener {
    type Socket = TcpStream;

    fn set_nonblocking(&self) -> io::Result<()> {
        TcpListener::set_nonblocking(self, true)
    }

    fn accept_now(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept()?;
        // On some systems an accepted connection inherits the non-blocking mode of its listener.
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

/// A server that runs until [`Server::stop`] or drop.
pub struct Server<S: Socket> {
    shared: Arc<Shared<S>>,
    acceptor: Option<Acceptor>,
}

/// The accepting thread. It exits when `keep_alive` is dropped, which closes the other end of that socket pair.
struct Acceptor {
    thread: JoinHandle<()>,
    keep_alive: UnixStream,
}

struct Shared<S> {
    thread_name: String,
    max_connections: usize,
    serve: Box<dyn Fn(&S) + Send + Sync>,
    connections: Mutex<Connections<S>>,
}

struct Connections<S> {
    is_stopped: bool,
    sockets: Vec<Arc<S>>,
}

impl<S: Socket> Server<S> {
    /// Serves at most `max_connections` connections at a time and closes further ones at once. Each connection has its
    /// own thread, named `thread_name`, which calls `serve` and closes the connection when it returns.
    ///
    /// # Errors
    /// When a thread or a socket cannot be created.
    pub fn start<L: Listener<Socket = S>>(
        listener: L,
        thread_name: &str,
        max_connections: usize,
        serve: impl Fn(&S) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        listener.set_nonblocking()?;
        let (keep_alive, stop_signal) = UnixStream::pair()?;
        let connections = Mutex::new(Connections { is_stopped: false, sockets: vec![] });
        let thread_name = thread_name.to_owned();
        let builder = std::thread::Builder::new().name(thread_name.clone());
        let shared = Arc::new(Shared { thread_name, max_connections, serve: Box::new(serve), connections });
        let acceptor = shared.clone();
        let thread = builder.spawn(move || acceptor.accept_until_stopped(&listener, &stop_signal))?;
        Ok(Self { shared, acceptor: Some(Acceptor { thread, keep_alive }) })
    }

    /// Shuts down every connection and the server, and joins their threads.
    pub fn stop(&mut self) {
        let Some(Acceptor { thread, keep_alive }) = self.acceptor.take() else { return };
        let mut connections = self.shared.connections();
        connections.is_stopped = true;
        connections.sockets.iter().for_each(|socket| socket.shut_down());
        drop((connections, keep_alive));
        // An error is a panic of the thread, and the panic message has been printed.
        let _ = thread.join();
    }
}

impl<S: Socket> Drop for Server<S> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<S: Socket> Shared<S> {
    fn connections(&self) -> MutexGuard<'_, Connections<S>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_until_stopped<L: Listener<Socket = S>>(self: Arc<Self>, listener: &L, stop_signal: &UnixStream) {
        let mut threads: Vec<JoinHandle<()>> = vec![];
        while wait(Some(listener), stop_signal, None) {
            threads.retain(|thread| !thread.is_finished());
            match listener.accept_now() {
                Ok(socket) => threads.extend(self.spawn_connection(socket)),
                Err(cause) => match cause.kind() {
                    // The client closed the connection before it was accepted.
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        wait(None::<&L>, stop_signal, Some(&ACCEPT_BACKOFF));
                    }
                },
            }
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// Starts a thread for a connection, or returns `None` if the server stops or has `max_connections` already.
    fn spawn_connection(self: &Arc<Self>, socket: S) -> Option<JoinHandle<()>> {
        let socket = Arc::new(socket);
        {
            // Checked and added under one lock: `stop` shuts down every listed socket, and none is added after it.
            let mut connections = self.connections();
            if connections.is_stopped || connections.sockets.len() >= self.max_connections {
                return None;
            }
            connections.sockets.push(socket.clone());
        }
        let connection = ConnectionGuard { shared: self.clone(), socket };
        let thread = std::thread::Builder::new().name(self.thread_name.clone());
        // If the thread cannot be created, the guard is dropped, and the connection with it.
        thread.spawn(move || (connection.shared.serve)(&connection.socket)).ok()
    }
}

/// Removes its connection from the list when dropped, also if `serve` panics.
struct ConnectionGuard<S: Socket> {
    shared: Arc<Shared<S>>,
    socket: Arc<S>,
}

impl<S: Socket> Drop for ConnectionGuard<S> {
    fn drop(&mut self) {
        self.shared.connections().sockets.retain(|listed| !Arc::ptr_eq(listed, &self.socket));
    }
}

/// Waits for a connection and returns true, or false when the server stops. Without a listener it waits for the stop
/// signal only. `timeout` bounds the wait; `None` waits without limit.
fn wait(listener: Option<&impl AsFd>, stop_signal: &UnixStream, timeout: Option<&Timespec>) -> bool {
    let mut polled: Vec<PollFd<'_>> = vec![PollFd::new(stop_signal, PollFlags::IN)];
    polled.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
    loop {
        match poll(&mut polled, timeout) {
            Ok(_) => return polled[0].revents().is_empty(),
            Err(rustix::io::Errno::INTR) => {}
            // The kernel lacks memory: retry later.
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

    /// Sends back every byte it receives.
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

    fn tcp_server(
        max_connections: usize,
        serve: impl Fn(&TcpStream) + Send + Sync + 'static,
    ) -> (Server<TcpStream>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (Server::start(listener, "test", max_connections, serve).unwrap(), address)
    }

    fn is_served(mut client: impl Read + Write) -> bool {
        let mut reply = [0; 2];
        client.write_all(b"hi").is_ok() && client.read_exact(&mut reply).is_ok() && &reply == b"hi"
    }

    #[test]
    fn tcp_and_unix_clients_are_served_concurrently_and_silent_ones_do_not_block_stop() {
        let (mut server, address) = tcp_server(4, echo);
        let silent = TcpStream::connect(address).unwrap();
        assert!(is_served(TcpStream::connect(address).unwrap()));
        server.stop();
        assert_eq!((&silent).read(&mut [0]).unwrap_or(0), 0, "the connection is closed");
        assert!(TcpStream::connect(address).is_err(), "no server listens");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut server = Server::start(UnixListener::bind(&path).unwrap(), "test", 4, echo).unwrap();
        let silent = UnixStream::connect(&path).unwrap();
        assert!(is_served(UnixStream::connect(&path).unwrap()));
        // `stop` does not connect to the socket file to wake the acceptor, so it works without the file too.
        std::fs::remove_file(&path).unwrap();
        server.stop();
        assert_eq!((&silent).read(&mut [0]).unwrap_or(0), 0);
    }

    #[test]
    fn clients_that_connect_during_stop_do_not_block_it() {
        for _ in 0..50 {
            let (mut server, address) = tcp_server(64, echo);
            let is_stopped = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let connect = || {
                    let mut clients = vec![];
                    while !is_stopped.load(Ordering::Relaxed) && clients.len() < 64 {
                        clients.extend(TcpStream::connect(address));
                    }
                    clients
                };
                let workers = [scope.spawn(connect), scope.spawn(connect)];
                let _first = TcpStream::connect(address);
                server.stop();
                is_stopped.store(true, Ordering::Relaxed);
                workers.into_iter().for_each(|worker| drop(worker.join().unwrap()));
            });
        }
    }

    #[test]
    fn clients_over_the_limit_are_closed_at_once_and_a_disconnect_frees_a_slot() {
        let (_server, address) = tcp_server(2, echo);
        let clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        assert!(clients.iter().all(is_served));
        let refused = TcpStream::connect(address).unwrap();
        assert_eq!((&refused).read(&mut [0]).unwrap_or(0), 0, "closed without a reply");
        drop(clients);
        while !is_served(TcpStream::connect(address).unwrap()) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_panic_while_serving_closes_only_its_own_connection() {
        let calls = AtomicUsize::new(0);
        let (_server, address) = tcp_server(1, move |socket| {
            assert!(calls.fetch_add(1, Ordering::Relaxed) > 0, "panics for the first client");
            echo(socket);
        });
        let first = TcpStream::connect(address).unwrap();
        assert_eq!((&first).read(&mut [0]).unwrap_or(0), 0);
        while !is_served(TcpStream::connect(address).unwrap()) {
            std::thread::yield_now();
        }
    }
}

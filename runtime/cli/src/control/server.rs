//! The run's side: a thread that listens, and one for each connection. Neither touches a frame.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use sideline_api::{Error, Failure, OrFail, Result};
use sideline_engine::{Change, Running, status::Look};

use super::{About, Reply, Request, Status};

/// Longest request, bytes.
const LONGEST: u64 = 64 * 1024;
/// Connections at a time; more are closed at once.
const MOST: usize = 16;

type OnChange = Box<dyn Fn(&[Change]) + Send + Sync>;

/// Listens until it is dropped.
pub struct Server {
    address: PathBuf,
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    about: About,
    running: Weak<Running>,
    on_change: OnChange,
    stop: AtomicBool,
    open: Mutex<Vec<(u64, UnixStream)>>,
}

impl Server {
    /// Listens at an address. `on_change` is told every change so far, whenever there is a new one.
    ///
    /// # Errors
    /// `Output` when the socket cannot be made.
    pub fn start(
        address: &Path,
        about: About,
        running: &Arc<Running>,
        on_change: impl Fn(&[Change]) + Send + Sync + 'static,
    ) -> Result<Self> {
        let place = || address.display().to_string();
        let listener = UnixListener::bind(address).or_fail(Failure::Output, place)?;
        std::fs::set_permissions(address, std::fs::Permissions::from_mode(0o600)).or_fail(Failure::Output, place)?;
        let inner = Arc::new(Inner {
            about,
            running: Arc::downgrade(running),
            on_change: Box::new(on_change),
            stop: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let listening = inner.clone();
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || listening.listen(&listener))
            .or_fail(Failure::Other, || "control")?;
        Ok(Server { address: address.to_owned(), inner, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::SeqCst);
        // Wakes who waits for a connection, and ends those that are open.
        let woken = UnixStream::connect(&self.address).is_ok();
        let _ = std::fs::remove_file(&self.address);
        for (_, stream) in self.inner.open.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn listen(self: Arc<Self>, listener: &UnixListener) {
        let mut connections: Vec<JoinHandle<()>> = vec![];
        for (number, stream) in (0..).zip(listener.incoming()) {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            connections.retain(|connection| !connection.is_finished());
            let Ok(stream) = stream else { continue };
            let Ok(other) = stream.try_clone() else { continue };
            if connections.len() >= MOST {
                continue;
            }
            self.open.lock().unwrap_or_else(PoisonError::into_inner).push((number, other));
            let inner = self.clone();
            let serve = move || {
                inner.serve(&stream);
                inner.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(open, _)| *open != number);
            };
            connections.extend(std::thread::Builder::new().name("control".into()).spawn(serve));
        }
        for connection in connections {
            let _ = connection.join();
        }
    }

    fn serve(&self, stream: &UnixStream) {
        let mut reader = BufReader::new(stream);
        let mut before: Option<Look> = None;
        let mut line = vec![];
        while !self.stop.load(Ordering::SeqCst) {
            line.clear();
            match (&mut reader).take(LONGEST).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let reply = match serde_json::from_slice(&line) {
                Ok(request) => self.answer(request, &mut before),
                Err(cause) => Reply::Refused(Error::config(format!("not a request: {cause}"))),
            };
            let Ok(mut text) = serde_json::to_string(&reply) else { return };
            text.push('\n');
            let mut stream = stream;
            if stream.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: Request, before: &mut Option<Look>) -> Reply {
        let Some(running) = self.running.upgrade() else {
            return Reply::Refused(Error::config("the run is over"));
        };
        match request {
            Request::Status => {
                let now = running.look();
                let look = match before.take() {
                    Some(before) => now.clone().since(&before),
                    None => now.clone(),
                };
                *before = Some(now);
                Reply::Status(Box::new(Status { about: self.about.clone(), look }))
            }
            Request::Set { node, key, value } => match running.set(&node, &key, value) {
                Ok(changed) => {
                    (self.on_change)(&running.changes());
                    Reply::Changed(changed)
                }
                Err(error) => Reply::Refused(error),
            },
        }
    }
}

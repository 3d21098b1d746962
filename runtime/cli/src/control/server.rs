//! The run's side of a control connection. No thread of it touches a frame.

use std::{
    io::BufReader,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use sideline_api::{Error, Failure, OrFail, Result};
use sideline_engine::{Change, Running, status::Look};
use sideline_system::{owner, serve};

use super::protocol::{About, Reply, Request, Status, converse};

/// Connections at a time; more are closed at once.
const MOST: usize = 16;

type OnChange = Box<dyn Fn(&[Change]) + Send + Sync>;

/// Listens until it is dropped.
pub struct Server {
    address: PathBuf,
    server: serve::Server<UnixStream>,
}

struct Inner {
    about: About,
    running: Weak<Running>,
    on_change: OnChange,
}

impl Server {
    /// Listens at an address. `on_change` is told every change so far, whenever there is a new one; it is called for one
    /// change at a time, in their order.
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
        let inner = Inner { about, running: Arc::downgrade(running), on_change: Box::new(on_change) };
        let server = serve::Server::start(listener, "control", MOST, move |socket| inner.serve(socket))
            .or_fail(Failure::Other, || "control")?;
        Ok(Server { address: address.to_owned(), server })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // First, so that nobody finds a run that does not answer.
        let _ = std::fs::remove_file(&self.address);
        self.server.stop();
    }
}

impl Inner {
    fn serve(&self, socket: &UnixStream) {
        if !owner::is_peer_trusted(socket) {
            return;
        }
        let mut before: Option<Look> = None;
        // What fails here is the connection: nobody is left who could be told.
        let _ = converse(BufReader::new(socket), socket, |request| self.answer(request, &mut before));
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
            Request::Set { node, key, value } => match running.set_and(&node, &key, value, &self.on_change) {
                Ok(changed) => Reply::Changed(changed),
                Err(error) => Reply::Refused(error),
            },
            Request::Stop => {
                running.stop();
                Reply::Stopping
            }
        }
    }
}

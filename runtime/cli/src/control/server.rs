//! The server side of control connections, in the process of the run. Its threads never process frames.

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
use sideline_engine::{Running, SettingChange, snapshot::RunSnapshot};
use sideline_system::{owner, serve};

use super::protocol::{Reply, Request, RunInfo, StatusReport, serve_requests};

/// Greatest number of concurrent connections; further ones are closed at once.
const MAX_CONNECTIONS: usize = 16;

type OnChange = Box<dyn Fn(&[SettingChange]) + Send + Sync>;

/// Control server of a run. It listens until it is dropped.
pub struct Server {
    address: PathBuf,
    server: serve::Server<UnixStream>,
}

struct Inner {
    info: RunInfo,
    running: Weak<Running>,
    on_change: OnChange,
}

impl Server {
    /// Listens on a socket path. `on_change` is called at every change with all changes so far, for one change at a time and
    /// in their order.
    ///
    /// # Errors
    /// `Output` if the socket cannot be created.
    pub fn start(
        address: &Path,
        info: RunInfo,
        running: &Arc<Running>,
        on_change: impl Fn(&[SettingChange]) + Send + Sync + 'static,
    ) -> Result<Self> {
        let place = || address.display().to_string();
        let listener = UnixListener::bind(address).or_fail(Failure::Output, place)?;
        std::fs::set_permissions(address, std::fs::Permissions::from_mode(0o600)).or_fail(Failure::Output, place)?;
        let inner = Inner { info, running: Arc::downgrade(running), on_change: Box::new(on_change) };
        let server = serve::Server::start(listener, "control", MAX_CONNECTIONS, move |socket| inner.serve(socket))
            .or_fail(Failure::Other, || "control")?;
        Ok(Server { address: address.to_owned(), server })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The socket is removed first, so that no client finds a run that does not respond.
        let _ = std::fs::remove_file(&self.address);
        self.server.stop();
    }
}

impl Inner {
    fn serve(&self, socket: &UnixStream) {
        if !owner::is_peer_trusted(socket) {
            return;
        }
        let mut previous: Option<RunSnapshot> = None;
        // An error is one of the connection, so it cannot be reported to the client.
        let _ = serve_requests(BufReader::new(socket), socket, |request| self.reply(request, &mut previous));
    }

    fn reply(&self, request: Request, previous: &mut Option<RunSnapshot>) -> Reply {
        let Some(running) = self.running.upgrade() else {
            return Reply::Refused(Error::config("the run has ended"));
        };
        match request {
            Request::Status => {
                let now = running.snapshot();
                let snapshot = match previous.take() {
                    Some(previous) => now.clone().with_rates_since(&previous),
                    None => now.clone(),
                };
                *previous = Some(now);
                Reply::Status(Box::new(StatusReport { info: self.info.clone(), snapshot }))
            }
            Request::Set { node, key, value } => match running.set_and_notify(&node, &key, value, &self.on_change) {
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

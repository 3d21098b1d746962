//! The client side of control connections: finds active runs, and implements `sideline set` and `sideline stop`.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_engine::SettingChange;
use sideline_system::{deadline::DeadlineStream, owner};

use super::{
    NODE_EXTENSION, RUN_EXTENSION,
    protocol::{Reply, Request, RunInfo, StatusReport},
};
use crate::{args::Setting, commands::print_json};

/// Timeout of a change: longer than the stall timeout of the run's own operators.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout of a status request. It is short, since a reply takes no time, and a run that hangs must not delay the others.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// Greatest size of a reply, bytes.
const MAX_REPLY_BYTES: u64 = 16 << 20;
/// Age from which a socket without a listener is stale. A younger one may belong to a run that does not listen yet.
const STALE_SOCKET_AGE: Duration = Duration::from_secs(5);

/// A connection to a run.
pub struct Connection {
    reader: BufReader<DeadlineStream<UnixStream>>,
}

impl Connection {
    fn open(address: &Path) -> std::io::Result<Self> {
        if !owner::is_own_socket(address) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let stream = connect_nonblocking(address)?;
        // Another user may have replaced the socket since the check of its owner.
        if !owner::is_peer_trusted(&stream) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        Ok(Connection { reader: BufReader::new(DeadlineStream::new(stream, STATUS_TIMEOUT)) })
    }

    fn request(&mut self, request: &Request, timeout: Duration) -> Result<Reply> {
        let no_reply = || "the run does not answer; it may have ended".to_owned();
        let mut text = serde_json::to_string(request).or_fail(Failure::Other, || "a request")?;
        text.push('\n');
        self.reader.get_mut().reset(timeout);
        self.reader.get_mut().write_all(text.as_bytes()).or_fail(Failure::Other, no_reply)?;
        let mut line = vec![];
        (&mut self.reader).take(MAX_REPLY_BYTES).read_until(b'\n', &mut line).or_fail(Failure::Other, no_reply)?;
        if line.is_empty() {
            return Err(Error::other(no_reply()));
        }
        serde_json::from_slice(&line)
            .or_fail(Failure::Other, || "invalid reply: the run may be of another version of Sideline")
    }

    /// Requests the status of the run, with rates since the last request on this connection.
    ///
    /// # Errors
    /// If the run does not answer.
    pub fn status(&mut self) -> Result<StatusReport> {
        match self.request(&Request::Status, STATUS_TIMEOUT)? {
            Reply::Status(status) => Ok(*status),
            Reply::Refused(error) => Err(error),
            Reply::Changed(_) | Reply::Stopping => Err(Error::other("the reply of the run does not match the request")),
        }
    }

    /// Stops the sources of the process, and waits until it has ended.
    ///
    /// # Errors
    /// If it does not answer.
    fn stop(mut self) -> Result<()> {
        match self.request(&Request::Stop, STATUS_TIMEOUT)? {
            Reply::Stopping => {}
            Reply::Refused(error) => return Err(error),
            Reply::Changed(_) | Reply::Status(_) => {
                return Err(Error::other("the reply of the run does not match the request"));
            }
        }
        self.wait_for_end().or_fail(Failure::Other, || "the run is stopping, but waiting for its end failed")
    }

    /// Waits without a time limit until the run closes the connection: closing its files may take long.
    fn wait_for_end(&mut self) -> std::io::Result<()> {
        loop {
            self.reader.get_mut().reset(CHANGE_TIMEOUT);
            match self.reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(more) => {
                    let read = more.len();
                    self.reader.consume(read);
                }
                Err(cause) if matches!(cause.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {}
                // The process has exited.
                Err(cause) if cause.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(cause) => return Err(cause),
            }
        }
    }

    /// Changes a live setting; returns the changes made.
    ///
    /// # Errors
    /// If it is refused, or the run does not answer.
    pub fn set(&mut self, node: &str, key: &str, value: Value) -> Result<Vec<SettingChange>> {
        match self.request(&Request::Set { node: node.into(), key: key.into(), value }, CHANGE_TIMEOUT)? {
            Reply::Changed(changes) => Ok(changes),
            Reply::Refused(error) => Err(error),
            Reply::Status(_) | Reply::Stopping => Err(Error::other("the reply of the run does not match the request")),
        }
    }
}

/// Connects without blocking: if a run hangs and its queue of connections is full, `connect` of the standard library blocks.
fn connect_nonblocking(address: &Path) -> std::io::Result<UnixStream> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(address)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The active runs of this user.
#[derive(Default)]
pub struct ActiveRuns {
    /// Runs that answer, oldest first, each with a connection.
    pub responding: Vec<(RunInfo, Connection)>,
    /// Names of runs that do not answer.
    pub unresponsive: Vec<String>,
}

/// Requests the status of every run of this user in one process, concurrently.
pub fn list_runs() -> ActiveRuns {
    let folders = owner::runtime_folders().into_iter().filter(|folder| owner::check_private_folder(folder).is_ok());
    list_runs_in(folders, &[RUN_EXTENSION])
}

/// Requests the status of every run of this user in one process, and of every process with a source under dora.
fn list_processes() -> ActiveRuns {
    let folders = owner::runtime_folders().into_iter().filter(|folder| owner::check_private_folder(folder).is_ok());
    list_runs_in(folders, &[RUN_EXTENSION, NODE_EXTENSION])
}

fn list_runs_in(folders: impl IntoIterator<Item = PathBuf>, extensions: &[&str]) -> ActiveRuns {
    let entries = folders.into_iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let mut sockets: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    sockets.retain(|path| path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension)));
    sockets.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    let mut runs = ActiveRuns::default();
    std::thread::scope(|scope| {
        let queries: Vec<_> = sockets.iter().map(|socket| (socket, scope.spawn(|| query(socket)))).collect();
        for (socket, query) in queries {
            match query.join() {
                Ok(Some(Ok(run))) => runs.responding.push(run),
                Ok(Some(Err(_))) => {
                    runs.unresponsive.extend(socket.file_stem().map(|name| name.to_string_lossy().into_owned()))
                }
                Ok(None) | Err(_) => {}
            }
        }
    });
    runs
}

/// Connects to a socket and requests the identity of its run; `None` if no run listens there. A stale socket is removed.
fn query(address: &Path) -> Option<Result<(RunInfo, Connection)>> {
    match Connection::open(address) {
        Ok(mut connection) => Some(connection.status().map(|status| (status.info, connection))),
        Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
            Some(Err(Error::other("its queue of connections is full")))
        }
        Err(cause) => {
            let age = std::fs::symlink_metadata(address).and_then(|found| found.modified()).ok()?.elapsed().ok()?;
            if cause.kind() == ErrorKind::ConnectionRefused && age > STALE_SOCKET_AGE {
                let _ = std::fs::remove_file(address);
            }
            None
        }
    }
}

/// Finds a run by its folder, its name, or its flow's name; without a selector the only active run.
///
/// # Errors
/// If no active run, or more than one, matches; the message lists the active runs.
pub fn find(selector: Option<&str>) -> Result<(RunInfo, Connection)> {
    select(list_runs(), selector)
}

fn select(
    ActiveRuns { responding, unresponsive }: ActiveRuns,
    selector: Option<&str>,
) -> Result<(RunInfo, Connection)> {
    let list: Vec<String> =
        responding.iter().map(|(info, _)| format!("{} ({})", info.run, info.folder.display())).collect();
    let list = list.join(", ");
    let mut active =
        if list.is_empty() { "; no active run in one process".to_owned() } else { format!("; active: {list}") };
    let no_answer = match &unresponsive[..] {
        [] => String::new(),
        names => format!("; no answer within {} s from {}", STATUS_TIMEOUT.as_secs(), names.join(", ")),
    };
    active += &no_answer;
    let Some(selector) = selector else {
        return match responding.len() {
            0 => Err(Error::config(format!(
                "no active run in one process (`sideline run`); under dora use `dora param set FLOW-ID NODE KEY VALUE`\
                 {no_answer}"
            ))),
            1 if !unresponsive.is_empty() => Err(Error::config(format!(
                "several runs are active: choose one with `--run NAME` or `--run FOLDER`: {list}{no_answer}"
            ))),
            1 => responding.into_iter().next().ok_or_else(|| Error::other("the run has ended")),
            n => Err(Error::config(format!(
                "{n} runs are active: choose one with `--run NAME` or `--run FOLDER`: {list}{no_answer}"
            ))),
        };
    };
    let folder = Path::new(selector);
    if folder.is_dir() {
        let absolute = folder.canonicalize().or_fail(Failure::Config, || selector.to_owned())?;
        if let Some(run) = responding.into_iter().find(|(info, _)| info.folder == absolute) {
            return Ok(run);
        }
        let reason = match crate::record::merge(folder) {
            Ok(merged) if merged.processes.values().all(|status| status != "missing") => "its run has ended",
            Ok(_) => "its run was killed, runs under dora, or is just starting",
            Err(_) => "is not the folder of a run",
        };
        return Err(Error::config(format!("{selector}: {reason}{active}")));
    }
    let mut matching: Vec<_> = responding.into_iter().filter(|(info, _)| info.is_named(selector)).collect();
    match (matching.pop(), matching.len()) {
        (Some(run), 0) => Ok(run),
        (None, _) => Err(Error::config(format!("no active run `{selector}`{active}"))),
        (Some(_), more) => Err(Error::config(format!("`{selector}` matches {} runs: choose one{active}", more + 1))),
    }
}

/// Runs `sideline stop`: stops a run gracefully, in one process or under dora, and waits until the processes of its sources have
/// ended. Returns the exit code.
///
/// # Errors
/// If no active run, or more than one, matches, or the run does not answer.
pub fn stop(selector: Option<&str>, json: bool) -> Result<u8> {
    let ActiveRuns { responding, unresponsive } = list_processes();
    let folder = selector.and_then(|selector| Path::new(selector).canonicalize().ok());
    let is_selected = |info: &RunInfo| match selector {
        None => true,
        Some(selector) => info.is_named(selector) || folder.as_ref() == Some(&info.folder),
    };
    let selected: Vec<(RunInfo, Connection)> = responding.into_iter().filter(|(info, _)| is_selected(info)).collect();
    let mut names: Vec<&str> = selected.iter().map(|(info, _)| info.run.as_str()).collect();
    names.dedup();
    let no_answer =
        if unresponsive.is_empty() { String::new() } else { format!("; no answer from {}", unresponsive.join(", ")) };
    match names[..] {
        [] => {
            let name = selector.map_or_else(String::new, |selector| format!(" `{selector}`"));
            return Err(Error::config(format!("no active run{name} on this host{no_answer}")));
        }
        [_] => {}
        _ => {
            let names = names.join(", ");
            return Err(Error::config(format!(
                "several runs are active: choose one with `sideline stop NAME`: {names}{no_answer}"
            )));
        }
    }
    let (run, folder) = (selected[0].0.run.clone(), selected[0].0.folder.clone());
    // Concurrently, since a run with several sources ends when all of them have stopped.
    std::thread::scope(|scope| {
        let stops: Vec<_> = selected.into_iter().map(|(_, connection)| scope.spawn(|| connection.stop())).collect();
        let results = stops.into_iter().map(|stop| stop.join().unwrap_or_else(|_| Err(Error::other("panicked"))));
        results.collect::<Result<Vec<()>>>()
    })?;
    if !unresponsive.is_empty() {
        errln!("warning: no answer from {}: a part of the run may still be active", unresponsive.join(", "));
    }
    if json {
        print_json(&json!({"run": run, "folder": folder, "silent": unresponsive}))?;
    } else {
        outln!("stopped; `sideline result {}` shows the result", folder.display());
    }
    Ok(0)
}

/// Runs `sideline set`; returns the exit code of the first setting that was refused, else 0.
///
/// # Errors
/// If no active run, or more than one, matches.
pub fn set(selector: Option<&str>, settings: &[Setting], json: bool) -> Result<u8> {
    let (info, mut connection) = find(selector)?;
    let mut code = 0;
    let mut outcomes: Vec<Value> = vec![];
    for setting in settings {
        match connection.set(&setting.node, &setting.key, setting.value.clone()) {
            Ok(changes) if json => outcomes.extend(changes.iter().map(|change| json!(change))),
            Ok(changes) => changes.iter().for_each(|change| outln!("{}", describe(change))),
            Err(error) => {
                if code == 0 {
                    code = error.failure.exit_code();
                }
                if json {
                    outcomes.push(json!({"node": setting.node, "key": setting.key, "error": error.message}));
                } else {
                    errln!("error: {error}");
                }
            }
        }
    }
    if json {
        print_json(&json!({"run": info.run, "settings": outcomes}))?;
    }
    Ok(code)
}

fn describe(change: &SettingChange) -> String {
    let frames: Vec<String> = match change.from_frame.iter().collect::<Vec<_>>()[..] {
        [] => vec![],
        [(_, frame)] => vec![format!("from frame {frame}")],
        ref many => many.iter().map(|(stream, frame)| format!("{stream} from frame {frame}")).collect(),
    };
    let frames = if frames.is_empty() { String::new() } else { format!(" ({})", frames.join(", ")) };
    format!("{}.{}: {} -> {}{frames}", change.node, change.key, change.old, change.new)
}

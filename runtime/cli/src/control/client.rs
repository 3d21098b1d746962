//! The client's side of a control connection: which runs are under way, which of them is meant, and `sideline set`.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_engine::Change;
use sideline_system::{owner, timed::Timed};

use super::{
    NODE, RUN,
    protocol::{About, Reply, Request, Status},
};
use crate::{args::Setting, commands::print_json};

/// Time that a run has for a change: longer than the stall time it gives its own operators.
const CHANGE_TIME: Duration = Duration::from_secs(60);
/// Time that a run has for its status, which takes it no time: one that hangs must not hold up those that do not.
const STATUS_TIME: Duration = Duration::from_secs(2);
/// Longest reply, bytes.
const LONGEST_REPLY: u64 = 16 << 20;
/// A socket that nobody listens on and that is older than this was left behind; a younger one may not listen yet.
const STALE: Duration = Duration::from_secs(5);

/// A connection to a run.
pub struct Connection {
    reader: BufReader<Timed<UnixStream>>,
}

impl Connection {
    fn open(address: &Path) -> std::io::Result<Self> {
        if !owner::is_own_socket(address) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let stream = connect_now(address)?;
        // Somebody else may have put another socket in its place meanwhile.
        if !owner::is_peer_trusted(&stream) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        Ok(Connection { reader: BufReader::new(Timed::new(stream, STATUS_TIME)) })
    }

    fn ask(&mut self, request: &Request, time: Duration) -> Result<Reply> {
        let gone = || "the run does not answer; it may just have ended".to_owned();
        let mut text = serde_json::to_string(request).or_fail(Failure::Other, || "a request")?;
        text.push('\n');
        self.reader.get_mut().extend(time);
        self.reader.get_mut().write_all(text.as_bytes()).or_fail(Failure::Other, gone)?;
        let mut line = vec![];
        (&mut self.reader).take(LONGEST_REPLY).read_until(b'\n', &mut line).or_fail(Failure::Other, gone)?;
        if line.is_empty() {
            return Err(Error::other(gone()));
        }
        serde_json::from_slice(&line).or_fail(Failure::Other, || "the run's answer is not of this version")
    }

    /// Asks for the status of the run; rates are those since this connection last asked.
    ///
    /// # Errors
    /// When the run does not answer.
    pub fn status(&mut self) -> Result<Status> {
        match self.ask(&Request::Status, STATUS_TIME)? {
            Reply::Status(status) => Ok(*status),
            Reply::Refused(error) => Err(error),
            Reply::Changed(_) | Reply::Stopping => Err(Error::other("the run answers another question")),
        }
    }

    /// Ends the sources of the process, and waits until it is over.
    ///
    /// # Errors
    /// When it does not answer.
    fn stop(mut self) -> Result<()> {
        match self.ask(&Request::Stop, STATUS_TIME)? {
            Reply::Stopping => {}
            Reply::Refused(error) => return Err(error),
            Reply::Changed(_) | Reply::Status(_) => return Err(Error::other("the run answers another question")),
        }
        self.wait_for_end().or_fail(Failure::Other, || "the run is ending, and the wait for its end failed")
    }

    /// Waits until the run closes the connection, however long its files take.
    fn wait_for_end(&mut self) -> std::io::Result<()> {
        loop {
            self.reader.get_mut().extend(CHANGE_TIME);
            match self.reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(more) => {
                    let read = more.len();
                    self.reader.consume(read);
                }
                Err(cause) if matches!(cause.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {}
                // The process is gone.
                Err(cause) if cause.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(cause) => return Err(cause),
            }
        }
    }

    /// Changes a key.
    ///
    /// # Errors
    /// When it is refused.
    pub fn set(&mut self, node: &str, key: &str, value: Value) -> Result<Vec<Change>> {
        match self.ask(&Request::Set { node: node.into(), key: key.into(), value }, CHANGE_TIME)? {
            Reply::Changed(changed) => Ok(changed),
            Reply::Refused(error) => Err(error),
            Reply::Status(_) | Reply::Stopping => Err(Error::other("the run answers another question")),
        }
    }
}

/// Connects, or fails at once: where a run hangs and many wait for it already, `connect` of the standard library waits too.
fn connect_now(address: &Path) -> std::io::Result<UnixStream> {
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

/// The runs of this user that are under way.
#[derive(Default)]
pub struct Runs {
    /// Those that answer, oldest first, each with a connection to it.
    pub on: Vec<(About, Connection)>,
    /// Names of those that do not.
    pub silent: Vec<String>,
}

/// Asks every run of this user, all at the same time.
pub fn runs() -> Runs {
    let folders = owner::runtime_folders().into_iter().filter(|folder| owner::check_private(folder).is_ok());
    runs_in(folders, &[RUN])
}

/// The same with the processes of runs under dora that have a source.
fn processes() -> Runs {
    let folders = owner::runtime_folders().into_iter().filter(|folder| owner::check_private(folder).is_ok());
    runs_in(folders, &[RUN, NODE])
}

fn runs_in(folders: impl IntoIterator<Item = PathBuf>, endings: &[&str]) -> Runs {
    let entries = folders.into_iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let mut sockets: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    sockets.retain(|path| path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)));
    sockets.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    let mut runs = Runs::default();
    std::thread::scope(|scope| {
        let asked: Vec<_> = sockets.iter().map(|socket| (socket, scope.spawn(|| about(socket)))).collect();
        for (socket, answer) in asked {
            match answer.join() {
                Ok(Some(Ok(run))) => runs.on.push(run),
                Ok(Some(Err(_))) => {
                    runs.silent.extend(socket.file_stem().map(|name| name.to_string_lossy().into_owned()))
                }
                Ok(None) | Err(_) => {}
            }
        }
    });
    runs
}

/// Asks at a socket which run it is; `None` where there is none.
fn about(address: &Path) -> Option<Result<(About, Connection)>> {
    match Connection::open(address) {
        Ok(mut connection) => Some(connection.status().map(|status| (status.about, connection))),
        Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
            Some(Err(Error::other("more wait for it than it answers")))
        }
        Err(cause) => {
            let age = std::fs::symlink_metadata(address).and_then(|found| found.modified()).ok()?.elapsed().ok()?;
            if cause.kind() == ErrorKind::ConnectionRefused && age > STALE {
                let _ = std::fs::remove_file(address);
            }
            None
        }
    }
}

/// The run that is meant: by its folder, its name, or its flow's name; without any the only one that is on.
///
/// # Errors
/// When it is not on, or several are meant; they are listed.
pub fn find(which: Option<&str>) -> Result<(About, Connection)> {
    choose(runs(), which)
}

fn choose(Runs { on, silent }: Runs, which: Option<&str>) -> Result<(About, Connection)> {
    let list: Vec<String> = on.iter().map(|(about, _)| format!("{} ({})", about.run, about.folder.display())).collect();
    let list = list.join(", ");
    let mut among = if list.is_empty() { "; no run is on in one process".to_owned() } else { format!("; on: {list}") };
    let hang = match &silent[..] {
        [] => String::new(),
        names => format!("; no answer within {} s from {}", STATUS_TIME.as_secs(), names.join(", ")),
    };
    among += &hang;
    let Some(which) = which else {
        return match on.len() {
            0 => Err(Error::config(format!(
                "no run is on in one process (`sideline run`); under dora use `dora param set FLOW-ID NODE KEY VALUE`{hang}"
            ))),
            1 if !silent.is_empty() => Err(Error::config(format!(
                "several runs are on: say which with `--run NAME` or `--run FOLDER`: {list}{hang}"
            ))),
            1 => on.into_iter().next().ok_or_else(|| Error::other("the run is over")),
            n => Err(Error::config(format!(
                "{n} runs are on: say which with `--run NAME` or `--run FOLDER`: {list}{hang}"
            ))),
        };
    };
    let folder = Path::new(which);
    if folder.is_dir() {
        let whole = folder.canonicalize().or_fail(Failure::Config, || which.to_owned())?;
        if let Some(run) = on.into_iter().find(|(about, _)| about.folder == whole) {
            return Ok(run);
        }
        let ended = match crate::record::merge(folder) {
            Ok(merged) if merged.processes.values().all(|how| how != "missing") => "its run is over",
            Ok(_) => "its run was killed, runs under dora, or is just starting",
            Err(_) => "is not the folder of a run",
        };
        return Err(Error::config(format!("{which}: {ended}{among}")));
    }
    let mut meant: Vec<_> = on.into_iter().filter(|(about, _)| about.is_named(which)).collect();
    match (meant.pop(), meant.len()) {
        (Some(run), 0) => Ok(run),
        (None, _) => Err(Error::config(format!("no run `{which}` is on{among}"))),
        (Some(_), more) => Err(Error::config(format!("`{which}` means {} runs; say which one{among}", more + 1))),
    }
}

/// `sideline stop`: ends a run in order, in one process or under dora, and waits until its sources' processes are over.
///
/// # Errors
/// When no run, or not one alone, is meant, or it does not answer.
pub fn stop(which: Option<&str>, json: bool) -> Result<u8> {
    let Runs { on, silent } = processes();
    let folder = which.and_then(|which| Path::new(which).canonicalize().ok());
    let is_meant = |about: &About| match which {
        None => true,
        Some(which) => about.is_named(which) || folder.as_ref() == Some(&about.folder),
    };
    let meant: Vec<(About, Connection)> = on.into_iter().filter(|(about, _)| is_meant(about)).collect();
    let mut names: Vec<&str> = meant.iter().map(|(about, _)| about.run.as_str()).collect();
    names.dedup();
    let hang = if silent.is_empty() { String::new() } else { format!("; no answer from {}", silent.join(", ")) };
    match names[..] {
        [] => {
            let name = which.map_or_else(String::new, |which| format!(" `{which}`"));
            return Err(Error::config(format!("no run{name} is on on this host{hang}")));
        }
        [_] => {}
        _ => {
            let names = names.join(", ");
            return Err(Error::config(format!(
                "several runs are on: say which with `sideline stop NAME`: {names}{hang}"
            )));
        }
    }
    let (run, folder) = (meant[0].0.run.clone(), meant[0].0.folder.clone());
    // All at once: a run with several sources is over when all have ended.
    std::thread::scope(|scope| {
        let asked: Vec<_> = meant.into_iter().map(|(_, connection)| scope.spawn(|| connection.stop())).collect();
        let done = asked.into_iter().map(|asked| asked.join().unwrap_or_else(|_| Err(Error::other("panicked"))));
        done.collect::<Result<Vec<()>>>()
    })?;
    if !silent.is_empty() {
        errln!("warning: no answer from {}: a part of the run may go on", silent.join(", "));
    }
    if json {
        print_json(&json!({"run": run, "folder": folder, "silent": silent}))?;
    } else {
        outln!("stopped; `sideline result {}` tells how far it came", folder.display());
    }
    Ok(0)
}

/// `sideline set`: the exit code is that of the first setting that was refused.
///
/// # Errors
/// When no run, or not one alone, is meant.
pub fn set(which: Option<&str>, settings: &[Setting], json: bool) -> Result<u8> {
    let (about, mut connection) = find(which)?;
    let mut code = 0;
    let mut told: Vec<Value> = vec![];
    for setting in settings {
        match connection.set(&setting.node, &setting.key, setting.value.clone()) {
            Ok(changes) if json => told.extend(changes.iter().map(|change| json!(change))),
            Ok(changes) => changes.iter().for_each(|change| outln!("{}", line(change))),
            Err(error) => {
                if code == 0 {
                    code = error.failure.exit_code();
                }
                if json {
                    told.push(json!({"node": setting.node, "key": setting.key, "error": error.message}));
                } else {
                    errln!("error: {error}");
                }
            }
        }
    }
    if json {
        print_json(&json!({"run": about.run, "settings": told}))?;
    }
    Ok(code)
}

fn line(change: &Change) -> String {
    let frames: Vec<String> = match change.from_frame.iter().collect::<Vec<_>>()[..] {
        [] => vec![],
        [(_, frame)] => vec![format!("from frame {frame}")],
        ref many => many.iter().map(|(stream, frame)| format!("{stream} from frame {frame}")).collect(),
    };
    let frames = if frames.is_empty() { String::new() } else { format!(" ({})", frames.join(", ")) };
    format!("{}.{}: {} -> {}{frames}", change.node, change.key, change.old, change.new)
}

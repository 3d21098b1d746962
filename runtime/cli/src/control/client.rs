//! The side of who asks: which runs are on, which of them is meant, and `sideline set`.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_engine::Change;

use super::{About, Reply, Request, Status, folders};
use crate::{args::Setting, commands::print_json};

/// How long a run may take to answer: longer than the stall time it gives its own operators.
const PATIENCE: Duration = Duration::from_secs(60);
/// A socket that nobody listens on and that is older than this was left behind; a younger one may not listen yet.
const STALE: Duration = Duration::from_secs(5);

/// A connection to a run.
pub struct Connection {
    reader: BufReader<UnixStream>,
}

impl Connection {
    fn open(address: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { reader: BufReader::new(stream) })
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        let gone = || "the run does not answer; it may just have ended".to_owned();
        let mut text = serde_json::to_string(request).or_fail(Failure::Other, || "a request")?;
        text.push('\n');
        self.reader.get_mut().write_all(text.as_bytes()).or_fail(Failure::Other, gone)?;
        let mut line = String::new();
        self.reader.read_line(&mut line).or_fail(Failure::Other, gone)?;
        if line.is_empty() {
            return Err(Error::other(gone()));
        }
        serde_json::from_str(&line).or_fail(Failure::Other, || "the run answers in words of another version")
    }

    /// How the run is; rates are those since this connection last asked.
    ///
    /// # Errors
    /// When the run does not answer.
    pub fn status(&mut self) -> Result<Status> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(*status),
            Reply::Refused(error) => Err(error),
            Reply::Changed(_) => Err(Error::other("the run answers another question")),
        }
    }

    /// Changes a key.
    ///
    /// # Errors
    /// When it is refused.
    pub fn set(&mut self, node: &str, key: &str, value: Value) -> Result<Vec<Change>> {
        match self.ask(&Request::Set { node: node.into(), key: key.into(), value })? {
            Reply::Changed(changed) => Ok(changed),
            Reply::Refused(error) => Err(error),
            Reply::Status(_) => Err(Error::other("the run answers another question")),
        }
    }
}

/// Every run of this user that is on, oldest first, each with a connection to it.
pub fn runs() -> Vec<(About, Connection)> {
    let entries = folders().into_iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let mut sockets: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    sockets.retain(|path| path.extension().is_some_and(|ending| ending == "sock"));
    sockets.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    sockets.iter().filter_map(|socket| about(socket)).collect()
}

fn about(address: &Path) -> Option<(About, Connection)> {
    match Connection::open(address) {
        Ok(mut connection) => Some((connection.status().ok()?.about, connection)),
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
    let on = runs();
    let list: Vec<String> = on.iter().map(|(about, _)| format!("{} ({})", about.run, about.folder.display())).collect();
    let list = list.join(", ");
    let among = if list.is_empty() { "; no run is on in one process".to_owned() } else { format!("; on: {list}") };
    let Some(which) = which else {
        return match on.len() {
            0 => Err(Error::config(
                "no run is on in one process (`sideline run`); under dora use `dora param set FLOW-ID NODE KEY VALUE`",
            )),
            1 => on.into_iter().next().ok_or_else(|| Error::other("the run is over")),
            n => Err(Error::config(format!("{n} runs are on: say which with `--run NAME` or `--run FOLDER`: {list}"))),
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
    let named = |about: &About| {
        about.run == which
            || about.folder.file_name().is_some_and(|name| name == which)
            || about.flow.file_stem().is_some_and(|name| name == which)
    };
    let mut meant: Vec<_> = on.into_iter().filter(|(about, _)| named(about)).collect();
    match (meant.pop(), meant.len()) {
        (Some(run), 0) => Ok(run),
        (None, _) => Err(Error::config(format!("no run `{which}` is on{among}"))),
        (Some(_), more) => Err(Error::config(format!("`{which}` means {} runs; say which one{among}", more + 1))),
    }
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
            Ok(changes) => changes.iter().for_each(|change| println!("{}", line(change))),
            Err(error) => {
                if code == 0 {
                    code = error.failure.exit_code();
                }
                if json {
                    told.push(json!({"node": setting.node, "key": setting.key, "error": error.message}));
                } else {
                    eprintln!("error: {error}");
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

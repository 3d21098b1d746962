//! Piper, kept running: loading a voice takes seconds, a sentence half of one.
//!
//! It takes a sentence a line and writes each as a WAV file into a folder, whose path it tells when the file is complete:
//! on standard error as a log line, earlier versions on standard output.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use crate::child::{Failed, Group};

/// A running Piper. Dropped, it is ended and its folder removed.
pub struct Piper {
    group: Group,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Where it writes; ours alone.
    folder: PathBuf,
}

/// Lines of a complaint that are kept.
const COMPLAINT: usize = 5;
/// Longest line that is read.
const LINE: u64 = 1 << 16;

impl Piper {
    /// Starts it with the file of a voice. `length`: how long sentences are, 1 as the voice was trained.
    ///
    /// # Errors
    /// When it cannot be started; a voice that cannot be read shows with the first sentence.
    pub fn start(program: &OsStr, model: &Path, length: f64, folder: PathBuf) -> Result<Self, Failed> {
        fs::create_dir_all(&folder).map_err(Failed::Start)?;
        // Its noise makes every reading another one; without it the same sentence sounds the same.
        let words = ["--length_scale", &length.to_string(), "--noise_scale", "0", "--noise_w", "0", "--output_dir"];
        let mut arguments = words.map(OsString::from).to_vec();
        arguments.extend([folder.clone().into(), "--model".into(), model.into()]);
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::start(command)?;
        let (said, lines) = channel();
        tell(group.child().stdout.take(), said.clone());
        tell(group.child().stderr.take(), said);
        let stdin = group.child().stdin.take();
        Ok(Self { group, stdin, lines, folder })
    }

    /// Speaks a sentence; the bytes of a WAV.
    ///
    /// # Errors
    /// When it has ended, or takes too long.
    pub fn say(&mut self, text: &str, deadline: Duration) -> Result<Vec<u8>, Failed> {
        let until = Instant::now() + deadline;
        // One line, whatever is in it.
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
        if let Some(stdin) = &mut self.stdin {
            // One that has ended tells why below.
            let _ = stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush());
        }
        let folder = self.folder.to_string_lossy().into_owned();
        let mut last = VecDeque::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(path) =
                        line.find(&folder).map(|at| line[at..].trim()).filter(|path| path.ends_with(".wav"))
                    {
                        let bytes = fs::read(path).map_err(Failed::Start)?;
                        let _ = fs::remove_file(path);
                        return Ok(bytes);
                    }
                    last.push_back(line);
                    if last.len() > COMPLAINT {
                        last.pop_front();
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(Failed::Late),
                Err(RecvTimeoutError::Disconnected) => {
                    // Both pipes are closed: it has ended, or is about to.
                    let status = self.group.wait(until)?;
                    let complaint = last.pop_back().unwrap_or_default();
                    return Err(Failed::Exit(status, complaint));
                }
            }
        }
    }
}

impl Drop for Piper {
    fn drop(&mut self) {
        self.group.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Sends on the lines of a pipe until it closes.
fn tell(pipe: Option<impl Read + Send + 'static>, said: Sender<String>) {
    std::thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        let mut reader = BufReader::new(pipe);
        let mut line = vec![];
        while let Ok(1..) = reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            line.clear();
            if !text.is_empty() && said.send(text).is_err() {
                return;
            }
        }
    });
}

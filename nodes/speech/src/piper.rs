//! Piper as a long-running process, since it takes seconds to load a voice but half a second for a sentence.
//!
//! Piper reads one sentence per line and writes each as a WAV file to a folder. When a file is complete it prints the
//! path: in a log line on standard error, in earlier versions on standard output.

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

use crate::child::{ChildError, ProcessGroup};

/// A running Piper. When dropped, it kills the process and removes its folder.
pub struct Piper {
    group: ProcessGroup,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Output folder, used by this process only.
    folder: PathBuf,
}

/// Number of output lines that are kept for an error message.
const KEPT_LINES: usize = 5;
/// Maximum length of an output line, in bytes.
const MAX_LINE_BYTES: u64 = 1 << 16;

impl Piper {
    /// Starts Piper with the file of a voice. `length_scale` is the duration of speech relative to the training data.
    ///
    /// # Errors
    /// When Piper cannot be started. An unreadable voice is reported at the first sentence.
    pub fn start(program: &OsStr, model: &Path, length_scale: f64, folder: PathBuf) -> Result<Self, ChildError> {
        fs::create_dir_all(&folder).map_err(ChildError::Io)?;
        // Without noise, the same sentence always gives the same sound.
        let words =
            ["--length_scale", &length_scale.to_string(), "--noise_scale", "0", "--noise_w", "0", "--output_dir"];
        let mut arguments = words.map(OsString::from).to_vec();
        arguments.extend([folder.clone().into(), "--model".into(), model.into()]);
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = ProcessGroup::start(command)?;
        let (sender, lines) = channel();
        forward_lines(group.child().stdout.take(), sender.clone());
        forward_lines(group.child().stderr.take(), sender);
        let stdin = group.child().stdin.take();
        Ok(Self { group, stdin, lines, folder })
    }

    /// Speaks a sentence and returns the bytes of a WAV file.
    ///
    /// # Errors
    /// When Piper has exited or exceeds the timeout.
    pub fn speak(&mut self, text: &str, timeout: Duration) -> Result<Vec<u8>, ChildError> {
        let deadline = Instant::now() + timeout;
        // Line breaks in the text would split the sentence.
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
        if let Some(stdin) = &mut self.stdin {
            // An error means that Piper has exited, which is handled below.
            let _ = stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush());
        }
        let folder = self.folder.to_string_lossy().into_owned();
        let mut last_lines = VecDeque::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(path) =
                        line.find(&folder).map(|at| line[at..].trim()).filter(|path| path.ends_with(".wav"))
                    {
                        let bytes = fs::read(path).map_err(ChildError::Io)?;
                        let _ = fs::remove_file(path);
                        return Ok(bytes);
                    }
                    last_lines.push_back(line);
                    if last_lines.len() > KEPT_LINES {
                        last_lines.pop_front();
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(ChildError::TimedOut),
                Err(RecvTimeoutError::Disconnected) => {
                    // Both pipes are closed, so Piper has exited or is about to.
                    let status = self.group.wait(deadline)?;
                    let last_line = last_lines.pop_back().unwrap_or_default();
                    return Err(ChildError::Exit(status, last_line));
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

/// Sends the lines of a pipe to a channel, in a thread that ends when either closes.
fn forward_lines(pipe: Option<impl Read + Send + 'static>, sender: Sender<String>) {
    std::thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        let mut reader = BufReader::new(pipe);
        let mut line = vec![];
        while let Ok(1..) = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            line.clear();
            if !text.is_empty() && sender.send(text).is_err() {
                return;
            }
        }
    });
}

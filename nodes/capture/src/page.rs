//! The stream that a page shows (YouTube, Veo, ...), as yt-dlp finds it.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sideline_api::{
    Error,
    address::{self, Address},
};
use sideline_media::{Refused, Trust, Unopened};

/// The program that knows pages.
const PROGRAM: &str = "yt-dlp";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// Largest height asked for, unless `size` says otherwise.
const HEIGHT: u32 = 1080;
/// Endings of what is media itself: there is nothing to find behind it.
const MEDIA: [&str; 12] = ["m3u8", "mp4", "m4v", "mov", "mkv", "webm", "flv", "ts", "avi", "mpd", "m3u", "mpg"];

/// True for the address of what may be a page.
pub fn may_be(address: &str) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let ending = Path::new(path).extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
    address::is_of(address, &["http", "https"]) && !MEDIA.contains(&ending.as_str())
}

/// A stream to choose where a page has several.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// Largest height of its picture.
    pub height: Option<u32>,
    /// One with sound is preferred to a larger picture.
    pub sound: bool,
}

/// The address of the stream behind a page.
pub fn stream(
    page: &Address,
    Wanted { height, sound }: Wanted,
    trust: &Trust,
    stop: &dyn Fn() -> bool,
) -> Result<String, Unopened> {
    let name = page.shown();
    let told = |refused: Refused, what: String| Unopened { refused, error: Error::input(format!("{name}: {what}")) };
    let height = height.unwrap_or(HEIGHT);
    // One file holds both only up to 720p on many pages; the picture alone goes higher.
    let format = match sound {
        true => format!("b[height<={height}]/b/bv*"),
        false => format!("bv*[height<={height}]/b[height<={height}]/bv*/b"),
    };
    let child = Command::new(PROGRAM)
        .args(trust.is_blind().then_some("--no-check-certificates"))
        .args(["--no-playlist", "--no-warnings", "--quiet", "--format", &format, "--get-url", "--", page.resolved()])
        .envs(trust.ca().map(|path| ("SSL_CERT_FILE", path)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.map_err(|cause| {
        told(
            Refused::NoVideo,
            match cause.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "is no video but a page, and `{PROGRAM}`, which finds the stream of a page, is not on PATH: \
                     `pip install {PROGRAM}`, or name the stream itself"
                ),
                _ => format!("is no video but a page, and `{PROGRAM}` cannot be started: {cause}"),
            },
        )
    })?;
    let (good, out, err) = finish(child, stop).map_err(|refused| {
        told(refused, format!("`{PROGRAM}` did not find its stream within {} s", PATIENCE.as_secs()))
    })?;
    let found = out.lines().map(str::trim).find(|line| address::is_address(line));
    match found {
        Some(found) if good => {
            address::check(found, &address::SCHEMES).map_err(|what| {
                told(Refused::NoVideo, format!("`{PROGRAM}` found a stream that cannot be read: {what}"))
            })?;
            tracing::info!(page = name, "its stream was found");
            Ok(found.to_owned())
        }
        _ => {
            let said = err.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
            let said = said.trim().trim_start_matches("ERROR: ");
            Err(told(Refused::NoVideo, format!("is no video, and `{PROGRAM}` finds no stream there: {said}")))
        }
    }
}

/// Waits for the end of a program whose output is piped; it is ended when that takes too long or the run is to end.
fn finish(mut child: Child, stop: &dyn Fn() -> bool) -> Result<(bool, String, String), Refused> {
    fn read(pipe: Option<impl Read + Send + 'static>) -> Option<std::thread::JoinHandle<String>> {
        let mut pipe = pipe?;
        let read = move || {
            let mut bytes = vec![];
            // What came before a broken pipe is told all the same.
            let _ = pipe.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        };
        std::thread::Builder::new().name(PROGRAM.into()).spawn(read).ok()
    }
    let (out, err) = (read(child.stdout.take()), read(child.stderr.take()));
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if !stop() && Instant::now() < until => std::thread::sleep(LOOK),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                // Its own children may hold the pipes: the readers are left to end by themselves.
                return Err(if stop() { Refused::Stopped } else { Refused::Away });
            }
        }
    };
    let text = |reader: Option<std::thread::JoinHandle<String>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    Ok((status, text(out), text(err)))
}

#[cfg(test)]
mod tests {
    use super::may_be;

    #[test]
    fn what_ends_like_media_is_no_page() {
        assert!(may_be("https://www.youtube.com/watch?v=abc.mp4") && may_be("https://app.veo.co/matches/1/"));
        assert!(!may_be("https://h/live/index.M3U8?token=1") && !may_be("rtmp://h/live/x"));
    }
}

//! Resolves a web page (YouTube, Veo and others) to the address of its video stream, with yt-dlp.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sideline_address::Address;
use sideline_api::Error;
use sideline_media::{OpenError, OpenErrorKind, TlsTrust};

/// The program that resolves pages.
const PROGRAM: &str = "yt-dlp";
/// Longest run time of the program.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between two checks for the end of the program.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Largest height requested, pixels, unless `size` is set.
const DEFAULT_MAX_HEIGHT: u32 = 1080;
/// File extensions of media and playlists, which are not pages.
const MEDIA_EXTENSIONS: [&str; 12] =
    ["m3u8", "mp4", "m4v", "mov", "mkv", "webm", "flv", "ts", "avi", "mpd", "m3u", "mpg"];

/// True for an address that may be a web page.
pub fn may_be_page(address: &str) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let extension = Path::new(path).extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
    sideline_address::has_scheme(address, &["http", "https"]) && !MEDIA_EXTENSIONS.contains(&extension.as_str())
}

/// Preferences for the choice among the streams of a page.
#[derive(Clone, Copy)]
pub struct StreamPreference {
    /// Largest height of the video, pixels.
    pub max_height: Option<u32>,
    /// Prefers a stream with audio to a larger video without it.
    pub audio: bool,
}

/// Returns the address of the stream on a page. `stop` is polled while the program runs, and ends it when true.
///
/// # Errors
/// If the program is missing, fails, takes too long, or finds no stream that can be read.
pub fn resolve(
    page: &Address,
    StreamPreference { max_height, audio }: StreamPreference,
    trust: &TlsTrust,
    stop: &dyn Fn() -> bool,
) -> Result<String, OpenError> {
    let name = page.redacted();
    let open_error =
        |kind: OpenErrorKind, message: String| OpenError { kind, error: Error::input(format!("{name}: {message}")) };
    let height = max_height.unwrap_or(DEFAULT_MAX_HEIGHT);
    // On many pages a single file holds video and audio only up to 720p; video alone goes higher.
    let format = match audio {
        true => format!("b[height<={height}]/b/bv*"),
        false => format!("bv*[height<={height}]/b[height<={height}]/bv*/b"),
    };
    let child = Command::new(PROGRAM)
        .args(trust.is_insecure().then_some("--no-check-certificates"))
        .args(["--no-playlist", "--no-warnings", "--quiet", "--format", &format, "--get-url", "--", page.resolved()])
        .envs(trust.ca().map(|path| ("SSL_CERT_FILE", path)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.map_err(|cause| {
        open_error(
            OpenErrorKind::NotVideo,
            match cause.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "is a web page, not a video, and `{PROGRAM}`, which finds the stream of a page, is not on PATH: \
                     `pip install {PROGRAM}`, or give the address of the stream itself"
                ),
                _ => format!("is a web page, not a video, and `{PROGRAM}` cannot be started: {cause}"),
            },
        )
    })?;
    let (succeeded, out, err) = wait_for_exit(child, stop).map_err(|kind| {
        open_error(kind, format!("`{PROGRAM}` did not find its stream within {} s", TIMEOUT.as_secs()))
    })?;
    let found = out.lines().map(str::trim).find(|line| sideline_address::is_address(line));
    match found {
        Some(found) if succeeded => {
            sideline_address::check(found, &sideline_address::SCHEMES).map_err(|cause| {
                open_error(OpenErrorKind::NotVideo, format!("`{PROGRAM}` found a stream that cannot be read: {cause}"))
            })?;
            tracing::info!(page = name, "the page's stream was found");
            Ok(found.to_owned())
        }
        _ => {
            let reason = err.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no error message");
            let reason = reason.trim().trim_start_matches("ERROR: ");
            let message = format!("is not a video, and `{PROGRAM}` finds no stream there: {reason}");
            Err(open_error(OpenErrorKind::NotVideo, message))
        }
    }
}

/// Waits for a program whose output is piped, and kills it on timeout or stop. Returns success, standard output and standard
/// error.
fn wait_for_exit(mut child: Child, stop: &dyn Fn() -> bool) -> Result<(bool, String, String), OpenErrorKind> {
    fn read(pipe: Option<impl Read + Send + 'static>) -> Option<std::thread::JoinHandle<String>> {
        let mut pipe = pipe?;
        let read = move || {
            let mut bytes = vec![];
            // Output before a broken pipe is still reported.
            let _ = pipe.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        };
        std::thread::Builder::new().name(PROGRAM.into()).spawn(read).ok()
    }
    let (out, err) = (read(child.stdout.take()), read(child.stderr.take()));
    let deadline = Instant::now() + TIMEOUT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if !stop() && Instant::now() < deadline => std::thread::sleep(POLL_INTERVAL),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                // Its child processes may hold the pipes open, so the reader threads are not joined.
                return Err(if stop() { OpenErrorKind::Stopped } else { OpenErrorKind::Unreachable });
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
    use super::may_be_page;

    #[test]
    fn an_address_with_a_media_extension_is_not_a_page() {
        assert!(may_be_page("https://www.youtube.com/watch?v=abc.mp4") && may_be_page("https://app.veo.co/matches/1/"));
        assert!(!may_be_page("https://h/live/index.M3U8?token=1") && !may_be_page("rtmp://h/live/x"));
    }
}

//! Videos of the benchmarks: the demo clip, lengthened and padded, and any video at another frame rate.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sideline_api::{Error, Failure, OrFail, Result, models::Models};

/// Frame rate of the generated videos, frames per second.
const FPS: f64 = 30.0;
/// Frames of the demo clip at that rate, played forwards and backwards.
const PING_PONG_FRAMES: u64 = 100;

/// Video to measure on.
pub struct Clip {
    /// Name used in tables.
    pub name: String,
    /// Path of the file.
    pub path: PathBuf,
    /// Frame rate, frames per second.
    pub fps: f64,
}

impl Clip {
    /// Opens a video of the user.
    ///
    /// # Errors
    /// `Input` when it is not a video, or ffprobe is not installed.
    pub fn open(path: &Path) -> Result<Self> {
        let mut probe = Command::new("ffprobe");
        probe.args([
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "stream=avg_frame_rate",
            "-of",
            "csv=p=0",
        ]);
        let text = run_tool(probe.arg(path))?;
        let fps = parse_rate(&text).ok_or_else(|| {
            Error::input(format!("{}: the frame rate is unknown (ffprobe: `{}`)", path.display(), text.trim()))
        })?;
        Ok(Clip { name: path.display().to_string(), path: path.to_owned(), fps })
    }

    /// Generates videos from the demo clip, played forwards and backwards in a loop at 30 frames per second, padded to
    /// a wide image: two people as seen by a camera at the ring. One at 720p, one at 1080p.
    ///
    /// # Errors
    /// `Input` when the clip or ffmpeg is missing.
    pub fn from_demo(models: &Models, folder: &Path, frames: u64) -> Result<Vec<Self>> {
        let clip = models.clips().iter().find(|clip| clip.name == "athletes");
        let clip =
            clip.ok_or_else(|| Error::input("models.yml contains no clip `athletes`; give a video with --input"))?;
        let clip = models.home().join(&clip.path);
        if !clip.is_file() {
            let path = clip.display();
            return Err(Error::input(format!(
                "{path} is missing; run `sideline models fetch`, or give a video with --input"
            )));
        }
        [(1280, 720), (1920, 1080)].into_iter().map(|size| lengthen(&clip, size, folder, frames)).collect()
    }

    /// Returns the same frames with other timestamps, `rate` per second.
    ///
    /// # Errors
    /// `Input` when ffmpeg fails.
    pub fn at_rate(&self, rate: f64, folder: &Path) -> Result<Clip> {
        let path = folder.join(format!("{rate}fps.mp4"));
        let scale = (self.fps / rate).to_string();
        let mut ffmpeg = Command::new("ffmpeg");
        // The packets are copied, so that the cost of decoding stays the same.
        ffmpeg.args(["-v", "error", "-y", "-itsscale", &scale, "-i"]).arg(&self.path);
        run_tool(ffmpeg.args(["-map", "0:v:0", "-c", "copy"]).arg(&path))?;
        Ok(Clip { name: format!("{} at {rate}", self.name), path, fps: rate })
    }
}

fn lengthen(clip: &Path, (width, height): (u32, u32), folder: &Path, frames: u64) -> Result<Clip> {
    let path = folder.join(format!("{height}p30.mp4"));
    let loops = frames.div_ceil(PING_PONG_FRAMES);
    let filter = format!(
        "fps={FPS},scale=-2:{height},pad={width}:{height}:(ow-iw)/2:0,split[a][b];[b]reverse[r];\
         [a][r]concat=n=2:v=1,loop=loop={loops}:size={PING_PONG_FRAMES}"
    );
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(clip).args(["-filter_complex", &filter, "-an"]);
    ffmpeg.args(["-frames:v", &frames.to_string(), "-c:v", "libx264", "-preset", "veryfast"]);
    run_tool(ffmpeg.arg(&path))?;
    Ok(Clip { name: format!("{height}p30"), path, fps: FPS })
}

/// Runs a tool of FFmpeg; returns its standard output.
fn run_tool(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .or_fail(Failure::Input, || format!("the command `{program}`, which prepares the video, cannot be run"))?;
    if !output.status.success() {
        return Err(Error::input(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Parses a frame rate written as a fraction, such as `30000/1001`.
fn parse_rate(text: &str) -> Option<f64> {
    let (numerator, denominator) = text.trim().trim_end_matches(',').split_once('/')?;
    let rate = numerator.parse::<f64>().ok()? / denominator.parse::<f64>().ok()?;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_rates_are_fractions() {
        assert_eq!(parse_rate("30/1\n"), Some(30.0));
        assert!(parse_rate("30000/1001").is_some_and(|fps| (fps - 29.97).abs() < 0.001));
        for none in ["0/0", "", "30", "x/1"] {
            assert_eq!(parse_rate(none), None, "{none}");
        }
    }
}

//! The videos: the demo's clip, made long and wide, and any video played at another rate.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sideline_api::{Error, Failure, OrFail, Result, models::Models};

/// Frames a second of the videos made here.
const FPS: f64 = 30.0;
/// Frames of the demo's clip at that rate, there and back.
const PASS: u64 = 100;

/// A video to measure on.
pub struct Clip {
    /// How the tables call it.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Frames a second.
    pub fps: f64,
}

impl Clip {
    /// A video of the user's.
    ///
    /// # Errors
    /// `Input` when it is no video, or ffprobe is not there.
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
        let text = output(probe.arg(path))?;
        let fps = rate(&text).ok_or_else(|| {
            Error::input(format!("{}: its frames a second are not known (ffprobe: `{}`)", path.display(), text.trim()))
        })?;
        Ok(Clip { name: path.display().to_string(), path: path.to_owned(), fps })
    }

    /// The demo's clip, there and back, again and again, 30 frames a second, set into a wide picture: two people as a
    /// camera at the ring sees them. 720p, then 1080p.
    ///
    /// # Errors
    /// `Input` when the clip or ffmpeg is not there.
    pub fn of_the_demo(models: &Models, folder: &Path, frames: u64) -> Result<Vec<Self>> {
        let clip = models.clips().iter().find(|clip| clip.name == "athletes");
        let clip =
            clip.ok_or_else(|| Error::input("models.yml names no clip `athletes`: give a video with --input"))?;
        let clip = models.home().join(&clip.path);
        if !clip.is_file() {
            let path = clip.display();
            return Err(Error::input(format!(
                "{path} is missing: `sideline models fetch`, or give a video with --input"
            )));
        }
        [(1280, 720), (1920, 1080)].into_iter().map(|size| lengthen(&clip, size, folder, frames)).collect()
    }

    /// The same frames with other times: `rate` a second, for at most `frames`.
    ///
    /// # Errors
    /// `Input` when ffmpeg fails.
    pub fn at_rate(&self, rate: f64, folder: &Path) -> Result<Clip> {
        let path = folder.join(format!("{rate}fps.mp4"));
        let scale = (self.fps / rate).to_string();
        let mut ffmpeg = Command::new("ffmpeg");
        // The packets are copied: decoding costs what it cost before.
        ffmpeg.args(["-v", "error", "-y", "-itsscale", &scale, "-i"]).arg(&self.path);
        output(ffmpeg.args(["-map", "0:v:0", "-c", "copy"]).arg(&path))?;
        Ok(Clip { name: format!("{} at {rate}", self.name), path, fps: rate })
    }
}

fn lengthen(clip: &Path, (width, height): (u32, u32), folder: &Path, frames: u64) -> Result<Clip> {
    let path = folder.join(format!("{height}p30.mp4"));
    let again = frames.div_ceil(PASS);
    let filter = format!(
        "fps={FPS},scale=-2:{height},pad={width}:{height}:(ow-iw)/2:0,split[a][b];[b]reverse[r];\
         [a][r]concat=n=2:v=1,loop=loop={again}:size={PASS}"
    );
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(clip).args(["-filter_complex", &filter, "-an"]);
    ffmpeg.args(["-frames:v", &frames.to_string(), "-c:v", "libx264", "-preset", "veryfast"]);
    output(ffmpeg.arg(&path))?;
    Ok(Clip { name: format!("{height}p30"), path, fps: FPS })
}

/// What a tool of FFmpeg's says.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .or_fail(Failure::Input, || format!("the command `{program}`, which prepares the video, cannot be run"))?;
    if !output.status.success() {
        return Err(Error::input(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `30000/1001` as a number.
fn rate(text: &str) -> Option<f64> {
    let (over, under) = text.trim().trim_end_matches(',').split_once('/')?;
    let rate = over.parse::<f64>().ok()? / under.parse::<f64>().ok()?;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_fraction() {
        assert_eq!(rate("30/1\n"), Some(30.0));
        assert!(rate("30000/1001").is_some_and(|fps| (fps - 29.97).abs() < 0.001));
        for none in ["0/0", "", "30", "x/1"] {
            assert_eq!(rate(none), None, "{none}");
        }
    }
}

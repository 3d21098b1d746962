//! `sideline-lab bench film`: processor time from frames to a video file with `render` and `encode` at 1080p, for the whole
//! frame and for a 720p crop of a virtual camera, compared with the bare scaler and the bare encoder on the same
//! images.
//!
//! All parts are measured alternately, frame by frame, on one thread, in processor time of that thread, so that other
//! processes do not affect the result. In a run `render` and `encode` have a thread each.

mod scene;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;
use sideline::program::load_models;
use sideline_api::{
    Alignment, Error, Failure, Frame, OrFail, Result, SourceId, Values,
    config::Origin,
    serde_json::json,
    testing::{Harness, Setup},
};
use sideline_encode::Encode;
use sideline_media::{
    DecodeOptions, Decoder, Size,
    encode::{EncodeOptions, Encoder},
    scale,
};
use sideline_render::Render;

use super::{Percentiles, fight::clip::Clip, thread_cpu_ns};
use scene::{INPUTS, Scene};

/// Frames held in memory, 3 MB each. They are played forwards and backwards.
const HELD_FRAMES: usize = 48;
/// Frame interval, ns: 30 frames per second.
const FRAME_INTERVAL_NS: i64 = 1_000_000_000 / 30;

/// Options of `sideline-lab bench film`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Video of 1080p; by default the demo clip, padded to a wide image.
    #[arg(long)]
    pub input: Option<PathBuf>,
    /// Frames of each measurement.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..))]
    pub frames: u64,
    /// Keep the videos in this folder for inspection: whole.mp4 and crop.mp4.
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Cost of one kind of output, milliseconds of processor time per frame.
#[derive(Debug, Serialize)]
pub struct OutputCost {
    /// Kind of output.
    pub name: &'static str,
    /// Bare scaler: swscale to the output size, or a copy for the whole frame.
    pub bare_scale_ms: Percentiles,
    /// `render` with all overlays of a match.
    pub render_ms: Percentiles,
    /// Bare encoder: x264 on the rendered frames.
    pub bare_encode_ms: Percentiles,
    /// `encode` on the rendered frames.
    pub encode_ms: Percentiles,
    /// `render` and `encode` together.
    pub film_ms: Percentiles,
    /// Median of `render` and `encode` divided by the sum of the medians of bare scaler and bare encoder.
    pub ratio: f64,
}

/// Floor of x264: one preset and number of threads on the cropped frames.
#[derive(Debug, Serialize)]
pub struct Floor {
    /// Preset of x264.
    pub preset: &'static str,
    /// Threads of the encoder.
    pub threads: u32,
    /// Wall-clock milliseconds per frame: duration of a whole encoding divided by its frames.
    pub ms: f64,
}

/// Result of `sideline-lab bench film`.
#[derive(Debug, Serialize)]
pub struct FilmCost {
    /// Cost of whole frames and of crops.
    #[serde(rename = "ways")]
    pub outputs: Vec<OutputCost>,
    /// Floors of encoding 720p.
    pub floors: Vec<Floor>,
}

/// Measures all outputs and floors.
///
/// # Errors
/// The clip is missing, or cannot be decoded or encoded.
pub fn run(options: &Options) -> Result<FilmCost> {
    super::in_temporary_folder("film", |folder| run_all(options, folder))
}

fn run_all(options: &Options, folder: &Path) -> Result<FilmCost> {
    let clip = match &options.input {
        Some(path) => path.clone(),
        None => {
            let clips = Clip::from_demo(&load_models(Path::new(".")), folder, HELD_FRAMES as u64)?;
            clips.last().map(|clip| clip.path.clone()).ok_or_else(|| Error::input("no clip is configured"))?
        }
    };
    let mut decoder = Decoder::open(&clip, DecodeOptions::default())?;
    let mut frames = vec![];
    while frames.len() < HELD_FRAMES
        && let Some(decoded) = decoder.next()?
    {
        frames.push(decoded.frame);
    }
    if frames.is_empty() {
        return Err(Error::input(format!("{}: contains no frame", clip.display())));
    }
    let keep = options.keep.as_deref();
    if let Some(keep) = keep {
        std::fs::create_dir_all(keep).or_fail(Failure::Output, || keep.display().to_string())?;
    }
    let folder = keep.unwrap_or(folder);
    let whole = measure_output("1080p, whole", None, &frames, options.frames, &folder.join("whole.mp4"))?;
    let crop = measure_output("720p, cropped", Some((1280, 720)), &frames, options.frames, &folder.join("crop.mp4"))?;
    let small: Vec<Frame> = frames.iter().map(|frame| scale(frame, Size::Height(720))).collect::<Result<_>>()?;
    let mut floors = vec![];
    for preset in ["ultrafast", "superfast", "veryfast"] {
        for threads in [1, 2] {
            let path = folder.join(".floor.mp4");
            let mut encoder = create_encoder(&path, (small[0].width(), small[0].height()), preset, threads)?;
            let start = Instant::now();
            for frame in 0..options.frames {
                write_frame(&mut encoder, ping_pong_frame(&small, frame), frame)?;
            }
            encoder.finish()?;
            floors.push(Floor { preset, threads, ms: start.elapsed().as_secs_f64() * 1e3 / options.frames as f64 });
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(FilmCost { outputs: vec![whole, crop], floors })
}

/// Measures `render` and `encode` into `file`; with a size, on the crop of a virtual camera.
fn measure_output(
    name: &'static str,
    size: Option<(u32, u32)>,
    frames: &[Frame],
    count: u64,
    file: &Path,
) -> Result<OutputCost> {
    let inputs = ["frames"].iter().chain(&INPUTS).chain(size.map(|_| &"view"));
    let inputs = inputs.map(|name| (*name, Alignment::Source(SourceId(0)))).collect();
    let mut values = Values::new();
    if let Some((width, height)) = size {
        values.set("width", width, Origin::CommandLine);
        values.set("height", height, Origin::CommandLine);
    }
    let mut render = Harness::<Render>::with(values, Setup { inputs: Some(inputs), ..Setup::default() })?;
    let wired = Some(vec![("frames", Alignment::Source(SourceId(0)))]);
    let values = Values::from([("output", json!(file))]);
    let mut encode = Harness::<Encode>::with(values, Setup { inputs: wired, ..Setup::default() })?;
    let bare_file = file.with_extension("bare.mp4");
    let drawn_size = size.unwrap_or((frames[0].width(), frames[0].height()));
    let mut bare_encoder = create_encoder(&bare_file, drawn_size, "veryfast", 1)?;
    let (mut scale_times, mut render_times, mut bare_encode_times, mut encode_times, mut film_times) =
        (vec![], vec![], vec![], vec![], vec![]);
    let elapsed_ns = |start: u64| thread_cpu_ns() - start;
    for i in 0..count {
        let frame = ping_pong_frame(frames, i);
        let start = thread_cpu_ns();
        match size {
            Some((width, height)) => drop(scale(frame, Size::Exact { width, height })?),
            None => drop(frame.clone().into_packed_mut()),
        }
        scale_times.push(elapsed_ns(start));
        let scene = Scene::new(i);
        let start = thread_cpu_ns();
        render.push_frame("frames", frame.clone())?;
        if size.is_some() {
            render.push("view", &[scene.view()])?;
        }
        scene.push(&mut render)?;
        let drawn = render.expect_frame("overlay");
        render_times.push(elapsed_ns(start));
        let start = thread_cpu_ns();
        encode.push_frame("frames", Frame::clone(&drawn))?;
        encode_times.push(elapsed_ns(start));
        film_times.push(render_times[i as usize] + encode_times[i as usize]);
        let start = thread_cpu_ns();
        write_frame(&mut bare_encoder, &drawn, i)?;
        bare_encode_times.push(elapsed_ns(start));
    }
    encode.end()?;
    encode.close()?;
    bare_encoder.finish()?;
    let _ = std::fs::remove_file(bare_file);
    let [bare_scale_ms, render_ms, bare_encode_ms, encode_ms, film_ms] =
        [scale_times, render_times, bare_encode_times, encode_times, film_times]
            .map(|mut times| Percentiles::ms_from_ns(&mut times));
    let ratio = film_ms.p50 / (bare_scale_ms.p50 + bare_encode_ms.p50);
    Ok(OutputCost { name, bare_scale_ms, render_ms, bare_encode_ms, encode_ms, film_ms, ratio })
}

/// Returns frame `i` of the held ones, played forwards and backwards.
fn ping_pong_frame(frames: &[Frame], i: u64) -> &Frame {
    let (last, i) = (frames.len() - 1, i as usize % (2 * frames.len()));
    &frames[if i <= last { i } else { 2 * last + 1 - i }]
}

fn create_encoder(file: &Path, (width, height): (u32, u32), preset: &str, threads: u32) -> Result<Encoder> {
    let options = EncodeOptions { preset: preset.into(), threads, ..EncodeOptions::default() };
    Encoder::create(file, width, height, options)
}

fn write_frame(encoder: &mut Encoder, frame: &Frame, i: u64) -> Result<()> {
    encoder.write_planes([frame.plane(0), frame.plane(1), frame.plane(2)], i as i64 * FRAME_INTERVAL_NS)
}

impl std::fmt::Display for FilmCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for output in &self.outputs {
            writeln!(f, "{:<44} {:>8} {:>8}", format!("{}, processor ms per frame", output.name), "p50", "p99")?;
            for (name, ms) in [
                ("  bare scaler (whole frame: a copy)", output.bare_scale_ms),
                ("  render, every overlay of a match", output.render_ms),
                ("  bare x264, veryfast, 1 thread", output.bare_encode_ms),
                ("  encode", output.encode_ms),
                ("  render and encode", output.film_ms),
            ] {
                writeln!(f, "{name:<44} {:>8.2} {:>8.2}", ms.p50, ms.p99)?;
            }
            writeln!(f, "  ratio to bare scaler and bare x264 {:>17.2}", output.ratio)?;
        }
        write!(f, "bare x264, 720p, wall-clock ms per frame")?;
        for floor in &self.floors {
            let threads = if floor.threads == 1 { "1 thread" } else { "2 threads" };
            write!(f, "\n  {:<10} {threads:<31} {:>8.2}", floor.preset, floor.ms)?;
        }
        Ok(())
    }
}

//! From frames to a video: `render` and `encode` at 1080p, whole and cropped to 720p by a camera, beside the bare scaler and
//! the bare encoder on the same pictures.
//!
//! Each part in turn, frame by frame, on one thread, in processor time of that thread: what else runs on the machine does not
//! count. In a run `render` and `encode` have a thread each.

#[cfg(feature = "media")]
mod scene;

use std::path::PathBuf;

use serde::Serialize;
use sideline_api::Result;

use super::Spread;

/// What to measure on.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The video, of 1080p; by default the demo's clip, set into a wide picture.
    #[arg(long)]
    pub input: Option<PathBuf>,
    /// Frames of each measurement.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..))]
    pub frames: u64,
    /// Keep the videos in this folder, to be looked at: whole.mp4 and crop.mp4.
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// One way from a frame to the file, milliseconds of processor time a frame.
#[derive(Debug, Serialize)]
pub struct Way {
    /// What comes out.
    pub name: &'static str,
    /// Making a picture of that size and nothing else: swscale, or for the whole frame a copy.
    pub bare_scale_ms: Spread,
    /// `render` with all overlays of a match.
    pub render_ms: Spread,
    /// x264 alone on drawn pictures.
    pub bare_encode_ms: Spread,
    /// `encode`.
    pub encode_ms: Spread,
    /// Both.
    pub film_ms: Spread,
    /// Medians, both / (bare scale + bare encode).
    pub ratio: f64,
}

/// x264's floor: one preset and number of threads on the cropped pictures.
#[derive(Debug, Serialize)]
pub struct Floor {
    /// The preset.
    pub preset: &'static str,
    /// Threads.
    pub threads: u32,
    /// Milliseconds a frame that pass by the clock: a whole video over its frames.
    pub ms: f64,
}

/// The figures.
#[derive(Debug, Serialize)]
pub struct FilmCost {
    /// Whole frames, and a camera's crops.
    pub ways: Vec<Way>,
    /// What encoding 720p costs at least.
    pub floors: Vec<Floor>,
}

/// Measures.
///
/// # Errors
/// When the clip is not there, or cannot be decoded or encoded; in a build without media.
#[cfg(feature = "media")]
pub fn run(options: &Options) -> Result<FilmCost> {
    super::in_temporary_folder("film", |folder| measured::all(options, folder))
}

/// Without media there are no videos.
///
/// # Errors
/// Always.
#[cfg(not(feature = "media"))]
pub fn run(options: &Options) -> Result<FilmCost> {
    let _ = (options, Spread::ms);
    Err(sideline_api::Error::config("this build has no videos: build with the feature `media`"))
}

#[cfg(feature = "media")]
mod measured {
    use std::{path::Path, time::Instant};

    use sideline_api::{
        Alignment, Error, Failure, Frame, OrFail, Result, Values,
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

    use crate::bench::processor_ns;

    use super::{
        super::{Spread, fight::clip::Clip},
        FilmCost, Floor, Options, Way,
        scene::{INPUTS, Scene},
    };
    use crate::house;

    /// Pictures that are held in memory, 3 MB each; they are played there and back.
    const HELD: usize = 48;
    const INTERVAL: i64 = 1_000_000_000 / 30;

    pub fn all(options: &Options, folder: &Path) -> Result<FilmCost> {
        let clip = match &options.input {
            Some(path) => path.clone(),
            None => {
                let clips = Clip::of_the_demo(&house::models(Path::new(".")), folder, HELD as u64)?;
                clips.last().map(|clip| clip.path.clone()).ok_or_else(|| Error::input("there is no clip"))?
            }
        };
        let mut decoder = Decoder::open(&clip, DecodeOptions::default())?;
        let mut frames = vec![];
        while frames.len() < HELD
            && let Some(decoded) = decoder.next()?
        {
            frames.push(decoded.frame);
        }
        if frames.is_empty() {
            return Err(Error::input(format!("{}: there is no frame in it", clip.display())));
        }
        let keep = options.keep.as_deref();
        if let Some(keep) = keep {
            std::fs::create_dir_all(keep).or_fail(Failure::Output, || keep.display().to_string())?;
        }
        let folder = keep.unwrap_or(folder);
        let whole = way("1080p, whole", None, &frames, options.frames, &folder.join("whole.mp4"))?;
        let crop = way("720p, cropped", Some((1280, 720)), &frames, options.frames, &folder.join("crop.mp4"))?;
        let small: Vec<Frame> = frames.iter().map(|frame| scale(frame, Size::Height(720))).collect::<Result<_>>()?;
        let mut floors = vec![];
        for preset in ["ultrafast", "superfast", "veryfast"] {
            for threads in [1, 2] {
                let path = folder.join(".floor.mp4");
                let mut encoder = encoder(&path, (small[0].width(), small[0].height()), preset, threads)?;
                let began = Instant::now();
                for frame in 0..options.frames {
                    write(&mut encoder, there_and_back(&small, frame), frame)?;
                }
                encoder.finish()?;
                floors.push(Floor { preset, threads, ms: began.elapsed().as_secs_f64() * 1e3 / options.frames as f64 });
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(FilmCost { ways: vec![whole, crop], floors })
    }

    /// Measures `render` and `encode` into `file`; with a size, cropped by a camera.
    fn way(name: &'static str, size: Option<(u32, u32)>, frames: &[Frame], count: u64, file: &Path) -> Result<Way> {
        let inputs = ["frames"].iter().chain(&INPUTS).chain(size.map(|_| &"view"));
        let inputs = inputs.map(|name| (*name, Alignment::Source(sideline_api::SourceId(0)))).collect();
        let mut values = Values::new();
        if let Some((width, height)) = size {
            values.set("width", width, Origin::CommandLine);
            values.set("height", height, Origin::CommandLine);
        }
        let mut render = Harness::<Render>::with(values, Setup { inputs: Some(inputs), ..Setup::default() })?;
        let wired = Some(vec![("frames", Alignment::Source(sideline_api::SourceId(0)))]);
        let values = Values::from([("output", json!(file))]);
        let mut encode = Harness::<Encode>::with(values, Setup { inputs: wired, ..Setup::default() })?;
        let bare_file = file.with_extension("bare.mp4");
        let drawn_size = size.unwrap_or((frames[0].width(), frames[0].height()));
        let mut bare = encoder(&bare_file, drawn_size, "veryfast", 1)?;
        let (mut scales, mut renders, mut bares, mut encodes, mut films) = (vec![], vec![], vec![], vec![], vec![]);
        let since = |began: u64| processor_ns() - began;
        for i in 0..count {
            let frame = there_and_back(frames, i);
            let began = processor_ns();
            match size {
                Some((width, height)) => drop(scale(frame, Size::Exact { width, height })?),
                None => drop(frame.clone().into_packed_mut()),
            }
            scales.push(since(began));
            let scene = Scene::of(i);
            let began = processor_ns();
            render.push_frame("frames", frame.clone())?;
            if size.is_some() {
                render.push("view", &[scene.view()])?;
            }
            scene.push(&mut render)?;
            let drawn = render.expect_frame("overlay");
            renders.push(since(began));
            let began = processor_ns();
            encode.push_frame("frames", Frame::clone(&drawn))?;
            encodes.push(since(began));
            films.push(renders[i as usize] + encodes[i as usize]);
            let began = processor_ns();
            write(&mut bare, &drawn, i)?;
            bares.push(since(began));
        }
        encode.end()?;
        encode.close()?;
        bare.finish()?;
        let _ = std::fs::remove_file(bare_file);
        let [bare_scale_ms, render_ms, bare_encode_ms, encode_ms, film_ms] =
            [scales, renders, bares, encodes, films].map(|mut times| Spread::ms(&mut times));
        let ratio = film_ms.p50 / (bare_scale_ms.p50 + bare_encode_ms.p50);
        Ok(Way { name, bare_scale_ms, render_ms, bare_encode_ms, encode_ms, film_ms, ratio })
    }

    fn there_and_back(frames: &[Frame], i: u64) -> &Frame {
        let (last, i) = (frames.len() - 1, i as usize % (2 * frames.len()));
        &frames[if i <= last { i } else { 2 * last + 1 - i }]
    }

    fn encoder(file: &Path, (width, height): (u32, u32), preset: &str, threads: u32) -> Result<Encoder> {
        let options = EncodeOptions { preset: preset.into(), threads, ..EncodeOptions::default() };
        Encoder::create(file, width, height, options)
    }

    fn write(encoder: &mut Encoder, frame: &Frame, i: u64) -> Result<()> {
        encoder.write_planes([frame.plane(0), frame.plane(1), frame.plane(2)], i as i64 * INTERVAL)
    }
}

impl std::fmt::Display for FilmCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for way in &self.ways {
            writeln!(f, "{:<44} {:>8} {:>8}", format!("{}, processor ms a frame", way.name), "p50", "p99")?;
            for (name, ms) in [
                ("  bare scale (whole: a copy)", way.bare_scale_ms),
                ("  render, every overlay of a match", way.render_ms),
                ("  bare x264, veryfast, 1 thread", way.bare_encode_ms),
                ("  encode", way.encode_ms),
                ("  render and encode", way.film_ms),
            ] {
                writeln!(f, "{name:<44} {:>8.2} {:>8.2}", ms.p50, ms.p99)?;
            }
            writeln!(f, "  ratio to bare scale and bare x264 {:>18.2}", way.ratio)?;
        }
        write!(f, "x264 alone, 720p, ms a frame by the clock")?;
        for floor in &self.floors {
            let threads = if floor.threads == 1 { "1 thread" } else { "2 threads" };
            write!(f, "\n  {:<10} {threads:<31} {:>8.2}", floor.preset, floor.ms)?;
        }
        Ok(())
    }
}

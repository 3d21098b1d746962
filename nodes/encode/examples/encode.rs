//! Benchmark of the encoder, in milliseconds per frame, beside the `ffmpeg` program with the same settings on the same frames.
//!
//! `cargo run -p sideline-encode --example encode -- WIDTH HEIGHT IN.yuv [PRESET]`: raw I420, 30 frames per second.

use std::{error::Error, process::Command, time::Instant};

use sideline_media::encode::{EncodeOptions, Encoder};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let (width, height): (u32, u32) = (args[1].parse()?, args[2].parse()?);
    let preset = args.get(4).map_or("veryfast", String::as_str);
    let frames = std::fs::read(&args[3])?;
    let size = (width * height) as usize * 3 / 2;
    let count = frames.len() / size;
    let folder = std::env::temp_dir().join(format!("sideline-encode-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (mut ours, mut theirs, mut bytes) = (vec![], vec![], 0);
    for _ in 0..5 {
        let start = Instant::now();
        let options = EncodeOptions { preset: preset.into(), ..EncodeOptions::default() };
        let mut encoder = Encoder::create(folder.join("ours.mp4"), width, height, options)?;
        for (i, frame) in frames.chunks_exact(size).enumerate() {
            encoder.write(frame, i as i64 * 1_000_000_000 / 30)?;
        }
        bytes = encoder.finish()?.bytes;
        ours.push(start.elapsed().as_secs_f64() * 1e3 / count as f64);
        let start = Instant::now();
        let pixels = format!("{width}x{height}");
        let ran = Command::new("ffmpeg")
            .args([
                "-v", "error", "-y", "-f", "rawvideo", "-r", "30", "-pix_fmt", "yuv420p", "-s", &pixels, "-i", &args[3],
            ])
            .args(["-c:v", "libx264", "-preset", preset, "-crf", "23", "-threads", "1", "-bf", "0", "-g", "60"])
            .args(["-movflags", "frag_keyframe+empty_moov+default_base_moof"])
            .arg(folder.join("theirs.mp4"))
            .status();
        if ran.is_ok_and(|status| status.success()) {
            theirs.push(start.elapsed().as_secs_f64() * 1e3 / count as f64);
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    };
    let Some(ours) = median(&mut ours) else { return Ok(()) };
    println!("encode {preset} {width}x{height}, {count} frames, 1 thread: {ours:.2} ms per frame, {} kB", bytes / 1000);
    match median(&mut theirs) {
        Some(theirs) => {
            let size = std::fs::metadata(folder.join("theirs.mp4"))?.len() / 1000;
            println!("ffmpeg: {theirs:.2} ms per frame, {size} kB; ratio {:.2}", ours / theirs);
        }
        None => println!("no ffmpeg program to compare with"),
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

//! scratch
#![allow(missing_docs)]
use std::{io::Read, process::{Command, Stdio}, path::Path, time::Instant};
use sideline_api::{*, testing::{Harness, Setup}};
use sideline_pose::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (clip, filter, w, h, out) = (&a[1], &a[2], a[3].parse::<u32>().unwrap(), a[4].parse::<u32>().unwrap(), &a[5]);
    let mut values = Values::new();
    for kv in &a[6..] { let (k, v) = kv.split_once('=').unwrap(); values.set(k, v, config::Origin::CommandLine); }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut hs = Harness::<Pose>::with(values, Setup { models: models::Models::open(&root).unwrap(), ..Setup::default() }).unwrap();
    let mut ff = Command::new("ffmpeg").args(["-v","error","-i",clip,"-vf",filter,"-pix_fmt","yuv420p","-f","rawvideo","-"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut so = ff.stdout.take().unwrap();
    let n = (w*h*3/2) as usize; let mut buf = vec![0u8; n];
    let mut all = vec![]; let mut times = vec![]; let mut f = 0;
    while so.read_exact(&mut buf).is_ok() {
        let frame = Frame::from_packed(w, h, Encoding::I420, Color::assumed(h), buf.clone()).unwrap();
        let t = Instant::now(); hs.push_frame("frames", frame).unwrap(); times.push(t.elapsed().as_secs_f64()*1e3);
        let rows: Vec<tables::Pose> = hs.expect("poses");
        all.push(serde_json::json!({"frame": f, "ms": times[f], "poses": rows.iter().map(|p| serde_json::json!({"box":[p.x1,p.y1,p.x2,p.y2],"score":p.score,"joints":p.joints.to_vec()})).collect::<Vec<_>>()}));
        f += 1;
    }
    std::fs::write(out, serde_json::to_string(&all).unwrap()).unwrap();
    let counts: Vec<usize> = all.iter().map(|v| v["poses"].as_array().unwrap().len()).collect();
    println!("counts {counts:?}");
    times.sort_by(f64::total_cmp); println!("ms mean {:.1} p50 {:.1} p95 {:.1} max {:.1}", times.iter().sum::<f64>()/times.len() as f64, times[times.len()/2], times[times.len()*95/100], times[times.len()-1]);
}

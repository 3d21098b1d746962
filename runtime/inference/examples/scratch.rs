use std::time::Instant;
use sideline_inference::*;
use sideline_api::*;
fn best(n: usize, mut f: impl FnMut()) -> f64 { let mut v: Vec<f64> = (0..n).map(|_| { let t = Instant::now(); f(); t.elapsed().as_secs_f64()*1e3 }).collect(); v.sort_by(f64::total_cmp); println!("   min {:.3} p50 {:.3} p90 {:.3} ms", v[0], v[n/2], v[n*9/10]); v[n/2] }
fn main() { if std::env::args().nth(1).is_some() { let mut w = bench::Preprocess::new().unwrap(); for _ in 0..3000 { w.run_fast().unwrap(); } return; }
 let f = Frame::from_packed(1920,1080,Encoding::I420,Color::assumed(1080),vec![100u8;1920*1080*3/2]).unwrap(); for layout in [Layout::Nhwc, Layout::Nchw] { let mut s = Sampler::new(Sampling{layout,..Sampling::square(256,0.0,1.0)}); let mut t=vec![0.0;s.len()]; for (x,n) in [(960.0,"inside"),(-5000.0,"outside")] { println!("{layout:?} {n}"); best(200, || s.sample(&f,&Region::square(x,540.0,700.0,0.3),&mut t).unwrap()); } }
    let mut w = bench::Preprocess::new().unwrap();
    println!("fast"); best(200, || w.run_fast().unwrap());
    println!("plain"); best(50, || w.run_plain().unwrap());
    for enc in [Encoding::I420, Encoding::Nv12, Encoding::Rgb8] {
        let n: usize = enc.planes(1920,1080).iter().map(|(a,b)| a*b).sum();
        let f = Frame::from_packed(1920,1080,enc,Color::assumed(1080),vec![100u8;n]).unwrap();
        for (name, filter, rot, size) in [("bilinear 0",Filter::Bilinear,0.0,256),("bilinear .3",Filter::Bilinear,0.3,256),("area letterbox 224",Filter::Area,0.0,224),("area rotated",Filter::Area,0.3,256)] {
            let mut s = Sampler::new(Sampling{filter,..Sampling::square(size,0.0,1.0)});
            let mut t = vec![0.0; s.len()];
            let r = if size==224 {Region::letterbox(&f)} else {Region::square(960.0,540.0,700.0,rot)};
            println!("{enc:?} {name}"); best(100, || s.sample(&f,&r,&mut t).unwrap());
        }
    }
}

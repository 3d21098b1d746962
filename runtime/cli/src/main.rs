//! `sideline`: dataflows for live sports video.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sideline::main(sideline::registry())
}

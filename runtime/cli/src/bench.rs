//! `sideline bench`: what the parts cost, each beside a peer or a floor measured in the same run.

pub mod detect;
mod dora;
pub mod fight;
pub mod film;
pub mod football;
pub mod hops;
pub mod moves;
pub mod pose;
pub mod preprocess;
pub mod stream;
pub mod tracker;

use std::path::Path;

use sideline_api::{Failure, OrFail, Result};
use sideline_system::owner;

use crate::commands::print_json;

/// Prints figures for a person or a program.
///
/// # Errors
/// When standard output is closed.
pub fn print<T: serde::Serialize + std::fmt::Display>(figures: &T, json: bool) -> Result<u8> {
    if json {
        print_json(figures)?;
    } else {
        outln!("{figures}");
    }
    Ok(0)
}

/// Does something in a folder of its own, which is gone afterwards.
fn in_temporary_folder<T>(name: &str, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = owner::unique_part(&std::env::temp_dir().join(format!("sideline-{name}")));
    owner::make_private(&folder).or_fail(Failure::Output, || "a folder for the benchmark")?;
    let result = work(&folder);
    let _ = std::fs::remove_dir_all(&folder);
    result
}

/// Processor time of this thread so far, milliseconds: what it costs, also where other work shares the core. A model on a CPU
/// runs on the thread that asks it.
#[cfg(feature = "onnx")]
pub fn processor_ms() -> f64 {
    sideline_engine::meter::thread_cpu().as_secs_f64() * 1e3
}

/// The same in nanoseconds.
#[cfg(any(feature = "onnx", feature = "media"))]
pub fn processor_ns() -> u64 {
    sideline_engine::meter::thread_cpu().as_nanos() as u64
}

/// Median and 99th percentile.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Spread {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Spread {
    /// Of nanoseconds, in milliseconds. The order of `times` is lost.
    pub fn ms(times: &mut [u64]) -> Self {
        let Spread { p50, p99 } = Self::us(times);
        Spread { p50: p50 * 1e-3, p99: p99 * 1e-3 }
    }

    /// Of nanoseconds, in microseconds. The order of `times` is lost.
    pub fn us(times: &mut [u64]) -> Self {
        times.sort_unstable();
        let at = |q: f64| times.get(((times.len() as f64 * q) as usize).min(times.len().saturating_sub(1)));
        let us = |q| at(q).map_or(f64::NAN, |ns| *ns as f64 * 1e-3);
        Spread { p50: us(0.5), p99: us(0.99) }
    }
}

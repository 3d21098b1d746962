//! `sideline-lab bench`: run times of each part, compared with a peer or a floor that is measured in the same run.

#[cfg(feature = "onnx")]
pub mod detect;
mod dora;
pub mod fight;
#[cfg(feature = "media")]
pub mod film;
pub mod football;
pub mod hops;
#[cfg(feature = "onnx")]
pub mod moves;
pub mod operator;
#[cfg(feature = "onnx")]
pub mod pose;
#[cfg(feature = "onnx")]
pub mod preprocess;
mod python;
#[cfg(feature = "media")]
pub mod stream;
pub mod tracker;

use std::path::Path;

use sideline::program::{outln, print_json};
use sideline_api::{Failure, OrFail, Result};
use sideline_system::owner;

/// Prints a result as text or as JSON.
///
/// # Errors
/// Standard output is closed.
pub fn print<T: serde::Serialize + std::fmt::Display>(result: &T, json: bool) -> Result<u8> {
    if json {
        print_json(result)?;
    } else {
        outln!("{result}");
    }
    Ok(0)
}

/// Runs `work` with a new temporary folder, which is removed afterwards.
fn in_temporary_folder<T>(name: &str, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = owner::unique_part_path(&std::env::temp_dir().join(format!("sideline-{name}")));
    owner::create_private_folder(&folder).or_fail(Failure::Output, || "a folder for the benchmark")?;
    let result = work(&folder);
    let _ = std::fs::remove_dir_all(&folder);
    result
}

/// Returns the processor time of this thread so far, milliseconds. It measures the cost even while other processes
/// share the core. A model on a CPU runs on the thread that calls it.
#[cfg(feature = "onnx")]
pub fn thread_cpu_ms() -> f64 {
    sideline_engine::meter::thread_cpu().as_secs_f64() * 1e3
}

/// Returns the processor time of this thread so far, nanoseconds.
#[cfg(any(feature = "onnx", feature = "media"))]
pub fn thread_cpu_ns() -> u64 {
    sideline_engine::meter::thread_cpu().as_nanos() as u64
}

/// Median and 99th percentile of a measurement.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Percentiles {
    /// Calculates percentiles in milliseconds from times in nanoseconds. Sorts `times`.
    #[cfg(any(feature = "onnx", feature = "media"))]
    pub fn ms_from_ns(times: &mut [u64]) -> Self {
        let Percentiles { p50, p99 } = Self::us_from_ns(times);
        Percentiles { p50: p50 * 1e-3, p99: p99 * 1e-3 }
    }

    /// Calculates percentiles in microseconds from times in nanoseconds. Sorts `times`.
    pub fn us_from_ns(times: &mut [u64]) -> Self {
        times.sort_unstable();
        let quantile_ns = |q: f64| times.get(((times.len() as f64 * q) as usize).min(times.len().saturating_sub(1)));
        let quantile_us = |q| quantile_ns(q).map_or(f64::NAN, |ns| *ns as f64 * 1e-3);
        Percentiles { p50: quantile_us(0.5), p99: quantile_us(0.99) }
    }
}

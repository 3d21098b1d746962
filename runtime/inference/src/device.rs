//! Execution provider of a session: that of the requested device, or an error that states what is missing.
//!
//! ONNX Runtime silently falls back to the CPU when a provider fails, and lists GPUs that do not exist. So each provider is
//! tried alone, with `error_on_failure`.

use std::path::Path;

use ort::session::builder::SessionBuilder;
use sideline_api::{Device, Error, Result};

/// Adds the execution provider of a device to a builder; returns the builder and the device's name.
///
/// # Errors
/// `Gpu` (exit code 5) if `cuda` or `tensorrt` cannot be used.
pub(crate) fn add_provider(
    device: Device,
    model: &Path,
    builder: SessionBuilder,
) -> Result<(SessionBuilder, &'static str)> {
    match device {
        Device::Auto | Device::Cpu => Ok((builder, "cpu")),
        Device::Cuda => Ok((cuda(builder)?, "cuda")),
        Device::Tensorrt => Ok((tensorrt(builder, model)?, "tensorrt")),
    }
}

/// Returns the devices to try, in order. TensorRT takes minutes to build its engine, so it is used only on request.
pub(crate) fn candidates(device: Device) -> &'static [Device] {
    match device {
        Device::Auto if cfg!(feature = "cuda") => &[Device::Cuda, Device::Cpu],
        Device::Auto | Device::Cpu => &[Device::Cpu],
        Device::Cuda => &[Device::Cuda],
        Device::Tensorrt => &[Device::Tensorrt],
    }
}

#[cfg(feature = "cuda")]
fn cuda(builder: SessionBuilder) -> Result<SessionBuilder> {
    use ort::ep::{ArenaExtendStrategy, CUDA, cuda::ConvAlgorithmSearch};
    // Heuristic search and no TF32: the first frame does not wait for a benchmark, and results do not depend on one.
    let provider = CUDA::default()
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
        .with_tf32(false);
    builder.with_execution_providers([provider.build().error_on_failure()]).map_err(|cause| {
        Error::gpu(format!(
            "device `cuda` cannot be used: {cause}; it needs the GPU build of ONNX Runtime (`pip install onnxruntime-gpu`) \
             with its CUDA and cuDNN, or choose `--device cpu`"
        ))
    })
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: SessionBuilder) -> Result<SessionBuilder> {
    Err(not_built("cuda"))
}

#[cfg(feature = "tensorrt")]
fn tensorrt(builder: SessionBuilder, model: &Path) -> Result<SessionBuilder> {
    let mut provider = ort::ep::TensorRT::default().with_fp16(true);
    // Engines are cached beside the model, as building one takes minutes. An engine is code, so one from a folder that
    // other users can write to is not loaded.
    let cache = model.with_extension("trt");
    if is_private(&cache) {
        let cache = cache.display().to_string();
        provider = provider
            .with_engine_cache(true)
            .with_engine_cache_path(&cache)
            .with_timing_cache(true)
            .with_timing_cache_path(&cache);
    } else {
        tracing::warn!(cache = %cache.display(), "the engine is rebuilt at each start: other users can write to its folder");
    }
    builder.with_execution_providers([provider.build().error_on_failure()]).map_err(|cause| {
        Error::gpu(format!(
            "device `tensorrt` cannot be used: {cause}; it needs the GPU build of ONNX Runtime (`pip install \
             onnxruntime-gpu`) and TensorRT 10 from NVIDIA, or choose `--device cuda` or `--device cpu`"
        ))
    })
}

/// True for a folder, existing or not, in which only this user and root can create files.
#[cfg(feature = "tensorrt")]
fn is_private(folder: &Path) -> bool {
    use sideline_system::owner::is_trusted;
    let Ok(folder) = std::path::absolute(folder) else { return false };
    folder.parent().is_some_and(is_trusted) && (!folder.exists() || is_trusted(&folder))
}

#[cfg(not(feature = "tensorrt"))]
fn tensorrt(_: SessionBuilder, _: &Path) -> Result<SessionBuilder> {
    Err(not_built("tensorrt"))
}

#[cfg(not(all(feature = "cuda", feature = "tensorrt")))]
fn not_built(device: &str) -> Error {
    Error::gpu(format!(
        "device `{device}` is not in this build; build with `cargo build --features {device}`, or choose `--device cpu`"
    ))
}

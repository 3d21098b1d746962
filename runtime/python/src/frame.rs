//! Video frames as NumPy arrays.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::{
    buffer::PyBuffer,
    exceptions::{PyRuntimeError, PyTypeError, PyValueError},
    prelude::*,
    types::PyByteArray,
};
use sideline_api::{Color, Encoding, Frame, Matrix};
use yuv::{
    BufferStoreMut, YuvBiPlanarImage, YuvConversionMode, YuvPlanarImage, YuvPlanarImageMut, YuvRange, YuvStandardMatrix,
};

use crate::exports::{Element, Exports, Memory, View, to_numpy};

const BYTE: Element = Element { format: c"B", size: 1 };

/// Video frame of an input. It is read-only, and usable during the call for which it came.
#[pyclass(frozen, module = "sideline", name = "Frame")]
pub struct PyFrame {
    frame: Mutex<Option<Arc<Frame>>>,
    exports: Arc<Exports>,
}

impl PyFrame {
    /// Wraps a frame for one call.
    pub fn new(frame: Arc<Frame>, exports: Arc<Exports>) -> Self {
        Self { frame: Mutex::new(Some(frame)), exports }
    }

    /// Releases the frame; later uses raise an exception.
    pub fn close(&self) {
        *self.frame.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the frame.
    ///
    /// # Errors
    /// After the call for which it came.
    pub fn get(&self) -> PyResult<Arc<Frame>> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| {
            PyRuntimeError::new_err(format!(
                "the frame of input `{}` is gone: it is usable only during the call for which it came; keep a copy of its \
                 pixels, `frame.bgr()`",
                self.exports.input
            ))
        })
    }

    fn array<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyAny>> {
        let frame = self.get()?;
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let (shape, dimensions) = match (frame.encoding(), index) {
            (Encoding::Jpeg, 0) => ([frame.plane(0).0.len(), 0, 0], 1),
            (Encoding::Rgb8 | Encoding::Bgr8, 0) => ([height, width, 3], 3),
            (Encoding::I420 | Encoding::Nv12, 0) => ([height, width, 0], 2),
            (Encoding::I420, 1 | 2) => ([half_height, half_width, 0], 2),
            (Encoding::Nv12, 1) => ([half_height, half_width, 2], 3),
            (encoding, _) => {
                return Err(PyValueError::new_err(format!("a frame in {} has no plane {index}", encoding.name())));
            }
        };
        let stride = if dimensions == 1 { 1 } else { frame.plane(index).1 };
        let shape = &shape[..dimensions];
        let view = View::new(Memory::Plane(frame, index), BYTE, shape, stride, self.exports.clone());
        to_numpy(py, view.ok_or_else(|| PyValueError::new_err("the planes of the frame are too short"))?)
    }

    fn packed<'py>(&self, py: Python<'py>, order: Order) -> PyResult<Bound<'py, PyAny>> {
        let frame = self.get()?;
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let bytes = PyByteArray::new_with(py, width * height * 3, |into| {
            convert(&frame, order, into)
                .map_err(|cause| PyValueError::new_err(format!("the frame cannot be converted: {cause}")))
        })?;
        crate::numpy(py)?.call_method1("frombuffer", (bytes, "uint8"))?.call_method1("reshape", (height, width, 3))
    }
}

#[pymethods]
impl PyFrame {
    /// Width, px.
    #[getter]
    fn width(&self) -> PyResult<u32> {
        Ok(self.get()?.width())
    }

    /// Height, px.
    #[getter]
    fn height(&self) -> PyResult<u32> {
        Ok(self.get()?.height())
    }

    /// Pixel format: i420, nv12, rgb8, bgr8 or jpeg.
    #[getter]
    fn encoding(&self) -> PyResult<&'static str> {
        Ok(self.get()?.encoding().name())
    }

    /// Luma as an array of height x width bytes, without a copy.
    #[getter]
    fn y<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.get()?.encoding() {
            Encoding::I420 | Encoding::Nv12 => self.array(py, 0),
            other => {
                Err(PyValueError::new_err(format!("a frame in {} has no plane of luma: use `bgr()`", other.name())))
            }
        }
    }

    /// Returns a plane as an array, without a copy: height x width bytes; height x width x 3 for rgb8 and bgr8.
    fn plane<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyAny>> {
        self.array(py, index)
    }

    /// Returns a new array of height x width x 3 bytes in the order blue, green, red, as OpenCV has it.
    fn bgr<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.packed(py, Order::Bgr)
    }

    /// Returns a new array of height x width x 3 bytes in the order red, green, blue.
    fn rgb<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.packed(py, Order::Rgb)
    }

    fn __repr__(&self) -> String {
        match self.get() {
            Ok(frame) => format!("<Frame {}x{} {}>", frame.width(), frame.height(), frame.encoding().name()),
            Err(_) => "<Frame, closed>".into(),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Bgr,
    Rgb,
}

/// Converts a frame to packed pixels.
fn convert(frame: &Frame, order: Order, into: &mut [u8]) -> Result<(), String> {
    let (width, height) = (frame.width(), frame.height());
    let stride = width * 3;
    let matrix = matrix_of(frame);
    let range = if frame.color().full_range { YuvRange::Full } else { YuvRange::Limited };
    let text = |cause: yuv::YuvError| cause.to_string();
    match frame.encoding() {
        Encoding::I420 => {
            let ((y, y_stride), (u, u_stride), (v, v_stride)) = (frame.plane(0), frame.plane(1), frame.plane(2));
            let image = YuvPlanarImage {
                y_plane: y,
                y_stride: y_stride as u32,
                u_plane: u,
                u_stride: u_stride as u32,
                v_plane: v,
                v_stride: v_stride as u32,
                width,
                height,
            };
            let convert = if order == Order::Bgr { yuv::yuv420_to_bgr } else { yuv::yuv420_to_rgb };
            convert(&image, into, stride, range, matrix).map_err(text)
        }
        Encoding::Nv12 => {
            let ((y, y_stride), (uv, uv_stride)) = (frame.plane(0), frame.plane(1));
            let image = YuvBiPlanarImage {
                y_plane: y,
                y_stride: y_stride as u32,
                uv_plane: uv,
                uv_stride: uv_stride as u32,
                width,
                height,
            };
            let convert = if order == Order::Bgr { yuv::yuv_nv12_to_bgr } else { yuv::yuv_nv12_to_rgb };
            convert(&image, into, stride, range, matrix, YuvConversionMode::Balanced).map_err(text)
        }
        encoding @ (Encoding::Rgb8 | Encoding::Bgr8) => {
            let (data, source_stride) = frame.plane(0);
            let row = stride as usize;
            for (to, from) in into.chunks_exact_mut(row).zip(data.chunks(source_stride)) {
                to.copy_from_slice(&from[..row]);
            }
            if (encoding == Encoding::Bgr8) != (order == Order::Bgr) {
                into.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
            }
            Ok(())
        }
        Encoding::Jpeg => Err("it is a JPEG image, which must be decoded first".into()),
    }
}

/// Converts packed pixels to I420, the encoding in which sources send frames.
pub fn to_i420(frame: &Frame) -> PyResult<Frame> {
    let (matrix, range) = (matrix_of(frame), YuvRange::Limited);
    let (width, height) = (frame.width(), frame.height());
    let [luma, chroma] = [width * height, width.div_ceil(2) * height.div_ceil(2)].map(|length| length as usize);
    let mut bytes = vec![0; luma + 2 * chroma];
    let (y, uv) = bytes.split_at_mut(luma);
    let (u, v) = uv.split_at_mut(chroma);
    let mut planes = YuvPlanarImageMut {
        y_plane: BufferStoreMut::Borrowed(y),
        y_stride: width,
        u_plane: BufferStoreMut::Borrowed(u),
        u_stride: width.div_ceil(2),
        v_plane: BufferStoreMut::Borrowed(v),
        v_stride: width.div_ceil(2),
        width,
        height,
    };
    let convert = if frame.encoding() == Encoding::Rgb8 { yuv::rgb_to_yuv420 } else { yuv::bgr_to_yuv420 };
    let (from, stride) = frame.plane(0);
    convert(&mut planes, from, stride as u32, range, matrix, YuvConversionMode::Balanced)
        .map_err(|cause| PyValueError::new_err(format!("the frame cannot be converted: {cause}")))?;
    Frame::from_packed(width, height, Encoding::I420, frame.color(), bytes)
        .map_err(|error| PyValueError::new_err(error.message))
}

fn matrix_of(frame: &Frame) -> YuvStandardMatrix {
    match frame.color().matrix {
        Matrix::Bt601 => YuvStandardMatrix::Bt601,
        Matrix::Bt709 => YuvStandardMatrix::Bt709,
    }
}

/// Converts the value that an operator returned for an output of frames: an input's frame, or an array of height x width x 3
/// bytes in the order blue, green, red, or a pair of such an array and `bgr8` or `rgb8`.
pub fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Arc<Frame>> {
    if let Ok(frame) = value.cast::<PyFrame>() {
        return frame.get().get();
    }
    let (array, encoding) = match value.extract::<(Bound<'_, PyAny>, String)>() {
        Ok((array, name)) => {
            let encoding = Encoding::from_name(&name).ok().filter(|e| matches!(e, Encoding::Bgr8 | Encoding::Rgb8));
            let error = || PyValueError::new_err(format!("`{name}` is none of bgr8, rgb8"));
            (array, encoding.ok_or_else(error)?)
        }
        Err(_) => (value.clone(), Encoding::Bgr8),
    };
    let wrong = |found: &str| {
        PyTypeError::new_err(format!("a frame is an array of height x width x 3 bytes (uint8), found {found}"))
    };
    let Ok(buffer) = PyBuffer::<u8>::get(&array) else { return Err(wrong(&describe_array(&array))) };
    let [height, width, 3] = *buffer.shape() else { return Err(wrong(&describe_array(&array))) };
    let side = |length: usize| u32::try_from(length).map_err(|_| wrong(&describe_array(&array)));
    let (width, height) = (side(width)?, side(height)?);
    let frame =
        Frame::from_packed(width, height, encoding, Color::default_for_height(height), buffer.to_vec(array.py())?);
    frame.map(Arc::new).map_err(|error| PyValueError::new_err(error.message))
}

/// Returns shape and type of an array, or the type of another value.
fn describe_array(value: &Bound<'_, PyAny>) -> String {
    let kind = value.get_type().name().map_or_else(|_| "a value".into(), |name| format!("a value of type {name}"));
    match (value.getattr("shape"), value.getattr("dtype")) {
        (Ok(shape), Ok(dtype)) => format!("one of shape {shape} and type {dtype}"),
        _ => kind,
    }
}

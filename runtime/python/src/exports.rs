//! Views of an input's memory that Python code holds: counted, and closed after the call.

use std::{
    ffi::c_int,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow_buffer::Buffer;
use pyo3::{exceptions::PyBufferError, ffi, prelude::*};
use sideline_api::Frame;

/// Number of views of one input that are in use.
#[derive(Debug)]
pub struct Exports {
    /// Name of the input.
    pub input: &'static str,
    live: AtomicUsize,
}

impl Exports {
    /// Creates a counter for an input.
    pub fn new(input: &'static str) -> Arc<Self> {
        Arc::new(Self { input, live: AtomicUsize::new(0) })
    }

    /// Returns the number of views in use.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Counts a view until the returned value is dropped.
    pub fn count(self: &Arc<Self>) -> CountedExport {
        self.live.fetch_add(1, Ordering::AcqRel);
        CountedExport(self.clone())
    }
}

/// A view in use.
pub struct CountedExport(Arc<Exports>);

impl Drop for CountedExport {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Returns a buffer that shares the memory of another one and is counted as long as any reference to it exists.
pub fn counted_buffer(buffer: &Buffer, exports: &Arc<Exports>) -> Buffer {
    struct Counted {
        buffer: Buffer,
        _export: CountedExport,
    }
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.buffer
        }
    }
    bytes::Bytes::from_owner(Counted { buffer: buffer.clone(), _export: exports.count() }).into()
}

/// Memory that a view shows.
pub enum Memory {
    /// Plane of a frame.
    Plane(Arc<Frame>, usize),
    /// Values of a column.
    Values(Buffer),
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        match self {
            Memory::Plane(frame, plane) => frame.plane(*plane).0,
            Memory::Values(buffer) => buffer,
        }
    }
}

/// Element type of a view, in the notation of Python's module `struct`.
#[derive(Clone, Copy)]
pub struct Element {
    /// Code of the type.
    pub format: &'static std::ffi::CStr,
    /// Size, bytes.
    pub size: usize,
}

/// Maximum number of dimensions of a view.
const MAX_DIMENSIONS: usize = 8;

/// Read-only array over memory of an input, for NumPy by the buffer protocol.
#[pyclass(frozen, module = "sideline")]
pub struct View {
    memory: Memory,
    element: Element,
    dimensions: usize,
    shape: [isize; MAX_DIMENSIONS],
    strides: [isize; MAX_DIMENSIONS],
    exports: Arc<Exports>,
}

impl View {
    /// Creates a view of `shape` elements, whose rows (the first dimension) are `row_stride` bytes apart. Returns `None` if the
    /// memory is too short for it, or there are too many dimensions.
    pub fn new(
        memory: Memory,
        element: Element,
        shape: &[usize],
        row_stride: usize,
        exports: Arc<Exports>,
    ) -> Option<Self> {
        let dimensions = shape.len();
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return None;
        }
        let (mut lengths, mut strides) = ([0; MAX_DIMENSIONS], [0; MAX_DIMENSIONS]);
        // Size of an item of the dimension, bytes.
        let mut size = element.size;
        for (at, length) in shape.iter().enumerate().rev() {
            lengths[at] = isize::try_from(*length).ok()?;
            if at == 0 {
                strides[0] = isize::try_from(row_stride).ok()?;
            } else {
                strides[at] = isize::try_from(size).ok()?;
                size = size.checked_mul(*length)?;
            }
        }
        let rows = shape[0];
        if rows > 0 {
            let end = (rows - 1).checked_mul(row_stride)?.checked_add(size)?;
            if size > row_stride || end > memory.bytes().len() {
                return None;
            }
        }
        Some(Self { memory, element, dimensions, shape: lengths, strides, exports })
    }
}

#[pymethods]
impl View {
    // SAFETY (of both): Python calls these with the pointers that its buffer protocol prescribes.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("there is no buffer to fill"));
        }
        let refuse = |text: &'static str| {
            // SAFETY: `view` is not null; the protocol demands that `obj` is null after an error.
            unsafe { (*view).obj = ptr::null_mut() };
            Err(PyBufferError::new_err(text))
        };
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return refuse("inputs of an operator are read-only: work on a copy, `array.copy()`");
        }
        if flags & ffi::PyBUF_STRIDES != ffi::PyBUF_STRIDES {
            return refuse("the rows of a view have padding: read it with numpy.asarray");
        }
        let this = slf.get();
        let elements: isize = this.shape[..this.dimensions].iter().product();
        std::mem::forget(this.exports.count());
        // SAFETY: `view` is not null. Memory, shape and strides belong to the object, to which the view holds a reference; they
        // are never changed, and the view is read-only. `View::new` has checked that all elements lie in the memory.
        unsafe {
            (*view).buf = this.memory.bytes().as_ptr().cast_mut().cast();
            (*view).len = elements * this.element.size as isize;
            (*view).readonly = 1;
            (*view).itemsize = this.element.size as isize;
            (*view).format = if flags & ffi::PyBUF_FORMAT == ffi::PyBUF_FORMAT {
                this.element.format.as_ptr().cast_mut()
            } else {
                ptr::null_mut()
            };
            (*view).ndim = this.dimensions as c_int;
            (*view).shape = this.shape.as_ptr().cast_mut();
            (*view).strides = this.strides.as_ptr().cast_mut();
            (*view).suboffsets = ptr::null_mut();
            (*view).internal = ptr::null_mut();
            (*view).obj = slf.into_ptr();
        }
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.exports.live.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Returns a NumPy array over a view.
pub fn to_numpy<'py>(py: Python<'py>, view: View) -> PyResult<Bound<'py, PyAny>> {
    static AS_ARRAY: pyo3::sync::PyOnceLock<Py<PyAny>> = pyo3::sync::PyOnceLock::new();
    let function = AS_ARRAY.get_or_try_init(py, || crate::numpy(py)?.getattr("asarray").map(Bound::unbind))?;
    function.bind(py).call1((view,))
}

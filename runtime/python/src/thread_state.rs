//! Python's state of a thread, kept for the life of the thread.
//!
//! A thread that attaches to the interpreter afresh at every call gets a new state each time, which costs about ten
//! microseconds and empties `threading.local`. So the threads of operators keep theirs.

use pyo3::{Python, ffi};

/// State of the current thread, detached from the interpreter; `None` for a thread of Python, which has a state of its own.
struct KeptState(Option<(ffi::PyGILState_STATE, *mut ffi::PyThreadState)>);

impl KeptState {
    fn new() -> Self {
        // SAFETY: the interpreter runs, since it has loaded this module. A thread without a state is not attached, and
        // `PyEval_SaveThread` detaches it again. One with a state, as in a test that drives an operator from Python, may be
        // attached, and its state belongs to Python.
        unsafe {
            if !ffi::PyGILState_GetThisThreadState().is_null() {
                return Self(None);
            }
            let gil = ffi::PyGILState_Ensure();
            Self(Some((gil, ffi::PyEval_SaveThread())))
        }
    }
}

impl Drop for KeptState {
    fn drop(&mut self) {
        let Some((gil, thread)) = self.0 else { return };
        // SAFETY: the thread that made the state drops it, at its end, when it is detached. After the end of the interpreter its
        // states are gone, and must not be touched.
        unsafe {
            if ffi::Py_IsInitialized() != 0 {
                ffi::PyEval_RestoreThread(thread);
                ffi::PyGILState_Release(gil);
            }
        }
    }
}

thread_local! {
    static KEPT: KeptState = KeptState::new();
}

/// Attaches a thread of the engine to the interpreter for a call. Its state is kept until the thread ends.
pub fn attach<R>(call: impl FnOnce(Python<'_>) -> R) -> R {
    // At the end of a thread its state may be gone already; then the call attaches afresh.
    let _kept = KEPT.try_with(|_| ());
    Python::attach(call)
}

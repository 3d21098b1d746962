//! An operator in a library that depends on `sideline-abi` alone, without `sideline-api` and Arrow: the mean of the first plane.
//!
//! The key `fault` makes it break the rules of the interface, for tests of the loader. The compiler of Debian 12 compiles it, but for
//! the last attribute, which was written without `unsafe`.

use std::{
    ffi::c_void,
    sync::atomic::{AtomicU64, Ordering},
};

use sideline_abi::*;

const DESCRIPTION: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/bare.json"));

/// Faults on request.
const FAULTS: [&str; 11] =
    ["none", "make", "no_operator", "twice", "never", "keep", "rows", "index", "other_table", "silent", "frame"];

struct Bare {
    host: *const Host,
    fault: &'static str,
    /// Number of frames of each stream.
    streams: Vec<(Vec<u8>, u64)>,
}

/// Columns of one row, in one allocation that the release of the array frees.
struct Row {
    frames: [u64; 1],
    mean: [f32; 1],
    buffers: [[*const c_void; 2]; 2],
    no_nulls: [*const c_void; 1],
    children: [ArrowArray; 2],
    pointers: [*mut ArrowArray; 2],
}

/// Number of rows that were made and not released.
static ROWS: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" fn release_child(array: *mut ArrowArray) {
    // SAFETY: called with a column of `row`, whose memory belongs to its parent.
    unsafe { (*array).release = None };
}

unsafe extern "C" fn release_row(array: *mut ArrowArray) {
    // SAFETY: called once, with an array of `row`.
    unsafe {
        (*array).release = None;
        drop(Box::from_raw((*array).private_data.cast::<Row>()));
    }
    ROWS.fetch_sub(1, Ordering::SeqCst);
}

fn row(frames: u64, mean: f32) -> ArrowArray {
    ROWS.fetch_add(1, Ordering::SeqCst);
    let row = Box::leak(Box::new(Row {
        frames: [frames],
        mean: [mean],
        buffers: [[std::ptr::null(); 2]; 2],
        no_nulls: [std::ptr::null()],
        children: [ArrowArray::empty(), ArrowArray::empty()],
        pointers: [std::ptr::null_mut(); 2],
    }));
    let values = [row.frames.as_ptr().cast(), row.mean.as_ptr().cast()];
    for (i, value) in values.into_iter().enumerate() {
        row.buffers[i][1] = value;
        let child = &mut row.children[i];
        (child.length, child.n_buffers) = (1, 2);
        child.buffers = row.buffers[i].as_mut_ptr();
        child.release = Some(release_child);
        row.pointers[i] = std::ptr::addr_of_mut!(row.children[i]);
    }
    ArrowArray {
        length: 1,
        n_buffers: 1,
        n_children: 2,
        buffers: row.no_nulls.as_mut_ptr(),
        children: row.pointers.as_mut_ptr(),
        release: Some(release_row),
        private_data: (row as *mut Row).cast(),
        ..ArrowArray::empty()
    }
}

impl Bare {
    fn fail(&self, error: *mut Error, message: &str) -> i32 {
        // SAFETY: the host's functions are valid until the operator is dropped.
        unsafe { ((*self.host).fail)(error, FAILURE_OTHER, Text::new(message)) };
        ERROR
    }
}

unsafe extern "C" fn make(make: *const Make, operator: *mut *mut Operator, error: *mut Error) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe {
        let host = &*(*make).host;
        let (mut word, mut length) = ([0u8; 16], 0);
        (host.text)(host.context, Text::new("fault"), word.as_mut_ptr(), word.len(), &mut length);
        let fault = FAULTS.into_iter().find(|fault| fault.as_bytes() == &word[..length.min(16)]).unwrap_or("none");
        let bare = Bare { host, fault, streams: vec![] };
        match fault {
            "make" => return bare.fail(error, "this operator cannot be made"),
            "no_operator" => return OK,
            _ => {}
        }
        *operator = Box::into_raw(Box::new(bare)).cast();
    }
    OK
}

unsafe extern "C" fn process(operator: *mut Operator, call: *const Call, error: *mut Error) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe {
        let bare = &mut *operator.cast::<Bare>();
        let (call, host) = (&*call, &*bare.host);
        let message = (*call.inputs).message;
        if message.is_null() || (*message).kind != KIND_FRAME {
            return bare.fail(error, "input `frames` has no frame");
        }
        let frame = &*(*message).frame;
        let plane = frame.planes[0];
        let bytes = std::slice::from_raw_parts(plane.data, plane.length);
        let (width, height) = match frame.encoding {
            ENCODING_JPEG => (plane.length, 1),
            ENCODING_RGB8 | ENCODING_BGR8 => (3 * frame.width as usize, frame.height as usize),
            _ => (frame.width as usize, frame.height as usize),
        };
        // The bytes between the end of a row and the next one are padding.
        let pixels = bytes.chunks(plane.stride.max(1)).take(height).flat_map(|padded| &padded[..width]);
        let sum: u64 = pixels.map(|byte| u64::from(*byte)).sum();
        let stream = (*call.header).stream.bytes();
        let at = bare.streams.iter().position(|(name, _)| name == stream).unwrap_or_else(|| {
            bare.streams.push((stream.to_vec(), 0));
            bare.streams.len() - 1
        });
        bare.streams[at].1 += 1;
        let mut rows = row(bare.streams[at].1, sum as f32 / (width * height).max(1) as f32);
        let output = if bare.fault == "index" { 7 } else { 0 };
        match bare.fault {
            "never" => {
                release_row(&mut rows);
                return OK;
            }
            "silent" => {
                release_row(&mut rows);
                return ERROR;
            }
            "keep" => {
                if let Some(retain) = frame.retain {
                    retain(frame.owner);
                }
            }
            "rows" => rows.length = 5,
            "other_table" => rows.n_children = 1,
            "frame" => {
                release_row(&mut rows);
                let mut sent = *frame;
                sent.owner = frame.retain.map_or(std::ptr::null_mut(), |retain| retain(frame.owner));
                return (host.set_frame)(call.outputs, 0, &sent);
            }
            _ => {}
        }
        let mut code = (host.set_table)(call.outputs, output, &mut rows, std::ptr::null());
        if bare.fault == "twice" {
            code = (host.set_table)(call.outputs, 0, &mut row(0, 0.0), std::ptr::null());
        }
        (host.count)(host.context, Text::new("rows"), 1);
        if code != OK && bare.fault != "twice" { ERROR } else { OK }
    }
}

unsafe extern "C" fn save(operator: *const Operator, stream: Text, into: *mut Writer, _: *mut Error) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe {
        let bare = &*operator.cast::<Bare>();
        if let Some((_, frames)) = bare.streams.iter().find(|(name, _)| name == stream.bytes()) {
            let bytes = frames.to_le_bytes();
            ((*bare.host).write)(into, bytes.as_ptr(), bytes.len());
        }
    }
    OK
}

unsafe extern "C" fn load(
    operator: *mut Operator,
    stream: Text,
    data: *const u8,
    length: usize,
    error: *mut Error,
) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe {
        let bare = &mut *operator.cast::<Bare>();
        let bytes = Text { data, length }.bytes();
        let frames = match (bytes.len(), bytes.try_into()) {
            (0, _) => None,
            (_, Ok(bytes)) => Some(u64::from_le_bytes(bytes)),
            _ => return bare.fail(error, "a saved state has 8 bytes"),
        };
        bare.streams.retain(|(name, _)| name != stream.bytes());
        bare.streams.extend(frames.map(|frames| (stream.bytes().to_vec(), frames)));
    }
    OK
}

unsafe extern "C" fn close(operator: *mut Operator, _: *mut Error) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe {
        let bare = &*operator.cast::<Bare>();
        let host = &*bare.host;
        (host.count)(host.context, Text::new("unreleased_rows"), ROWS.load(Ordering::SeqCst));
    }
    OK
}

unsafe extern "C" fn drop_operator(operator: *mut Operator) {
    // SAFETY: the host drops an operator once.
    drop(unsafe { Box::from_raw(operator.cast::<Bare>()) });
}

static PLUGIN: Plugin = Plugin {
    size: std::mem::size_of::<Plugin>(),
    magic: MAGIC,
    abi_major: ABI_MAJOR,
    abi_minor: ABI_MINOR,
    description: Text::new(DESCRIPTION),
    check: None,
    make: Some(make),
    process: Some(process),
    stream_ended: None,
    snapshot: None,
    roll_back: None,
    save: Some(save),
    load: Some(load),
    reconfigure: None,
    close: Some(close),
    drop: Some(drop_operator),
};

/// Returns the plugin.
// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
pub extern "C" fn sideline_plugin() -> *const Plugin {
    &PLUGIN
}

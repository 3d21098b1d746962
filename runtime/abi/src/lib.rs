//! Binary interface between Sideline (the host) and an operator in a shared library (the plugin).
//!
//! A plugin exports one function, [`SYMBOL`], which returns its [`Plugin`]: a description and a table of functions. The host
//! gives it a [`Host`] table when it makes an operator.
//!
//! Rules of the interface:
//! - Every struct begins with its size in bytes, as its writer knows it, and grows only at its end. A reader that knows a longer
//!   struct treats the missing members as absent; items of an array are `size` bytes apart. [`Text`], [`Plane`] and the two
//!   structs of the Arrow C Data Interface are fixed and have no size.
//! - A minor version adds members and functions at the end. A major version may change anything; the host loads its own only.
//! - Text is UTF-8 without a terminating zero. It is borrowed for the call, except the description.
//! - Functions of a plugin return [`OK`], [`ERROR`] or [`PANIC`], after [`Host::fail`] for the last two. None of them unwinds.
//! - One operator is called from one thread at a time, not always the same one.
//! - A library is never unloaded.
#![no_std]
// For the compilers of edition 2021.
#![warn(unsafe_op_in_unsafe_fn)]

use core::ffi::c_void;

/// First member of a plugin after its size: the bytes `SIDELINE`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SIDELINE");
/// Major version of this interface.
pub const ABI_MAJOR: u32 = 1;
/// Minor version of this interface.
pub const ABI_MINOR: u32 = 0;
/// Name of the exported function, of type [`EntryPoint`].
pub const SYMBOL: &str = "sideline_plugin";
/// Type of the exported function. It returns null if the plugin cannot be described.
pub type EntryPoint = unsafe extern "C" fn() -> *const Plugin;

/// Result of a call: success.
pub const OK: i32 = 0;
/// Result of a call: an error, described by [`Host::fail`].
pub const ERROR: i32 = 1;
/// Result of a call: a panic that was caught, described by [`Host::fail`].
pub const PANIC: i32 = 2;

/// Kind of a message: rows of a table.
pub const KIND_TABLE: u32 = 1;
/// Kind of a message: a video frame.
pub const KIND_FRAME: u32 = 2;
/// Kind of a message: no data, for a reason.
pub const KIND_SKIPPED: u32 = 3;
/// Kind of a message: the end of a stream.
pub const KIND_END: u32 = 4;

/// Encoding of a frame: planar Y, U, V; chroma halved in both directions.
pub const ENCODING_I420: u32 = 0;
/// Encoding of a frame: planar Y, interleaved UV; chroma halved in both directions.
pub const ENCODING_NV12: u32 = 1;
/// Encoding of a frame: packed R, G, B.
pub const ENCODING_RGB8: u32 = 2;
/// Encoding of a frame: packed B, G, R.
pub const ENCODING_BGR8: u32 = 3;
/// Encoding of a frame: one JPEG image in one plane.
pub const ENCODING_JPEG: u32 = 4;

/// Matrix coefficients of ITU-R BT.601.
pub const MATRIX_BT601: u32 = 0;
/// Matrix coefficients of ITU-R BT.709.
pub const MATRIX_BT709: u32 = 1;

/// Mode of a run in which the source drops frames to keep up.
pub const MODE_LIVE: u32 = 0;
/// Mode of a run in which every frame is processed.
pub const MODE_COMPLETE: u32 = 1;

/// Failure of a wrong flow, key or value.
pub const FAILURE_CONFIG: u32 = 1;
/// Failure of a model.
pub const FAILURE_MODEL: u32 = 2;
/// Failure of an input file, stream or device.
pub const FAILURE_INPUT: u32 = 3;
/// Failure to write a result.
pub const FAILURE_OUTPUT: u32 = 4;
/// Failure of a GPU that was requested.
pub const FAILURE_GPU: u32 = 5;
/// Failure of any other kind.
pub const FAILURE_OTHER: u32 = 6;

/// Log level: error.
pub const LOG_ERROR: u32 = 1;
/// Log level: warning.
pub const LOG_WARN: u32 = 2;
/// Log level: information.
pub const LOG_INFO: u32 = 3;
/// Log level: debugging.
pub const LOG_DEBUG: u32 = 4;

/// Text in UTF-8, without a terminating zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// First byte; may be null if `length` is 0.
    pub data: *const u8,
    /// Number of bytes.
    pub length: usize,
}

impl Text {
    /// Creates a text that borrows `text`, which must outlive it.
    pub const fn new(text: &str) -> Self {
        Text { data: text.as_ptr(), length: text.len() }
    }

    /// Returns the bytes.
    ///
    /// # Safety
    /// `data` must point to `length` bytes that live as long as `'a`, or `length` must be 0.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.data.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: guaranteed by the caller.
        unsafe { core::slice::from_raw_parts(self.data, self.length) }
    }
}

/// Array of the [Arrow C Data Interface](https://arrow.apache.org/docs/format/CDataInterface.html).
#[repr(C)]
#[derive(Debug)]
pub struct ArrowArray {
    /// Number of rows.
    pub length: i64,
    /// Number of nulls; -1 if it was not counted.
    pub null_count: i64,
    /// Number of rows to leave out at the begin of the buffers.
    pub offset: i64,
    /// Number of buffers.
    pub n_buffers: i64,
    /// Number of children.
    pub n_children: i64,
    /// Buffers.
    pub buffers: *mut *const c_void,
    /// Children.
    pub children: *mut *mut ArrowArray,
    /// Dictionary; null in tables of Sideline.
    pub dictionary: *mut ArrowArray,
    /// Function that releases the array; null once it is released or moved.
    pub release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    /// Data of the producer.
    pub private_data: *mut c_void,
}

impl ArrowArray {
    /// Returns a released array.
    pub const fn empty() -> Self {
        ArrowArray {
            length: 0,
            null_count: 0,
            offset: 0,
            n_buffers: 0,
            n_children: 0,
            buffers: core::ptr::null_mut(),
            children: core::ptr::null_mut(),
            dictionary: core::ptr::null_mut(),
            release: None,
            private_data: core::ptr::null_mut(),
        }
    }
}

/// Schema of the [Arrow C Data Interface](https://arrow.apache.org/docs/format/CDataInterface.html).
#[repr(C)]
#[derive(Debug)]
pub struct ArrowSchema {
    /// Format of the type, with a terminating zero.
    pub format: *const u8,
    /// Name, with a terminating zero.
    pub name: *const u8,
    /// Metadata; null in tables of Sideline.
    pub metadata: *const u8,
    /// Flags; 2 for a column that may have nulls.
    pub flags: i64,
    /// Number of children.
    pub n_children: i64,
    /// Children.
    pub children: *mut *mut ArrowSchema,
    /// Schema of the dictionary; null in tables of Sideline.
    pub dictionary: *mut ArrowSchema,
    /// Function that releases the schema; null once it is released or moved.
    pub release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    /// Data of the producer.
    pub private_data: *mut c_void,
}

/// Flag of a schema: the column may have nulls.
pub const ARROW_FLAG_NULLABLE: i64 = 2;

/// Plane of a frame: rows of bytes, `stride` apart.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    /// First byte.
    pub data: *const u8,
    /// Number of bytes, padding included.
    pub length: usize,
    /// Distance between rows in bytes.
    pub stride: usize,
}

/// Video frame. Its planes must not be written to.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Size of this struct in bytes.
    pub size: usize,
    /// Width, px.
    pub width: u32,
    /// Height, px.
    pub height: u32,
    /// One of the constants `ENCODING_...`.
    pub encoding: u32,
    /// One of the constants `MATRIX_...`.
    pub matrix: u32,
    /// 1 for values from 0 to 255, 0 for video range.
    pub is_full_range: u32,
    /// Number of planes, 1 to 3.
    pub plane_count: u32,
    /// Planes.
    pub planes: [Plane; 3],
    /// Owner of the planes, for the two functions that follow.
    pub owner: *mut c_void,
    /// Makes the frame of an input outlive its call: returns an owner that has to be given to `release` once, or sent. May be
    /// absent in a frame that a plugin sends.
    pub retain: Option<unsafe extern "C" fn(owner: *mut c_void) -> *mut c_void>,
    /// Releases a retained frame, or one that a plugin has sent. It may be called from any thread. It has no effect on a frame that
    /// is only lent.
    pub release: Option<unsafe extern "C" fn(owner: *mut c_void)>,
}

/// Identity and times of a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Size of this struct in bytes.
    pub size: usize,
    /// Name of the stream.
    pub stream: Text,
    /// Number of the frame, from 0.
    pub frame: u64,
    /// Media time, nanoseconds.
    pub pts: i64,
    /// Time at which the frame was read, nanoseconds since 1970. It never goes into a table.
    pub captured_at: i64,
    /// Number of frames of the stream that were dropped before this one.
    pub dropped: u64,
    /// Number of the connection of the stream, from 0. A session begins where it differs from that of the frame before.
    pub session: u32,
    /// 1 after the last frame of the stream, else 0.
    pub is_closing: u32,
}

/// Message on an input.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Size of this struct in bytes.
    pub size: usize,
    /// One of the constants `KIND_...`.
    pub kind: u32,
    /// Reserved; 0.
    pub reserved: u32,
    /// Frame to which the message belongs.
    pub header: *const Header,
    /// Number of the message on its output.
    pub number: u64,
    /// Number of frames of the stream, for [`KIND_END`].
    pub end_frames: u64,
    /// Reason, for [`KIND_SKIPPED`].
    pub reason: Text,
    /// Rows as a struct array, for [`KIND_TABLE`]. A plugin may move it out; else the host releases it after the call.
    pub table: *mut ArrowArray,
    /// Schema of the rows, borrowed.
    pub schema: *const ArrowSchema,
    /// Frame, for [`KIND_FRAME`], borrowed; see [`Frame::retain`].
    pub frame: *const Frame,
}

/// Input of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// Size of this struct in bytes.
    pub size: usize,
    /// Message of the frame; null if there is none.
    pub message: *const Message,
    /// Messages of a side or feedback input since the last call.
    pub side: *const Message,
    /// Number of those.
    pub side_count: usize,
}

/// Arguments of [`Plugin::process`] and [`Plugin::stream_ended`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Size of this struct in bytes.
    pub size: usize,
    /// Header of the frame.
    pub header: *const Header,
    /// Random seed that depends on the node, the stream and the frame number only.
    pub seed: u64,
    /// One item for each wired input, in the order of [`Make::inputs`].
    pub inputs: *const Input,
    /// Number of inputs.
    pub input_count: usize,
    /// Outputs, for the functions `set_...` of the host.
    pub outputs: *mut Outputs,
}

/// Arguments of [`Plugin::make`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Make {
    /// Size of this struct in bytes.
    pub size: usize,
    /// Functions of the host, which live as long as the process.
    pub host: *const Host,
    /// Id of the node.
    pub node: Text,
    /// One of the constants `MODE_...`.
    pub mode: u32,
    /// Reserved; 0.
    pub reserved: u32,
    /// Configuration as a JSON object: every key with its value.
    pub values: Text,
    /// Names of the wired inputs.
    pub inputs: *const Text,
    /// Number of wired inputs.
    pub input_count: usize,
    /// For each declared output 1 if it has a reader, else 0.
    pub is_read: *const u8,
    /// Number of declared outputs.
    pub output_count: usize,
    /// Environment as a JSON object: device, folders, wired inputs. For `sideline-plugin`.
    pub resources: Text,
}

/// Operator of a plugin.
#[repr(C)]
#[derive(Debug)]
pub struct Operator {
    _private: [u8; 0],
}
/// Receiver of the error of a call.
#[repr(C)]
#[derive(Debug)]
pub struct Error {
    _private: [u8; 0],
}
/// Receiver of bytes.
#[repr(C)]
#[derive(Debug)]
pub struct Writer {
    _private: [u8; 0],
}
/// Outputs of a call.
#[repr(C)]
#[derive(Debug)]
pub struct Outputs {
    _private: [u8; 0],
}

/// Functions of the host.
///
/// Functions that take a context may be called from any thread, also after [`Plugin::drop`]: they then fail or do nothing, and
/// the clock returns the time of the drop. The others are for the running call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Size of this struct in bytes.
    pub size: usize,
    /// First argument of the functions that have a `context`.
    pub context: *mut c_void,
    /// Describes the failure of the running call: one of the constants `FAILURE_...` and a message. The last call counts.
    pub fail: unsafe extern "C" fn(error: *mut Error, failure: u32, message: Text),
    /// Appends bytes.
    pub write: unsafe extern "C" fn(into: *mut Writer, data: *const u8, length: usize),
    /// Writes a line to the log: one of the constants `LOG_...` and a message.
    pub log: unsafe extern "C" fn(context: *mut c_void, level: u32, message: Text),
    /// Adds to a counter of the operator, which the report of the run shows.
    pub count: unsafe extern "C" fn(context: *mut c_void, name: Text, amount: u64),
    /// Finds the file of a model by its name, verifies it and copies its path, as much as fits into `capacity` bytes; `length`
    /// gets the length of the whole path.
    pub model: unsafe extern "C" fn(
        context: *mut c_void,
        name: Text,
        path: *mut u8,
        capacity: usize,
        length: *mut usize,
        error: *mut Error,
    ) -> i32,
    /// Returns the clock of the run, nanoseconds since 1970. For measurements only.
    pub now: unsafe extern "C" fn(context: *mut c_void) -> i64,
    /// Reads the value of a numeric key; 1 for true, 0 for false. Returns [`ERROR`] if the key has no number.
    pub number: unsafe extern "C" fn(context: *mut c_void, key: Text, value: *mut f64) -> i32,
    /// Copies the value of a key, as much as fits into `capacity` bytes: text as it is, any other value as JSON; `length` gets
    /// the length of the whole value. Returns [`ERROR`] if there is no such key.
    pub text: unsafe extern "C" fn(
        context: *mut c_void,
        key: Text,
        value: *mut u8,
        capacity: usize,
        length: *mut usize,
    ) -> i32,
    /// Sets the output with this index to rows. The array is moved to the host in every case. The schema is that of the
    /// description if it is null, and is borrowed. Each output is set at most once in a call.
    pub set_table: unsafe extern "C" fn(
        outputs: *mut Outputs,
        output: usize,
        table: *mut ArrowArray,
        schema: *const ArrowSchema,
    ) -> i32,
    /// Sets the output with this index to a frame, whose `owner` is moved to the host in every case. A frame that is lent to the
    /// call is retained.
    pub set_frame: unsafe extern "C" fn(outputs: *mut Outputs, output: usize, frame: *const Frame) -> i32,
    /// Marks the output with this index as skipped, for a reason of one word.
    pub set_skipped: unsafe extern "C" fn(outputs: *mut Outputs, output: usize, reason: Text) -> i32,
}

/// Plugin: its description and its functions.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Plugin {
    /// Size of this struct in bytes.
    pub size: usize,
    /// [`MAGIC`].
    pub magic: u64,
    /// [`ABI_MAJOR`] of the plugin.
    pub abi_major: u32,
    /// [`ABI_MINOR`] of the plugin.
    pub abi_minor: u32,
    /// Description as JSON, as in the file beside the library. It lives as long as the process.
    pub description: Text,
    /// Checks a configuration (JSON object) beyond the ranges of its keys: writes one line `KEY: PROBLEM` for each problem. May
    /// be absent.
    pub check:
        Option<unsafe extern "C" fn(host: *const Host, values: Text, problems: *mut Writer, error: *mut Error) -> i32>,
    /// Creates an operator.
    pub make: Option<unsafe extern "C" fn(make: *const Make, operator: *mut *mut Operator, error: *mut Error) -> i32>,
    /// Processes one frame.
    pub process: Option<unsafe extern "C" fn(operator: *mut Operator, call: *const Call, error: *mut Error) -> i32>,
    /// Handles the end of a stream and discards its state. May be absent.
    pub stream_ended:
        Option<unsafe extern "C" fn(operator: *mut Operator, call: *const Call, error: *mut Error) -> i32>,
    /// Takes a copy of the state of a stream. May be absent; the host then uses `save`.
    pub snapshot: Option<unsafe extern "C" fn(operator: *mut Operator, stream: Text, error: *mut Error) -> i32>,
    /// Resets the state of a stream to its last copy, or to a new state if there is none. May be absent; the host then uses
    /// `load`.
    pub roll_back: Option<unsafe extern "C" fn(operator: *mut Operator, stream: Text, error: *mut Error) -> i32>,
    /// Writes the state of a stream, nothing if it has none. Absent in an operator without state.
    pub save: Option<
        unsafe extern "C" fn(operator: *const Operator, stream: Text, into: *mut Writer, error: *mut Error) -> i32,
    >,
    /// Replaces the state of a stream by one that `save` has written; by a new state if there are no bytes. Absent in an
    /// operator without state.
    pub load: Option<
        unsafe extern "C" fn(
            operator: *mut Operator,
            stream: Text,
            data: *const u8,
            length: usize,
            error: *mut Error,
        ) -> i32,
    >,
    /// Applies a configuration (JSON object) of which only live keys changed. Absent in an operator without live keys.
    pub reconfigure: Option<unsafe extern "C" fn(operator: *mut Operator, values: Text, error: *mut Error) -> i32>,
    /// Closes files and devices. Called once. May be absent.
    pub close: Option<unsafe extern "C" fn(operator: *mut Operator, error: *mut Error) -> i32>,
    /// Frees the operator. Called once, last.
    pub drop: Option<unsafe extern "C" fn(operator: *mut Operator)>,
}

// SAFETY: the pointers of a description refer to data that lives as long as the process and is not changed.
unsafe impl Sync for Plugin {}
// SAFETY: as above.
unsafe impl Send for Plugin {}

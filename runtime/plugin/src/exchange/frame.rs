//! Frames as planes with the functions that keep and release them.

#[cfg(feature = "load")]
use std::sync::atomic::{AtomicIsize, Ordering};
use std::{ffi::c_void, ptr::NonNull, sync::Arc};

use sideline_abi as abi;
use sideline_api::{Color, Encoding, Error, Frame, Matrix, Plane, Result, arrow::buffer::Buffer};

use super::versioned;

/// Describes a frame without owner.
pub fn describe(frame: &Frame) -> abi::Frame {
    let encoding = frame.encoding();
    let count = if encoding == Encoding::Jpeg { 1 } else { encoding.plane_count() };
    let mut planes = [abi::Plane { data: std::ptr::null(), length: 0, stride: 0 }; 3];
    for (i, plane) in planes.iter_mut().enumerate().take(count) {
        let (data, stride) = frame.plane(i);
        *plane = abi::Plane { data: data.as_ptr(), length: data.len(), stride };
    }
    abi::Frame {
        size: size_of::<abi::Frame>(),
        width: frame.width(),
        height: frame.height(),
        encoding: match encoding {
            Encoding::I420 => abi::ENCODING_I420,
            Encoding::Nv12 => abi::ENCODING_NV12,
            Encoding::Rgb8 => abi::ENCODING_RGB8,
            Encoding::Bgr8 => abi::ENCODING_BGR8,
            Encoding::Jpeg => abi::ENCODING_JPEG,
        },
        matrix: match frame.color().matrix {
            Matrix::Bt601 => abi::MATRIX_BT601,
            Matrix::Bt709 => abi::MATRIX_BT709,
        },
        is_full_range: u32::from(frame.color().full_range),
        plane_count: count as u32,
        planes,
        owner: std::ptr::null_mut(),
        retain: None,
        release: None,
    }
}

/// Number of frames of inputs that a plugin keeps: those that it has retained without those that it has passed on.
///
/// A frame that is passed on may be of the plugin's own making. It is subtracted nevertheless, which allows the plugin that many
/// more while they are on their way.
#[cfg(feature = "load")]
#[derive(Debug, Default)]
pub struct KeptFrames(AtomicIsize);

#[cfg(feature = "load")]
impl KeptFrames {
    /// Returns the number.
    pub fn count(&self) -> usize {
        usize::try_from(self.0.load(Ordering::Relaxed)).unwrap_or_default()
    }
}

/// Frame of an input: lent for a call, or retained by the plugin.
#[cfg(feature = "load")]
pub struct Lent {
    frame: Arc<Frame>,
    kept: Arc<KeptFrames>,
    /// True if the plugin owns this value and has to release it.
    is_retained: bool,
}

#[cfg(feature = "load")]
impl Lent {
    pub fn new(frame: &Arc<Frame>, kept: &Arc<KeptFrames>) -> Self {
        Self { frame: frame.clone(), kept: kept.clone(), is_retained: false }
    }

    /// Describes the frame. The description is valid as long as this value.
    pub fn describe(&self) -> abi::Frame {
        let owner = std::ptr::from_ref(self).cast_mut().cast();
        abi::Frame { owner, retain: Some(retain), release: Some(release), ..describe(&self.frame) }
    }

    /// Returns true if a frame that the plugin sends is this one: it names this owner, or none for the memory of this frame.
    fn is_sent_as(&self, description: &abi::Frame) -> bool {
        if description.release.is_some() {
            return std::ptr::eq(self, description.owner.cast());
        }
        let ours = describe(&self.frame);
        description.planes.iter().any(|sent| {
            let is_within = |plane: &abi::Plane| {
                plane.data.addr() <= sent.data.addr() && sent.data.addr() < plane.data.addr() + plane.length
            };
            !sent.data.is_null() && ours.planes.iter().any(is_within)
        })
    }
}

#[cfg(feature = "load")]
unsafe extern "C" fn retain(owner: *mut c_void) -> *mut c_void {
    // SAFETY: called with the owner of `Lent::describe` during its call, with one that this function has returned, or with null.
    let Some(lent) = (unsafe { owner.cast::<Lent>().as_ref() }) else { return std::ptr::null_mut() };
    lent.kept.0.fetch_add(1, Ordering::Relaxed);
    Box::into_raw(Box::new(Lent { is_retained: true, ..Lent::new(&lent.frame, &lent.kept) })).cast()
}

/// Releases a retained frame. A lent one stays: the host releases it after the call.
#[cfg(feature = "load")]
unsafe extern "C" fn release(owner: *mut c_void) {
    // SAFETY: called once with an owner that `retain` has returned, during the call with one that is lent, or with null.
    unsafe {
        if owner.cast::<Lent>().as_ref().is_some_and(|lent| lent.is_retained) {
            let retained = Box::from_raw(owner.cast::<Lent>());
            retained.kept.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Describes a frame that is moved to the other side with the description.
pub fn export(frame: Arc<Frame>) -> abi::Frame {
    let description = describe(&frame);
    abi::Frame { owner: Box::into_raw(Box::new(frame)).cast(), release: Some(release_exported), ..description }
}

unsafe extern "C" fn release_exported(owner: *mut c_void) {
    // SAFETY: called once, with the owner of `export`.
    drop(unsafe { Box::from_raw(owner.cast::<Arc<Frame>>()) });
}

/// Owner of the planes of an imported frame.
struct Owner {
    owner: *mut c_void,
    release: Option<unsafe extern "C" fn(*mut c_void)>,
    /// Count from which the frame is subtracted as long as this side owns it.
    #[cfg(feature = "load")]
    passed_on: Option<Arc<KeptFrames>>,
}

// SAFETY: the interface allows to read and release a frame on any thread.
unsafe impl Send for Owner {}
// SAFETY: as above; nothing writes to the planes.
unsafe impl Sync for Owner {}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the owner belongs to this value, and is released once.
            unsafe { release(self.owner) };
        }
        #[cfg(feature = "load")]
        if let Some(kept) = &self.passed_on {
            kept.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Imports a frame that was moved with its description. Its owner is released also on errors.
///
/// # Errors
/// When encoding, size and planes do not fit each other.
///
/// # Safety
/// The planes must be as long as they claim, until the frame is released.
pub unsafe fn import(description: &abi::Frame) -> Result<Frame> {
    let owner = Owner {
        owner: description.owner,
        release: description.release,
        #[cfg(feature = "load")]
        passed_on: None,
    };
    // SAFETY: guaranteed by the caller.
    unsafe { import_owned(description, owner) }
}

/// Imports a frame that a plugin sends during a call to which these frames are lent. One of them is retained first, so that it
/// outlives the call.
///
/// # Errors
/// As for [`import`].
///
/// # Safety
/// As for [`import`].
#[cfg(feature = "load")]
pub unsafe fn import_sent(description: &abi::Frame, lent: &[Lent], kept: &Arc<KeptFrames>) -> Result<Frame> {
    let mut owner = Owner { owner: description.owner, release: description.release, passed_on: Some(kept.clone()) };
    if let Some(lent) = lent.iter().find(|lent| lent.is_sent_as(description)) {
        // SAFETY: the frame is lent.
        owner.owner = unsafe { retain(std::ptr::from_ref(lent).cast_mut().cast()) };
        owner.release = Some(release);
    }
    kept.0.fetch_sub(1, Ordering::Relaxed);
    // SAFETY: guaranteed by the caller.
    unsafe { import_owned(description, owner) }
}

/// Imports a frame with its owner.
///
/// # Safety
/// As for [`import`].
unsafe fn import_owned(description: &abi::Frame, owner: Owner) -> Result<Frame> {
    let owner = Arc::new(owner);
    let encoding = match description.encoding {
        abi::ENCODING_I420 => Encoding::I420,
        abi::ENCODING_NV12 => Encoding::Nv12,
        abi::ENCODING_RGB8 => Encoding::Rgb8,
        abi::ENCODING_BGR8 => Encoding::Bgr8,
        abi::ENCODING_JPEG => Encoding::Jpeg,
        other => return Err(Error::other(format!("there is no frame encoding {other}"))),
    };
    let matrix = match description.matrix {
        abi::MATRIX_BT601 => Matrix::Bt601,
        abi::MATRIX_BT709 => Matrix::Bt709,
        other => return Err(Error::other(format!("there is no color matrix {other}"))),
    };
    let color = Color { matrix, full_range: description.is_full_range != 0 };
    let count = description.plane_count as usize;
    let Some(planes) = description.planes.get(..count) else {
        return Err(Error::other(format!("a frame has at most 3 planes, found {count}")));
    };
    let buffer = |plane: &abi::Plane| match NonNull::new(plane.data.cast_mut()) {
        // SAFETY: guaranteed by the caller; the owner outlives the buffer.
        Some(data) => Ok(unsafe { Buffer::from_custom_allocation(data, plane.length, owner.clone()) }),
        None => Err(Error::other("a plane of a frame is missing")),
    };
    let (width, height) = (description.width, description.height);
    if let (Encoding::Jpeg, [plane]) = (encoding, planes) {
        return Frame::from_packed(width, height, encoding, color, buffer(plane)?);
    }
    let planes = planes.iter().map(|plane| Ok(Plane { data: buffer(plane)?, stride: plane.stride }));
    Frame::from_planes(width, height, encoding, color, planes.collect::<Result<Vec<_>>>()?)
}

/// Imports a frame that was lent for a call: it is retained, so it may outlive the call.
///
/// # Errors
/// As for [`import`].
///
/// # Safety
/// As for [`import`]; called during the call.
pub unsafe fn import_lent(description: *const abi::Frame) -> Result<Frame> {
    // SAFETY: guaranteed by the caller.
    let (description, _) = unsafe { versioned::read(description) }?;
    let Some(retain) = description.retain else {
        return Err(Error::other("the frame of an input cannot be retained"));
    };
    // SAFETY: the frame is lent, and the owner that comes back is released once.
    let owner = unsafe { retain(description.owner) };
    // SAFETY: guaranteed by the caller.
    unsafe { import(&abi::Frame { owner, ..description }) }
}

#[cfg(all(test, feature = "load"))]
mod tests {
    use super::*;

    fn frame(encoding: Encoding) -> Arc<Frame> {
        let bytes: Vec<u8> = (0..3 * 5 * 3).map(|i| i as u8).collect();
        Arc::new(Frame::from_packed(5, 3, encoding, Color { matrix: Matrix::Bt601, full_range: true }, bytes).unwrap())
    }

    #[test]
    fn frames_of_every_encoding_cross_without_a_copy() {
        for encoding in Encoding::ALL {
            let (original, kept) = (frame(encoding), Arc::<KeptFrames>::default());
            let lent = Lent::new(&original, &kept);
            // SAFETY: the description is that of a valid frame.
            let crossed = unsafe { import_lent(&lent.describe()) }.unwrap();
            assert_eq!((crossed.width(), crossed.height(), crossed.encoding()), (5, 3, encoding));
            assert_eq!(crossed.color(), original.color());
            let ((ours, our_stride), (theirs, their_stride)) = (crossed.plane(0), original.plane(0));
            assert_eq!((ours.as_ptr(), ours.len(), our_stride), (theirs.as_ptr(), theirs.len(), their_stride));
            assert_eq!(kept.count(), 1);
            drop(lent);
            let back = export(Arc::new(crossed));
            // SAFETY: the description is that of a valid frame, and moved once.
            let back = unsafe { import_sent(&back, &[], &kept) }.unwrap();
            assert_eq!(back.plane(0).0.as_ptr(), original.plane(0).0.as_ptr());
            assert_eq!(kept.count(), 0, "passed on");
            drop(back);
            assert_eq!(kept.0.load(Ordering::Relaxed), 0, "released on the way of every owner");
            assert_eq!(Arc::strong_count(&original), 1);
        }
    }

    #[test]
    fn a_lent_frame_that_is_sent_without_being_retained_outlives_its_call() {
        let (original, kept) = (frame(Encoding::I420), Arc::<KeptFrames>::default());
        type Change = fn(&mut abi::Frame);
        let changes: [Change; 2] = [|_| {}, |sent| (sent.owner, sent.release) = (std::ptr::null_mut(), None)];
        for change in changes {
            let lent = vec![Lent::new(&original, &kept)];
            let mut description = lent[0].describe();
            change(&mut description);
            // SAFETY: the description is that of a lent frame.
            let sent = unsafe { import_sent(&description, &lent, &kept) }.unwrap();
            drop(lent);
            assert_eq!(Arc::strong_count(&original), 2, "one for the frame on its way");
            assert_eq!(sent.plane(0).0, original.plane(0).0);
            drop(sent);
            assert_eq!((Arc::strong_count(&original), kept.0.load(Ordering::Relaxed)), (1, 0));
        }
    }

    #[test]
    fn the_release_of_a_frame_that_is_only_lent_does_nothing() {
        let (original, kept) = (frame(Encoding::Rgb8), Arc::<KeptFrames>::default());
        let lent = Lent::new(&original, &kept);
        let description = lent.describe();
        // SAFETY: the frame is lent, or null.
        unsafe {
            (description.release.unwrap())(description.owner);
            (description.release.unwrap())(std::ptr::null_mut());
            assert!((description.retain.unwrap())(std::ptr::null_mut()).is_null());
        }
        assert_eq!(Arc::strong_count(&original), 2);
        drop(lent);
        assert_eq!((Arc::strong_count(&original), kept.0.load(Ordering::Relaxed)), (1, 0));
    }

    #[test]
    fn a_frame_that_is_passed_on_and_kept_as_well_is_counted_when_its_receiver_is_done() {
        let (original, kept) = (frame(Encoding::Rgb8), Arc::<KeptFrames>::default());
        let lent = Lent::new(&original, &kept);
        // SAFETY: the descriptions are those of valid frames, and moved once.
        unsafe {
            let crossed = Arc::new(import_lent(&lent.describe()).unwrap());
            let sent = import_sent(&export(crossed.clone()), &[], &kept).unwrap();
            assert_eq!(kept.count(), 0);
            drop(sent);
            assert_eq!(kept.count(), 1);
            drop(crossed);
        }
        assert_eq!(kept.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_frame_that_does_not_fit_is_refused_and_released() {
        type Change = fn(&mut abi::Frame);
        let changes: [(&str, Change); 6] = [
            ("encoding 9", |frame| frame.encoding = 9),
            ("matrix 7", |frame| frame.matrix = 7),
            ("at most 3 planes, found 4", |frame| frame.plane_count = 4),
            ("has 3 planes, not 2", |frame| frame.plane_count = 2),
            ("is missing", |frame| frame.planes[1].data = std::ptr::null()),
            ("needs", |frame| frame.planes[0].length = 4),
        ];
        for (text, change) in changes {
            let original = frame(Encoding::I420);
            let mut description = export(original.clone());
            change(&mut description);
            // SAFETY: the planes are at least as long as they claim.
            let error = unsafe { import(&description) }.unwrap_err();
            assert!(error.message.contains(text), "{text}: {error}");
            assert_eq!(Arc::strong_count(&original), 1, "{text}: released");
        }
    }
}

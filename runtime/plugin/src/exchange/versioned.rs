//! Structs of the interface: they begin with their size, and grow at their end.

use std::mem::{MaybeUninit, offset_of};

use sideline_abi as abi;
use sideline_api::{Error, Result};

/// Struct of the interface that begins with its size.
///
/// # Safety
/// The first member is the size in bytes, a `usize`. Zero bytes are valid for the members behind the first [`Self::FIRST_SIZE`]
/// bytes, and mean that they are absent.
pub unsafe trait Versioned: Copy {
    /// Name, for messages.
    const NAME: &'static str;
    /// Size in version 1.0 of the interface.
    const FIRST_SIZE: usize;
}

/// Declares structs with the last member that they have in version 1.0, and its type.
macro_rules! versioned {
    ($($name:ident: $text:literal, $last:ident: $ty:ty;)*) => {
        $(
            // SAFETY: the struct begins with its size, and nothing was added to it yet.
            unsafe impl Versioned for abi::$name {
                const NAME: &'static str = $text;
                // Padding at the end belongs to the struct.
                const FIRST_SIZE: usize = (offset_of!(abi::$name, $last) + size_of::<$ty>()).next_multiple_of(align_of::<abi::$name>());
            }
        )*
    };
}

versioned! {
    Frame: "a frame", release: usize;
    Header: "a header", is_closing: u32;
    Message: "a message", frame: usize;
    Input: "an input", side_count: usize;
    Call: "a call", outputs: usize;
    Make: "the arguments of `make`", resources: abi::Text;
    Host: "the table of the host", set_skipped: usize;
}

/// Reads a struct of the other side: its members as far as both sides know them. Returns it with its size there, which is the
/// distance to the next item of an array.
///
/// # Errors
/// When it is missing, or shorter than in version 1.0.
///
/// # Safety
/// `pointer` must be null, or lead to a struct that is as long as it says.
pub unsafe fn read<T: Versioned>(pointer: *const T) -> Result<(T, usize)> {
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(Error::other(format!("{} is missing", T::NAME)));
    }
    // SAFETY: the struct begins with its size.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < T::FIRST_SIZE || size % align_of::<T>() != 0 {
        let needed = T::FIRST_SIZE;
        return Err(Error::other(format!("{} has a size of {size} bytes, at least {needed} are needed", T::NAME)));
    }
    if size >= size_of::<T>() {
        // SAFETY: the struct has all members that this side knows.
        return Ok((unsafe { pointer.read() }, size));
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: the struct has `size` bytes; zero is valid for members that it lacks.
    unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), size);
        Ok((copy.assume_init(), size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Struct that has got a member since version 1.0.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Grown {
        size: usize,
        first: u64,
        added: u64,
    }

    // SAFETY: the struct begins with its size; 0 is a valid number.
    unsafe impl Versioned for Grown {
        const NAME: &'static str = "a test";
        const FIRST_SIZE: usize = 16;
    }

    #[test]
    fn a_struct_of_an_older_minor_version_is_read_as_far_as_it_goes() {
        for (size, expected) in [(16, Ok((16, 0))), (24, Ok((24, 9))), (32, Ok((32, 9)))] {
            // Memory behind a shorter struct belongs to something else.
            let words = [size as u64, 7, 9, 11];
            // SAFETY: there are 32 bytes.
            let read = unsafe { read::<Grown>(words.as_ptr().cast()) };
            assert_eq!(read.map(|(grown, size)| (size, grown.added)), expected);
        }
        for size in [0, 8, 15, 17] {
            let words = [size as u64, 7, 9, 11];
            // SAFETY: as above.
            let error = unsafe { read::<Grown>(words.as_ptr().cast()) }.unwrap_err();
            assert_eq!(error.message, format!("a test has a size of {size} bytes, at least 16 are needed"));
        }
        // SAFETY: null is allowed.
        assert_eq!(unsafe { read::<Grown>(std::ptr::null()) }.unwrap_err().message, "a test is missing");
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn sizes_of_version_1_are_pinned() {
        let sizes = [
            abi::Frame::FIRST_SIZE,
            abi::Header::FIRST_SIZE,
            abi::Message::FIRST_SIZE,
            abi::Input::FIRST_SIZE,
            abi::Call::FIRST_SIZE,
            abi::Make::FIRST_SIZE,
            abi::Host::FIRST_SIZE,
        ];
        assert_eq!(sizes, [128, 64, 80, 32, 48, 104, 104]);
    }
}

//! Exporter of rows as arrays of the Arrow C Data Interface.

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use sideline_abi::ArrowArray;
use sideline_api::{
    Error, Result,
    arrow::{
        array::{Array, BooleanArray, FixedSizeListArray, ListArray, PrimitiveArray, StringArray, StructArray},
        buffer::{BooleanBuffer, Buffer},
        schema::{DataType, Fields},
    },
};

use super::array::for_primitive;

/// Exporter of arrays. It reuses the memory of released arrays, so that the rows of most frames cross without an allocation.
#[derive(Default)]
pub struct Exporter {
    memory: Vec<Arc<Exported>>,
}

/// Maximum number of arrays whose memory is kept: more are rarely in use at the same time.
const MAX_KEPT: usize = 8;

impl Exporter {
    /// Exports rows. The result is released by its `release`, or moved by the one who gets it.
    ///
    /// # Errors
    /// When a column has a type that tables do not have.
    pub fn export(&mut self, rows: &Arc<StructArray>) -> Result<ArrowArray> {
        let memory = match self.memory.iter().find(|memory| memory.unreleased.load(Ordering::Acquire) == 0) {
            Some(free) => free.clone(),
            None => {
                let memory = Arc::<Exported>::default();
                if self.memory.len() < MAX_KEPT {
                    self.memory.push(memory.clone());
                }
                memory
            }
        };
        // SAFETY: all structs in this memory are released, and this value alone gives it out.
        let contents = unsafe { &mut *memory.contents.get() };
        let root = contents.fill(rows, Arc::as_ptr(&memory))?;
        // One more for the contents, which are cleared when all structs are released.
        memory.unreleased.store(contents.arrays.len() + 2, Ordering::Release);
        // The structs own one share of the memory, which the last release gives back.
        let _ = Arc::into_raw(memory);
        Ok(root)
    }
}

/// Memory of an exported array.
#[derive(Default)]
pub struct Exported {
    /// Number of structs that are not released, and one for the contents; 0 for memory that is not in use.
    unreleased: AtomicUsize,
    contents: UnsafeCell<Contents>,
}

/// Rows of an exported array, and the structs that describe them.
#[derive(Default)]
struct Contents {
    rows: Option<Arc<StructArray>>,
    /// Bitmaps that were shifted to begin at a byte.
    bitmaps: Vec<Buffer>,
    /// Addresses of buffers and of children, those of one array side by side.
    addresses: Vec<*const c_void>,
    /// Structs of all descendants. The other side writes to them.
    arrays: Vec<UnsafeCell<ArrowArray>>,
    /// Columns that are described here, if all are numbers: other rows with these columns are described in the same places.
    numbers: Option<Fields>,
}

// SAFETY: the pointers lead to immutable buffers of the rows and into the contents; only the owner of a struct writes to it, and
// the contents change only while no struct is in use.
unsafe impl Send for Exported {}
// SAFETY: as above.
unsafe impl Sync for Exported {}

/// Returns the number of structs and of buffers of an array of this type.
fn count(data_type: &DataType) -> (usize, usize) {
    match data_type {
        DataType::Utf8 => (1, 3),
        DataType::List(item) => {
            let (arrays, buffers) = count(item.data_type());
            (arrays + 1, buffers + 2)
        }
        DataType::FixedSizeList(item, _) => {
            let (arrays, buffers) = count(item.data_type());
            (arrays + 1, buffers + 1)
        }
        DataType::Struct(fields) => fields.iter().fold((1, 1), |(arrays, buffers), field| {
            let (more_arrays, more_buffers) = count(field.data_type());
            (arrays + more_arrays, buffers + more_buffers)
        }),
        _ => (1, 2),
    }
}

impl Contents {
    /// Describes rows in this memory, which has the address `memory`; returns the struct of the table.
    fn fill(&mut self, rows: &Arc<StructArray>, memory: *const Exported) -> Result<ArrowArray> {
        let mut root =
            ArrowArray { private_data: memory.cast_mut().cast(), release: Some(release), ..ArrowArray::empty() };
        let is_same = |known: &Fields| std::ptr::eq(known.as_ref(), rows.fields().as_ref());
        if rows.nulls().is_none()
            && self.numbers.as_ref().is_some_and(is_same)
            && self.describe_numbers(&mut root, rows).is_some()
        {
            self.rows = Some(rows.clone());
            return Ok(root);
        }
        let (mut arrays, mut buffers) = (0, 1);
        for column in rows.columns() {
            let (more_arrays, more_buffers) = count(column.data_type());
            (arrays, buffers) = (arrays + more_arrays, buffers + more_buffers);
        }
        self.numbers = None;
        self.bitmaps.clear();
        self.addresses.clear();
        self.arrays.clear();
        // The pointers into these stay valid because they never grow beyond this capacity.
        self.addresses.reserve(buffers + arrays);
        self.arrays.reserve(arrays);
        self.describe(&mut root, &**rows)?;
        let is_of_numbers = rows.nulls().is_none()
            && rows.columns().iter().all(|column| column.data_type().is_numeric() && column.nulls().is_none());
        self.numbers = is_of_numbers.then(|| rows.fields().clone());
        self.rows = Some(rows.clone());
        Ok(root)
    }

    /// Describes rows of numbers in the places of others with the same columns; `None` if one has nulls.
    fn describe_numbers(&mut self, root: &mut ArrowArray, rows: &StructArray) -> Option<()> {
        let (length, count) = (rows.len() as i64, rows.columns().len());
        // The table has a bitmap, then its children, then each column a bitmap and values.
        let addresses = self.addresses.as_mut_ptr();
        for (i, (column, array)) in rows.columns().iter().zip(&mut self.arrays).enumerate() {
            if column.nulls().is_some() {
                return None;
            }
            macro_rules! values {
                ($primitive:ty) => {
                    column.as_any().downcast_ref::<PrimitiveArray<$primitive>>()?.values().inner().as_ptr().cast()
                };
            }
            let values: *const c_void = for_primitive!(column.data_type(), values, return None);
            let nulls = 1 + count + 2 * i;
            *self.addresses.get_mut(nulls + 1)? = values;
            *array.get_mut() = ArrowArray {
                length,
                n_buffers: 2,
                // SAFETY: the address of the values, which follows, exists.
                buffers: unsafe { addresses.add(nulls) },
                private_data: root.private_data,
                release: root.release,
                ..ArrowArray::empty()
            };
        }
        (root.length, root.n_buffers, root.n_children) = (length, 1, count as i64);
        root.buffers = addresses;
        // SAFETY: the children follow the bitmap of the table.
        root.children = unsafe { addresses.add(1) }.cast();
        Some(())
    }

    /// Fills in the struct of an array and those of its children.
    fn describe(&mut self, into: &mut ArrowArray, array: &dyn Array) -> Result<()> {
        let first_buffer = self.addresses.len();
        let nulls = match array.nulls() {
            Some(nulls) => self.bitmap(nulls.inner()),
            None => std::ptr::null(),
        };
        self.addresses.push(nulls);
        let unsupported = || Error::other(format!("tables have no columns of type {}", array.data_type()));
        macro_rules! values {
            ($primitive:ty) => {{
                let values: &PrimitiveArray<$primitive> = downcast(array)?;
                self.addresses.push(values.values().inner().as_ptr().cast());
            }};
        }
        let mut children: [&dyn Array; 1] = [array];
        let children: &[&dyn Array] = match array.data_type() {
            DataType::Boolean => {
                let values = self.bitmap(downcast::<BooleanArray>(array)?.values());
                self.addresses.push(values);
                &[]
            }
            DataType::Utf8 => {
                let text: &StringArray = downcast(array)?;
                self.addresses.push(text.offsets().inner().inner().as_ptr().cast());
                self.addresses.push(text.values().as_ptr().cast());
                &[]
            }
            DataType::List(_) => {
                let list: &ListArray = downcast(array)?;
                self.addresses.push(list.offsets().inner().inner().as_ptr().cast());
                children[0] = list.values();
                &children
            }
            DataType::FixedSizeList(..) => {
                children[0] = downcast::<FixedSizeListArray>(array)?.values();
                &children
            }
            DataType::Struct(_) => {
                let columns = downcast::<StructArray>(array)?.columns();
                self.add_children(into, columns.iter().map(|column| &**column))?;
                &[]
            }
            other => {
                for_primitive!(other, values, return Err(unsupported()));
                &[]
            }
        };
        if !children.is_empty() {
            self.add_children(into, children.iter().copied())?;
        }
        into.length = array.len() as i64;
        into.null_count = array.null_count() as i64;
        into.n_buffers = match array.data_type() {
            DataType::Utf8 => 3,
            DataType::FixedSizeList(..) | DataType::Struct(_) => 1,
            _ => 2,
        };
        // SAFETY: the buffers of this array begin at `first_buffer`, within the capacity.
        into.buffers = unsafe { self.addresses.as_mut_ptr().add(first_buffer) };
        Ok(())
    }

    /// Adds the structs of children, side by side, then fills them in.
    fn add_children<'a>(
        &mut self,
        into: &mut ArrowArray,
        children: impl Iterator<Item = &'a dyn Array> + Clone,
    ) -> Result<()> {
        let (first, first_array) = (self.addresses.len(), self.arrays.len());
        for _ in children.clone() {
            let (private_data, release) = (into.private_data, into.release);
            self.arrays.push(UnsafeCell::new(ArrowArray { private_data, release, ..ArrowArray::empty() }));
            let array = self.arrays[self.arrays.len() - 1].get();
            self.addresses.push(array.cast_const().cast());
        }
        into.n_children = (self.arrays.len() - first_array) as i64;
        // SAFETY: the addresses of these children begin at `first`, within the capacity.
        into.children = unsafe { self.addresses.as_mut_ptr().add(first) }.cast();
        for (i, child) in children.enumerate() {
            let array = self.arrays[first_array + i].get();
            // SAFETY: the struct is in `self.arrays`, which does not move, and nothing else refers to it.
            self.describe(unsafe { &mut *array }, child)?;
        }
        Ok(())
    }

    /// Returns the first byte of a bitmap, shifted if it does not begin at a byte.
    fn bitmap(&mut self, bits: &BooleanBuffer) -> *const c_void {
        if bits.offset() == 0 {
            return bits.inner().as_ptr().cast();
        }
        self.bitmaps.push(bits.sliced());
        self.bitmaps[self.bitmaps.len() - 1].as_ptr().cast()
    }
}

/// Releases an exported array and its children.
unsafe extern "C" fn release(array: *mut ArrowArray) {
    // SAFETY: called with a struct that `Exporter::export` has filled in, or a bitwise copy of it.
    unsafe {
        if array.is_null() || (*array).release.is_none() {
            return;
        }
        let memory = (*array).private_data.cast::<Exported>();
        let released = mark_released(array);
        // The last one finds the share of the contents alone.
        if (*memory).unreleased.fetch_sub(released, Ordering::AcqRel) != released + 1 {
            return;
        }
        let contents = &mut *(*memory).contents.get();
        contents.rows = None;
        contents.bitmaps.clear();
        (*memory).unreleased.store(0, Ordering::Release);
        drop(Arc::from_raw(memory.cast_const()));
    }
}

/// Marks an array and those of its descendants that were not moved out as released; returns their number.
///
/// # Safety
/// As for [`release`], with an array that is not released.
unsafe fn mark_released(array: *mut ArrowArray) -> usize {
    let mut count = 1;
    // SAFETY: guaranteed by the caller; a child whose `release` is not null is in the memory of its parent.
    unsafe {
        (*array).release = None;
        for i in 0..(*array).n_children as usize {
            let child = *(*array).children.add(i);
            if child.as_ref().is_some_and(|child| child.release.is_some()) {
                count += mark_released(child);
            }
        }
    }
    count
}

fn downcast<T: 'static>(array: &dyn Array) -> Result<&T> {
    let found = array.data_type();
    array.as_any().downcast_ref().ok_or_else(|| Error::other(format!("an array does not have its type {found}")))
}

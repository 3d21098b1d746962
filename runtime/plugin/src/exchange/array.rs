//! Rows that come as arrays of the Arrow C Data Interface; [`exporter`](super::exporter) has those that go.
//!
//! This is not the code of `arrow::ffi`: that trusts an imported array and panics on one with a wrong number of children, while
//! rows of a plugin are checked here, and it makes a dozen allocations for a table of two columns, in the path of every frame.

use std::{ptr::NonNull, sync::Arc};

use sideline_abi::ArrowArray;
use sideline_api::{
    Error, Result,
    arrow::{
        array::{
            Array, ArrayRef, ArrowPrimitiveType, BooleanArray, FixedSizeListArray, ListArray, PrimitiveArray,
            StringArray, StructArray,
        },
        buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer},
        schema::{DataType, Field, Fields},
    },
};

use super::schema;

/// Calls a macro with the Arrow type of a primitive type, and gives `$other` for other types.
macro_rules! for_primitive {
    ($data_type:expr, $call:ident, $other:expr) => {{
        use sideline_api::arrow::array::types;
        match $data_type {
            DataType::Int8 => $call!(types::Int8Type),
            DataType::UInt8 => $call!(types::UInt8Type),
            DataType::Int16 => $call!(types::Int16Type),
            DataType::UInt16 => $call!(types::UInt16Type),
            DataType::Int32 => $call!(types::Int32Type),
            DataType::UInt32 => $call!(types::UInt32Type),
            DataType::Int64 => $call!(types::Int64Type),
            DataType::UInt64 => $call!(types::UInt64Type),
            DataType::Float32 => $call!(types::Float32Type),
            DataType::Float64 => $call!(types::Float64Type),
            _ => $other,
        }
    }};
}

/// Owner of an array that came from the other side, which it releases when the last buffer is dropped.
pub struct Imported(ArrowArray);

// SAFETY: the interface allows to read and release an array on any thread.
unsafe impl Send for Imported {}
// SAFETY: as above; nothing writes to it.
unsafe impl Sync for Imported {}

impl Imported {
    /// Takes over an array.
    ///
    /// # Safety
    /// `array` must be an array of the Arrow C Data Interface, or released.
    pub unsafe fn new(array: ArrowArray) -> Self {
        Self(array)
    }

    /// Returns the array.
    pub fn array(&self) -> &ArrowArray {
        &self.0
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: the array is owned by this value, and released once.
            unsafe { release(&mut self.0) };
        }
    }
}

/// Imports rows with these columns. The array is owned from here on, and released also on errors.
///
/// # Errors
/// When the array does not have these columns, or its buffers are inconsistent as far as that can be seen.
///
/// # Safety
/// The buffers of `array` must be as long as its length requires.
pub unsafe fn import(array: Imported, fields: &Fields) -> Result<StructArray> {
    let owner = Arc::new(array);
    let root = &owner.0;
    if root.release.is_none() {
        return Err(Error::other("the table is released already"));
    }
    let import = Import { owner: &owner, array: root };
    let (length, offset) = import.extent()?;
    if root.n_children != fields.len() as i64 || root.children.is_null() && !fields.is_empty() {
        return Err(Error::other(format!("the table has {} columns, {} are declared", root.n_children, fields.len())));
    }
    if import.nulls(length, offset)?.is_some_and(|nulls| nulls.null_count() > 0) {
        return Err(Error::other("a row of a table cannot be null"));
    }
    let mut columns = Vec::with_capacity(fields.len());
    for (i, field) in fields.iter().enumerate() {
        columns.push(import.child(i, field, length, offset)?);
    }
    if fields.is_empty() {
        return Ok(StructArray::new_empty_fields(length, None));
    }
    // SAFETY: the columns have the types of the fields, this length, and nulls only where they are declared.
    Ok(unsafe { StructArray::new_unchecked(fields.clone(), columns, None) })
}

pub(super) use for_primitive;

/// Maximum number of rows and items, so that sizes in bytes do not overflow.
const MAX_LENGTH: i64 = 1 << 40;

/// Array that is being imported.
struct Import<'a> {
    owner: &'a Arc<Imported>,
    array: &'a ArrowArray,
}

impl Import<'_> {
    /// Returns length and offset.
    fn extent(&self) -> Result<(usize, usize)> {
        let (length, offset) = (self.array.length, self.array.offset);
        if !(0..=MAX_LENGTH).contains(&length) || !(0..=MAX_LENGTH).contains(&offset) {
            return Err(Error::other(format!("an array has length {length} at offset {offset}")));
        }
        Ok((length as usize, offset as usize))
    }

    /// Imports a child of a struct or list of which `length` items from `offset` on are used.
    fn child(&self, i: usize, field: &Field, length: usize, offset: usize) -> Result<ArrayRef> {
        let place = |error: Error| error.at(format_args!("column `{}`", field.name()));
        // SAFETY: the caller has checked that there is such a child.
        let child = unsafe { (*self.array.children.add(i)).as_ref() };
        let Some(child) = child else { return Err(place(Error::other("it is missing"))) };
        let import = Import { owner: self.owner, array: child };
        let array = import.values(field.data_type()).map_err(place)?;
        if offset.checked_add(length).is_none_or(|needed| array.len() < needed) {
            let text = format!("it has {} values, {} are needed", array.len(), offset.saturating_add(length));
            return Err(place(Error::other(text)));
        }
        if !field.is_nullable() && array.null_count() > 0 {
            return Err(place(Error::other("it has nulls, and is not declared with them")));
        }
        Ok(if (offset, length) == (0, array.len()) { array } else { array.slice(offset, length) })
    }

    /// Returns a buffer of `length` items; a copy if it is not aligned.
    fn buffer<T>(&self, i: usize, length: usize) -> Result<Buffer> {
        let Some(bytes) = length.checked_mul(size_of::<T>()) else { return Err(Error::other("an array is too long")) };
        if self.array.n_buffers <= i as i64 || self.array.buffers.is_null() {
            return Err(Error::other(format!("an array has {} buffers, more are needed", self.array.n_buffers)));
        }
        // SAFETY: the array has more than `i` buffers.
        let data = unsafe { *self.array.buffers.add(i) }.cast_mut().cast::<u8>();
        match NonNull::new(data) {
            _ if bytes == 0 => Ok(Buffer::from_vec(Vec::<u64>::new())),
            None => Err(Error::other(format!("buffer {i} is missing"))),
            Some(data) if !data.cast::<T>().is_aligned() => {
                // SAFETY: the buffer has this length, as guaranteed by the caller of `import`.
                let slice = unsafe { std::slice::from_raw_parts(data.as_ptr(), bytes) };
                Ok(Buffer::from(slice))
            }
            // SAFETY: as above; the owner outlives the buffer.
            Some(data) => Ok(unsafe { Buffer::from_custom_allocation(data, bytes, self.owner.clone()) }),
        }
    }

    fn bits(&self, i: usize, length: usize, offset: usize) -> Result<BooleanBuffer> {
        let buffer = self.buffer::<u8>(i, (offset + length).div_ceil(8))?;
        Ok(BooleanBuffer::new(buffer, if length == 0 { 0 } else { offset }, length))
    }

    /// Returns the nulls; `None` if there are none. A count of -1 means that the other side has not counted them.
    fn nulls(&self, length: usize, offset: usize) -> Result<Option<NullBuffer>> {
        // SAFETY: read only if the array has a buffer.
        let has_bitmap =
            self.array.n_buffers > 0 && !self.array.buffers.is_null() && unsafe { !(*self.array.buffers).is_null() };
        match self.array.null_count {
            count if count < -1 || count > length as i64 => {
                Err(Error::other(format!("it has {count} nulls among {length} values")))
            }
            0 => Ok(None),
            _ if has_bitmap => Ok(Some(NullBuffer::new(self.bits(0, length, offset)?))),
            -1 => Ok(None),
            count => Err(Error::other(format!("it has {count} nulls, and no bitmap that says which"))),
        }
    }

    /// Returns checked offsets of texts or lists.
    fn offsets(&self, length: usize, offset: usize) -> Result<OffsetBuffer<i32>> {
        if length == 0 {
            return Ok(OffsetBuffer::new_empty());
        }
        let offsets = ScalarBuffer::<i32>::new(self.buffer::<i32>(1, offset + length + 1)?, offset, length + 1);
        if offsets[0] < 0 || offsets.windows(2).any(|pair| pair[0] > pair[1]) {
            return Err(Error::other("its offsets decrease"));
        }
        Ok(OffsetBuffer::new(offsets))
    }

    fn primitive<T: ArrowPrimitiveType>(&self, length: usize, offset: usize) -> Result<ArrayRef> {
        let values = match length {
            0 => ScalarBuffer::from(Vec::<T::Native>::new()),
            _ => ScalarBuffer::new(self.buffer::<T::Native>(1, offset + length)?, offset, length),
        };
        Ok(Arc::new(PrimitiveArray::<T>::new(values, self.nulls(length, offset)?)))
    }

    /// Imports the values of a column.
    fn values(&self, data_type: &DataType) -> Result<ArrayRef> {
        let (length, offset) = self.extent()?;
        if !self.array.dictionary.is_null() {
            return Err(Error::other("tables have no columns with a dictionary"));
        }
        let fields = schema::children(data_type);
        if self.array.n_children != fields.len() as i64 || self.array.children.is_null() && !fields.is_empty() {
            let text = format!("an array has {} children, {} are declared", self.array.n_children, fields.len());
            return Err(Error::other(text));
        }
        let failed = |cause: sideline_api::arrow::schema::ArrowError| Error::other(cause.to_string());
        macro_rules! primitive {
            ($primitive:ty) => {
                self.primitive::<$primitive>(length, offset)
            };
        }
        match data_type {
            DataType::Boolean => {
                Ok(Arc::new(BooleanArray::new(self.bits(1, length, offset)?, self.nulls(length, offset)?)))
            }
            DataType::Utf8 => {
                let offsets = self.offsets(length, offset)?;
                let values = self.buffer::<u8>(2, offsets[length].as_usize())?;
                Ok(Arc::new(StringArray::try_new(offsets, values, self.nulls(length, offset)?).map_err(failed)?))
            }
            DataType::List(item) => {
                let offsets = self.offsets(length, offset)?;
                let items = self.child(0, item, offsets[length].as_usize(), 0)?;
                let nulls = self.nulls(length, offset)?;
                Ok(Arc::new(ListArray::try_new(item.clone(), offsets, items, nulls).map_err(failed)?))
            }
            DataType::FixedSizeList(item, size) => {
                let each = usize::try_from(*size).unwrap_or_default();
                let (Some(count), Some(first)) = (length.checked_mul(each), offset.checked_mul(each)) else {
                    return Err(Error::other(format!(
                        "{length} lists of {each} items at offset {offset} are too long"
                    )));
                };
                let items = self.child(0, item, count, first)?;
                let nulls = self.nulls(length, offset)?;
                Ok(Arc::new(FixedSizeListArray::try_new(item.clone(), *size, items, nulls).map_err(failed)?))
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().enumerate().map(|(i, field)| self.child(i, field, length, offset));
                let columns = columns.collect::<Result<Vec<_>>>()?;
                let nulls = self.nulls(length, offset)?;
                Ok(Arc::new(StructArray::try_new(fields.clone(), columns, nulls).map_err(failed)?))
            }
            other => {
                for_primitive!(other, primitive, Err(Error::other(format!("tables have no columns of type {other}"))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::c_void,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use sideline_api::arrow::array::types::{Float32Type, Float64Type, Int16Type, UInt32Type};

    use super::{super::exporter::Exporter, *};

    fn export(rows: &Arc<StructArray>) -> Result<ArrowArray> {
        Exporter::default().export(rows)
    }

    fn item(data_type: DataType, nullable: bool) -> Arc<Field> {
        Arc::new(Field::new("item", data_type, nullable))
    }

    /// Returns a table with a column of each kind.
    fn rows() -> StructArray {
        let numbers: ArrayRef = Arc::new(PrimitiveArray::<UInt32Type>::from(vec![1, 2, 3, 4, 5]));
        let shares: ArrayRef =
            Arc::new(PrimitiveArray::<Float64Type>::from(vec![Some(0.5), None, Some(f64::NAN), None, None]));
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, true, true, false]));
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("left"), Some(""), None, Some("Zoë"), Some("x")]));
        let boxes: ArrayRef = Arc::new(FixedSizeListArray::new(
            item(DataType::Float32, false),
            2,
            Arc::new(PrimitiveArray::<Float32Type>::from_iter_values((0..10).map(|i| i as f32))),
            None,
        ));
        let point = StructArray::from(vec![(
            Arc::new(Field::new("x", DataType::Int16, false)),
            Arc::new(PrimitiveArray::<Int16Type>::from(vec![1, 2, 3, 4])) as ArrayRef,
        )]);
        let paths: ArrayRef = Arc::new(ListArray::new(
            item(point.data_type().clone(), false),
            OffsetBuffer::from_lengths([2, 0, 1, 0, 1]),
            Arc::new(point),
            None,
        ));
        let columns =
            [("number", numbers), ("share", shares), ("flag", flags), ("name", names), ("box", boxes), ("path", paths)];
        let fields: Fields = columns
            .iter()
            .map(|(name, column)| Field::new(*name, column.data_type().clone(), column.null_count() > 0))
            .collect();
        StructArray::new(fields, columns.map(|(_, column)| column).to_vec(), None)
    }

    fn there_and_back(rows: &StructArray) -> StructArray {
        let array = export(&Arc::new(rows.clone())).unwrap();
        // SAFETY: the array was exported with these columns.
        unsafe { import(Imported(array), rows.fields()) }.unwrap()
    }

    #[test]
    fn rows_of_every_type_cross_without_a_change_also_from_the_middle() {
        let rows = rows();
        for (offset, length) in [(0, 5), (1, 3), (2, 3), (5, 0), (0, 0)] {
            let part = rows.slice(offset, length);
            let crossed = there_and_back(&part);
            assert_eq!(crossed.to_data(), part.to_data(), "{length} rows from {offset}");
        }
    }

    #[test]
    fn buffers_are_not_copied() {
        let rows = rows();
        let crossed = there_and_back(&rows);
        let address = |rows: &StructArray| rows.column(0).to_data().buffers()[0].as_ptr();
        assert_eq!(address(&crossed), address(&rows));
    }

    #[test]
    fn memory_is_used_again_when_all_of_an_array_is_released() {
        let (first, second) = (Arc::new(rows()), Arc::new(rows().slice(1, 3)));
        let mut exporter = Exporter::default();
        let array = exporter.export(&first).unwrap();
        let memory = array.private_data;
        // SAFETY: the arrays are those of the rows.
        unsafe {
            let crossed = import(Imported(array), first.fields()).unwrap();
            let other = exporter.export(&second).unwrap();
            assert_ne!(other.private_data, memory, "in use");
            let column = crossed.column(0).clone();
            drop((crossed, Imported(other)));
            assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (2, 1), "one column is left");
            drop(column);
            assert_eq!(Arc::strong_count(&first), 1);
            let again = exporter.export(&second).unwrap();
            assert_eq!(again.private_data, memory);
            assert_eq!(import(Imported(again), second.fields()).unwrap().to_data(), second.to_data());
            // The memory outlives its exporter.
            let last = exporter.export(&first).unwrap();
            drop(exporter);
            assert_eq!(import(Imported(last), first.fields()).unwrap().to_data(), first.to_data());
        }
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1));
    }

    #[test]
    fn arrays_are_released_on_other_threads() {
        let rows = Arc::new(rows());
        let mut exporter = Exporter::default();
        let (sender, receiver) = std::sync::mpsc::channel::<Imported>();
        let fields = rows.fields().clone();
        let other = std::thread::spawn(move || {
            // SAFETY: the arrays have these columns.
            receiver.iter().map(|array| unsafe { import(array, &fields) }.unwrap().len()).sum::<usize>()
        });
        for _ in 0..1000 {
            sender.send(Imported(exporter.export(&rows).unwrap())).unwrap();
        }
        drop(sender);
        assert_eq!(other.join().unwrap(), 5000);
        assert_eq!(Arc::strong_count(&rows), 1);
    }

    #[test]
    fn a_child_that_was_moved_out_outlives_its_parent() {
        let rows = rows();
        let mut array = export(&Arc::new(rows)).unwrap();
        // SAFETY: the array has six children; the second is moved as the interface prescribes.
        unsafe {
            let child = *array.children.add(1);
            let moved = std::ptr::read(child);
            (*child).release = None;
            (array.release.unwrap())(&mut array);
            let values = std::slice::from_raw_parts((*moved.buffers.add(1)).cast::<f64>(), 1);
            assert_eq!(values, [0.5]);
            drop(Imported(moved));
        }
    }

    static RELEASED: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" fn count_release(array: *mut ArrowArray) {
        RELEASED.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the original array is kept in the private data.
        unsafe {
            (*array).release = None;
            drop(Imported(*Box::from_raw((*array).private_data.cast::<ArrowArray>())));
        }
    }

    /// Exports rows, changes the array, and returns the error of its import, which must have released it once.
    fn refused(rows: &StructArray, fields: &Fields, change: impl FnOnce(&mut ArrowArray)) -> String {
        let original = export(&Arc::new(rows.clone())).unwrap();
        let mut array = ArrowArray { ..original };
        array.private_data = Box::into_raw(Box::new(original)).cast();
        array.release = Some(count_release);
        change(&mut array);
        let before = RELEASED.load(Ordering::SeqCst);
        // SAFETY: the buffers are as long as the changed array claims where the import reads them.
        let error = unsafe { import(Imported(array), fields) }.unwrap_err();
        assert_eq!(RELEASED.load(Ordering::SeqCst) - before, 1, "released once: {error}");
        error.message
    }

    #[test]
    fn a_damaged_table_is_refused_and_released() {
        let rows = rows();
        let fields = rows.fields();
        let fewer: Fields = fields.iter().take(5).cloned().collect();
        assert!(refused(&rows, &fewer, |_| {}).contains("6 columns, 5 are declared"));
        assert!(refused(&rows, fields, |array| array.length = -1).contains("length -1"));
        assert!(refused(&rows, fields, |array| array.length = 6).contains("it has 5 values, 6 are needed"));
        assert!(refused(&rows, fields, |array| array.offset = 1).contains("it has 5 values, 6 are needed"));
        let other: Fields = fields.iter().rev().cloned().collect();
        assert!(refused(&rows, &other, |_| {}).contains("children"), "the columns in another order");
        let strict: Fields = fields.iter().map(|field| field.as_ref().clone().with_nullable(false)).collect();
        assert!(refused(&rows, &strict, |_| {}).contains("column `share`: it has nulls"));
    }

    /// Returns a child of an exported array.
    fn child(array: &mut ArrowArray, i: usize) -> &mut ArrowArray {
        // SAFETY: the array has such a child, and is not released.
        unsafe { &mut **array.children.add(i) }
    }

    #[test]
    fn nulls_that_are_counted_without_a_bitmap_or_beyond_the_length_are_refused() {
        let rows = rows();
        let fields = rows.fields();
        let loose: Fields = fields.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        for fields in [fields, &loose] {
            let error = refused(&rows, fields, |array| child(array, 0).null_count = 2);
            assert!(error.contains("column `number`: it has 2 nulls, and no bitmap that says which"), "{error}");
            let error = refused(&rows, fields, |array| child(array, 1).null_count = 6);
            assert!(error.contains("column `share`: it has 6 nulls among 5 values"), "{error}");
            let error = refused(&rows, fields, |array| child(array, 1).null_count = -2);
            assert!(error.contains("it has -2 nulls"), "{error}");
            let error = refused(&rows, fields, |array| array.null_count = 1);
            assert!(error.contains("it has 1 nulls, and no bitmap"), "{error}");
        }
        let mut array = export(&Arc::new(rows.clone())).unwrap();
        (child(&mut array, 0).null_count, child(&mut array, 1).null_count) = (-1, -1);
        // SAFETY: the array was exported with these columns.
        let crossed = unsafe { import(Imported(array), fields) }.unwrap();
        assert_eq!(crossed.to_data(), rows.to_data(), "counted here");
    }

    #[test]
    fn lists_whose_items_would_be_too_many_and_dictionaries_are_refused() {
        let rows = rows();
        let wide: Fields =
            vec![Field::new("box", DataType::FixedSizeList(item(DataType::Float32, false), i32::MAX), false)].into();
        let boxes: StructArray = StructArray::from(vec![(rows.fields()[4].clone(), rows.column(4).clone())]);
        for (length, offset) in [(1 << 34, 0), (1, 1 << 34), (1 << 40, 0)] {
            let error = refused(&boxes, &wide, |array| {
                (array.length, array.offset) = (length, offset);
                (child(array, 0).length, child(array, 0).offset) = (length, offset);
            });
            assert!(error.contains("too long"), "{error}");
        }
        let error = refused(&rows, rows.fields(), |array| {
            let dictionary = std::ptr::from_mut(array);
            child(array, 0).dictionary = dictionary;
        });
        assert!(error.contains("no columns with a dictionary"), "{error}");
    }

    #[test]
    fn texts_that_are_no_utf8_and_offsets_that_decrease_are_refused() {
        let rows = StructArray::from(vec![(
            Arc::new(Field::new("name", DataType::Utf8, false)),
            Arc::new(StringArray::from(vec!["ab", "c"])) as ArrayRef,
        )]);
        let offsets: [i32; 3] = [2, 0, 3];
        let bytes = [0xffu8, b'a', b'b'];
        let replace = |array: &mut ArrowArray, i: usize, buffer: *const c_void| {
            // SAFETY: the only child has three buffers.
            unsafe { *(**array.children).buffers.add(i) = buffer };
        };
        let fields = rows.fields();
        let error = refused(&rows, fields, |array| replace(array, 1, offsets.as_ptr().cast()));
        assert!(error.contains("offsets decrease"), "{error}");
        let error = refused(&rows, fields, |array| replace(array, 2, bytes.as_ptr().cast()));
        assert!(error.to_lowercase().contains("utf8") || error.to_lowercase().contains("utf-8"), "{error}");
        let error = refused(&rows, fields, |array| replace(array, 2, std::ptr::null()));
        assert!(error.contains("buffer 2 is missing"), "{error}");
    }
}

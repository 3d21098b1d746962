//! Rows from arrays of the other side. Small tables of numbers are copied, all others are not.
//!
//! To wrap an array makes two allocations for each column and keeps the array's memory from being used again. The tables of most
//! frames have a few rows of numbers: to copy them into rows that nothing refers to any more makes none.

use std::{
    cell::UnsafeCell,
    panic::RefUnwindSafe,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use sideline_abi::ArrowArray;
use sideline_api::{
    Result,
    arrow::{
        array::{Array, ArrayRef, FixedSizeListArray, PrimitiveArray, StructArray},
        buffer::{Buffer, ScalarBuffer},
        schema::{DataType, Fields},
    },
};

use super::array::{Imported, for_primitive, import};

/// Maximum size of a table that is copied, bytes.
const MAX_COPIED: usize = 4096;

/// Maximum number of tables that are kept to be used again: those of a window that are on their way, of several lengths.
const MAX_KEPT: usize = 8;

/// Maker of rows on one port.
#[derive(Default)]
pub struct Importer {
    tables: Vec<CopiedTable>,
    /// Table that is replaced by the next one that does not fit.
    next: usize,
}

/// CopiedTable rows.
struct CopiedTable {
    rows: Arc<StructArray>,
    /// Memory of all columns.
    memory: Buffer,
    /// Owner of the memory.
    words: Arc<TableMemory>,
    /// Number of shares of the memory in `rows` and here.
    shares: usize,
    /// Widths of the numbers in each column, bytes; empty if a column consists of others.
    widths: Vec<usize>,
}

/// Memory that is written to while nothing refers to it.
struct TableMemory(Box<[UnsafeCell<u64>]>);

// SAFETY: `Importer` writes only while no rows refer to the memory, and only one thread at a time.
unsafe impl Send for TableMemory {}
// SAFETY: as above.
unsafe impl Sync for TableMemory {}
impl RefUnwindSafe for TableMemory {}

impl Importer {
    /// Imports rows with these columns. The array is owned from here on, and released also on errors.
    ///
    /// # Errors
    /// As for [`import`].
    ///
    /// # Safety
    /// As for [`import`].
    pub unsafe fn import(&mut self, array: Imported, fields: &Fields) -> Result<Arc<StructArray>> {
        // SAFETY: guaranteed by the caller.
        match unsafe { self.copy(array.array(), fields) } {
            Some(rows) => Ok(rows),
            // SAFETY: as above.
            None => Ok(Arc::new(unsafe { import(array, fields) }?)),
        }
    }

    /// Copies a small table of numbers; `None` for all others, and for damaged ones.
    ///
    /// # Safety
    /// As for [`import`].
    unsafe fn copy(&mut self, array: &ArrowArray, fields: &Fields) -> Option<Arc<StructArray>> {
        let length = usize::try_from(array.length).ok().filter(|length| *length <= MAX_COPIED)?;
        array.release?;
        if array.null_count != 0 || array.n_children != fields.len() as i64 || array.children.is_null() {
            return None;
        }
        let fits = |copied: &CopiedTable| {
            let known = copied.rows.fields();
            let is_same = std::ptr::eq(known.as_ref(), fields.as_ref()) || known == fields;
            copied.rows.len() == length && is_same && copied.is_free()
        };
        let at = match self.tables.iter().position(fits) {
            Some(at) => at,
            None => self.add(CopiedTable::new(fields, length)?),
        };
        let copied = &self.tables[at];
        let mut cursor = Cursor(copied.words.0.as_ptr().cast_mut().cast());
        let offset = usize::try_from(array.offset).ok()?;
        for (i, width) in copied.widths.iter().enumerate() {
            // SAFETY: as below.
            unsafe { cursor.copy_numbers((*array.children.add(i)).as_ref()?, *width, length, offset)? };
        }
        let others = if copied.widths.is_empty() { &fields[..] } else { &[] };
        for (i, field) in others.iter().enumerate() {
            // SAFETY: the table has as many children as there are fields; the memory was made for these columns, and nothing else
            // refers to it.
            unsafe { cursor.copy(*array.children.add(i), field.data_type(), length, offset)? };
        }
        Some(copied.rows.clone())
    }

    /// Keeps a table, in the place of another one if there are enough; returns its index.
    fn add(&mut self, copied: CopiedTable) -> usize {
        if self.tables.len() < MAX_KEPT {
            self.tables.push(copied);
            return self.tables.len() - 1;
        }
        let at = self.next;
        self.tables[at] = copied;
        self.next = (at + 1) % MAX_KEPT;
        at
    }
}

impl CopiedTable {
    /// Makes rows with these columns, of any values; `None` if they are not all numbers, or too large.
    fn new(fields: &Fields, length: usize) -> Option<Self> {
        let size = fields.iter().try_fold(0usize, |sum, field| sum.checked_add(size(field.data_type(), length)?))?;
        if size > MAX_COPIED || fields.is_empty() {
            return None;
        }
        // One word at least, so that there is an address.
        let words = Arc::new(TableMemory((0..size / WORD + 1).map(|_| UnsafeCell::new(0)).collect()));
        let address = NonNull::from(&*words.0).cast();
        // SAFETY: the memory has this size, and its owner lives as long as the buffer.
        let memory = unsafe { Buffer::from_custom_allocation(address, size, words.clone()) };
        let mut first = 0;
        let columns: Option<Vec<ArrayRef>> =
            fields.iter().map(|field| column(field.data_type(), length, &memory, &mut first)).collect();
        // SAFETY: the columns have the types of the fields, this length and no nulls.
        let rows = Arc::new(unsafe { StructArray::new_unchecked(fields.clone(), columns?, None) });
        let shares = memory.strong_count();
        let widths: Option<Vec<usize>> = fields.iter().map(|field| width(field.data_type())).collect();
        Some(Self { rows, memory, words, shares, widths: widths.unwrap_or_default() })
    }

    /// Returns true if nothing but this value refers to the rows, to a column or to the memory. Nothing can from then on, because
    /// this value alone gives them out.
    fn is_free(&self) -> bool {
        let is_alone = Arc::strong_count(&self.rows) == 1
            && Arc::weak_count(&self.rows) == 0
            && self.memory.strong_count() == self.shares
            && match self.widths.is_empty() {
                true => self.rows.columns().iter().all(is_alone),
                false => self.rows.columns().iter().all(is_sole_share),
            };
        // What others did before they dropped their shares has happened.
        fence(Ordering::Acquire);
        is_alone
    }
}

/// Returns true if there is one share of a column.
fn is_sole_share(column: &ArrayRef) -> bool {
    Arc::strong_count(column) == 1 && Arc::weak_count(column) == 0
}

/// Returns true if there is one share of a column and of what it consists of.
fn is_alone(column: &ArrayRef) -> bool {
    let is_inner_alone = match column.data_type() {
        DataType::Struct(_) => {
            column.as_any().downcast_ref::<StructArray>().is_some_and(|inner| inner.columns().iter().all(is_alone))
        }
        DataType::FixedSizeList(..) => {
            column.as_any().downcast_ref::<FixedSizeListArray>().is_some_and(|inner| is_alone(inner.values()))
        }
        _ => true,
    };
    is_sole_share(column) && is_inner_alone
}

/// Alignment of columns in the memory, bytes: that of the largest number.
const WORD: usize = size_of::<u64>();

/// Returns the size of a column, a multiple of [`WORD`]; `None` if it does not consist of numbers.
fn size(data_type: &DataType, length: usize) -> Option<usize> {
    match data_type {
        DataType::FixedSizeList(item, each @ 1..) => size(item.data_type(), length.checked_mul(*each as usize)?),
        DataType::Struct(fields) if !fields.is_empty() => {
            fields.iter().try_fold(0usize, |sum, field| sum.checked_add(size(field.data_type(), length)?))
        }
        other => length.checked_mul(width(other)?)?.checked_next_multiple_of(WORD),
    }
}

/// Returns the width of a number, bytes; `None` for other types.
fn width(data_type: &DataType) -> Option<usize> {
    macro_rules! width {
        ($primitive:ty) => {
            Some(size_of::<<$primitive as sideline_api::arrow::array::ArrowPrimitiveType>::Native>())
        };
    }
    for_primitive!(data_type, width, None)
}

/// Returns a column whose values begin at `first` in the memory, which moves behind them.
fn column(data_type: &DataType, length: usize, memory: &Buffer, first: &mut usize) -> Option<ArrayRef> {
    macro_rules! values {
        ($primitive:ty) => {{
            let values = ScalarBuffer::new(memory.slice_with_length(*first, length * width(data_type)?), 0, length);
            *first += size(data_type, length)?;
            Some(Arc::new(PrimitiveArray::<$primitive>::new(values, None)))
        }};
    }
    match data_type {
        DataType::FixedSizeList(item, each @ 1..) => {
            let items = column(item.data_type(), length * *each as usize, memory, first)?;
            Some(Arc::new(FixedSizeListArray::try_new(item.clone(), *each, items, None).ok()?))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| column(field.data_type(), length, memory, first));
            let columns = columns.collect::<Option<Vec<_>>>()?;
            // SAFETY: the columns have the types of the fields, this length and no nulls.
            Some(Arc::new(unsafe { StructArray::new_unchecked(fields.clone(), columns, None) }))
        }
        other => for_primitive!(other, values, None),
    }
}

/// Place in the memory to which the next values are copied.
struct Cursor(*mut u8);

impl Cursor {
    /// Copies `length` values of a column from `offset` on; `None` if it has nulls or is damaged.
    ///
    /// # Safety
    /// The child must be valid or null, its buffers as long as its length requires; and the memory be that of [`CopiedTable::new`].
    unsafe fn copy(
        &mut self,
        child: *const ArrowArray,
        data_type: &DataType,
        length: usize,
        offset: usize,
    ) -> Option<()> {
        // SAFETY: guaranteed by the caller.
        let child = unsafe { child.as_ref() }?;
        if let Some(width) = width(data_type) {
            // SAFETY: guaranteed by the caller.
            return unsafe { self.copy_numbers(child, width, length, offset) };
        }
        let offset = own_offset(child, length, offset)?;
        let children =
            |count: usize| (child.n_children == count as i64 && !child.children.is_null()).then_some(child.children);
        match data_type {
            DataType::FixedSizeList(item, each @ 1..) => {
                let (children, each) = (children(1)?, *each as usize);
                // SAFETY: there is one child.
                unsafe { self.copy(*children, item.data_type(), length.checked_mul(each)?, offset.checked_mul(each)?) }
            }
            DataType::Struct(fields) => {
                let children = children(fields.len())?;
                for (i, field) in fields.iter().enumerate() {
                    // SAFETY: there are as many children as fields.
                    unsafe { self.copy(*children.add(i), field.data_type(), length, offset)? };
                }
                Some(())
            }
            _ => None,
        }
    }

    /// Copies `length` numbers of a column from `offset` on; `None` if it has nulls or is damaged.
    ///
    /// # Safety
    /// As for [`Cursor::copy`].
    unsafe fn copy_numbers(&mut self, child: &ArrowArray, width: usize, length: usize, offset: usize) -> Option<()> {
        let offset = own_offset(child, length, offset)?;
        if child.n_children != 0 || child.n_buffers < 2 || child.buffers.is_null() {
            return None;
        }
        // SAFETY: there are two buffers, and the second one has the values if there are any.
        unsafe {
            let values = NonNull::new((*child.buffers.add(1)).cast_mut().cast::<u8>());
            if length > 0 {
                let from = values?.as_ptr().cast_const().add(offset.checked_mul(width)?);
                std::ptr::copy_nonoverlapping(from, self.0, length * width);
                self.0 = self.0.add((length * width).next_multiple_of(WORD));
            }
        }
        Some(())
    }
}

/// Returns the offset of values in the buffers of a column; `None` if the column has nulls or not so many values.
fn own_offset(child: &ArrowArray, length: usize, offset: usize) -> Option<usize> {
    let (own_length, own_offset) = (usize::try_from(child.length).ok()?, usize::try_from(child.offset).ok()?);
    let is_plain = child.null_count == 0 && child.dictionary.is_null();
    (is_plain && own_length >= offset.checked_add(length)?).then_some(offset.checked_add(own_offset)?)
}

#[cfg(test)]
mod tests {
    use sideline_api::arrow::{
        array::{
            BooleanArray, StringArray,
            types::{Float32Type, Int8Type, UInt64Type},
        },
        schema::Field,
    };

    use super::{super::exporter::Exporter, *};

    /// Returns a table with numbers, boxes and points.
    fn rows(length: usize) -> Arc<StructArray> {
        let numbers = |first: usize, count: usize| (first..first + count).map(|i| i as f32);
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let boxes = PrimitiveArray::<Float32Type>::from_iter_values(numbers(100, 4 * length));
        let point = StructArray::from(vec![
            (
                Arc::new(Field::new("x", DataType::Float32, false)),
                Arc::new(PrimitiveArray::<Float32Type>::from_iter_values(numbers(7, length))) as ArrayRef,
            ),
            (
                Arc::new(Field::new("side", DataType::Int8, false)),
                Arc::new(PrimitiveArray::<Int8Type>::from_iter_values((0..length).map(|i| i as i8))) as ArrayRef,
            ),
        ]);
        let columns: [(&str, ArrayRef); 3] = [
            ("id", Arc::new(PrimitiveArray::<UInt64Type>::from_iter_values((0..length).map(|i| i as u64 + 1)))),
            ("box", Arc::new(FixedSizeListArray::new(item, 4, Arc::new(boxes), None))),
            ("point", Arc::new(point)),
        ];
        Arc::new(StructArray::from(
            columns
                .map(|(name, column)| (Arc::new(Field::new(name, column.data_type().clone(), false)), column))
                .to_vec(),
        ))
    }

    fn cross(importer: &mut Importer, rows: &Arc<StructArray>, fields: &Fields) -> Result<Arc<StructArray>> {
        let array = Exporter::default().export(rows)?;
        // SAFETY: the array was exported, and is moved once.
        unsafe { importer.import(Imported::new(array), fields) }
    }

    fn address(rows: &StructArray) -> *const u8 {
        rows.column(0).to_data().buffers()[0].as_ptr()
    }

    #[test]
    fn small_tables_are_copied_and_their_memory_used_again_when_nothing_refers_to_it() {
        let (mut importer, table) = (Importer::default(), rows(5));
        let fields = table.fields().clone();
        for part in [table.clone(), Arc::new(table.slice(1, 3)), Arc::new(table.slice(2, 0)), rows(3)] {
            let crossed = cross(&mut importer, &part, &fields).unwrap();
            assert_eq!(crossed.to_data(), part.to_data());
            assert_ne!(address(&crossed), address(&part), "copied");
        }
        assert_eq!(Arc::strong_count(&table), 1, "released at once");
        let crossed = cross(&mut importer, &table, &fields).unwrap();
        let first = address(&crossed);
        drop(crossed);
        let changed = rows(6);
        let changed = Arc::new(changed.slice(1, 5));
        // A share of any part keeps the memory from being used.
        type Keep = fn(&Arc<StructArray>) -> Box<dyn std::any::Any>;
        let shares: [(&str, Keep); 6] = [
            ("rows", |rows| Box::new(rows.clone())),
            ("weak", |rows| Box::new(Arc::downgrade(rows))),
            ("column", |rows| Box::new(rows.column(0).clone())),
            ("items", |rows| {
                Box::new(rows.column(1).as_any().downcast_ref::<FixedSizeListArray>().unwrap().values().clone())
            }),
            ("field", |rows| {
                Box::new(rows.column(2).as_any().downcast_ref::<StructArray>().unwrap().column(1).clone())
            }),
            ("buffer", |rows| Box::new(rows.column(0).to_data().buffers()[0].clone())),
        ];
        for (name, keep) in shares {
            let crossed = cross(&mut importer, &table, &fields).unwrap();
            assert_eq!(address(&crossed), first, "used again: {name}");
            let share = keep(&crossed);
            drop(crossed);
            let other = cross(&mut importer, &changed, &fields).unwrap();
            assert_ne!(address(&other), first, "{name}");
            drop((share, other));
        }
    }

    #[test]
    fn the_number_of_tables_that_are_kept_is_limited() {
        let (mut importer, table) = (Importer::default(), rows(2));
        let fields = table.fields().clone();
        let crossed: Vec<_> = (0..3 * MAX_KEPT).map(|_| cross(&mut importer, &table, &fields).unwrap()).collect();
        assert_eq!(importer.tables.len(), MAX_KEPT);
        assert!(crossed.iter().all(|rows| rows.to_data() == table.to_data()));
        assert!(crossed.iter().filter(|rows| Arc::strong_count(rows) == 2).count() == MAX_KEPT);
    }

    #[test]
    fn large_tables_texts_and_nulls_are_not_copied() {
        let large = rows(300);
        let column = |column: ArrayRef, nullable: bool| {
            Arc::new(StructArray::from(vec![(Arc::new(Field::new("a", column.data_type().clone(), nullable)), column)]))
        };
        let texts = column(Arc::new(StringArray::from(vec!["left", "right"])), false);
        let flags = column(Arc::new(BooleanArray::from(vec![true, false])), false);
        let nulls = column(Arc::new(PrimitiveArray::<Int8Type>::from(vec![Some(1), None])), true);
        for table in [large, texts, flags, nulls] {
            let mut importer = Importer::default();
            let crossed = cross(&mut importer, &table, &table.fields().clone()).unwrap();
            assert_eq!(crossed.to_data(), table.to_data());
            assert_eq!(address(&crossed), address(&table));
        }
    }

    #[test]
    fn damaged_small_tables_are_refused_with_the_reason() {
        let table = rows(5);
        type Change = fn(&mut ArrowArray);
        let changes: [(&str, Change); 6] = [
            ("it has 5 values, 6 are needed", |array| array.length = 6),
            ("it has 5 values, 9 are needed", |array| array.offset = 4),
            ("2 columns, 3 are declared", |array| array.n_children = 2),
            // SAFETY: the table has a first column with two buffers, in all of these.
            ("buffer 1 is missing", |array| unsafe { *(**array.children).buffers.add(1) = std::ptr::null() }),
            // SAFETY: as above.
            ("column `id`: it is missing", |array| unsafe { *array.children = std::ptr::null_mut() }),
            // SAFETY: as above.
            ("an array has 1 buffers", |array| unsafe { (**array.children).n_buffers = 1 }),
        ];
        for (text, change) in changes {
            let mut array = Exporter::default().export(&table).unwrap();
            change(&mut array);
            // SAFETY: the buffers are as long as the import reads them.
            let error = unsafe { Importer::default().import(Imported::new(array), table.fields()) }.unwrap_err();
            assert!(error.message.contains(text), "{text}: {error}");
        }
    }
}

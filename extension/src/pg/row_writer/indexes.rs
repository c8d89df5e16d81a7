//! The index entries of rows that were just written, made as the executor makes them. Only, the keys
//! are noted before the row is written, so that it need not be taken apart again; the entries of
//! many rows are made under one guard against errors; and of a row that keeps its key nobody asks
//! whether the key is unique.
//!
//! A table with an index on expressions, over part of its rows or for an exclusion constraint is
//! left to the executor.

use pgrx::pg_sys::IndexUniqueCheck::{self, UNIQUE_CHECK_NO, UNIQUE_CHECK_PARTIAL};
use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::context;

unsafe extern "C-unwind" {
    // Without the guard that pgrx puts around every call.
    fn index_insert(
        index: pg_sys::Relation,
        values: *mut Datum,
        nulls: *mut bool,
        address: pg_sys::ItemPointer,
        table: pg_sys::Relation,
        check: IndexUniqueCheck::Type,
        unchanged: bool,
        info: *mut pg_sys::IndexInfo,
    ) -> bool;
}

/// The indexes of a table that the executor has opened, with the keys of rows about to be written.
#[derive(Debug)]
pub struct Indexes {
    table: pg_sys::Relation,
    all: Vec<Index>,
    /// Keys of all indexes, row after row.
    keys: Vec<Datum>,
    nulls: Vec<bool>,
    /// Whether each entry's key was free.
    is_free: Vec<bool>,
}

#[derive(Debug)]
struct Index {
    relation: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    id: Oid,
    is_unique: bool,
    /// Numbers less one of the table's columns, those that are only included at the end.
    columns: Vec<usize>,
    /// Whether the row noted last has the key of the one that it replaces.
    is_kept: bool,
}

/// A row's columns, and which of them are null.
pub type Columns<'a> = (&'a [Datum], &'a [bool]);

/// The form of a row that another one replaces.
#[derive(Clone, Copy, Debug)]
pub struct Replaced {
    /// A transaction that has ended wrote it: that its keys are unique has been seen to.
    pub is_settled: bool,
    /// It had replaced an earlier one, of which the indexes may still have entries.
    pub had_earlier: bool,
}

/// A row found its key in an index.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The row's place among those that were noted.
    pub place: usize,
    pub index: Oid,
}

impl Index {
    /// How an entry is made: whether its key is to be looked for, and whether entries with the same
    /// key may be of forms of the row that are in nobody's sight any more.
    fn way(&self, replaced: Option<Replaced>) -> (IndexUniqueCheck::Type, bool) {
        let kept = replaced.filter(|_| self.is_kept);
        let is_checked = self.is_unique && !kept.is_some_and(|old| old.is_settled);
        let check = if is_checked { UNIQUE_CHECK_PARTIAL } else { UNIQUE_CHECK_NO };
        (check, kept.is_some_and(|old| old.had_earlier))
    }
}

impl Indexes {
    /// None where the executor has to make the entries.
    ///
    /// # Safety
    /// The indexes of `result` must be open, and stay so as long as this value is used.
    pub unsafe fn of(table: pg_sys::Relation, result: *mut pg_sys::ResultRelInfo) -> Option<Self> {
        let mut all = Vec::new();
        // SAFETY: the executor keeps two arrays of as many elements as it has opened indexes.
        let count = unsafe { (*result).ri_NumIndices } as usize;
        for at in 0..count {
            // SAFETY: as above; each index is open and described.
            let (relation, info, description, form) = unsafe {
                let relation = *(*result).ri_IndexRelationDescs.add(at);
                let info = *(*result).ri_IndexRelationInfo.add(at);
                (relation, info, &*info, &*(*relation).rd_index)
            };
            if !description.ii_ReadyForInserts {
                continue;
            }
            let numbers = &description.ii_IndexAttrNumbers[..description.ii_NumIndexAttrs as usize];
            let is_plain = description.ii_Expressions.is_null()
                && description.ii_Predicate.is_null()
                && description.ii_ExclusionOps.is_null()
                && numbers.iter().all(|number| *number > 0);
            if !is_plain {
                return None;
            }
            let columns = numbers.iter().map(|number| *number as usize - 1).collect();
            let (id, is_unique) = (form.indexrelid, form.indisunique);
            all.push(Index { relation, info, id, is_unique, columns, is_kept: false });
        }
        let (keys, nulls, is_free) = (Vec::new(), Vec::new(), Vec::new());
        Some(Self { table, all, keys, nulls, is_free })
    }

    /// Whether this index alone tells whether a value of its one column is there.
    pub fn is_sole_key(&self, index: Oid) -> bool {
        let found = self.all.iter().find(|known| known.id == index && known.is_unique);
        // SAFETY: the index is described as long as it is open.
        found.is_some_and(|found| unsafe { (*found.info).ii_NumIndexKeyAttrs } == 1)
    }

    /// Forgets what was noted.
    pub fn forget(&mut self) {
        self.keys.clear();
        self.nulls.clear();
    }

    /// Notes the keys of one more row, whose values must last until its entries are made.
    pub fn note(&mut self, (values, nulls): Columns<'_>) {
        for column in self.all.iter().flat_map(|index| &index.columns) {
            self.keys.push(values[*column]);
            self.nulls.push(nulls[*column]);
        }
    }

    /// Notes the keys of a row that was made from an old one.
    pub fn note_change(&mut self, old: Columns<'_>, new: Columns<'_>) {
        self.forget();
        self.note(new);
        // What was taken over from the old row is its very datum.
        let is_kept = |column: &usize| {
            old.1[*column] == new.1[*column] && (new.1[*column] || old.0[*column] == new.0[*column])
        };
        for index in &mut self.all {
            index.is_kept = index.columns.iter().all(is_kept);
        }
    }

    /// Makes the entries of the noted rows, which the slots tell the places of. With `rows`, their
    /// identities, errors name the row at hand; `replaced` is what a single row stands for. Gives
    /// those whose key is taken, which is no error.
    ///
    /// # Safety
    /// The rows must just have been written to the table.
    pub unsafe fn insert(
        &mut self,
        slots: &[*mut pg_sys::TupleTableSlot],
        rows: Option<&[[u8; 16]]>,
        replaced: Option<Replaced>,
    ) -> Vec<Taken> {
        self.is_free.clear();
        self.is_free.resize(slots.len() * self.all.len(), true);
        let (all, table, answers) = (self.all.as_slice(), self.table, self.is_free.as_mut_ptr());
        let (mut keys, mut nulls) = (self.keys.as_mut_ptr(), self.nulls.as_mut_ptr());
        // SAFETY: of each row as many keys were noted as all indexes have columns; nothing in the
        // guarded part has a destructor.
        unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                for (place, slot) in slots.iter().enumerate() {
                    if let Some(rows) = rows {
                        context::set_row(Some(rows[place]));
                    }
                    let at = &raw mut (**slot).tts_tid;
                    for (number, index) in all.iter().enumerate() {
                        let (check, repeats) = index.way(replaced);
                        let Index { relation, info, columns, .. } = index;
                        let is_done =
                            index_insert(*relation, keys, nulls, at, table, check, repeats, *info);
                        *answers.add(place * all.len() + number) =
                            is_done || check == UNIQUE_CHECK_NO;
                        keys = keys.add(columns.len());
                        nulls = nulls.add(columns.len());
                    }
                }
            });
        }
        self.forget();
        let taken = self.is_free.iter().enumerate().filter(|(_, is_free)| !**is_free);
        let count = self.all.len();
        taken.map(|(at, _)| Taken { place: at / count, index: self.all[at % count].id }).collect()
    }
}

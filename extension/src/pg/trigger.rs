//! The firing of a trigger, and the rows that it is about.

use std::marker::PhantomData;
use std::ptr::{null, null_mut};

use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::{AllocatedByPostgres, PgTrigger, PgTupleDesc};

use crate::pg::reference::Reference;
use crate::pg::{memory, varlena};
use crate::value::ColumnCodec;

/// The block number that is none (`InvalidBlockNumber`).
const NO_BLOCK: u32 = u32::MAX;

/// What the statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Insert,
    Update,
    Delete,
    Truncate,
}

/// One call of a trigger function.
#[derive(Clone, Copy)]
pub struct Firing<'a> {
    data: &'a pg_sys::TriggerData,
}

impl<'a> Firing<'a> {
    pub fn of(trigger: &'a PgTrigger<'a>) -> Self {
        Self { data: trigger.trigger_data() }
    }

    pub fn event(&self) -> Event {
        match self.data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => Event::Insert,
            pg_sys::TRIGGER_EVENT_UPDATE => Event::Update,
            pg_sys::TRIGGER_EVENT_DELETE => Event::Delete,
            _ => Event::Truncate,
        }
    }

    pub fn is_before(&self) -> bool {
        self.data.tg_event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_BEFORE
    }

    pub fn is_for_row(&self) -> bool {
        self.data.tg_event & pg_sys::TRIGGER_EVENT_ROW != 0
    }

    /// Whether the trigger was created with arguments.
    pub fn has_arguments(&self) -> bool {
        // SAFETY: the trigger is there for the whole call.
        unsafe { (*self.data.tg_trigger).tgnargs > 0 }
    }

    /// Whether the row that this BEFORE UPDATE trigger leaves is the one that will be written, if
    /// there is no error: no trigger is asked after it, no column is computed, and the row stays in
    /// its table.
    pub fn has_last_word(&self) -> bool {
        // SAFETY: the relation is open for the whole call, and its description of triggers has
        // `numtriggers` of them, sorted by name.
        unsafe {
            let relation = &*self.data.tg_relation;
            let constraints = (*relation.rd_att).constr;
            let has_generated = !constraints.is_null() && (*constraints).has_generated_stored;
            if has_generated || (*relation.rd_rel).relispartition || relation.trigdesc.is_null() {
                return false;
            }
            let count = usize::try_from((*relation.trigdesc).numtriggers).unwrap_or(0);
            let own = (*self.data.tg_trigger).tgoid;
            std::slice::from_raw_parts((*relation.trigdesc).triggers, count)
                .iter()
                .rev()
                .take_while(|trigger| trigger.tgoid != own)
                .all(|trigger| !is_before_update(trigger))
        }
    }

    /// The table, or the partition, that the row lies in.
    pub fn relid(&self) -> Oid {
        // SAFETY: the relation is open for the whole call.
        unsafe { (*self.data.tg_relation).rd_id }
    }

    /// The row before: of an update or a delete.
    pub fn old(&self) -> Row<'a> {
        assert!(matches!(self.event(), Event::Update | Event::Delete) && self.is_for_row());
        Row::new(self.data.tg_trigslot, self.data.tg_trigtuple)
    }

    /// The row after: of an insert or an update.
    pub fn new_row(&self) -> Row<'a> {
        assert!(self.is_for_row());
        match self.event() {
            Event::Insert => Row::new(self.data.tg_trigslot, self.data.tg_trigtuple),
            Event::Update => Row::new(self.data.tg_newslot, self.data.tg_newtuple),
            Event::Delete | Event::Truncate => panic!("a delete has no new row"),
        }
    }

    /// The new row as it is: a BEFORE trigger's consent.
    pub fn unchanged(&self) -> PgHeapTuple<'a, AllocatedByPostgres> {
        self.wrap(self.new_row().tuple)
    }

    /// The new row with other values in some uuid columns (numbers from 1).
    pub fn with_uuids(
        &self,
        columns: &[(usize, Option<[u8; 16]>)],
    ) -> PgHeapTuple<'a, AllocatedByPostgres> {
        let row = self.new_row();
        let (datums, nulls) = row.columns();
        let (mut datums, mut nulls) = (datums.to_vec(), nulls.to_vec());
        for (number, uuid) in columns {
            datums[number - 1] = Datum::from(uuid.as_ref().map_or(null(), |uuid| uuid.as_ptr()));
            nulls[number - 1] = uuid.is_none();
        }
        // SAFETY: the arrays have a value for each column of the relation's descriptor; the tuple
        // is made in the caller's context, which outlives the trigger call. Its address is taken
        // over from the row as `heap_modify_tuple` does.
        let tuple = unsafe {
            let descriptor = (*self.data.tg_relation).rd_att;
            let tuple =
                pg_sys::heap_form_tuple(descriptor, datums.as_mut_ptr(), nulls.as_mut_ptr());
            (*(*tuple).t_data).t_ctid = (*(*row.tuple).t_data).t_ctid;
            (*tuple).t_self = (*row.tuple).t_self;
            (*tuple).t_tableOid = (*row.tuple).t_tableOid;
            tuple
        };
        self.wrap(tuple)
    }

    /// Visits the rows that the table has now, for a statement that is about to remove them all:
    /// whatever is committed or own, since TRUNCATE does not ask for a snapshot either. A
    /// partitioned table has none: its partitions fire for themselves.
    pub fn each_row(&self, mut visit: impl FnMut(&Row<'_>)) {
        // SAFETY: the relation is open and locked for the whole call; scan and slot are closed
        // here, or by the transaction's end after an error. A row is only used within `visit`.
        unsafe {
            let relation = self.data.tg_relation;
            if (*(*relation).rd_rel).relkind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE {
                return;
            }
            let slot = pg_sys::table_slot_create(relation, null_mut());
            let snapshot = &raw mut pg_sys::SnapshotSelfData;
            let scan = pg_sys::table_beginscan(relation, snapshot, 0, null_mut());
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            while pg_sys::table_scan_getnextslot(scan, forward, slot) {
                pgrx::check_for_interrupts!();
                memory::scratch(|| visit(&Row::new(slot, null_mut())));
            }
            pg_sys::table_endscan(scan);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
    }

    fn wrap(&self, tuple: pg_sys::HeapTuple) -> PgHeapTuple<'a, AllocatedByPostgres> {
        // SAFETY: the tuple belongs to the relation, whose descriptor outlives the call.
        unsafe {
            let descriptor = PgTupleDesc::from_pg_unchecked((*self.data.tg_relation).rd_att);
            PgHeapTuple::from_heap_tuple(descriptor, tuple)
        }
    }
}

/// A row that a trigger fires for.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    slot: *mut pg_sys::TupleTableSlot,
    /// Null for a row of a scan.
    tuple: pg_sys::HeapTuple,
    _firing: PhantomData<&'a pg_sys::TriggerData>,
}

impl<'a> Row<'a> {
    fn new(slot: *mut pg_sys::TupleTableSlot, tuple: pg_sys::HeapTuple) -> Self {
        // SAFETY: the slot holds the row for the whole call; deformed once, it gives its columns
        // without further calls.
        unsafe { pg_sys::slot_getallattrs(slot) };
        Self { slot, tuple, _firing: PhantomData }
    }

    /// The raw values and null flags, by column number less one.
    pub fn columns(&self) -> (&'a [Datum], &'a [bool]) {
        // SAFETY: after `slot_getallattrs` both arrays hold a value for each column.
        unsafe {
            let count = usize::try_from((*(*self.slot).tts_tupleDescriptor).natts).unwrap_or(0);
            (
                std::slice::from_raw_parts((*self.slot).tts_values, count),
                std::slice::from_raw_parts((*self.slot).tts_isnull, count),
            )
        }
    }

    /// Columns that the row has, dropped ones included.
    pub fn natts(&self) -> usize {
        self.columns().0.len()
    }

    /// The value of a column (from 1), or none where it is null.
    pub(super) fn datum(&self, number: usize) -> Option<Datum> {
        let (datums, nulls) = self.columns();
        (!nulls[number - 1]).then(|| datums[number - 1])
    }

    pub fn is_null(&self, column: &ColumnAccess) -> bool {
        let (_, nulls) = self.columns();
        match &column.reference {
            None => nulls[column.number - 1],
            Some(reference) => reference.is_null(nulls),
        }
    }

    /// The value of a uuid column.
    pub fn uuid(&self, number: usize) -> Option<[u8; 16]> {
        // SAFETY: callers name columns of type uuid: 16 bytes by reference.
        self.datum(number).map(|datum| unsafe { *datum.cast_mut_ptr::<[u8; 16]>() })
    }

    /// Whether a column has the same value in both rows, without detoasting what is unchanged.
    pub fn same_value(&self, other: &Row<'_>, column: &ColumnAccess) -> bool {
        if let Some(reference) = &column.reference {
            return reference.is_same(self.columns(), other.columns());
        }
        match (self.datum(column.number), other.datum(column.number)) {
            (None, None) => true,
            // SAFETY: both are values of the column that `column` describes.
            (Some(a), Some(b)) => unsafe {
                varlena::datum_image_eq(a, b, column.length, column.by_value)
            },
            _ => false,
        }
    }

    /// Whether both rows are the same bytes: the cheap proof that nothing changed.
    pub fn same_bytes(&self, other: &Row<'_>) -> bool {
        // SAFETY: tuples are `t_len` bytes long; what is compared begins behind the fields that
        // hold transaction numbers and the row's address.
        unsafe {
            let (a, b) = (&*self.tuple, &*other.tuple);
            let begin = std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_bits);
            let natts = pg_sys::HEAP_NATTS_MASK as u16;
            let has_null = pg_sys::HEAP_HASNULL as u16;
            let (x, y) = (&*a.t_data, &*b.t_data);
            a.t_len == b.t_len
                && x.t_hoff == y.t_hoff
                && (x.t_infomask2 & natts) == (y.t_infomask2 & natts)
                && (x.t_infomask & has_null) == (y.t_infomask & has_null)
                && bytes_from(a, begin) == bytes_from(b, begin)
        }
    }

    /// Whether this deleted row lives on in another partition.
    pub fn was_moved(&self) -> bool {
        if self.tuple.is_null() {
            return false;
        }
        // SAFETY: reads the header of a tuple that is at hand.
        let place = unsafe { (*(*self.tuple).t_data).t_ctid };
        place.ip_posid == pg_sys::MovedPartitionsOffsetNumber as u16
            && (u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo)) == NO_BLOCK
    }

    /// Appends a column's value in its portable form; false where it is null.
    pub fn encode(&self, column: &ColumnAccess, out: &mut Vec<u8>) -> bool {
        if let Some(reference) = &column.reference {
            return reference.encode(self.columns(), out);
        }
        let Some(datum) = self.datum(column.number) else { return false };
        // SAFETY: the codec was made for the type of this very column.
        unsafe { column.codec.encode(datum, out) };
        true
    }
}

fn is_before_update(trigger: &pg_sys::Trigger) -> bool {
    let kind = pg_sys::TRIGGER_TYPE_ROW | pg_sys::TRIGGER_TYPE_BEFORE | pg_sys::TRIGGER_TYPE_UPDATE;
    trigger.tgtype as u32 & kind == kind
}

/// # Safety
/// The tuple must be valid, `begin` within its length, and it must outlive the result.
unsafe fn bytes_from(tuple: &pg_sys::HeapTupleData, begin: usize) -> &[u8] {
    // SAFETY: the caller vouches for the tuple.
    unsafe {
        let data = tuple.t_data.cast::<u8>().add(begin);
        std::slice::from_raw_parts(data, tuple.t_len as usize - begin)
    }
}

/// How to reach and write one column of a relation.
#[derive(Debug)]
pub struct ColumnAccess {
    /// From 1.
    pub number: usize,
    pub length: i16,
    pub by_value: bool,
    pub codec: ColumnCodec,
    /// Where the column travels as the identity of the row that it points to.
    pub reference: Option<Box<Reference>>,
}

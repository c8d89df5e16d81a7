//! Which triggers fire for a row that is written: by session role, kind, and changed columns.

use std::ptr::null_mut;

use pgrx::pg_sys;

use super::catalog;

/// A row trigger that fires in replica mode and is none of ours, which are for changes of this
/// node's own. Statement triggers do not: there is no statement.
pub(super) fn fires(trigger: &pg_sys::Trigger) -> bool {
    let enabled = trigger.tgenabled as u8;
    let fires =
        enabled == pg_sys::TRIGGER_FIRES_ALWAYS || enabled == pg_sys::TRIGGER_FIRES_ON_REPLICA;
    fires && is(trigger, pg_sys::TRIGGER_TYPE_ROW) && !catalog::is_own_function(trigger.tgfoid)
}

fn is(trigger: &pg_sys::Trigger, kind: u32) -> bool {
    trigger.tgtype as u32 & kind != 0
}

/// What the executor asks first: whether there is any trigger of a kind.
pub(super) fn set_flags(description: &mut pg_sys::TriggerDesc, triggers: &[pg_sys::Trigger]) {
    let (insert, update, delete) =
        (pg_sys::TRIGGER_TYPE_INSERT, pg_sys::TRIGGER_TYPE_UPDATE, pg_sys::TRIGGER_TYPE_DELETE);
    let any = |event: u32, wanted: &dyn Fn(&pg_sys::Trigger) -> bool| {
        triggers.iter().any(|trigger| is(trigger, event) && wanted(trigger))
    };
    let before = |trigger: &pg_sys::Trigger| is(trigger, pg_sys::TRIGGER_TYPE_BEFORE);
    let after = |trigger: &pg_sys::Trigger| !before(trigger);
    let old_table = |trigger: &pg_sys::Trigger| !trigger.tgoldtable.is_null();
    let new_table = |trigger: &pg_sys::Trigger| !trigger.tgnewtable.is_null();
    *description = pg_sys::TriggerDesc {
        triggers: description.triggers,
        numtriggers: description.numtriggers,
        trig_insert_before_row: any(insert, &before),
        trig_insert_after_row: any(insert, &after),
        trig_update_before_row: any(update, &before),
        trig_update_after_row: any(update, &after),
        trig_delete_before_row: any(delete, &before),
        trig_delete_after_row: any(delete, &after),
        trig_insert_new_table: any(insert, &new_table),
        trig_update_old_table: any(update, &old_table),
        trig_update_new_table: any(update, &new_table),
        trig_delete_old_table: any(delete, &old_table),
        ..pg_sys::TriggerDesc::default()
    };
}

/// The columns that differ, as the executor numbers them.
///
/// # Safety
/// Both slots must hold rows of one relation, all columns deformed.
pub(super) unsafe fn changed_columns(
    old: *mut pg_sys::TupleTableSlot,
    new: *mut pg_sys::TupleTableSlot,
) -> *mut pg_sys::Bitmapset {
    let mut changed = null_mut();
    // SAFETY: both slots have arrays of as many values as their descriptor has columns.
    unsafe {
        let descriptor = (*new).tts_tupleDescriptor;
        let count = (*descriptor).natts as usize;
        let columns = (*descriptor).attrs.as_slice(count);
        for (place, column) in columns.iter().enumerate().filter(|(_, column)| !column.attisdropped)
        {
            let was_null = *(*old).tts_isnull.add(place);
            let is_null = *(*new).tts_isnull.add(place);
            let (before, after) = (*(*old).tts_values.add(place), *(*new).tts_values.add(place));
            let same = was_null == is_null
                && (is_null
                    || super::varlena::datum_image_eq(
                        before,
                        after,
                        column.attlen,
                        column.attbyval,
                    ));
            if !same {
                let number = i32::from(column.attnum) - pg_sys::FirstLowInvalidHeapAttributeNumber;
                changed = pg_sys::bms_add_member(changed, number);
            }
        }
    }
    changed
}

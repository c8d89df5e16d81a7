//! Filling a row before it is written: defaults, the values that came, identity and version.

use pgrx::pg_sys::Datum;
use syncjournal_core::{RowId, Version};

use super::references::Parents;
use super::target::Assignment;
use crate::layout::Tracked;
use crate::pg::defaults::Defaults;
use crate::pg::varlena;

/// Sets what the values leave out.
pub fn fill_defaults<'a>(
    tracked: &Tracked,
    defaults: &Defaults,
    (datums, nulls): (&mut [Datum], &mut [bool]),
    values: impl Iterator<Item = Assignment<'a>>,
) {
    if !defaults.is_empty() {
        let given: Vec<usize> =
            values.map(|(column, _)| tracked.columns[column].number - 1).collect();
        let own = [tracked.identity - 1, tracked.version - 1];
        let is_given = |place| given.contains(&place) || own.contains(&place);
        defaults.fill(datums, nulls, is_given);
    }
}

/// Which columns of the table (by number less one) get values where the travelling ones stand at
/// these places; none of them is a reference.
pub fn given(tracked: &Tracked, places: &[Option<usize>]) -> Vec<bool> {
    let mut given = vec![false; tracked.natts];
    let columns = places.iter().flatten().map(|place| tracked.columns[*place].number);
    for number in columns.chain([tracked.identity, tracked.version]) {
        given[number - 1] = true;
    }
    given
}

/// Decodes values into a row; references become the keys of the rows that they point to.
pub fn assign<'a>(
    (tracked, parents, row): (&Tracked, &Parents, RowId),
    datums: &mut [Datum],
    nulls: &mut [bool],
    values: impl Iterator<Item = Assignment<'a>>,
) {
    for (column, value) in values {
        let access = &tracked.columns[column];
        if let Some(reference) = &access.reference {
            parents.set((column, reference), row, value, (datums, nulls));
            continue;
        }
        let place = access.number - 1;
        nulls[place] = value.is_none();
        if let Some(bytes) = value {
            datums[place] = access.codec.decode(bytes);
        }
    }
}

/// Sets the row's identity and version.
pub fn identify(
    tracked: &Tracked,
    datums: &mut [Datum],
    nulls: &mut [bool],
    row: RowId,
    version: Version,
) {
    (datums[tracked.identity - 1], nulls[tracked.identity - 1]) =
        (varlena::make_fixed(&row.0), false);
    set_version(tracked, datums, nulls, version);
}

pub fn set_version(tracked: &Tracked, datums: &mut [Datum], nulls: &mut [bool], version: Version) {
    nulls[tracked.version - 1] = version.is_nil();
    if !version.is_nil() {
        datums[tracked.version - 1] = varlena::make_fixed(&version.to_bytes());
    }
}

/// Two different elements of a slice.
pub fn two<T>(all: &mut [T], first: usize, second: usize) -> (&mut T, &mut T) {
    if first < second {
        let (head, tail) = all.split_at_mut(second);
        (&mut head[first], &mut tail[0])
    } else {
        let (head, tail) = all.split_at_mut(first);
        (&mut tail[0], &mut head[second])
    }
}

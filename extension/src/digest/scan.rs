//! Reading the rows.

use pgrx::pg_sys::Oid;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use syncjournal_core::RowId;
use syncjournal_core::digest::{ColumnTag, RowBytes, Tree};
use syncjournal_core::slice::SliceId;

use crate::apply::references::Stored;
use crate::error::Failure;
use crate::layout::{self, Tracked};
use crate::pg::open_table::OpenTable;
use crate::pg::row_view::RowView;
use crate::pg::table_scan::{RowAddress, TableScan};
use crate::pg::{catalog, memory, routing};
use crate::prep_sync::is_in;
use crate::value::PortableSettings;

/// Rows after which memory that values took (decompressed, fetched from beside the table) is freed.
const ROWS_AT_A_TIME: usize = 256;

/// Adds the rows of a tracked table, or of a partition of one, as the calling statement sees them;
/// of slices, where they are given, those in any of these.
pub fn fill(relation: Oid, mut tree: Tree, slices: Option<&[SliceId]>) -> Tree {
    if layout::tracked(relation).is_none() {
        Failure::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("table \"{}\" is not tracked", catalog::qualified_name(relation)),
        )
        .hint("Its rows have no identity yet: track it by syncjournal.track().")
        .raise()
    }
    let table = OpenTable::for_reading(relation);
    let tables = if table.is_partitioned() { routing::leaves(&table) } else { vec![relation] };
    table.close();
    let _settings = PortableSettings::enter();
    let mut bytes = RowBytes::default();
    for table in tables {
        add_table(table, slices, &mut bytes, &mut tree);
    }
    tree
}

fn add_table(table: Oid, slices: Option<&[SliceId]>, bytes: &mut RowBytes, tree: &mut Tree) {
    let Some(tracked) = layout::tracked(table) else { return };
    let order = ColumnTag::in_order(&layout::by_id(tracked.layout_id).definition);
    let mut scan = TableScan::open(OpenTable::for_reading(table), RowAddress::first());
    let waiting = Stored::of(&tracked);
    let mut more = true;
    while more {
        pgrx::check_for_interrupts!();
        more = memory::scratch(|| {
            (0..ROWS_AT_A_TIME).all(|_| {
                let Some(row) = scan.next_row() else { return false };
                if slices.is_none_or(|slices| is_in(&tracked, &row, slices)) {
                    add_row((&tracked, &waiting), &order, row, bytes, tree);
                }
                true
            })
        });
    }
    scan.close();
}

fn add_row(
    (tracked, waiting): (&Tracked, &Stored),
    order: &[(usize, ColumnTag)],
    row: RowView<'_>,
    bytes: &mut RowBytes,
    tree: &mut Tree,
) {
    let Some(identity) = row.uuid(tracked.identity).map(RowId) else {
        layout::missing_identity(tracked)
    };
    if !tree.contains(identity) {
        return;
    }
    bytes.begin(identity);
    for &(place, tag) in order {
        let column = &tracked.columns[place];
        bytes.value(tag, |out| row.encode(column, out) || waiting.append(identity, column, out));
    }
    tree.add(identity, bytes.hash());
}

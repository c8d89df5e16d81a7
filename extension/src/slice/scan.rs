//! Reading the rows of a tracked table, its partitions' among them.

use pgrx::pg_sys::Oid;
use syncjournal_core::{RowId, Version};

use crate::layout::{self, Tracked};
use crate::pg::open_table::OpenTable;
use crate::pg::row_view::RowView;
use crate::pg::table_scan::{RowAddress, TableScan};
use crate::pg::{memory, routing};

/// Rows after which memory that values took is freed.
const ROWS_AT_A_TIME: usize = 256;

/// A row of a scan.
pub struct ScannedRow<'a> {
    pub tracked: &'a Tracked,
    pub id: RowId,
    pub version: Version,
    pub view: RowView<'a>,
}

/// Visits the rows of a tracked table under the active snapshot.
pub fn each_row(relation: Oid, mut visit: impl FnMut(ScannedRow<'_>)) {
    let table = OpenTable::for_reading(relation);
    let tables = if table.is_partitioned() { routing::leaves(&table) } else { vec![relation] };
    table.close();
    for table in tables {
        each_row_of(table, &mut visit);
    }
}

fn each_row_of(table: Oid, visit: &mut impl FnMut(ScannedRow<'_>)) {
    let Some(tracked) = layout::tracked(table) else { return };
    let mut scan = TableScan::open(OpenTable::for_reading(table), RowAddress::first());
    let mut more = true;
    while more {
        pgrx::check_for_interrupts!();
        more = memory::scratch(|| {
            (0..ROWS_AT_A_TIME).all(|_| {
                let Some(view) = scan.next_row() else { return false };
                let id = view.uuid(tracked.identity);
                let id = id.unwrap_or_else(|| layout::missing_identity(&tracked));
                let version = view.uuid(tracked.version);
                let version = version.map_or(Version::NIL, Version::from_bytes);
                visit(ScannedRow { tracked: &tracked, id: RowId(id), version, view });
                true
            })
        });
    }
    scan.close();
}

//! Rows into the heaps that stand beside a table and its leaves.

use std::collections::HashMap;
use std::rc::Rc;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{Datum, Oid};
use syncjournal_core::wire::{Record, SetPart};
use syncjournal_core::{Entry, Operation, RowId, Version, frame};

use crate::apply::entry::Incoming;
use crate::apply::fill::{fill_defaults, given, identify};
use crate::apply::outcome::{Applied, Outcome};
use crate::apply::route::{Fit, Route};
use crate::apply::set_error;
use crate::apply::target::{Assignment, tracked_root};
use crate::error::{Failure, corrupted};
use crate::layout::{self, Tracked};
use crate::pg::catalog;
use crate::pg::defaults::Defaults;
use crate::pg::heap_filler::HeapFiller;
use crate::pg::memory;
use crate::pg::open_table::OpenTable;
use crate::pg::query::{self, Arg, View};
use crate::pg::role::RunAs;
use crate::pg::routing::Router;
use crate::value::PortableSettings;

/// Writes the rows of a chunk.
pub fn fill(part: &SetPart<'_>, route: &Route) -> Outcome {
    let Route::Table(fit) = route else { return Outcome::default() };
    let _settings = PortableSettings::enter();
    memory::scratch(|| {
        let mut heaps = Heaps::open(fit);
        let mut records = part.records().unwrap_or_else(|error| set_error::raise(&error));
        while let Some(record) =
            records.next_record().unwrap_or_else(|error| set_error::raise(&error))
        {
            let Record::Frame { id, bytes, .. } = record else { continue };
            pgrx::check_for_interrupts!();
            heaps.frame(id, bytes);
        }
        heaps.close()
    })
}

/// The heaps of one table, open.
struct Heaps {
    fit: Rc<Fit>,
    owner: Oid,
    heaps: HashMap<Oid, Oid>,
    /// Of a partitioned table: the table itself, and its router.
    partitioned: Option<(OpenTable, Router)>,
    leaves: Vec<Leaf>,
    /// Rows that came in an earlier run, and left the slices by which the table comes.
    left: Vec<RowId>,
    outcome: Outcome,
}

struct Leaf {
    oid: Oid,
    filler: HeapFiller,
    tracked: Rc<Tracked>,
    defaults: Defaults,
    /// By column number less one, whether a whole row that comes has it.
    given: Vec<bool>,
}

impl Heaps {
    fn open(fit: &Rc<Fit>) -> Self {
        let root = OpenTable::for_writing(fit.root);
        let owner = root.owner();
        let (heaps, mut partitioned, mut leaves) = (heaps(), None, Vec::new());
        if root.is_partitioned() {
            let router = Router::open(&root);
            partitioned = Some((root, router));
        } else {
            leaves.push(Leaf::open(root, fit, &heaps));
        }
        let (fit, left, outcome) = (Rc::clone(fit), Vec::new(), Outcome::default());
        Self { fit, owner, heaps, partitioned, leaves, left, outcome }
    }

    fn frame(&mut self, id: Version, bytes: &[u8]) {
        let _owner = RunAs::restricted(self.owner);
        for entry in frame::entries(id, bytes) {
            let entry = entry.unwrap_or_else(|error| set_error::raise(&error.into()));
            if entry.operation == Operation::Leave {
                self.left.push(entry.row);
                continue;
            }
            if entry.operation != Operation::State || entry.values().len() > self.fit.places.len() {
                super::not_a_chunk(
                    "the chunk holds something else than rows",
                    "Begin the clone anew: syncjournal-agent clone --restart.",
                );
            }
            self.row(&entry);
            self.outcome.count(Applied::Inserted);
        }
    }

    fn row(&mut self, entry: &Entry<'_>) {
        let place = self.place_of(entry);
        let Leaf { filler, tracked, defaults, given, .. } = &mut self.leaves[place];
        let is_whole = entry.values().len() == self.fit.places.len();
        let incoming = Incoming { entry, places: &self.fit.places };
        filler.add(entry.values().size(), |datums, nulls, uuids| {
            nulls.fill(true);
            let values = incoming.assignments();
            if is_whole {
                defaults.fill(datums, nulls, |at| given[at]);
            } else {
                fill_defaults(tracked, defaults, (&mut *datums, &mut *nulls), values.clone());
            }
            assign(tracked, datums, nulls, values);
            *uuids = [entry.row.0, entry.version.to_bytes()];
            let places = [(tracked.identity, false), (tracked.version, entry.version.is_nil())];
            for ((column, is_null), uuid) in places.into_iter().zip(uuids) {
                nulls[column - 1] = is_null;
                datums[column - 1] = Datum::from(uuid.as_mut_ptr());
            }
        });
    }

    fn place_of(&mut self, entry: &Entry<'_>) -> usize {
        let Some((root, router)) = &mut self.partitioned else { return 0 };
        let tracked = tracked_root(root.oid());
        let incoming = Incoming { entry, places: &self.fit.places };
        let leaf = memory::scratch(|| {
            let (datums, nulls) = router.row();
            nulls.fill(true);
            assign(&tracked, datums, nulls, incoming.assignments());
            identify(&tracked, datums, nulls, entry.row, entry.version);
            router.leaf()
        });
        self.leaves.iter().position(|known| known.oid == leaf).unwrap_or_else(|| {
            self.leaves.push(Leaf::open(OpenTable::for_writing(leaf), &self.fit, &self.heaps));
            self.leaves.len() - 1
        })
    }

    fn close(self) -> Outcome {
        for leaf in self.leaves {
            leaf.defaults.close();
            leaf.filler.close();
        }
        if let Some((root, router)) = self.partitioned {
            router.close();
            root.close();
        }
        if !self.left.is_empty() {
            let rows: Vec<String> = self.left.iter().map(RowId::to_string).collect();
            let (root, rows) = (u32::from(self.fit.root), format!("{{{}}}", rows.join(",")));
            let args = [Arg::Int8(i64::from(root)), Arg::Text(&rows)];
            query::execute("select syncjournal.clone_forget($1::oid, $2::uuid[])", &args);
        }
        self.outcome
    }
}

impl Leaf {
    fn open(table: OpenTable, fit: &Fit, heaps: &HashMap<Oid, Oid>) -> Self {
        let oid = table.oid();
        let tracked = layout::tracked(oid)
            .unwrap_or_else(|| corrupted("a table is tracked no longer").raise());
        let columns = table.columns();
        let plain = columns.iter().filter(|column| !column.is_generated);
        let defaults = Defaults::of(&table, plain.map(|column| column.number));
        let Some(heap) = heaps.get(&oid).copied() else {
            let name = catalog::qualified_name(oid);
            Failure::new(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("no clone of table \"{name}\" was begun"),
            )
            .detail("Partitions must be there when it begins.")
            .hint("Begin it anew: syncjournal-agent clone LINK --restart.")
            .raise()
        };
        let heap = OpenTable::for_writing(heap);
        let given = given(&tracked, &fit.places);
        Self { oid, filler: HeapFiller::open(table, heap), tracked, defaults, given }
    }
}

/// Decodes values into a row. None is a reference by identity: such tables are merged.
fn assign<'a>(
    tracked: &Tracked,
    datums: &mut [Datum],
    nulls: &mut [bool],
    values: impl Iterator<Item = Assignment<'a>>,
) {
    for (column, value) in values {
        let access = &tracked.columns[column];
        let place = access.number - 1;
        nulls[place] = value.is_none();
        if let Some(bytes) = value {
            datums[place] = access.codec.decode(bytes);
        }
    }
}

/// The heaps that stand beside tables. Read before the rows' owner takes over, who may not.
fn heaps() -> HashMap<Oid, Oid> {
    let sql = "select leaf::oid::int8, heap::oid::int8 from syncjournal.clone_heap";
    let oid = |number: Option<i64>| number.and_then(|oid| u32::try_from(oid).ok()).map(Oid::from);
    let mut found = HashMap::new();
    query::run(View::Newest, sql, &[], |row| found.extend(oid(row.int8(1)).zip(oid(row.int8(2)))));
    found
}

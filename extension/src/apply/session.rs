//! One part being applied: its layouts mapped to the tables here, its frames journaled and applied.

use pgrx::PgSqlErrorCode;
use syncjournal_core::layout::Mismatch;
use syncjournal_core::wire::{Header, Mode};
use syncjournal_core::{HybridTime, RelationLayout, Version, frame};

use super::entry::{Incoming, Table};
use super::outcome::Outcome;
use super::settle::Unsettled;
use super::source::Source;
use super::target::Target;
use crate::error::Failure;
use crate::journal::{self, Appender, FrameRow};
use crate::pg::arena::Arena;
use crate::pg::context::ErrorContext;
use crate::pg::open_table::table_by_name;
use crate::pg::query::{self, Arg, View};
use crate::{layout, prep_sync};

/// Where the frames of one of the part's layouts go.
#[derive(Debug)]
enum Route {
    /// This database does not take the table from the source.
    NotWanted,
    Table {
        /// Place in `tables`.
        table: usize,
        /// For each column of the layout its place in the table's layout here, if it is taken.
        places: Vec<Option<usize>>,
        /// The layout's number in this database.
        layout_id: i32,
    },
}

/// The state of a call of `apply`.
#[derive(Debug)]
pub struct Session<'a> {
    header: &'a Header,
    source: &'a Source,
    routes: Vec<Option<Route>>,
    tables: Vec<Table>,
    appender: Appender,
    arena: Arena,
    /// Nothing may be written later than this.
    latest: HybridTime,
    /// Whether rows of a full set are of use to a third node.
    passes_states_on: bool,
    outcome: Outcome,
}

impl<'a> Session<'a> {
    pub fn begin(header: &'a Header, source: &'a Source) -> Self {
        let mut routes = Vec::new();
        routes.resize_with(header.layouts.len(), || None);
        Self {
            header,
            source,
            routes,
            tables: Vec::new(),
            appender: Appender::open(),
            arena: Arena::new(),
            latest: latest_time(),
            passes_states_on: header.mode == Mode::Full && has_third(source.peer_id),
            outcome: Outcome::default(),
        }
    }

    /// Journals and applies one frame.
    pub fn frame(&mut self, place: usize, id: Version, entries: u64, bytes: &[u8]) {
        pgrx::check_for_interrupts!();
        self.check_time(id);
        let Self { header, source, routes, tables, .. } = self;
        let definition = &header.layouts[place];
        let route = routes[place]
            .get_or_insert_with(|| route(definition, source, &header.source.name, tables));
        let Route::Table { table, places, layout_id } = route else {
            return self.outcome.skip(entries);
        };
        let journals = header.mode != Mode::Full || self.passes_states_on;
        if header.mode != Mode::Full && journal::exists(id) {
            return self.outcome.skip(entries);
        }
        if journals {
            self.appender.append(&FrameRow {
                id,
                layout_id: *layout_id,
                origin: source.peer_id,
                entries: u32::try_from(entries).unwrap_or(u32::MAX),
                data: bytes,
            });
        }
        let table = &mut tables[*table];
        let context = ErrorContext::enter(&table.place);
        let mut count = 0;
        for entry in frame::entries(id, bytes) {
            let entry = entry.unwrap_or_else(|error| super::set_error::raise(&error.into()));
            count += 1;
            context.row(entry.row.0);
            if entry.version.time() > self.latest {
                ahead_of_clock(entry.version, &header.source.name);
            }
            let incoming = Incoming { entry: &entry, places };
            if !incoming.fits_layout() {
                damaged("an entry has more columns than its table");
            }
            self.arena.run(|| table.entry(incoming));
        }
        if count != entries {
            damaged("a frame has not the entries that its head says");
        }
        table.tombstones.flush();
    }

    fn check_time(&self, id: Version) {
        if id.time() > self.latest {
            ahead_of_clock(id, &self.header.source.name);
        }
    }

    /// Settles what was put off, closes what is open and says what was done.
    pub fn finish(mut self) -> Outcome {
        for table in &mut self.tables {
            self.arena.run(|| table.settle_postponed());
            // A row that was never here waits in the log of conflicts.
            if let Some(unsettled) = table.unsettled.iter().find(|left| !left.is_unknown) {
                history_is_missing(unsettled);
            }
            self.outcome.skip(table.unsettled.len() as u64);
        }
        for table in self.tables.drain(..) {
            self.outcome.add(table.outcome);
            table.target.close();
        }
        self.outcome
    }
}

/// Finds the table here that a layout means.
fn route(
    definition: &RelationLayout,
    source: &Source,
    node: &str,
    tables: &mut Vec<Table>,
) -> Route {
    let RelationLayout { schema, table, .. } = definition;
    if !source.accepts.selects(schema, table) {
        return Route::NotWanted;
    }
    let Some(relid) = table_by_name(schema, table) else {
        Failure::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("table \"{schema}.{table}\" of the sync set does not exist here"),
        )
        .hint(
            "Create it and track it, or leave it out: syncjournal.alter_peer(name, exclude => ...).",
        )
        .raise()
    };
    let Some(tracked) = layout::tracked(relid) else {
        Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table \"{schema}.{table}\" of the sync set is not tracked here"),
        )
        .hint(format!(
            "Track it: select syncjournal.track('{schema}.{table}'). Or leave it out: \
                syncjournal.alter_peer(name, exclude => ...)."
        ))
        .raise()
    };
    let known = tables.iter().position(|known| known.target.root == tracked.root);
    let place = known.unwrap_or_else(|| {
        let target = Target::open(&tracked);
        let place = format!("table \"{schema}.{table}\", from node \"{node}\"");
        tables.push(Table::open(target, source.peer_id, place));
        tables.len() - 1
    });
    let places = places(definition, &tables[place].target);
    let layout_id = layout::register(definition, Some(tracked.relation_id));
    Route::Table { table: place, places, layout_id }
}

/// Matches the columns by name. What tracking excludes here, and what was dropped, is not taken.
fn places(definition: &RelationLayout, target: &Target) -> Vec<Option<usize>> {
    let here = target.layout();
    let excluded = match here.map_from(definition) {
        Ok(places) => return places.into_iter().map(Some).collect(),
        Err(_) => excluded_columns(target.relation_id),
    };
    let mut taken = definition.clone();
    taken.columns.retain(|column| !excluded.contains(&column.name));
    let places = here.map_from(&taken).unwrap_or_else(|error| mismatch(definition, &error));
    let mut places = places.into_iter();
    let is_excluded = |name: &String| excluded.contains(name);
    let columns = definition.columns.iter();
    columns.map(|column| if is_excluded(&column.name) { None } else { places.next() }).collect()
}

fn excluded_columns(relation_id: i32) -> Vec<String> {
    let sql = "select pg_catalog.unnest(exclude_columns || dropped_columns)::text \
        from syncjournal.tracked_relation where relation_id = $1";
    let mut excluded = Vec::new();
    query::run(View::Newest, sql, &[Arg::Int4(relation_id)], |row| excluded.extend(row.text(1)));
    excluded
}

fn mismatch(definition: &RelationLayout, error: &Mismatch<'_>) -> ! {
    let RelationLayout { schema, table, .. } = definition;
    let (code, message, hint) = match error {
        Mismatch::MissingColumn(column) => (
            PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            format!("column \"{column}\" of table \"{schema}.{table}\" does not exist here"),
            "Add the column, or exclude it from tracking at the source.",
        ),
        Mismatch::Type { column, here, there } => (
            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!(
                "column \"{column}\" of table \"{schema}.{table}\" has type {here} here and \
                    {there} at the source"
            ),
            "Give both the same type.",
        ),
    };
    Failure::new(code, message).hint(hint).raise()
}

fn history_is_missing(unsettled: &Unsettled) -> ! {
    Failure::new(PgSqlErrorCode::ERRCODE_NO_DATA_FOUND, unsettled.reason())
        .detail(format!("Without it, entry {} cannot be settled.", unsettled.version))
        .hint("Have the source make a full set: syncjournal.prep_sync(name, mode => 'full').")
        .raise()
}

fn damaged(what: &str) -> ! {
    Failure::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, format!("the sync set is damaged: {what}"))
        .hint("Bring the file again from where it was made, or make a new set.")
        .raise()
}

/// A clock that runs ahead would win every conflict until the others have caught up.
fn ahead_of_clock(version: Version, source: &str) -> ! {
    let ahead = version.time().unix_micros().saturating_sub(prep_sync::now_micros()) / 1_000_000;
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("an entry of node \"{source}\" is {ahead} s ahead of this server's clock"),
    )
    .detail(format!("It is version {version}; more than syncjournal.max_clock_skew is refused."))
    .hint("Set the clocks of both servers right, or wait until this one has caught up.")
    .raise()
}

/// The time past which nothing is taken.
fn latest_time() -> HybridTime {
    let sql = "select extract(epoch from \
        pg_catalog.current_setting('syncjournal.max_clock_skew')::interval)::int8 * 1000000";
    let skew = query::first(View::Newest, sql, &[], |row| row.int8(1)).flatten().unwrap_or(0);
    HybridTime::from_unix_micros(prep_sync::now_micros().saturating_add_signed(skew))
}

/// Whether anyone but the source is sent what comes from it.
fn has_third(peer_id: i16) -> bool {
    let sql = "select from syncjournal.registered_peer \
        where active and direction <> 'receive' and peer_id <> $1 limit 1";
    query::run(View::Newest, sql, &[Arg::Int2(peer_id)], |_| ()) > 0
}

//! One part being applied: its frames journaled, its entries laid on rows or set aside.

use std::cell::RefCell;
use std::ffi::CString;
use std::rc::Rc;

use pgrx::PgSqlErrorCode;
use syncjournal_core::operations::permitted;
use syncjournal_core::slice::{Piece, Reach};
use syncjournal_core::wire::{Header, Mode};
use syncjournal_core::{Entry, HybridTime, Operation, RelationLayout, Version, frame};

use super::collision::{self, Remedy};
use super::layer::{Laid, Layer};
use super::outcome::Outcome;
use super::quarantine::{
    Care, Excluded, Place, Problem, Shelf, Violation, Watch, alone, violations,
};
use super::references;
use super::route::{Fit, Route};
use super::run::brings_row;
use super::source::Source;
use crate::error::Failure;
use crate::journal::{self, Appender, FrameIds, FrameRow};
use crate::pg::context::{self, ErrorContext};
use crate::pg::query::{self, Arg, View};
use crate::pg::setting;
use crate::{layout, prep_sync};

/// The state of one attempt at a call of `apply`.
#[derive(Debug)]
pub struct Session<'a> {
    header: &'a Header,
    source: &'a Source,
    care: Care,
    excluded: &'a Excluded,
    watch: &'a mut Watch,
    routes: Vec<Option<Rc<Route>>>,
    known: FrameIds,
    appender: Appender,
    /// Open for the whole attempt, where its entries are laid together.
    layer: Option<Layer>,
    laid: Laid,
    shelf: Shelf,
    /// Nothing may be written later than this.
    latest: HybridTime,
    /// Whether rows of a full set are of use to a third node.
    passes_states_on: bool,
}

/// A frame in hand.
#[derive(Clone, Copy, Debug)]
struct Frame<'a> {
    layout: &'a RelationLayout,
    id: Version,
    entries: u64,
    bytes: &'a [u8],
}

impl Frame<'_> {
    /// Whether it tells of rows that left slices: such entries have frames of their own.
    fn leaves(self) -> bool {
        self.begins_with(Operation::Leave)
    }

    /// Whether what came before must be settled first, since a TRUNCATE had seen it. Nothing else
    /// shares a frame with one.
    fn truncates(self) -> bool {
        self.begins_with(Operation::Truncate)
    }

    fn begins_with(self, operation: Operation) -> bool {
        let first = frame::entries(self.id, self.bytes).next();
        first.is_some_and(|entry| entry.is_ok_and(|entry| entry.operation == operation))
    }
}

impl<'a> Session<'a> {
    pub fn begin(
        header: &'a Header,
        source: &'a Source,
        watch: &'a mut Watch,
        (care, excluded): (Care, &'a Excluded),
    ) -> Self {
        let mut routes = Vec::new();
        routes.resize_with(header.layouts.len(), || None);
        Self {
            header,
            source,
            care,
            excluded,
            watch,
            routes,
            known: FrameIds::open(),
            appender: Appender::open(),
            layer: None,
            laid: Laid::default(),
            shelf: Shelf::new(source.peer_id),
            latest: latest_time(),
            passes_states_on: header.mode == Mode::Full && has_third(source.peer_id),
        }
    }

    /// Journals one frame, and lays its entries or sets them aside.
    pub fn frame(&mut self, place: usize, id: Version, entries: u64, bytes: &[u8]) {
        pgrx::check_for_interrupts!();
        if id.time() > self.latest {
            ahead_of_clock(id, &self.header.source.name);
        }
        let frame = Frame { layout: &self.header.layouts[place], id, entries, bytes };
        let route = self.route(place);
        let layout_id = match &*route {
            Route::NotWanted => return self.laid.outcome.skip(entries),
            Route::Unfit { layout_id, .. } => *layout_id,
            Route::Table(fit) => fit.layout_id,
        };
        let RelationLayout { schema, table, .. } = frame.layout;
        let told = format!("table \"{schema}.{table}\", from node \"{}\"", self.source.name);
        let _context = ErrorContext::enter(&told);
        if frame.leaves() {
            return self.leave(frame, &route);
        }
        if self.header.mode == Mode::Full {
            return self.unknown(frame, layout_id, &route);
        }
        let is_piece = frame::is_piece(bytes);
        if is_piece {
            self.appender.flush();
            self.known.look_for_all();
        }
        match self.known.entries(id) {
            Some(held) if held >= entries && !is_piece => self.laid.outcome.skip(entries),
            None if !is_piece || !journal::is_begun(id) => self.unknown(frame, layout_id, &route),
            _ => self.rest(frame, layout_id, &route),
        }
    }

    /// A frame of which some entries may be here already: the others.
    fn rest(&mut self, frame: Frame<'_>, layout_id: i32, route: &Route) {
        self.appender.flush();
        let id = frame.id;
        let is_wanted = |entry: &Entry<'_>| journal::frame_of(id.with_index(entry.index)).is_none();
        let piece = Piece::of(id, frame.bytes, is_wanted)
            .unwrap_or_else(|error| super::set_error::raise(&error.into()));
        let Some(Piece { id, entries, bytes }) = piece else {
            return self.laid.outcome.skip(frame.entries);
        };
        let entries = u64::from(entries);
        self.laid.outcome.skip(frame.entries.saturating_sub(entries));
        let layout = frame.layout;
        self.unknown(Frame { layout, id, entries, bytes: &bytes }, layout_id, route);
    }

    /// Rows that left the slices by which they came: nobody else is told of it.
    fn leave(&mut self, frame: Frame<'_>, route: &Route) {
        self.appender.flush();
        match route {
            Route::Table(fit) if self.care == Care::Together => self.lay(frame, fit),
            Route::Table(fit) => self.lay_apart(frame, fit),
            Route::NotWanted | Route::Unfit { .. } => self.laid.outcome.skip(frame.entries),
        }
    }

    fn append(&mut self, frame: Frame<'_>, layout_id: i32, reach: &[u8]) {
        if self.header.mode == Mode::Full && !self.passes_states_on {
            return;
        }
        self.appender.append(&FrameRow {
            id: frame.id,
            layout_id,
            origin: self.source.peer_id,
            entries: u32::try_from(frame.entries).unwrap_or(u32::MAX),
            data: frame.bytes,
            reach,
        });
    }

    /// Journals a frame that is not here, and lays its entries or sets them aside.
    fn unknown(&mut self, frame: Frame<'_>, layout_id: i32, route: &Route) {
        let together = self.care == Care::Together;
        match route {
            Route::Table(fit) if fit.has_slices && together && !frame.truncates() => {
                self.appender.flush();
                // What slices its rows were in and are in is known afterwards.
                let mut layer = self.layer.take().unwrap_or_else(|| Layer::new(self.source));
                layer.passages(fit).begin_frame();
                self.layer = Some(layer);
                self.lay(frame, fit);
                let reach = self.layer.as_mut().map(|layer| layer.passages(fit).end_frame());
                self.append(frame, layout_id, &reach.unwrap_or_default());
                return self.appender.flush();
            }
            Route::Table(fit) if fit.has_slices => {
                self.append(frame, layout_id, &Reach::Passages(Vec::new()).encode());
            }
            _ => self.append(frame, layout_id, &[]),
        }
        if !self.may_wait(route) || frame.truncates() {
            self.appender.flush();
        }
        match route {
            Route::NotWanted => {}
            Route::Unfit { problem, .. } => {
                let place = Place { layout: frame.layout, layout_id };
                let RelationLayout { schema, table, .. } = frame.layout;
                let permits = permitted(&self.source.restrictions, schema, table);
                self.each(frame, frame.layout.columns.len(), |session, entry| {
                    if !permits.allow(entry.operation) {
                        return session.laid.outcome.skip(1);
                    }
                    session.shelf.put_aside(place, &entry, problem);
                    session.laid.outcome.quarantine();
                });
            }
            Route::Table(fit) if self.care == Care::Together => self.lay(frame, fit),
            Route::Table(fit) => self.lay_apart(frame, fit),
        }
    }

    /// Whether nobody reads the journal while the entries of this route's frames are laid.
    fn may_wait(&mut self, route: &Route) -> bool {
        match route {
            Route::Table(fit) if self.care == Care::Together => {
                let layer = self.layer.get_or_insert_with(|| Layer::new(self.source));
                layer.needs_no_journal(fit)
            }
            _ => false,
        }
    }

    fn route(&mut self, place: usize) -> Rc<Route> {
        let Self { header, source, routes, .. } = self;
        let route = routes[place].get_or_insert_with(|| {
            let route = Route::of(&header.layouts[place], source);
            if let Route::Unfit { problem, .. } = &route
                && source.stops_on(&problem.sqlstate)
            {
                problem.clone().raise();
            }
            Rc::new(route)
        });
        Rc::clone(route)
    }

    /// Visits the entries of a frame, which are checked as they come.
    fn each<'f>(
        &mut self,
        frame: Frame<'f>,
        columns: usize,
        mut visit: impl FnMut(&mut Self, Entry<'f>),
    ) {
        let mut count = 0;
        for entry in frame::entries(frame.id, frame.bytes) {
            let entry = entry.unwrap_or_else(|error| super::set_error::raise(&error.into()));
            count += 1;
            context::set_row(Some(entry.row.0));
            if entry.version.time() > self.latest {
                ahead_of_clock(entry.version, &self.source.name);
            }
            if !fits_layout(&entry, columns) {
                damaged("an entry has more columns than its table");
            }
            visit(self, entry);
        }
        if count != frame.entries {
            damaged("a frame has not the entries that its head says");
        }
    }

    /// Lays the entries into the layer of the whole attempt.
    fn lay(&mut self, frame: Frame<'_>, fit: &Rc<Fit>) {
        let mut layer = self.layer.take().unwrap_or_else(|| Layer::new(self.source));
        let mut run = Vec::new();
        self.each(frame, fit.places.len(), |session, entry| {
            session.watch.touch(entry.row);
            if session.leave_out(frame, fit, &entry) {
                if fit.has_slices {
                    layer.passages(fit).left_out();
                }
                return;
            }
            // Of a table with slices each row is looked at before and after.
            if !fit.has_slices && brings_row(&entry) {
                return run.push(entry);
            }
            layer.run(fit, &run);
            run.clear();
            context::set_row(Some(entry.row.0));
            layer.entry(fit, &entry);
        });
        layer.run(fit, &run);
        layer.end_frame(fit);
        self.layer = Some(layer);
    }

    /// Lays the entries in a subtransaction, and where that fails each in one of its own.
    fn lay_apart(&mut self, frame: Frame<'_>, fit: &Rc<Fit>) {
        let (source, excluded) = (self.source, self.excluded);
        if frame.truncates() {
            self.settle_apart();
        }
        let whole = alone(source, || {
            let mut layer = Layer::new(source);
            self.each(frame, fit.places.len(), |_, entry| {
                if excluded.find(fit.relation_id, entry.row).is_none() {
                    layer.entry(fit, &entry);
                }
            });
            layer.close()
        });
        let is_laid = whole.is_ok();
        if let Ok(laid) = whole {
            self.laid.add(laid);
        }
        let place = Place { layout: frame.layout, layout_id: fit.layout_id };
        self.each(frame, fit.places.len(), |session, entry| {
            session.watch.touch(entry.row);
            if session.leave_out(frame, fit, &entry) || is_laid {
                return;
            }
            if entry.operation == Operation::Truncate {
                session.settle_apart();
            }
            let one = alone(source, || {
                let mut layer = Layer::new(source);
                layer.entry(fit, &entry);
                layer.close()
            });
            match one {
                Ok(laid) => session.laid.add(laid),
                Err(problem) => {
                    session.shelf.put_aside(place, &entry, &problem);
                    session.laid.outcome.quarantine();
                }
            }
        });
    }

    /// Sets the entry aside if its row is left out of this call.
    fn leave_out(&mut self, frame: Frame<'_>, fit: &Rc<Fit>, entry: &Entry<'_>) -> bool {
        let Some(violation) = self.excluded.find(fit.relation_id, entry.row) else { return false };
        if violation.remedy == Some(Remedy::Skip) {
            self.laid.outcome.conflicts +=
                i64::from(collision::record_skip(self.source, violation));
            self.laid.outcome.skip(1);
            return true;
        }
        let place = Place { layout: frame.layout, layout_id: fit.layout_id };
        self.shelf.put_violator(place, entry, violation);
        self.laid.outcome.quarantine();
        true
    }

    /// Settles what was put off, checks what is checked at the end of a call, and says what was
    /// done.
    pub fn finish(mut self) -> Result<Outcome, Vec<Violation>> {
        self.appender.flush();
        if let Some(mut layer) = self.layer.take() {
            layer.settle_postponed();
            self.laid.add(layer.close());
        }
        self.settle_apart();
        self.laid.add(collision::make_way(self.source, self.excluded.collisions())?);
        for unsettled in std::mem::take(&mut self.laid.unsettled) {
            let problem = unsettled.problem();
            if self.source.stops_on(&problem.sqlstate) {
                problem.raise();
            }
            self.set_aside_journaled(unsettled.version, &problem);
        }
        let new = std::mem::take(&mut self.laid.pending);
        self.laid.add(references::fill(self.source.keys.as_ref(), new, &self.watch.arrived));
        let violations = violations(&self.laid);
        if !violations.is_empty() {
            return Err(violations);
        }
        let mut outcome = self.laid.outcome;
        outcome.conflicts += self.shelf.conflicts;
        Ok(outcome)
    }

    /// Settles what was put off, each entry in a subtransaction of its own; a row's latest first.
    fn settle_apart(&mut self) {
        let mut postponed = std::mem::take(&mut self.laid.postponed);
        postponed.sort_unstable_by_key(|(fit, row, version)| {
            (fit.relation_id, *row, std::cmp::Reverse(*version))
        });
        for (fit, row, version) in postponed {
            let settled = alone(self.source, || {
                let mut layer = Layer::new(self.source);
                let settled = layer.settle(&fit, row, version);
                (settled, layer.close())
            });
            match settled {
                Ok((settled, laid)) => {
                    self.laid.add(laid);
                    self.laid.unsettled.extend(settled.err());
                }
                Err(problem) => self.set_aside_journaled(version, &problem),
            }
        }
    }

    /// Sets an entry aside that came with this call, and of which only its version is at hand.
    fn set_aside_journaled(&mut self, version: Version, problem: &Problem) {
        self.laid.outcome.quarantine();
        let Some(found) = journal::frame_of(version) else { return };
        let layout = layout::by_id(found.layout_id);
        let place = Place { layout: &layout.definition, layout_id: found.layout_id };
        let entries = frame::entries(found.id, &found.data).flatten();
        for entry in entries.filter(|entry| entry.version == version) {
            self.shelf.put_aside(place, &entry, problem);
        }
    }
}

/// Whether all columns that the entry names are among so many of its layout.
fn fits_layout(entry: &Entry<'_>, columns: usize) -> bool {
    entry.changes().all(|change| change.column < columns)
        && (entry.operation == Operation::Update || entry.values().len() <= columns)
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

thread_local! {
    /// `syncjournal.max_clock_skew` as it was last read, in microseconds.
    static SKEW: RefCell<(CString, i64)> = RefCell::new((CString::default(), 0));
}

/// The time past which nothing is taken.
fn latest_time() -> HybridTime {
    let setting = setting::current(c"syncjournal.max_clock_skew");
    let known = SKEW.with_borrow(|(text, skew)| (text.as_c_str() == setting).then_some(*skew));
    let skew = known.unwrap_or_else(|| {
        let sql = "select extract(epoch from \
            pg_catalog.current_setting('syncjournal.max_clock_skew')::interval)::int8 * 1000000";
        let skew = query::first(View::Newest, sql, &[], |row| row.int8(1)).flatten().unwrap_or(0);
        SKEW.set((setting.to_owned(), skew));
        skew
    });
    HybridTime::from_unix_micros(prep_sync::now_micros().saturating_add_signed(skew))
}

/// Whether anyone but the source is sent what comes from it.
fn has_third(peer_id: i16) -> bool {
    let sql = "select from syncjournal.registered_peer \
        where active and direction <> 'receive' and peer_id <> $1 limit 1";
    query::run(View::Newest, sql, &[Arg::Int2(peer_id)], |_| ()) > 0
}

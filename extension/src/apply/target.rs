//! A tracked table as the place where entries go: plain, or partitioned with its leaves.
//!
//! Values stay in wire form until they are written; columns are numbered as in the layout that the
//! table has here. Whatever may run the users' code (input functions of their types, defaults,
//! checks, triggers) runs with the rights of the table's owner and nothing more.

use std::rc::Rc;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{Datum, Oid};
use syncjournal_core::merge::Value;
use syncjournal_core::{RelationLayout, RowId, Version};

use super::fill::{assign, fill_defaults, given, identify, set_version, two};
use super::foreign_keys::{ForeignKeys, Touched, Watcher};
use super::json::{given_columns, identity_of, plain_json, references_of, travelling_json};
use super::references::{GoneKeys, OldKey, Parents, Pending};
use super::run::Run;
use crate::capture;
use crate::error::{Failure, corrupted};
use crate::layout::{self, StoredLayout, Tracked};
use crate::pg::arena::Home;
use crate::pg::arithmetic;
use crate::pg::context;
use crate::pg::defaults::Defaults;
use crate::pg::memory;
use crate::pg::open_table::OpenTable;
use crate::pg::postponed::Suspect;
use crate::pg::query::{self, Arg, Row};
use crate::pg::role::RunAs;
use crate::pg::routing::{self, Router};
use crate::pg::row_json::row_json;
use crate::pg::row_writer::{RowWriter, Written};
use crate::pg::trigger::ColumnAccess;
use crate::pg::triggers::Ours;
use crate::pg::{catalog, transaction};

/// The travelling columns of a row, in wire form.
pub type Image = Vec<Value>;

/// A new value of a column of the local layout.
pub type Assignment<'a> = (usize, Option<&'a [u8]>);

/// An open tracked table. `close` it; after an error Postgres cleans up.
#[derive(Debug)]
pub struct Target {
    pub root: Oid,
    pub relation_id: i32,
    pub layout_id: i32,
    layout: Rc<StoredLayout>,
    owner: Oid,
    /// Where what is opened later belongs, too.
    home: Home,
    /// Of a partitioned table: the table itself, and its router.
    partitioned: Option<Partitioned>,
    pub(super) leaves: Vec<Leaf>,
    /// The leaf that holds the row found last; looked into first the next time.
    pub(super) at: usize,
    /// Where foreign keys are enforced.
    keys: Option<Rc<ForeignKeys>>,
    touched: Touched,
    /// Whose entry takes rows away, if it is not their own.
    blamed: Option<RowId>,
    /// What the entry in hand refers to.
    parents: Parents,
    gone: GoneKeys,
}

/// A partitioned table. Its own defaults and identity columns count, not those of the partitions.
#[derive(Debug)]
struct Partitioned {
    root: OpenTable,
    router: Router,
    defaults: Defaults,
}

/// A plain table, or one partition.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) writer: RowWriter,
    pub(super) tracked: Rc<Tracked>,
    defaults: Defaults,
    watcher: Option<Watcher>,
    /// For each column of the root (by number less one) the column here, none where dropped.
    of_root: Vec<Option<usize>>,
}

impl Target {
    /// Opens a tracked table for writing.
    pub fn open(tracked: &Tracked) -> Self {
        Self::enforcing(tracked, None)
    }

    /// Opens a tracked table for writing; `keys` where its foreign keys are enforced.
    pub fn enforcing(tracked: &Tracked, keys: Option<&Rc<ForeignKeys>>) -> Self {
        let root = OpenTable::for_writing(tracked.root);
        let mut target = Self {
            root: tracked.root,
            relation_id: tracked.relation_id,
            layout_id: tracked.layout_id,
            layout: layout::by_id(tracked.layout_id),
            owner: root.owner(),
            home: Home::here(),
            partitioned: None,
            leaves: Vec::new(),
            at: 0,
            keys: keys.cloned(),
            touched: Touched::default(),
            blamed: None,
            parents: Parents::of(tracked),
            gone: GoneKeys::of(tracked),
        };
        if root.is_partitioned() {
            let router = Router::open(&root);
            for leaf in routing::leaves(&root) {
                let leaf = target.open_leaf(OpenTable::for_writing(leaf), Some(&root));
                target.leaves.push(leaf);
            }
            let columns = root.columns();
            let plain = columns.iter().filter(|column| !column.is_generated);
            let defaults = Defaults::of(&root, plain.map(|column| column.number));
            target.partitioned = Some(Partitioned { root, router, defaults });
        } else {
            let leaf = target.open_leaf(root, None);
            target.leaves.push(leaf);
        }
        target
    }

    fn open_leaf(&self, table: OpenTable, root: Option<&OpenTable>) -> Leaf {
        let tracked = layout::tracked(table.oid())
            .unwrap_or_else(|| corrupted("a partition of a tracked table is not known").raise());
        let index = || table.index_on(i16::try_from(tracked.identity).unwrap_or(i16::MAX));
        let index = tracked.identity_index.get_or_init(index);
        let index = index.unwrap_or_else(|| {
            let name = catalog::qualified_name(table.oid());
            Failure::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                format!("table \"{name}\" has no index on its rows' identity"),
            )
            .hint("Create a unique index on the identity column: see view tracked_table.")
            .raise()
        });
        let columns = table.columns();
        let plain = columns.iter().filter(|column| !column.is_generated);
        let defaults = Defaults::of(&table, plain.map(|column| column.number));
        let of_root = root.map_or_else(Vec::new, |root| {
            let mut places = Vec::new();
            for column in root.columns() {
                let here = columns.iter().find(|here| here.name == column.name);
                let number = usize::try_from(column.number).unwrap_or(0);
                places.resize(number, None);
                places[number - 1] = here.map(|here| usize::try_from(here.number).unwrap_or(1) - 1);
            }
            places
        });
        let ours = Ours { identity: tracked.identity, version: tracked.version };
        let writer = RowWriter::open(table, index, ours, tracked.run_triggers);
        let watcher = self.keys.as_ref().and_then(|keys| Watcher::of(keys, tracked.relid));
        Leaf { writer, tracked, defaults, watcher, of_root }
    }

    /// Whether code of the users' runs with a change of the table.
    pub fn has_triggers(&self) -> bool {
        self.leaves.iter().any(|leaf| leaf.writer.has_triggers())
    }

    /// Closes, and gives the rows whose unique and exclusion constraints are still to be checked.
    #[must_use]
    pub fn close(self) -> Vec<Suspect> {
        let mut suspects = Vec::new();
        for leaf in self.leaves {
            leaf.defaults.close();
            suspects.extend(leaf.writer.close());
        }
        if let Some(Partitioned { root, router, defaults }) = self.partitioned {
            defaults.close();
            router.close();
            root.close();
        }
        suspects
    }

    /// Rows that are deleted from now on go by the entry of this row: a TRUNCATE's.
    pub fn blame(&mut self, row: Option<RowId>) {
        self.blamed = row;
    }

    /// Between frames: keeps little of what foreign keys have to be checked for.
    pub fn thin_out(&mut self) {
        self.touched.thin_out();
    }

    /// What foreign keys have to be checked for, since it was asked last.
    pub fn touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Another entry is in hand: what it refers to is looked up anew.
    pub fn forget_parents(&mut self) {
        self.parents.forget();
    }

    /// Whether a row that the values refer to is not here.
    pub fn lacks_parents<'a>(
        &mut self,
        row: RowId,
        values: impl Iterator<Item = Assignment<'a>>,
    ) -> bool {
        let Some(leaf) = self.leaves.first() else { return false };
        leaf.tracked.has_references && self.parents.are_missing(&leaf.tracked, row, values)
    }

    /// Whether a reference of the current row points anywhere.
    pub fn refers(&self, column: usize) -> bool {
        let leaf = &self.leaves[self.at];
        let (_, nulls) = leaf.writer.current().columns();
        let reference = leaf.tracked.columns[column].reference.as_ref();
        reference.is_some_and(|reference| !reference.is_null(nulls))
    }

    /// References of this call whose rows have not come.
    pub fn take_pending(&mut self) -> Vec<Pending> {
        std::mem::take(&mut self.parents.pending)
    }

    fn look_up_parents<'a>(&mut self, row: RowId, values: impl Iterator<Item = Assignment<'a>>) {
        let Some(leaf) = self.leaves.first() else { return };
        if leaf.tracked.has_references {
            self.parents.look_up(&leaf.tracked, row, values);
        }
    }

    /// The layout that the table has here.
    pub fn layout(&self) -> &RelationLayout {
        &self.layout.definition
    }

    /// The leaf tables, each with the numbers of its identity and version columns.
    pub fn tables(&self) -> Vec<(Oid, usize, usize)> {
        let describe =
            |leaf: &Leaf| (leaf.writer.table().oid(), leaf.tracked.identity, leaf.tracked.version);
        self.leaves.iter().map(describe).collect()
    }

    /// Looks the row up; afterwards it is the current one. Gives its version.
    pub fn find(&mut self, row: RowId) -> Option<Version> {
        let (count, first) = (self.leaves.len(), self.at);
        for place in (0..count).map(|step| (first + step) % count) {
            let leaf = &mut self.leaves[place];
            if leaf.writer.find(row.0) {
                self.at = place;
                let version = leaf.writer.current().uuid(leaf.tracked.version);
                return Some(version.map_or(Version::NIL, Version::from_bytes));
            }
        }
        None
    }

    /// The current row in wire form.
    pub fn image(&self) -> Image {
        let leaf = &self.leaves[self.at];
        let row = leaf.writer.current();
        let value = |column| {
            let mut payload = Vec::new();
            row.encode(column, &mut payload).then(|| payload.into())
        };
        let mut image: Image = leaf.tracked.columns.iter().map(value).collect();
        if leaf.tracked.has_references
            && let Some(identity) = row.uuid(leaf.tracked.identity)
        {
            let columns = &self.layout().columns;
            self.parents.restore(leaf.tracked.relation_id, RowId(identity), columns, &mut image);
        }
        image
    }

    /// Inserts a row whose travelling columns are given; others get their defaults.
    pub fn insert<'a>(
        &mut self,
        row: RowId,
        version: Version,
        values: impl Iterator<Item = Assignment<'a>> + Clone,
    ) -> Written {
        self.look_up_parents(row, values.clone());
        let old_key = self.gone.take(self.relation_id, row);
        let _owner = RunAs::restricted(self.owner);
        let (place, whole) = self.leaf_for_insert(row, version, (values.clone(), old_key.as_ref()));
        let leaf = &mut self.leaves[place];
        let Leaf { writer, tracked, defaults, watcher, of_root } = leaf;
        let (datums, nulls) = writer.fresh();
        nulls.fill(true);
        if let Some((whole, are_null)) = whole {
            for (there, here) in of_root.iter().enumerate() {
                if let Some(here) = *here {
                    (datums[here], nulls[here]) = (whole[there], are_null[there]);
                }
            }
        } else {
            fill_defaults(tracked, defaults, (&mut *datums, &mut *nulls), values.clone());
            old_key.iter().for_each(|key| key.set(tracked, datums, nulls));
            assign((tracked, &self.parents, row), datums, nulls, values);
            identify(tracked, datums, nulls, row, version);
        }
        let written = written(writer, RowWriter::insert);
        if let Some(watcher) = watcher.as_ref().filter(|_| written == Written::Done) {
            watcher.inserted(&mut self.touched, row, true);
        }
        written
    }

    /// Whether rows with values for the columns at these places can be inserted in runs.
    pub fn takes_runs(&self, places: &[Option<usize>]) -> bool {
        let Leaf { writer, tracked, defaults, .. } = &self.leaves[0];
        let given = given(tracked, places);
        self.partitioned.is_none()
            && !tracked.has_references
            && writer.takes_runs()
            && !defaults.are_volatile(|at| given[at])
    }

    /// Inserts the rows at `wanted` without looking for them. Gives the places of those that it has
    /// taken back: one is here already, or `is_gone` knows more of it.
    pub fn insert_run(
        &mut self,
        run: Run<'_>,
        wanted: &[usize],
        mut is_gone: impl FnMut(RowId) -> bool,
    ) -> Vec<usize> {
        let _owner = RunAs::restricted(self.owner);
        let Leaf { writer, tracked, defaults, watcher, .. } = &mut self.leaves[0];
        let given = given(tracked, run.places);
        for place in wanted {
            let entry = &run.entries[*place];
            context::set_row(Some(entry.row.0));
            let (datums, nulls) = writer.next();
            nulls.fill(true);
            defaults.fill(datums, nulls, |at| given[at]);
            let values = entry.values().zip(run.places);
            let values = values.filter_map(|(value, place)| Some(((*place)?, value)));
            assign((tracked, &self.parents, entry.row), datums, nulls, values);
            identify(tracked, datums, nulls, entry.row, entry.version);
            writer.add(entry.row.0);
        }
        let mut back = writer.insert_run();
        // Asked now, whoever has deleted a row before it could be inserted has told so.
        let row_at = |place: usize| run.entries[wanted[place]].row;
        back.extend((0..wanted.len()).filter(|place| is_gone(row_at(*place))));
        back.sort_unstable();
        back.dedup();
        writer.end_run(&back);
        if let Some(watcher) = watcher {
            let stays = |place: &usize| back.binary_search(place).is_err();
            for place in (0..wanted.len()).filter(stays) {
                watcher.inserted(&mut self.touched, row_at(place), true);
            }
        }
        back.into_iter().map(|place| wanted[place]).collect()
    }

    /// Changes columns of the current row, and its version.
    pub fn update<'a>(
        &mut self,
        row: RowId,
        version: Version,
        changes: impl Iterator<Item = Assignment<'a>> + Clone,
    ) -> Written {
        self.look_up_parents(row, changes.clone());
        let _owner = RunAs::restricted(self.owner);
        let place = self.leaf_for_update(row, version, changes.clone());
        if place != self.at {
            return self.move_to(place, row, version, changes);
        }
        let Leaf { writer, tracked, watcher, .. } = &mut self.leaves[place];
        let (datums, nulls) = writer.copy_current();
        assign((tracked, &self.parents, row), datums, nulls, changes);
        set_version(tracked, datums, nulls, version);
        let written = written(writer, RowWriter::update);
        if let Some(watcher) = watcher.as_ref().filter(|_| written == Written::Done) {
            let (old, new) = writer.change();
            watcher.updated(&mut self.touched, row, old, new);
        }
        written
    }

    /// Deletes the current row.
    pub fn delete(&mut self) -> Written {
        let leaf = &self.leaves[self.at];
        self.gone.remember(&leaf.tracked, leaf.writer.current());
        let _owner = RunAs::restricted(self.owner);
        self.remove()
    }

    fn remove(&mut self) -> Written {
        let Leaf { writer, watcher, tracked, .. } = &mut self.leaves[self.at];
        let written = written(writer, RowWriter::delete);
        if let Some(watcher) = watcher.as_ref().filter(|_| written == Written::Done) {
            let old = writer.current();
            if let Some(row) = old.uuid(tracked.identity) {
                let row = self.blamed.unwrap_or(RowId(row));
                watcher.removed(&mut self.touched, row, old);
            }
        }
        written
    }

    /// The row's partition key has changed: it leaves one partition and enters another.
    fn move_to<'a>(
        &mut self,
        place: usize,
        row: RowId,
        version: Version,
        changes: impl Iterator<Item = Assignment<'a>>,
    ) -> Written {
        self.fill_from_current(place, row, version, changes);
        let deleted = self.remove();
        if deleted != Written::Done {
            return deleted;
        }
        self.at = place;
        let Leaf { writer, watcher, .. } = &mut self.leaves[place];
        let written = written(writer, RowWriter::insert);
        if let Some(watcher) = watcher.as_ref().filter(|_| written == Written::Done) {
            watcher.inserted(&mut self.touched, row, false);
        }
        written
    }

    /// Makes the fresh row of another leaf from the current one and the changes.
    fn fill_from_current<'a>(
        &mut self,
        place: usize,
        row: RowId,
        version: Version,
        changes: impl Iterator<Item = Assignment<'a>>,
    ) {
        let (from, to) = two(&mut self.leaves, self.at, place);
        let (from_values, from_nulls) = from.writer.current().columns();
        let (datums, nulls) = to.writer.fresh();
        nulls.fill(true);
        for (here, there) in to.of_root.iter().zip(&from.of_root) {
            if let (Some(here), Some(there)) = (*here, *there) {
                (datums[here], nulls[here]) = (from_values[there], from_nulls[there]);
            }
        }
        assign((&to.tracked, &self.parents, row), datums, nulls, changes);
        identify(&to.tracked, datums, nulls, row, version);
    }

    /// Runs `work` with the rights of the table's owner.
    pub fn as_owner<R>(&self, work: impl FnOnce() -> R) -> R {
        let _owner = RunAs::restricted(self.owner);
        work()
    }

    /// An image as JSON; our own columns are in it, too.
    pub fn json(&mut self, row: RowId, image: &[Value]) -> String {
        let _owner = RunAs::restricted(self.owner);
        let Leaf { writer, tracked, .. } = &mut self.leaves[self.at];
        let mut datums = vec![Datum::from(0); tracked.natts];
        let mut nulls = vec![true; tracked.natts];
        let values = image.iter().enumerate().map(|(place, value)| (place, value.as_deref()));
        assign((tracked, &Parents::default(), row), &mut datums, &mut nulls, values);
        identify(tracked, &mut datums, &mut nulls, row, Version::NIL);
        let json = row_json(writer.table(), &mut datums, &mut nulls);
        let kept = &tracked.kept;
        if tracked.has_references || !kept.is_empty() {
            return travelling_json(&json, kept, references_of(tracked, image));
        }
        json
    }

    /// The image that a JSON object describes; columns that it leaves out are those of `rest`.
    pub fn image_of(&self, json: &str, rest: &[Value]) -> Image {
        let tracked = tracked_root(self.root);
        let columns = &self.layout().columns;
        let (given, object) = given_columns(json, columns, &catalog::qualified_name(self.root));
        let json = &plain_json(json, columns);
        let names = columns.iter().map(|column| format!("(r).{}", quote(&column.name)));
        let sql = format!(
            "select {} from (select pg_catalog.jsonb_populate_record(null::{}.{}, \
                $1::pg_catalog.jsonb) r offset 0) made",
            names.collect::<Vec<_>>().join(", "),
            quote(&self.layout().schema),
            quote(&self.layout().table),
        );
        let read = |row: &Row| -> Image {
            let value = |(place, access): (usize, &ColumnAccess)| match given[place] {
                true if access.reference.is_some() => identity_of(&object, &columns[place]),
                true => row.payload(place as i32 + 1, &access.codec).map(Into::into),
                false => rest.get(place).cloned().flatten(),
            };
            tracked.columns.iter().enumerate().map(value).collect()
        };
        self.as_owner(|| query::once(&sql, &[Arg::Text(json)], read)).unwrap_or_default()
    }

    /// `value + (new - old)` of a column, NULL counting as zero.
    pub fn count(&self, column: usize, value: &Value, new: &Value, old: &Value) -> Value {
        let _owner = RunAs::restricted(self.owner);
        let tracked = &self.leaves[self.at].tracked;
        let access = &tracked.columns[column];
        let shape = catalog::shape(tracked.relid);
        let attribute = shape.attributes.iter().find(|found| found.number == access.number);
        let type_oid = attribute.map_or(Oid::INVALID, |attribute| attribute.type_oid);
        memory::scratch(|| {
            let difference = (new.as_deref(), old.as_deref());
            arithmetic::counted(&access.codec, type_oid, value.as_deref(), difference)
        })
        .map(Into::into)
    }

    fn leaf_for_insert<'a>(
        &mut self,
        row: RowId,
        version: Version,
        (values, old_key): (impl Iterator<Item = Assignment<'a>> + Clone, Option<&OldKey>),
    ) -> (usize, Option<WholeRow>) {
        let Some(Partitioned { root, router, defaults }) = &mut self.partitioned else {
            return (0, None);
        };
        let tracked = tracked_root(root.oid());
        let (datums, nulls) = router.row();
        nulls.fill(true);
        fill_defaults(&tracked, defaults, (&mut *datums, &mut *nulls), values.clone());
        old_key.iter().for_each(|key| key.set(&tracked, datums, nulls));
        assign((&tracked, &self.parents, row), datums, nulls, values);
        identify(&tracked, datums, nulls, row, version);
        let whole = (datums.to_vec(), nulls.to_vec());
        let leaf = router.leaf();
        (self.place_of(leaf), Some(whole))
    }

    fn leaf_for_update<'a>(
        &mut self,
        row: RowId,
        version: Version,
        changes: impl Iterator<Item = Assignment<'a>>,
    ) -> usize {
        let Some(Partitioned { root, router, .. }) = &mut self.partitioned else { return 0 };
        let tracked = tracked_root(root.oid());
        let leaf = &self.leaves[self.at];
        let (from_values, from_nulls) = leaf.writer.current().columns();
        let (datums, nulls) = router.row();
        nulls.fill(true);
        for (place, here) in leaf.of_root.iter().enumerate() {
            if let Some(here) = *here {
                (datums[place], nulls[place]) = (from_values[here], from_nulls[here]);
            }
        }
        assign((&tracked, &self.parents, row), datums, nulls, changes);
        identify(&tracked, datums, nulls, row, version);
        let leaf = router.leaf();
        self.place_of(leaf)
    }

    /// Place of a leaf; one that was attached meanwhile is opened now.
    fn place_of(&mut self, leaf: Oid) -> usize {
        let known = self.leaves.iter().position(|known| known.writer.table().oid() == leaf);
        known.unwrap_or_else(|| {
            let root = self.partitioned.as_ref().map(|partitioned| &partitioned.root);
            let opened = self.home.run(|| self.open_leaf(OpenTable::for_writing(leaf), root));
            self.leaves.push(opened);
            self.leaves.len() - 1
        })
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What is known of a tracked table that is open.
pub fn tracked_root(root: Oid) -> Rc<Tracked> {
    layout::tracked(root).unwrap_or_else(|| corrupted("a table is tracked no longer").raise())
}

/// A row of a partitioned table, by its root's columns.
type WholeRow = (Vec<Datum>, Vec<bool>);

/// Makes a change, and journals what the table's triggers have written: a later entry of the call
/// may meet it.
fn written(writer: &mut RowWriter, change: impl FnOnce(&mut RowWriter) -> Written) -> Written {
    let written = change(writer);
    if writer.has_triggers() {
        capture::flush_now();
    }
    written
}

/// Does `attempt` until no other transaction's change of the row comes between look-up and write.
pub fn until_settled<R>(mut attempt: impl FnMut() -> Option<R>) -> R {
    loop {
        if let Some(settled) = attempt() {
            return settled;
        }
        pgrx::check_for_interrupts!();
        transaction::next_command();
    }
}

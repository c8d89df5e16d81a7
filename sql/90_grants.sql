-- Who may do what. Functions are PUBLIC's by default: nothing here is to be.

revoke all on all functions in schema syncjournal from public;

-- The reader: every view, and the functions within them, which run with the reader's rights.
grant usage on schema syncjournal to syncjournal_reader;
grant select on syncjournal.restriction, syncjournal.not_permitted, syncjournal.activity
to syncjournal_reader;
grant select on
    syncjournal.node, syncjournal.node_priority, syncjournal.tracked_table, syncjournal.peer,
    syncjournal.stat_peer, syncjournal.slices, syncjournal.sync_set, syncjournal.conflict, syncjournal.quarantine, syncjournal.health,
    syncjournal.change, syncjournal.key_sequence,
    syncjournal.identity_table, syncjournal.waiting_reference, syncjournal.lost_reference
to syncjournal_reader;
grant execute on function
    syncjournal.version_time(uuid), syncjournal.version_node(uuid),
    syncjournal.snapshot_covers(pg_snapshot, pg_snapshot), syncjournal.check_all(),
    syncjournal.unfold_frame(uuid, int4, bytea), syncjournal.unfold_entries(uuid, int4, bytea),
    syncjournal.bundled_frames(uuid, int4, int4, bytea, bytea),
    syncjournal.history(regclass, uuid), syncjournal.lost_references()
to syncjournal_reader;

-- Packs are read and written with the caller's own rights on the tables: whoever may look at the
-- views may call them. What stands behind them describes tables, and writes none.
grant select on syncjournal.pack_edge to syncjournal_reader;
grant select, insert, update on syncjournal.imported_row to syncjournal_reader;
do $packs$
declare
    part regprocedure;
begin
    for part in
        select p.oid from pg_catalog.pg_proc p
        where p.pronamespace = 'syncjournal'::pg_catalog.regnamespace
            and (p.proname ~ '(^|_)pack(_|$)' or p.proname = 'referring_table')
            and p.proname not in ('declare_pack_edge', 'drop_pack_edge')
    loop
        execute pg_catalog.format('grant execute on function %s to syncjournal_reader', part);
    end loop;
end
$packs$;

-- The agent: what a link needs, and no table of the users'.
grant execute on function
    syncjournal.register_link(text, uuid, text, text, text[], text[]),
    syncjournal.link_selects(text, text[], text[]),
    syncjournal.peer_filter(text), syncjournal.layout_slices(text, int4),
    syncjournal.exported_tables(text, text[], text[]), syncjournal.layout_definition(int4),
    syncjournal.received_position(uuid), syncjournal.make_durable(int8),
    syncjournal.stream_position(),
    syncjournal.confirm_position(text, pg_snapshot), syncjournal.confirm_sync(uuid),
    syncjournal.note_error(text, text),
    syncjournal.ensure_publication(), syncjournal.prune(),
    syncjournal.prep_sync(text, text, text[], text[], boolean),
    syncjournal.apply(bytea, boolean, boolean), syncjournal.apply_part(bytea, boolean),
    syncjournal.describe_set(bytea), syncjournal.digest(regclass, int4, bytea),
    syncjournal.retry_due_quarantine(),
    syncjournal.resolve_conflict(int8, text, jsonb),
    syncjournal.clone_read(text, oid, int8, int8, text, boolean, text),
    syncjournal.clone_offer(text, text[], text[]), syncjournal.clone_gone(text, oid, pg_snapshot),
    syncjournal.clone_sequences(text, text[], text[]),
    syncjournal.clone_sent(text, pg_snapshot, int8, int8), syncjournal.clone_begun(text),
    syncjournal.clone_begin(uuid, boolean, int4, text), syncjournal.clone_table(uuid, text, text),
    syncjournal.clone_ranges(uuid), syncjournal.clone_again(uuid, text),
    syncjournal.clone_range_done(uuid, oid, text, int8, text, int8, int8, pg_snapshot, int8),
    syncjournal.clone_digest(text, regclass, int4, bytea),
    syncjournal.clone_remove(uuid, oid, uuid[], uuid[]), syncjournal.clone_finish(uuid, oid),
    syncjournal.clone_one_by_one(uuid, oid),
    syncjournal.clone_set_sequence(text, text, text, int8),
    syncjournal.clone_complete(uuid, pg_snapshot), syncjournal.clone_received(uuid, pg_snapshot)
to syncjournal_agent;
grant insert on syncjournal.clone_rows to syncjournal_agent;

-- The admin: whatever is meant to be called. What stands behind these functions is nobody's, since
-- some of it acts with the rights of others.
grant syncjournal_agent to syncjournal_admin;
grant execute on function
    syncjournal.create_node(text, text, text, text), syncjournal.adopt_clone(text),
    syncjournal.keep_identity(), syncjournal.stripe_sequences(int4, int4),
    syncjournal.track(
        regclass, text, text[], text, text[], text[], regproc, boolean, text, text),
    syncjournal.track_identity(regclass, text[]), syncjournal.untrack_identity(regclass, boolean),
    syncjournal.track_all(text[], text[], text, text), syncjournal.untrack(regclass, boolean),
    syncjournal.alter_tracking(
        regclass, text, text[], text, text[], text[], regproc, boolean, text, text),
    syncjournal.add_peer(text, uuid, text[], text[], text[], text, text, text[]),
    syncjournal.alter_peer(
        text, uuid, text[], text[], text[], text, boolean, text, text[]),
    syncjournal.create_slice(text, regclass, text, text),
    syncjournal.alter_slice(text, text, text), syncjournal.drop_slice(text),
    syncjournal.slice_digest(text), syncjournal.lock_slice(text), syncjournal.unlock_slice(text),
    syncjournal.drop_peer(text), syncjournal.set_node_priority(text[]),
    syncjournal.retry_quarantine(int8), syncjournal.discard_quarantine(int8),
    syncjournal.declare_pack_edge(regclass, text[]), syncjournal.drop_pack_edge(regclass, text[])
to syncjournal_admin;

-- Gates.
grant execute on function syncjournal.peer_terms(text), syncjournal.destination_ahead(text),
    syncjournal.row_identities(regclass), syncjournal.delete_extra(text, regclass, uuid[])
to syncjournal_agent;
grant execute on function
    syncjournal.restrict_peer(text, text, text[], text),
    syncjournal.alter_node(int4, text, text, text)
to syncjournal_admin;

-- Nodes that were restored from a backup.
grant select on syncjournal.known_tag to syncjournal_reader;
grant execute on function
    syncjournal.reached(uuid), syncjournal.meet(text, pg_snapshot, uuid, timestamptz),
    syncjournal.was_restored(timestamptz)
to syncjournal_agent;
grant execute on function syncjournal.rejoin() to syncjournal_admin;

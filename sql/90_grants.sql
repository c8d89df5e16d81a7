-- Who may do what. Functions are PUBLIC's by default: nothing here is to be.

revoke all on all functions in schema syncjournal from public;

-- The reader: every view, and the functions within them, which run with the reader's rights.
grant usage on schema syncjournal to syncjournal_reader;
grant select on
    syncjournal.node, syncjournal.tracked_table, syncjournal.peer, syncjournal.stat_peer,
    syncjournal.sync_set, syncjournal.conflict, syncjournal.quarantine, syncjournal.health,
    syncjournal.change
to syncjournal_reader;
grant execute on function
    syncjournal.version_time(uuid), syncjournal.version_node(uuid),
    syncjournal.snapshot_covers(pg_snapshot, pg_snapshot), syncjournal.check_all(),
    syncjournal.unfold_frame(uuid, int4, bytea), syncjournal.unfold_entries(uuid, int4, bytea),
    syncjournal.history(regclass, uuid)
to syncjournal_reader;

-- The agent: what a link needs, and no table of the users'.
grant execute on function
    syncjournal.register_link(text, uuid, text), syncjournal.peer_filter(text),
    syncjournal.exported_tables(text, text[], text[]), syncjournal.layout_definition(int4),
    syncjournal.received_position(uuid), syncjournal.stream_position(),
    syncjournal.confirm_position(text, pg_snapshot), syncjournal.confirm_sync(uuid),
    syncjournal.ensure_publication(), syncjournal.prune(),
    syncjournal.prep_sync(text, text, text[], text[]), syncjournal.apply(bytea, boolean),
    syncjournal.describe_set(bytea)
to syncjournal_agent;

grant execute on all functions in schema syncjournal to syncjournal_admin;

-- The functions that are native code: what each does stands with its source in extension/src.
-- None may be called by anyone until 90_grants.sql says so.

create function syncjournal.row_id_v5(relation_name text, key text[]) returns uuid
immutable strict parallel safe language c as 'MODULE_PATHNAME', 'row_id_v5_wrapper';

create function syncjournal.update_as_owner(relation regclass, command text) returns int8
strict language c as 'MODULE_PATHNAME', 'update_as_owner_wrapper';

create function syncjournal.relation_matches(
    schema text, relname text, include text[], exclude text[]) returns boolean
immutable strict parallel safe language c as 'MODULE_PATHNAME', 'relation_matches_wrapper';

create function syncjournal.take_exclusive_lock(relid oid) returns boolean
strict language c as 'MODULE_PATHNAME', 'take_exclusive_lock_wrapper';

create function syncjournal.let_readers_pass(relid oid) returns void
strict language c as 'MODULE_PATHNAME', 'let_readers_pass_wrapper';

create function syncjournal.identity_changed() returns void
strict language c as 'MODULE_PATHNAME', 'identity_changed_wrapper';

create function syncjournal.refresh_layout(relation regclass) returns int4
strict language c as 'MODULE_PATHNAME', 'refresh_layout_wrapper';

create function syncjournal.trigger_version() returns trigger
language c as 'MODULE_PATHNAME', 'trigger_version_wrapper';

create function syncjournal.trigger_capture() returns trigger
language c as 'MODULE_PATHNAME', 'trigger_capture_wrapper';

create function syncjournal.trigger_truncate() returns trigger
language c as 'MODULE_PATHNAME', 'trigger_truncate_wrapper';

create function syncjournal.trigger_announce() returns trigger
language c as 'MODULE_PATHNAME', 'trigger_announce_wrapper';

create function syncjournal.flush_capture() returns void
strict language c as 'MODULE_PATHNAME', 'flush_capture_wrapper';

create function syncjournal.unfold_entries(frame uuid, layout int4, data bytea)
returns table (
    version uuid, prev uuid, merged uuid, op text, row_id uuid, old text, new text)
stable strict language c as 'MODULE_PATHNAME', 'unfold_entries_wrapper';

create function syncjournal.bundled_frames(
    frame uuid, layout int4, entries int4, data bytea, bundled bytea)
returns table (frame uuid, layout int4, entries int4, data bytea)
immutable strict language c as 'MODULE_PATHNAME', 'bundled_frames_wrapper';

create function syncjournal.has_frame(frame uuid) returns boolean
stable strict language c as 'MODULE_PATHNAME', 'has_frame_wrapper';

create function syncjournal.history_walk(relation regclass, row_id uuid)
returns table (version uuid, stored_in uuid)
stable strict language c as 'MODULE_PATHNAME', 'history_walk_wrapper';

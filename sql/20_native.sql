-- The functions that are native code: what each does stands with its source in extension/src.
-- None may be called by anyone until 90_grants.sql says so.

create function syncjournal.row_id_v5(relation_name text, key text[]) returns uuid
immutable strict parallel safe language c as 'MODULE_PATHNAME', 'row_id_v5_wrapper';

create function syncjournal.relation_matches(
    schema text, relname text, include text[], exclude text[]) returns boolean
immutable strict parallel safe language c as 'MODULE_PATHNAME', 'relation_matches_wrapper';

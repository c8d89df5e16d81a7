-- The digest of a tracked table's rows, for comparing databases.

-- One line for the whole table, or (depth 1 to 4) one for each group of rows whose identities share
-- that many leading bytes below `prefix`. Neither the order of rows nor that of columns counts: equal
-- content gives equal lines on any two nodes, and where lines differ, asking again below their prefix
-- leads to the rows. Hashed are the identity and the columns that travel, in the form in which they
-- travel; not the version, since equal rows may stand at different ones. Runs with the owner's rights:
-- the caller needs none on the table, and sees no value.
create function syncjournal.digest(
    relation regclass, depth int4 default 0, prefix bytea default null)
returns table (prefix bytea, row_count int8, hash bytea)
stable security definer set search_path = pg_catalog, pg_temp
language c as 'MODULE_PATHNAME', 'digest_wrapper';

-- Packs: which children belong to their parents, and what was imported.

-- A foreign key by which rows are taken along with the row that they refer to: they are its own.
create table syncjournal.declared_pack_edge (
    child regclass not null references syncjournal.tracked_relation (relid) on delete cascade,
    columns name[] not null,
    primary key (child, columns)
);

-- The version at which an import left a row, and that which the row had in the pack: one that stands
-- at another was changed here since. Written with the rights of who imports.
create table syncjournal.imported_row (
    relid regclass not null references syncjournal.tracked_relation (relid) on delete cascade,
    row_id uuid not null,
    version uuid,
    source_version uuid,
    primary key (relid, row_id)
);

alter table syncjournal.imported_row enable row level security;
create policy writers on syncjournal.imported_row
    using (pg_catalog.has_any_column_privilege(relid, 'insert, update'));

-- A row of a pack on its way into its table.
create type syncjournal.pack_item as (
    relid regclass,
    row_id uuid,
    version uuid,
    is_edited boolean,
    -- What the pack says of it: columns as the table's types render them, references by uuid.
    given jsonb,
    refs jsonb,
    mode text,
    -- What stands here under this uuid; null: nothing.
    here jsonb,
    here_refs jsonb,
    here_version uuid,
    -- The version by which it is compared: that of its source, where an import left it so.
    known_version uuid,
    -- The columns that will stand here, as far as they are known.
    final jsonb,
    action text,
    reason text
);

select pg_catalog.pg_extension_config_dump('syncjournal.declared_pack_edge', '');
select pg_catalog.pg_extension_config_dump('syncjournal.imported_row', '');

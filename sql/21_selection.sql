-- Include and exclude lists over tables.

-- The tables of `among` that the lists select. A pattern that includes nothing is an error: it is
-- nearly always a misspelling, and would quietly leave a table out.
create function syncjournal.select_tables(include text[], exclude text[], among regclass[])
returns setof regclass
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    idle text;
begin
    select pattern into idle from unnest(include) pattern
    where not exists (
        select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.oid = any (among)
            and syncjournal.relation_matches(n.nspname, c.relname, array[pattern], '{}'));
    if found then
        raise exception 'pattern "%" matches no table', idle
            using errcode = 'undefined_table',
                hint = 'Patterns are schema.table with * and ?, as in psql.';
    end if;
    return query
        select c.oid::regclass from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.oid = any (among)
            and syncjournal.relation_matches(n.nspname, c.relname, include, exclude)
        order by n.nspname, c.relname;
end
$$;

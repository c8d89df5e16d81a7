-- Natural keys: what makes two rows the same wherever they were made, and what becomes of a row
-- whose key stands here under another identity. See also extension/src/apply/collision.

-- Whether an index of the whole table holds these columns unique at once, in whichever order.
create function syncjournal.is_unique_key(relation regclass, key name[]) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select key is null or exists (
        select from pg_index i
        where i.indrelid = relation and i.indisunique and i.indisvalid and i.indimmediate
            and i.indpred is null and i.indexprs is null
            and (
                select array_agg(a.attname order by a.attname)
                from unnest(i.indkey[0:i.indnkeyatts - 1]) u(number)
                    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.number
            ) = (select array_agg(k order by k) from unnest(key) k))
$$;

create function syncjournal.require_unique(relation regclass, natural_key text[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    columns text := (select string_agg(quote_ident(k), ', ') from unnest(natural_key) k);
begin
    if not syncjournal.is_unique_key(relation, natural_key::name[]) then
        raise exception 'no unique index holds the natural key (%) of table "%"', columns, relation
            using errcode = 'object_not_in_prerequisite_state',
                hint = format('Create one, neither partial nor deferrable: create unique index on'
                    ' %s (%s).', relation, columns);
    end if;
end
$$;

create function syncjournal.check_natural_key(
    relation regclass, natural_key text[], excluded text[])
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    bad text;
    reason text;
begin
    perform syncjournal.check_columns(relation, 'natural_key', natural_key);
    select k, case
            when k = any (excluded) then 'it is excluded and does not travel'
            when a.attgenerated <> '' then 'it is generated, after the row has its identity'
            else 'it is named twice' end
    into bad, reason
    from unnest(natural_key) k
        join pg_attribute a on a.attrelid = relation and a.attname = k
    group by k, a.attgenerated
    having k = any (excluded) or a.attgenerated <> '' or count(*) > 1
    limit 1;
    if found then
        raise exception 'column "%" cannot belong to the natural key of table "%": %',
            bad, relation, reason using errcode = 'invalid_parameter_value',
            hint = 'Name the columns by which people know the row, each once.';
    elsif cardinality(natural_key) = 0 then
        raise exception 'the natural key of table "%" has no columns', relation
            using errcode = 'invalid_parameter_value',
                hint = 'Leave natural_key out where the table has none.';
    end if;
end
$$;

-- The text column of a natural key that `rename` changes: the last one.
create function syncjournal.renamable_column(relation regclass, natural_key name[]) returns name
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select a.attname
    from unnest(natural_key) with ordinality k(attname, place)
        join pg_attribute a on a.attrelid = relation and a.attname = k.attname
        join pg_type t on t.oid = a.atttypid
    where t.typcategory = 'S' and t.typtype = 'b'
    order by k.place desc limit 1
$$;

create function syncjournal.check_key_collision(
    relation regclass, natural_key text[], on_key_collision text, keys text)
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    known constant text[] := '{quarantine,skip,adopt,rename}';
    reason text;
begin
    if on_key_collision <> all (known) then
        raise exception 'unknown on_key_collision "%"', on_key_collision
            using errcode = 'invalid_parameter_value',
                hint = format('It is one of %s.', array_to_string(known, ', '));
    end if;
    reason := case
        when on_key_collision = 'quarantine' then null
        when natural_key is null then 'needs a natural_key'
        when on_key_collision = 'rename'
            and syncjournal.renamable_column(relation, natural_key::name[]) is null
            then 'needs a text column in the natural key'
        when on_key_collision = 'adopt' and keys = 'local' then 'needs keys that travel' end;
    if reason is not null then
        raise exception 'on_key_collision "%" of table "%" %', on_key_collision, relation, reason
            using errcode = 'invalid_parameter_value',
                hint = 'Use quarantine, which lets a person decide.';
    end if;
end
$$;

-- A natural key keeps in step with the table: renamed with a column, given up with one. Rows keep
-- the identity that they have from it.
create function syncjournal.follow_natural_key(
    now_tracked syncjournal.tracked_relation, columns name[], renamed name)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    kept name[] := array(
        select case when k = any (columns) then k else renamed end
        from unnest(now_tracked.natural_key) with ordinality n(k, place) order by place);
begin
    if now_tracked.natural_key is null or now_tracked.natural_key <@ columns then
        return;
    elsif array_position(kept, null) is not null then
        raise notice 'the natural key of table "%" has lost a column', now_tracked.relid
            using hint = 'New rows have identities of their own from now on.';
        update syncjournal.tracked_relation t
        set natural_key = null, on_key_collision = 'quarantine'
        where t.relation_id = now_tracked.relation_id;
    else
        update syncjournal.tracked_relation t set natural_key = kept
        where t.relation_id = now_tracked.relation_id;
    end if;
end
$$;

-- Of a row that has the natural key of one other: what to do about it; no row: leave it to a person.
-- Seen by the caller's snapshot, which shows the table as it was before the call.
create function syncjournal.key_collision(
    relation_id int4, incoming_id uuid, incoming jsonb, standing jsonb)
returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    t syncjournal.tracked_relation;
    was_here boolean;
begin
    select * into t from syncjournal.tracked_relation r
    where r.relation_id = key_collision.relation_id and r.on_key_collision <> 'quarantine'
        and (
            select bool_and(incoming ->> k is not null and incoming -> k = standing -> k)
            from unnest(r.natural_key) k);
    if not found then
        return null;
    end if;
    -- Two rows that were both here are two: that one now takes the other's key makes them no one.
    if t.on_key_collision = 'adopt' then
        execute format('select exists (select from %s where %I = $1)', t.relid, t.identity_column)
        into was_here using incoming_id;
        if was_here then
            return null;
        end if;
    end if;
    return t.on_key_collision;
end
$$;

-- Children of a row that gives way to another follow to that one, where the keys that they refer to
-- differ. An ordinary change of theirs: it is captured, and travels.
create function syncjournal.follow_adopted(relation regclass, given_up jsonb, kept jsonb)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    k record;
begin
    for k in
        select c.conrelid::regclass as child, p.was, p.becomes, p.changes
        from pg_constraint c
            cross join lateral (
                select string_agg(format('c.%I = o.%I', a.attname, r.attname), ' and ') as was,
                    string_agg(format('%I = n.%I', a.attname, r.attname), ', ') as becomes,
                    bool_or(given_up -> r.attname <> kept -> r.attname) as changes
                from unnest(c.conkey, c.confkey) u(here, there)
                    join pg_attribute a on a.attrelid = c.conrelid and a.attnum = u.here
                    join pg_attribute r on r.attrelid = c.confrelid and r.attnum = u.there) p
        where c.contype = 'f' and c.confrelid = relation and c.conparentid = 0
    loop
        continue when not k.changes;
        perform syncjournal.update_as_owner(k.child, format(
            'update %s c set %s from pg_catalog.jsonb_populate_record(null::%s, %L) o,'
            ' pg_catalog.jsonb_populate_record(null::%3$s, %5$L) n where %6$s',
            k.child, k.becomes, relation, given_up, kept, k.was));
    end loop;
end
$$;

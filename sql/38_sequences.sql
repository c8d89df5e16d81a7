-- Numbers that no two nodes give out: where keys travel as they are, the nodes' sequences take turns.

-- One row or none.
create table syncjournal.sequence_stripe (
    is_local boolean primary key default true check (is_local),
    -- For whom it was chosen: a copy of the database must choose another.
    node_id uuid not null,
    stripe_position int4 not null,
    stripe_of int4 not null
);

select pg_catalog.pg_extension_config_dump('syncjournal.sequence_stripe', '');

-- The columns of tracked tables that draw their values from a sequence.
create view syncjournal.key_sequence as
select t.relid as relation, a.attname as column_name, s.seqrelid::regclass as sequence,
    s.seqincrement as step, b.stripe_position, t.keys,
    -- Whether two rows with the same number cannot stand side by side.
    exists (
        select from pg_catalog.pg_index i
        where i.indrelid = t.relid and i.indisunique and a.attnum = any (i.indkey)) as is_unique
from syncjournal.tracked_relation t
    join pg_catalog.pg_attribute a on a.attrelid = t.relid and a.attnum > 0 and not a.attisdropped
    left join pg_catalog.pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
    join lateral (
        -- A default that names the sequence, or the sequence of an identity column.
        select d.refobjid as seqrelid from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_attrdef'::regclass and d.objid = f.oid
            and d.refclassid = 'pg_catalog.pg_class'::regclass
        union
        select d.objid from pg_catalog.pg_depend d
        where d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = a.attrelid
            and d.refobjsubid = a.attnum and d.classid = 'pg_catalog.pg_class'::regclass
            and d.deptype = 'i') drawn on true
    join pg_catalog.pg_sequence s on s.seqrelid = drawn.seqrelid
    left join syncjournal.sequence_stripe b
        on b.stripe_of = pg_catalog.abs(s.seqincrement) and b.node_id = (
            select node_id from syncjournal.local_node);

-- Lets a sequence go on in steps, from the next number of its stripe that is beyond all that the
-- sequence has given out and all that its columns hold.
create function syncjournal.stripe_sequence(sequence regclass, stripe_position int4, stripe_of int4)
returns int8
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    s pg_sequence := (select s from pg_sequence s where s.seqrelid = sequence);
    -- A sequence that counts down is one that counts up, seen from below.
    way int4 := sign(s.seqincrement);
    reached numeric;
    held numeric;
    drawing record;
    next_value numeric;
begin
    execute format('select case when is_called then last_value else last_value - $1 end from %s',
        sequence) into reached using way;
    for drawing in
        select k.relation, k.column_name from syncjournal.key_sequence k
        where k.sequence = stripe_sequence.sequence
    loop
        execute format('select %s(%I) from %s', case way when 1 then 'max' else 'min' end,
            drawing.column_name, drawing.relation) into held;
        reached := way * greatest(way * reached, way * held);
    end loop;
    next_value := reached + way * (1 + mod(
        mod(way * (stripe_position - reached - way), stripe_of) + stripe_of, stripe_of));
    if next_value not between s.seqmin and s.seqmax then
        raise exception 'sequence "%" has no number left for position % of %',
            sequence, stripe_position, stripe_of
            using errcode = 'sequence_generator_limit_exceeded',
                hint = 'Make the sequence and its column bigint, or track the table with'
                    ' keys => ''local''.';
    end if;
    -- Where it starts, too: TRUNCATE ... RESTART IDENTITY goes there.
    execute format('alter sequence %s increment by %s start with %s restart with %s',
        sequence, way * stripe_of,
        s.seqstart + way * mod(
            mod(way * (stripe_position - s.seqstart), stripe_of) + stripe_of, stripe_of),
        next_value);
    return next_value;
end
$$;

-- The sequences of one table, or of all, as it was last said for this node.
create function syncjournal.stripe_tables(only_relation regclass default null)
returns table (sequence regclass, relation regclass, next_value int8)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    stripe syncjournal.sequence_stripe;
begin
    select * into stripe from syncjournal.sequence_stripe b
    where b.node_id = (select node_id from syncjournal.local_node);
    if not found then
        return;
    end if;
    for sequence, relation in
        select k.sequence, min(k.relation::oid)::regclass from syncjournal.key_sequence k
        where k.keys = 'global' and (only_relation is null or k.relation = only_relation)
        group by k.sequence order by k.sequence::text
    loop
        next_value := syncjournal.stripe_sequence(
            sequence, stripe.stripe_position, stripe.stripe_of);
        return next;
    end loop;
end
$$;

-- Of `of` nodes this is the one at `position`. 1 of 1: every number again. Tables that are tracked
-- later follow by themselves.
create function syncjournal.stripe_sequences("position" int4, "of" int4)
returns table (sequence regclass, relation regclass, next_value int8)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    node uuid := syncjournal.require_node();
begin
    if "of" is null or "position" is null or "of" < 1 or "position" not between 1 and "of" then
        raise exception 'there is no position % of %', "position", "of"
            using errcode = 'invalid_parameter_value',
                hint = 'Give each of n nodes its own: stripe_sequences(1, n) to'
                    ' stripe_sequences(n, n).';
    end if;
    insert into syncjournal.sequence_stripe (node_id, stripe_position, stripe_of)
    values (node, "position", "of")
    on conflict (is_local) do update
    set node_id = excluded.node_id, stripe_position = excluded.stripe_position,
        stripe_of = excluded.stripe_of;
    return query select * from syncjournal.stripe_tables();
end
$$;

-- Keys that both this node and a peer draw from sequences that do not take turns.
create function syncjournal.shared_sequences()
returns table (relation regclass, column_name name, peer text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select k.relation, k.column_name, p.peer_name
    from syncjournal.key_sequence k
        join syncjournal.tracked_relation t on t.relid = k.relation
        join pg_class c on c.oid = k.relation
        join pg_namespace n on n.oid = c.relnamespace
        join syncjournal.registered_peer p on p.active and p.direction = 'both'
    where k.keys = 'global' and k.is_unique and abs(k.step) = 1
        and pg_sequence_last_value(k.sequence) is not null
        and syncjournal.relation_matches(n.nspname, c.relname, p.include, p.exclude)
        and exists (
            select from syncjournal.relation_layout y join syncjournal.journal_frame j
                on j.layout = y.layout_id and j.origin = p.peer_id
            where y.relation_id = t.relation_id)
    order by k.relation::text, p.peer_name
$$;

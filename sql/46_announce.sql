-- What backends keep of our tables from call to call (extension/src/node.rs, apply/source.rs): who writes
-- one of these tells all to read it anew, from the commit on. How far a peer has come is not kept.
create trigger announce_change after insert or update or delete or truncate on syncjournal.local_node
    for each statement execute function syncjournal.trigger_announce();
create trigger announce_change after insert or update or delete or truncate on syncjournal.known_node
    for each statement execute function syncjournal.trigger_announce();
create trigger announce_change after insert or delete or truncate
    or update of peer_name, node_id, include, exclude, direction, active, constraints, stop_on
    on syncjournal.registered_peer
    for each statement execute function syncjournal.trigger_announce();
create trigger announce_change
    after insert or update or delete or truncate on syncjournal.peer_restriction
    for each statement execute function syncjournal.trigger_announce();
alter table syncjournal.local_node enable always trigger announce_change;
alter table syncjournal.known_node enable always trigger announce_change;
alter table syncjournal.registered_peer enable always trigger announce_change;
alter table syncjournal.peer_restriction enable always trigger announce_change;

-- The schema and the three roles.
-- Created plainly, not by the control file: the schema is then the extension's own, goes with it,
-- and one that somebody has put in its place before makes the installation fail.

create schema syncjournal;

-- Roles belong to the whole cluster: another database may have made them, and none drops them.
do $roles$
declare
    wanted text;
begin
    foreach wanted in array '{syncjournal_admin,syncjournal_agent,syncjournal_reader}'::text[] loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
            execute pg_catalog.format('create role %I nologin', wanted);
        end if;
    end loop;
end
$roles$;

-- An agent logs in as a member; the streaming itself needs REPLICATION on the login role,
-- since role attributes are not inherited.
grant syncjournal_reader to syncjournal_agent;

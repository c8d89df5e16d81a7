-- Event triggers come last of all objects: they would fire for the statements of this script.

create event trigger syncjournal_ddl on ddl_command_end
    when tag in (
        'CREATE TABLE', 'CREATE FOREIGN TABLE', 'ALTER TABLE', 'ALTER SCHEMA', 'ALTER TYPE',
        'ALTER DOMAIN', 'ALTER FUNCTION', 'ALTER ROUTINE', 'CREATE TRIGGER', 'ALTER TRIGGER')
    execute function syncjournal.follow_ddl();

create event trigger syncjournal_drop on sql_drop
    execute function syncjournal.follow_drop();

create event trigger syncjournal_wake_quarantine on ddl_command_end
    execute function syncjournal.wake_quarantine();

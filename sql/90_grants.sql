-- Who may do what. Functions are PUBLIC's by default: nothing here is to be.

revoke all on all functions in schema syncjournal from public;

grant usage on schema syncjournal to syncjournal_reader;
grant execute on all functions in schema syncjournal to syncjournal_admin;

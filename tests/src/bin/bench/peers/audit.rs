//! What people write by hand: a row trigger in plpgsql that keeps old and new row as jsonb.

use std::rc::Rc;

use super::{Does, Link, Peer, relation_bytes};
use crate::pair::{Pair, Tables};

const LOG: &str = "
create table audit_log (
    id bigserial primary key,
    at timestamptz not null default clock_timestamp(),
    who name not null default current_user,
    transaction xid8 not null default pg_current_xact_id(),
    relation name not null,
    operation text not null,
    old_row jsonb,
    new_row jsonb
);
create function audit() returns trigger language plpgsql as $$
begin
    insert into audit_log (relation, operation, old_row, new_row)
    values (tg_table_name, tg_op,
        case when tg_op <> 'INSERT' then to_jsonb(old) end,
        case when tg_op <> 'DELETE' then to_jsonb(new) end);
    return null;
end
$$";

pub(crate) struct Audit;

struct Log {
    pair: Rc<Pair>,
}

impl Link for Log {
    fn journal_bytes(&self) -> i64 {
        relation_bytes(&self.pair.source, "c.relname = 'audit_log'")
    }
}

impl Peer for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn look(&self) -> Result<String, String> {
        Ok("20 lines of plpgsql".to_owned())
    }

    fn does(&self) -> Does {
        Does { capture: true, carry: false, both_ways: false }
    }

    fn unlike(&self) -> &'static str {
        "keeps a history with old and new rows; carries nothing"
    }

    fn prepare(&self, pair: &Rc<Pair>, tables: &Tables) -> Box<dyn Link> {
        pair.source.exec(LOG);
        for table in tables.all() {
            pair.source.exec(&format!(
                "create trigger audit after insert or update or delete on {table}
                 for each row execute function audit()"
            ));
        }
        Box::new(Log { pair: Rc::clone(pair) })
    }
}

//! Random work on tables full of other people's triggers, in random transactions.
//!
//! A failure names its seed: `SYNCJOURNAL_SEED=… cargo test -p syncjournal-tests random_work` runs
//! the same work again.

use super::{assert_replays, node, steps};

/// Pseudo-random numbers from a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

const TABLES: &[&str] = &[
    "create table p (id int, area int, n int default 0, pad text, primary key (id, area))
         partition by list (area)",
    "create table p_0 partition of p for values in (0)",
    "create table p_1 (pad text, n int, area int not null, id int not null)",
    "alter table p attach partition p_1 for values in (1)",
    "create table p_2 partition of p default",
    "create table s (id int primary key, n int default 0, pad text)",
    "select syncjournal.track('p')",
    "select syncjournal.track('s')",
    // Triggers before and after, which suppress, change and write on.
    "create function before_p() returns trigger language plpgsql as $$ begin
         if pg_trigger_depth() > 3 then return new; end if;
         if new.n % 11 = 10 then return null; end if;
         if new.n % 7 = 6 then new.n := new.n + 1; end if;
         if new.n % 5 = 4 then update s set n = n + 1 where id = new.id % 20; end if;
         if new.n % 5 = 3 then update p set pad = pad || '.' where id = new.id + 1 and n % 5 < 3; end if;
         return new; end $$",
    "create trigger a_before before insert or update on p
         for each row execute function before_p()",
    "create function after_s() returns trigger language plpgsql as $$ begin
         if pg_trigger_depth() > 2 then return null; end if;
         if new.n % 4 = 3 then update p set n = n + 1 where id = new.id; end if;
         if new.n % 9 = 8 then delete from p where id = new.id; end if;
         if new.n % 6 = 5 then
             begin
                 update s set n = n + 2 where id = (new.id + 1) % 20;
                 if new.n % 2 = 1 then raise 'not this time'; end if;
             exception when raise_exception then null;
             end;
         end if;
         return null; end $$",
    "create trigger a_after after insert or update on s for each row execute function after_s()",
];

fn statement(dice: &mut Dice) -> String {
    let (id, area, n) = (dice.below(20), dice.below(3), dice.below(30));
    let some = 1 + dice.below(20);
    match dice.below(13) {
        0 => format!("insert into s values ({id}, {n}) on conflict do nothing"),
        1 => format!("insert into s values ({id}, {n}) on conflict (id) do update set n = s.n + 1"),
        2 => format!("update s set n = n + {n} where id < {some}"),
        3 => format!("delete from s where id = {id}"),
        4 | 5 => format!(
            "insert into p select g, {area}, g + {n}, repeat('x', {n} * 20)
                 from generate_series({id}, {id} + {some}) g on conflict do nothing"
        ),
        6 => format!("update p set n = n + 1 where id between {id} and {id} + {some}"),
        7 => format!(
            "update p set area = {area} where id = {id} and area <> {area}
            and not exists (select from p q where q.id = {id} and q.area = {area})"
        ),
        8 => format!("update p set area = (area + 1) % 3 where id % 3 = {area}"),
        9 => format!("delete from p where id = {id} and area = {area}"),
        10 => format!("update p_1 set n = {n}, pad = null where id > {some}"),
        11 => format!("update p set pad = pad, n = n where area = {area}"),
        _ => match dice.below(6) {
            0 => "truncate p".to_owned(),
            1 => format!("truncate p_{area}"),
            2 => "truncate s".to_owned(),
            _ => format!("update p set pad = repeat(md5(id::text), 40) where id < {some}"),
        },
    }
}

/// A statement, which may fail by a key that is taken, or because a trigger was there first.
fn guarded(dice: &mut Dice) -> String {
    let statement = statement(dice);
    format!(
        "do $do$ begin {statement};
         exception when unique_violation then null;
             when triggered_data_change_violation then
                 if sqlerrm not like 'tuple to be % was already modified%' then raise; end if;
         end $do$;\n"
    )
}

fn transaction(dice: &mut Dice) -> String {
    let mut script = String::from("begin;\n");
    let mut open = 0;
    for _ in 0..dice.below(12) {
        match dice.below(8) {
            0 => {
                open += 1;
                script += &format!("savepoint s{open};\n");
            }
            1 if open > 0 => {
                script += &format!("rollback to s{open};\n");
            }
            2 if open > 0 => {
                script += &format!("release s{open};\n");
                open -= 1;
            }
            _ => script += &guarded(dice),
        }
    }
    script + dice.one_of(&["commit", "commit", "commit", "rollback"])
}

#[test]
fn random_work_replays() {
    let seed = match std::env::var("SYNCJOURNAL_SEED") {
        Ok(seed) => seed.parse().expect("SYNCJOURNAL_SEED is a number"),
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0 | 1,
    };
    println!("SYNCJOURNAL_SEED={seed}");
    let mut dice = Dice(seed);
    let db = node();
    steps(&db, TABLES);
    for round in 0..120 {
        db.exec(&transaction(&mut dice));
        if round % 20 == 19 {
            assert_replays(&db, "p");
            assert_replays(&db, "s");
        }
    }
}

//! Random work at three nodes that give out the same numbers: what refers to what is the same in the
//! end, by name, though no two agree on a number.

use syncjournal_tests::{Db, Random, carry, introduce, triple};

use super::assert_equal;

const SCHEMA: &str = "
    create table team (id serial primary key, name text unique);
    create table person (
        id serial primary key, team_id int references team, boss_id int references person,
        name text unique);
    create table task (
        id bigserial primary key, person_id int not null references person deferrable,
        helper_id int references person, after_id bigint references task on delete set null,
        name text unique)";

const TABLES: [&str; 3] = ["team", "person", "task"];

/// One statement or two; `n` makes names of their own.
fn work(random: &mut Random, who: &str, n: usize) -> String {
    let any = |table: &str, random: &mut Random| {
        format!("(select id from {table} order by name offset {} limit 1)", random.below(12))
    };
    let (team, one, other) = (any("team", random), any("person", random), any("person", random));
    let (task, later) = (any("task", random), any("task", random));
    match random.below(9) {
        0 => format!("insert into team (name) values ('{who}{n}')"),
        1 | 2 => format!(
            "insert into person (team_id, boss_id, name) values ({team}, {one}, '{who}{n}')"
        ),
        3 | 4 => format!(
            "insert into task (person_id, helper_id, after_id, name)
             select id, {other}, {task}, '{who}{n}' from person where id = {one}"
        ),
        5 => format!("update person set team_id = {team}, boss_id = {other} where id = {one}"),
        6 => format!(
            "update task set person_id = coalesce({one}, person_id), helper_id = {other},
                after_id = nullif({later}, id) where id = {task}"
        ),
        // The child first, and the keys themselves.
        7 => format!(
            "begin; set constraints all deferred;
             insert into task (person_id, name) select 500000 + {n}, '{who}t{n}';
             insert into person (id, team_id, name) values (500000 + {n}, {team}, '{who}p{n}');
             commit"
        ),
        _ => format!(
            "delete from task where id = {task} and not exists (
            select from task t where t.after_id = task.id)"
        ),
    }
}

/// Everything by name.
fn known(db: &Db) -> Vec<String> {
    db.column(
        "select concat_ws(' ', 'person', p.name, 'in', t.name, 'under', b.name)
         from person p left join team t on t.id = p.team_id left join person b on b.id = p.boss_id
         union all
         select concat_ws(' ', 'task', k.name, 'of', p.name, 'with', h.name, 'after', a.name)
         from task k left join person p on p.id = k.person_id left join person h on h.id = k.helper_id
            left join task a on a.id = k.after_id
         order by 1",
    )
}

#[test]
fn random_work_ends_equal_by_name() {
    let (a, b, c) = triple();
    let nodes = [(&a, "a"), (&b, "b"), (&c, "c")];
    introduce(&nodes);
    for (db, _) in nodes {
        db.exec(SCHEMA);
        for table in TABLES {
            db.exec(&format!(
                "select syncjournal.track('{table}', keys => 'local', conflict_policy => 'merge_columns')"
            ));
        }
    }
    let mut random = Random::new(15);
    for round in 0..12 {
        for (db, who) in nodes {
            for step in 0..12 {
                db.exec(&work(&mut random, who, 100 * round + step));
            }
        }
        let (from, to) = (random.below(3), random.below(3));
        if from != to {
            carry(nodes[from].0, nodes[to].0, "changes");
        }
    }
    for _ in 0..3 {
        for (from, _) in nodes {
            for (to, _) in nodes.iter().filter(|(to, _)| to.name() != from.name()) {
                carry(from, to, "changes");
            }
        }
    }
    let waiting: Vec<String> =
        a.column("select relation || ': ' || error from syncjournal.quarantine");
    assert_eq!(waiting, Vec::<String>::new());
    for (db, who) in nodes {
        assert_eq!(known(db), known(&a), "{who}");
        // Tasks may come after one that is gone: nodes differ in what they still know of it.
        assert_equal(&a, db, &["team", "person"]);
    }
    assert!(known(&a).len() > 100, "{}", known(&a).len());
    let numbers = "select string_agg(id || name, ' ' order by name) from person";
    assert_ne!(a.text(numbers), b.text(numbers));
}

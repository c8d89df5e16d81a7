//! Many links in one agent: a source is decoded once for all of them, and none holds up another.

use std::sync::Arc;
use std::time::Duration;

use syncjournal_tests::{
    Agent, AgentCommand, Cluster, Db, Options, Session, assert_same_rows, shared, table_rows,
    wait_until, wait_until_within,
};

use super::{Config, agent_dsn, count, furnish};

/// A slot waits for the open transactions of its whole cluster; and a debug build is slow.
const PATIENCE: Duration = Duration::from_secs(180);

/// A source with a cluster to itself, and targets on the shared ones, all furnished.
struct Star {
    hq: Db,
    shops: Vec<(String, Db)>,
}

impl Star {
    fn new(shops: usize) -> Self {
        Self::around(&Cluster::start(Options::default()), shops)
    }

    fn around(cluster: &Arc<Cluster>, shops: usize) -> Self {
        let hq = Db::fresh(cluster);
        furnish(&hq, "hq");
        let shop = |number: usize| {
            let (name, db) = (format!("shop{number}"), Db::fresh(shared(1 + number % 2)));
            furnish(&db, &name);
            (name, db)
        };
        Self { hq, shops: (0..shops).map(shop).collect() }
    }

    /// One more shop, with a cluster to itself.
    fn with_one_apart(mut self) -> Self {
        let name = format!("shop{}", self.shops.len());
        let db = Db::fresh(&Cluster::start(Options::default()));
        furnish(&db, &name);
        self.shops.push((name, db));
        self
    }

    fn nodes(&self) -> Config {
        let mut nodes = vec![("hq".to_owned(), agent_dsn(&self.hq))];
        nodes.extend(self.shops.iter().map(|(name, db)| (name.clone(), agent_dsn(db))));
        let nodes: Vec<(&str, &str)> =
            nodes.iter().map(|(name, dsn)| (name.as_str(), dsn.as_str())).collect();
        Config::new(&nodes)
    }

    /// A link to each shop.
    fn config(&self, more: &str) -> String {
        let link = |config: Config, (name, _): &(String, Db)| config.link("hq", name, more);
        self.shops.iter().fold(self.nodes(), link).0
    }

    fn wait_until_same(&self) {
        for (name, db) in &self.shops {
            wait_until_within(PATIENCE, &format!("{name} has everything"), || {
                table_rows(&self.hq, "item") == table_rows(db, "item")
            });
            assert_same_rows(&self.hq, db, "item");
        }
    }
}

/// What `status --json` says of each link.
pub(super) fn states(config: &str) -> Vec<(String, String)> {
    let told = AgentCommand::new(config).args(&["status", "--json"]).finish().stdout;
    let status: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    let word = |value: &serde_json::Value| value.as_str().expect("it is text").to_owned();
    let links = status.as_array().expect("it is a list");
    links.iter().map(|link| (word(&link["link"]), word(&link["state"]))).collect()
}

pub(super) fn wait_until_all_stream(config: &str) {
    wait_until_within(PATIENCE, "all links stream", || {
        // Each look is a process and some sessions, on a machine that is busy enough.
        std::thread::sleep(Duration::from_millis(100));
        states(config).iter().all(|(_, state)| state == "streaming")
    });
}

/// The walsenders that serve a source's database, and whoever has a slot there.
pub(super) fn walsenders(db: &Db) -> Vec<i32> {
    db.column(
        "select pid from pg_stat_activity
         where backend_type = 'walsender' and datname = current_database()
         union
         select active_pid from pg_replication_slots where database = current_database()",
    )
}

/// The sessions of the agent's links at a database.
fn sessions(db: &Db) -> Vec<i32> {
    db.column(
        "select pid from pg_stat_activity where application_name like 'syncjournal/%'
             and datname = current_database() order by pid",
    )
}

fn locked(db: &Db) -> Session {
    let mut session = db.session();
    session.exec("begin; lock table item in access exclusive mode");
    session
}

/// Rows that do not compress, of so many megabytes in all.
fn bulk(db: &Db, first: i32, megabytes: i32) {
    for id in first..first + megabytes {
        db.exec(&format!(
            "insert into item select {id}, string_agg(md5({id}::text || k::text), '')
             from generate_series(1, 31250) k"
        ));
    }
}

#[test]
fn four_targets_are_fed_by_one_slot() {
    let star = Star::new(4);
    star.hq.exec("insert into item select i, 'early' from generate_series(1, 100) i");
    let config = star.config("");
    let agent = Agent::run(&config);
    wait_until_all_stream(&config);
    assert_eq!(walsenders(&star.hq).len(), 1);
    star.hq.exec("insert into item select i, 'live' from generate_series(101, 2000) i");
    star.hq.exec("update item set amount = 1 where id % 3 = 0; delete from item where id % 7 = 0");
    star.wait_until_same();
    assert_eq!(walsenders(&star.hq).len(), 1);
    // The source learns how far each has come.
    wait_until("nothing is left to send", || {
        star.hq.query_one::<bool>("select sum(lag_entries) = 0 from syncjournal.stat_peer")
    });
    assert_eq!(agent.stop().code, Some(0));
    wait_until("the slot is gone", || walsenders(&star.hq).is_empty());
}

#[test]
fn each_link_gets_what_it_selects() {
    let star = Star::new(3);
    let dbs: Vec<&Db> = std::iter::once(&star.hq).chain(star.shops.iter().map(|s| &s.1)).collect();
    for db in &dbs {
        db.exec("create table price (id int primary key); select syncjournal.track('price')");
    }
    let config = star
        .nodes()
        .link("hq", "shop0", "include = [\"public.item\"]")
        .link("hq", "shop1", "exclude = [\"public.item\"]")
        .link("hq", "shop2", "")
        .0;
    let _agent = Agent::run(&config);
    wait_until_all_stream(&config);
    star.hq.exec("insert into item values (1, 'one'); insert into price values (1)");
    let counts = |db: &Db| (count(db), db.query_one::<i64>("select count(*) from price"));
    for (db, wanted) in dbs[1..].iter().zip([(1, 0), (0, 1), (1, 1)]) {
        wait_until("it is there", || counts(db) == wanted);
    }
    star.hq.exec("update item set amount = 2; delete from price");
    for (db, wanted) in dbs[1..].iter().zip([(1, 0), (0, 0), (1, 0)]) {
        wait_until("it has changed", || counts(db) == wanted);
    }
    assert_eq!(walsenders(&star.hq).len(), 1);
}

#[test]
fn a_slow_target_leaves_the_stream_and_joins_again() {
    let star = Star::new(2).with_one_apart();
    let config = star.config("");
    let agent = Agent::run(&config);
    wait_until_all_stream(&config);
    let mut lock = locked(&star.shops[2].1);
    // Much more than the agent holds in memory for it.
    bulk(&star.hq, 0, 40);
    for (name, db) in &star.shops[..2] {
        wait_until_within(PATIENCE, &format!("{name} is not held up"), || count(db) == 40);
    }
    star.hq.exec("insert into item values (1000, 'live')");
    for (_, db) in &star.shops[..2] {
        wait_until("the others go on", || count(db) == 41);
    }
    lock.exec("commit");
    star.wait_until_same();
    wait_until_all_stream(&config);
    let told = agent.stderr();
    assert!(told.contains("fell too far behind"), "{told}");
    assert!(!told.contains("will try again"), "{told}");
    assert_eq!(walsenders(&star.hq).len(), 1);
    let peak = peak_memory(agent.pid());
    assert!(peak < 160 << 20, "{} MB", peak >> 20);
    assert_eq!(agent.stop().code, Some(0));
}

/// What a process had of memory at most, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux tells");
    let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    kilobytes.expect("it is a number") << 10
}

#[test]
fn a_target_that_crashes_does_not_disturb_the_others() {
    let star = Star::new(2).with_one_apart();
    let fragile = star.shops[2].1.cluster();
    let config = star.config("");
    let agent = Agent::run(&config);
    wait_until_all_stream(&config);
    let walsender = walsenders(&star.hq);
    let undisturbed: Vec<Vec<i32>> = star.shops[..2].iter().map(|s| sessions(&s.1)).collect();
    fragile.kill();
    for id in 0..20 {
        star.hq.exec(&format!("insert into item values ({id}, 'meanwhile')"));
    }
    for (_, db) in &star.shops[..2] {
        wait_until("the others have it", || count(db) == 20);
    }
    fragile.start_again();
    star.shops[2].1.reconnect();
    star.wait_until_same();
    wait_until_all_stream(&config);
    star.hq.exec("insert into item values (100, 'live')");
    star.wait_until_same();
    assert_eq!(walsenders(&star.hq), walsender);
    let now: Vec<Vec<i32>> = star.shops[..2].iter().map(|s| sessions(&s.1)).collect();
    assert_eq!(now, undisturbed);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_stream_that_breaks_is_made_anew_for_all() {
    let star = Star::new(2);
    let config = star.config("");
    let agent = Agent::run(&config);
    wait_until_all_stream(&config);
    for round in 0..3 {
        let old = walsenders(&star.hq);
        star.hq.exec(&format!("select pg_terminate_backend({})", old[0]));
        star.hq.exec(&format!("insert into item values ({round}, 'in between')"));
        star.wait_until_same();
        wait_until_within(PATIENCE, "there is another", || {
            let now = walsenders(&star.hq);
            now.len() == 1 && now != old
        });
        wait_until_all_stream(&config);
    }
    let told = agent.stderr();
    assert!(!told.contains("will try again"), "the flows' own sessions were not touched: {told}");
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn links_come_and_go_and_leave_the_others_alone() {
    let star = Star::new(3);
    // Once: each call makes roles.
    let nodes = star.nodes().0;
    let with = |shops: &[usize]| {
        let link = |config: Config, shop: &usize| config.link("hq", &star.shops[*shop].0, "");
        shops.iter().fold(Config(nodes.clone()), link).0
    };
    let config = with(&[0, 1]);
    let agent = Agent::run(&config);
    wait_until_all_stream(&config);
    let walsender = walsenders(&star.hq);
    let kept = sessions(&star.shops[0].1);
    let reload = |config: &str| {
        std::fs::write(agent.folder().join("agent.toml"), config).expect("it is writable");
        agent.signal("HUP");
    };
    let config = with(&[0, 2]);
    reload(&config);
    wait_until("the one that went is left", || sessions(&star.shops[1].1).is_empty());
    star.hq.exec("insert into item values (1, 'one')");
    wait_until("the new one has it", || count(&star.shops[2].1) == 1);
    wait_until("the old one too", || count(&star.shops[0].1) == 1);
    wait_until_all_stream(&config);
    assert_eq!(count(&star.shops[1].1), 0);
    let config = with(&[0, 1, 2]);
    reload(&config);
    wait_until_all_stream(&config);
    star.hq.exec("insert into item values (2, 'two')");
    star.wait_until_same();
    assert_eq!(walsenders(&star.hq), walsender, "one stream all the time");
    assert_eq!(sessions(&star.shops[0].1), kept, "and one session");
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn links_between_the_same_nodes_are_brought_together() {
    let star = Star::new(1);
    let shop = &star.shops[0].1;
    for db in [&star.hq, shop] {
        for table in ["price", "secret"] {
            db.exec(&format!(
                "create table {table} (id int primary key); select syncjournal.track('{table}')"
            ));
        }
    }
    let link = |name: &str, more: &str| {
        format!("[[link]]\nname = \"{name}\"\nsource = \"hq\"\ndestination = \"shop0\"\n{more}\n")
    };
    let items = link("items", "direction = \"both\"\ninclude = [\"public.item\"]");
    let prices = link("prices", "include = [\"public.*\"]\nexclude = [\"public.secret\"]");
    let nodes = star.nodes().0;
    let config = format!("{nodes}{items}{prices}");
    let fill = |id: i32| {
        for table in ["item", "price", "secret"] {
            star.hq.exec(&format!("insert into {table} (id) values ({id})"));
        }
    };
    fill(1);
    // By the name of one, or of both: there is one position, and nothing is left out.
    let finished = AgentCommand::new(&config).args(&["sync", "items", "--json"]).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(finished.stdout.contains("\"items, prices\""), "{}", finished.stdout);
    let counts = || {
        ["item", "price", "secret"]
            .map(|t| shop.query_one::<i64>(&format!("select count(*) from {t}")))
    };
    assert_eq!(counts(), [1, 1, 0]);
    let _agent = Agent::run(&config);
    wait_until_all_stream(&config);
    fill(2);
    wait_until("both links are served", || counts() == [2, 2, 0]);
    shop.exec("insert into item values (3, 'back'); insert into price values (3)");
    wait_until("one of them goes back, too", || count(&star.hq) == 3);
    assert_eq!(star.hq.query_one::<i64>("select count(*) from price"), 2);
    for wrong in ["mode = \"once\"", "exclude = [\"public.i*\"]", "constraints = \"enforce\""] {
        let trust = link("more", "constraints = \"trust\"\ninclude = [\"public.item\"]");
        let config = format!("{nodes}{trust}{}", link("other", wrong));
        let finished = AgentCommand::new(&config).arg("sync").finish();
        assert_eq!(finished.code, Some(2), "{wrong}: {finished:#?}");
        assert!(finished.stderr.contains("hint: "), "{}", finished.stderr);
    }
}

#[test]
fn an_idle_agent_is_quiet() {
    const SECONDS: usize = 10;
    let talkative = Options::default().set("log_statement", "all");
    let cluster = Cluster::start(talkative);
    let star = Star::around(&cluster, 4);
    let config = star.config("");
    let agent = Agent::run(&config);
    wait_until_all_stream(&config);
    // What the last look and the joining have left to do.
    std::thread::sleep(Duration::from_secs(3));
    let (asked, worked) = (statements(&cluster), processor_ticks(agent.pid()));
    std::thread::sleep(Duration::from_secs(SECONDS as u64));
    let (asked, worked) = (statements(&cluster) - asked, processor_ticks(agent.pid()) - worked);
    assert!(asked <= SECONDS, "the source was asked {asked} times in {SECONDS} s");
    // A tick is 10 ms; the limit is for a debug build.
    assert!(worked <= SECONDS as u64, "{worked} % of {SECONDS} s");
    assert_eq!(agent.stop().code, Some(0));
}

/// What a cluster that logs all of it was asked so far.
pub(super) fn statements(cluster: &Cluster) -> usize {
    let asked = |line: &str| line.contains("LOG:  execute") || line.contains("LOG:  statement");
    cluster.log().lines().filter(|line| asked(line)).count()
}

/// What a process has had of processors, in hundredths of a second.
fn processor_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    // After the name: state, and ten more before user and system time.
    fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

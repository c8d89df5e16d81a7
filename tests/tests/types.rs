//! Every type travels exactly: inserted, updated from one extreme to another, deleted.

use syncjournal_tests::{Db, assert_same_rows, carry, introduce, pair, table_rows};

/// Types of a user's own and of extensions, made anew in each database: with other object ids.
const OWN_TYPES: &str = "
    create extension if not exists hstore; create extension if not exists citext;
    create extension if not exists ltree;
    create type mood as enum ('sad', 'ok', 'happy, \"very\"');
    create type place as (name text, at point, moods mood[], price numeric, since timestamptz);
    create domain positive as int check (value > 0);
    create domain short as varchar(5);
    create type mood_range as range (subtype = mood);
    create type float_range as range (subtype = float8, subtype_diff = float8mi);
    create table pointed_at (id int);
";

/// A type, and values of it that are hard to carry.
const CASES: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767", "0"]),
    ("integer", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    (
        "numeric",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "0.00000",
            "-0.1",
            "1e-1000",
            "1e1000",
            "123456789012345678901234567890.123456789012345678901234567890",
        ],
    ),
    ("numeric(10,2)", &["12345678.90", "-0.01", "'NaN'"]),
    ("numeric(3,-2)", &["12300", "-99900"]),
    ("real", &["'-0'", "'NaN'", "'Infinity'", "'-Infinity'", "1.17549435e-38", "3.4028235e38"]),
    (
        "double precision",
        &["'-0'", "'NaN'", "'Infinity'", "'-Infinity'", "5e-324", "1.7976931348623157e308", "0.1"],
    ),
    ("money", &["'-92233720368547758.08'", "'92233720368547758.07'"]),
    (
        "text",
        &[
            "''",
            "' '",
            "'NULL'",
            "E'tab\\tnew\\nline\\\\ \\' \"'",
            "'äöü 漢字 😀 e\u{301}'",
            "repeat('x', 1000)",
            "repeat('long and compressible ', 50000)",
        ],
    ),
    ("varchar", &["''", "'trailing  '"]),
    ("varchar(5)", &["''", "'äöüßé'", "'漢字漢字漢'", "'ab   '"]),
    ("char(5)", &["''", "'ab'", "'äöüßé'", "'abcde'"]),
    ("\"char\"", &["'a'", "''", "'\\377'::\"char\"", "(-1)::int::\"char\""]),
    ("name", &["''", "'a name'", "repeat('n', 63)"]),
    ("bytea", &["''", "'\\x00'", "'\\x00ff00ff5c27'", "decode(repeat('00ff', 500000), 'hex')"]),
    ("uuid", &["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"]),
    ("date", &["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "'0001-01-01'"]),
    ("time", &["'00:00'", "'24:00'", "'23:59:59.999999'"]),
    ("time(2)", &["'12:34:56.78'", "'24:00'"]),
    ("timetz", &["'00:00+15:59'", "'24:00-15:59'", "'12:34:56.789012+05:45'"]),
    (
        "timestamp",
        &["'infinity'", "'-infinity'", "'4713-01-01 00:00 BC'", "'294276-12-31 23:59:59.999999'"],
    ),
    (
        "timestamptz",
        &["'infinity'", "'-infinity'", "'4714-11-24 00:00+00 BC'", "'2024-02-29 12:00:00.000001'"],
    ),
    ("timestamptz(3)", &["'2024-02-29 12:00:00.123'", "'infinity'"]),
    (
        "interval",
        &[
            "'178000000 years'",
            "'-178000000 years'",
            "'1 mon -1 day 00:00:00.000001'",
            "'-1 mon 32 days -25:00'",
            "'0'",
        ],
    ),
    ("interval day to second(2)", &["'1 day 00:00:01.25'"]),
    ("bit(9)", &["B'101010101'", "B'000000000'"]),
    ("bit varying", &["B''", "B'1'", "repeat('10', 5000)::bit varying"]),
    ("bit varying(5)", &["B'10101'", "B''"]),
    ("inet", &["'0.0.0.0/0'", "'192.168.1.5/24'", "'::/0'", "'2001:db8::1/128'"]),
    ("cidr", &["'10.0.0.0/8'", "'::/0'"]),
    ("macaddr", &["'ff:ff:ff:ff:ff:ff'", "'00:00:00:00:00:00'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("point", &["'(1.5,-0)'", "'(Infinity,NaN)'", "'(0.1,1e-300)'"]),
    ("line", &["'{1,-1,0.1}'"]),
    ("lseg", &["'[(0,0),(1.1,2.2)]'"]),
    ("box", &["'(2,2),(0.1,0)'"]),
    ("path", &["'[(0,0),(1,1)]'", "'((0,0),(1,1),(2,0.1))'"]),
    ("polygon", &["'((0,0),(1,1),(2,0.1))'"]),
    ("circle", &["'<(0.1,0),1e10>'"]),
    ("json", &["'{\"a\" :  1, \"a\": [null, \"ä\"]}'", "'null'", "'\" \"'", "'1e400'"]),
    ("jsonb", &["'{\"a\": [null, 1.10, \"ä😀\\n\", {}]}'", "'null'", "'[]'", "'1e400'"]),
    ("jsonpath", &["'$.a[*] ? (@.b > 1)'"]),
    (
        "xml",
        &[
            "'<a b=\"1\"> ä <![CDATA[ <> ]]></a>'",
            "'just text'",
            "''",
            "'<?xml version=\"1.0\"?><a/>'",
            "'<?xml version=\"1.0\" encoding=\"utf-8\"?><a>ä</a>'",
        ],
    ),
    ("tsvector", &["'a:1A fat:2B,4C cat:5'", "''", "'''it''''s'' \\''quoted'"]),
    ("tsquery", &["'fat & (rat | !cat:*A) <-> x'", "''"]),
    ("int4range", &["'empty'", "'(,)'", "'[1,10)'", "'(,5)'"]),
    ("int8range", &["'[-9223372036854775808,9223372036854775807)'"]),
    ("numrange", &["'[0.10,1e100]'", "'(NaN,)'"]),
    ("daterange", &["'[-infinity,infinity]'", "'[2024-01-01,)'"]),
    ("tsrange", &["'[2024-01-01 00:00,infinity]'"]),
    ("tstzrange", &["'(,2024-01-01 00:00+02)'"]),
    ("int4multirange", &["'{}'", "'{[1,3),[5,8),(10,)}'"]),
    ("datemultirange", &["'{(,2000-01-01),[2024-01-01,infinity]}'"]),
    ("oid", &["0", "4294967295"]),
    ("xid", &["'4294967295'"]),
    ("xid8", &["'18446744073709551615'"]),
    ("cid", &["'7'"]),
    ("tid", &["'(4294967295,65535)'"]),
    ("pg_lsn", &["'FFFFFFFF/FFFFFFFF'", "'0/0'"]),
    ("pg_snapshot", &["'10:20:10,14,15'"]),
    ("int2vector", &["'1 2 -3'", "''"]),
    ("oidvector", &["'1 2 3'"]),
    ("aclitem", &["'postgres=arwdDxt/postgres'"]),
    ("regclass", &["'pointed_at'", "'pg_catalog.pg_class'"]),
    ("regtype", &["'mood'", "'int4'", "'text[]'"]),
    ("regproc", &["'pg_catalog.now'"]),
    ("regprocedure", &["'pg_catalog.abs(int4)'"]),
    ("regnamespace", &["'public'"]),
    ("regrole", &["'postgres'"]),
    ("regconfig", &["'english'"]),
    ("integer[]", &["'{}'", "'{1,NULL,3}'", "'[-5:-3]={1,2,3}'", "'{{1,2},{3,NULL}}'"]),
    ("text[]", &["'{\"\",NULL,\"NULL\",\"a,b\",\"{}\",\"\\\\\\\\\",\"ä\"}'"]),
    ("float8[]", &["'{NaN,-0,Infinity}'"]),
    ("bytea[]", &["array['\\x00'::bytea, null, '']"]),
    ("int[][][]", &["'[0:1][2:2][-1:0]={{{1,2}},{{3,4}}}'"]),
    ("numrange[]", &["array['[1,2)'::numrange, null, 'empty']"]),
    ("timestamptz[]", &["'{infinity,2024-01-01 00:00+02}'"]),
    ("regtype[]", &["'{mood,int4}'"]),
    ("xml[]", &["array['<a/>'::xml, null]"]),
    ("mood", &["'sad'", "'happy, \"very\"'"]),
    ("mood[]", &["'{sad,NULL,\"happy, \\\"very\\\"\"}'", "'[3:4]={ok,ok}'"]),
    ("mood_range", &["'[sad,ok]'", "'empty'"]),
    ("float_range", &["'[0.1,Infinity)'"]),
    (
        "place",
        &[
            "row('a, \"b\" (c)', '(0.1,-0)', '{sad}', 'NaN', '2024-01-01 00:00+02')",
            "row(null, null, null, null, null)",
            "row('', null, '{}', 0.10, 'infinity')",
        ],
    ),
    ("place[]", &["array[row('x', null, null, 1, null)::place, null]"]),
    ("positive", &["1", "2147483647"]),
    ("short", &["''", "'äöüßé'"]),
    ("positive[]", &["'{1,NULL,5}'"]),
    ("hstore", &["'a=>1, \"b c\"=>NULL, ä=>\"\"'", "''"]),
    ("hstore[]", &["array['a=>1'::hstore, null]"]),
    ("citext", &["'MiXed ä'", "''"]),
    ("ltree", &["'Top.Science.Astronomy'", "''"]),
    ("ltree[]", &["'{a.b,c}'"]),
];

/// One table for each type: a failure names it.
fn tables() -> Vec<(String, &'static str, &'static [&'static str])> {
    let numbered = CASES.iter().enumerate();
    numbered.map(|(number, (kind, values))| (format!("t{number}"), *kind, *values)).collect()
}

fn nodes() -> (Db, Db) {
    let (a, b) = pair();
    introduce(&[(&a, "a"), (&b, "b")]);
    // Other object ids, and another look of everything that settings decide.
    b.exec("create type shifts_the_oids as enum ('x'); create table shifts_them_more (a int[])");
    a.exec(&format!(
        "alter database {} set datestyle = 'SQL, DMY'; alter database {0} set timezone = 'Asia/Tokyo';
         alter database {0} set extra_float_digits = -10; alter database {0} set bytea_output = escape;
         alter database {0} set intervalstyle = sql_standard;
         alter database {0} set client_encoding = latin1",
        a.name()
    ));
    (a, b)
}

#[test]
fn every_type_travels_exactly() {
    let (a, b) = nodes();
    for db in [&a, &b] {
        db.exec(OWN_TYPES);
        for (table, kind, _) in tables() {
            db.exec(&format!("create table {table} (id int primary key, v {kind}, o {kind})"));
        }
        db.exec("select syncjournal.track_all(include => '{t*}')");
    }
    // Written with the odd settings of the database, read back under the plain ones of a session.
    let mut odd = a.session();
    odd.exec("set client_encoding = utf8");
    carry(&a, &b, "full");
    for (table, kind, values) in tables() {
        for (id, value) in values.iter().enumerate() {
            odd.exec(&format!("insert into {table} values ({id}, ({value})::{kind}, null)"));
        }
        odd.exec(&format!("insert into {table} values (-1, null, null)"));
    }
    odd.exec("reset client_encoding");
    arrives_alike(&a, &b, "inserted");

    for (table, _, values) in tables() {
        let count = values.len();
        odd.exec(&format!(
            "update {table} t set v = n.v, o = t.v from {table} n
             where t.id >= 0 and n.id = (t.id + 1) % {count};
             update {table} set v = null, o = v where id = 0"
        ));
    }
    arrives_alike(&a, &b, "updated");

    for (table, _, _) in tables() {
        odd.exec(&format!("delete from {table} where id >= 0"));
    }
    arrives_alike(&a, &b, "deleted");
    let left: i64 = b.query_one("select count(*) from t0");
    assert_eq!(left, 1, "the row of nulls is still there");
}

/// Carries the changes and compares what Postgres shows of the rows.
#[track_caller]
fn arrives_alike(a: &Db, b: &Db, what: &str) {
    let applied = carry(a, b, "changes");
    assert_eq!((applied.skipped, applied.conflicts), (0, 0), "{what}");
    for db in [a, b] {
        db.exec(
            "set client_encoding = utf8; set datestyle = 'ISO, YMD'; set timezone = 'UTC';
             set intervalstyle = postgres; set bytea_output = hex; set extra_float_digits = 3",
        );
    }
    for (table, kind, _) in tables() {
        assert_eq!(table_rows(a, &table), table_rows(b, &table), "{kind} {what}");
    }
}

#[test]
fn a_full_set_carries_every_type_exactly() {
    let (a, b) = nodes();
    for db in [&a, &b] {
        db.exec(OWN_TYPES);
        for (table, kind, _) in tables() {
            db.exec(&format!("create table {table} (id int primary key, v {kind})"));
        }
    }
    a.exec("set client_encoding = utf8");
    for (table, kind, values) in tables() {
        for (id, value) in values.iter().enumerate() {
            a.exec(&format!("insert into {table} values ({id}, ({value})::{kind})"));
        }
    }
    for db in [&a, &b] {
        db.exec("select syncjournal.track_all(include => '{t*}')");
    }
    a.reconnect();
    let full = carry(&a, &b, "full");
    assert_eq!(full.inserted, full.entries);
    for db in [&a, &b] {
        db.exec(
            "set client_encoding = utf8; set timezone = 'UTC'; set extra_float_digits = 3;
                 set datestyle = 'ISO, YMD'; set intervalstyle = postgres; set bytea_output = hex",
        );
    }
    for (table, _, _) in tables() {
        assert_same_rows(&a, &b, &table);
    }
}

/// A table of a document that is stored out of line, tracked at both ends.
fn with_documents() -> (Db, Db) {
    let (a, b) = pair();
    introduce(&[(&a, "a"), (&b, "b")]);
    for db in [&a, &b] {
        db.exec("create table doc (id int primary key, body text, raw bytea, n int)");
        db.exec("alter table doc alter body set storage external, alter raw set storage external");
        db.exec("select syncjournal.track('doc')");
    }
    carry(&a, &b, "full");
    (a, b)
}

#[test]
fn large_values_travel_exactly() {
    let (a, b) = with_documents();
    for (id, bytes) in [(1, 1_000), (2, 1_000_000), (3, 64_000_000)] {
        a.exec(&format!(
            "insert into doc select {id}, repeat('ä{id}-', {bytes} / 4),
                 decode(repeat('00ff{id:02}', {bytes} / 3), 'hex'), 0"
        ));
    }
    carry(&a, &b, "changes");
    let digest = "select string_agg(id || md5(body) || md5(raw) || n, ',' order by id) from doc";
    assert_eq!(a.text(digest), b.text(digest));
    a.exec("update doc set body = 'x' || body, n = n + 1");
    carry(&a, &b, "changes");
    assert_eq!(a.text(digest), b.text(digest));
}

#[test]
fn an_unchanged_large_value_does_not_travel() {
    let (a, b) = with_documents();
    a.exec(
        "insert into doc select 1, string_agg(md5(i::text), ''), null, 0
            from generate_series(1, 50000) i",
    );
    carry(&a, &b, "changes");
    a.exec("update doc set n = 1");
    let size: i64 = a.query_one("select sum(octet_length(data)) from syncjournal.prep_sync('b')");
    assert!(size < 2_000, "the set of a small change has {size} bytes");
    carry(&a, &b, "changes");
    let digest = "select md5(body) || n from doc";
    assert_eq!(a.text(digest), b.text(digest));
    a.exec("delete from doc");
    carry(&a, &b, "changes");
    let left: i64 = b.query_one("select count(*) from doc");
    assert_eq!(left, 0);
}

//! Statements and what they say. The corpus that a real Cassandra is asked about is in e2e.

use super::parser::parse_counted;
use super::{
    Assigned, BatchKind, Classified, Existence, Form, Inserted, Operator, Parsed, Problem, Selected,
    Statement, StatementKind, Subject, classify, parse,
};
use crate::cql::{Statement as FirstWord, first_statement};
use crate::limits::{CQL_DEPTH_MAX, CQL_MARKERS_MAX};
use crate::protocol::QueryType;

fn tables(text: &str) -> Vec<String> {
    let tables = classify(text).tables();
    tables.map(|table| format!("{}.{}", table.keyspace_or(Some("-")).unwrap(), table.table)).collect()
}

fn kind(text: &str) -> StatementKind {
    classify(text).kind
}

fn markers(text: &str) -> Vec<String> {
    let Parsed { markers, .. } = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    (0..markers.count()).map(|place| markers.name(place).unwrap().into_owned()).collect()
}

fn columns(text: &str) -> Vec<String> {
    let Statement::Select(select) = parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).statement
    else {
        panic!("{text} is no SELECT")
    };
    select.selectors.iter().map(|selector| selector.name()).collect()
}

/// Each kind, by a statement of it.
const KINDS: [(&str, &str, StatementKind); 46] = [
    ("select * from t", "SELECT", StatementKind::Select),
    ("insert into t (a) values (1)", "INSERT", StatementKind::Insert),
    ("update t set a = 1 where k = 1", "UPDATE", StatementKind::Update),
    ("delete from t where k = 1", "DELETE", StatementKind::Delete),
    ("truncate t", "TRUNCATE", StatementKind::Truncate),
    ("begin batch apply batch", "BATCH", StatementKind::Batch),
    ("begin counter batch apply batch ;", "BATCH", StatementKind::Batch),
    ("apply batch", "APPLY BATCH", StatementKind::ApplyBatch),
    ("use ks", "USE", StatementKind::Use),
    ("create keyspace k with a = 1", "CREATE KEYSPACE", StatementKind::CreateKeyspace),
    ("create schema k with a = 1", "CREATE KEYSPACE", StatementKind::CreateKeyspace),
    ("create table t (k int primary key)", "CREATE TABLE", StatementKind::CreateTable),
    ("create index on t (a)", "CREATE INDEX", StatementKind::CreateIndex),
    ("create custom index on t (a)", "CREATE INDEX", StatementKind::CreateIndex),
    ("create materialized view v as", "CREATE MATERIALIZED VIEW", StatementKind::CreateMaterializedView),
    ("create type t (a int)", "CREATE TYPE", StatementKind::CreateType),
    ("create or replace function f", "CREATE FUNCTION", StatementKind::CreateFunction),
    ("create aggregate a (int)", "CREATE AGGREGATE", StatementKind::CreateAggregate),
    ("create trigger x on t using 'c'", "CREATE TRIGGER", StatementKind::CreateTrigger),
    ("create role r", "CREATE ROLE", StatementKind::CreateRole),
    ("create user u", "CREATE USER", StatementKind::CreateUser),
    ("alter keyspace k with a = 1", "ALTER KEYSPACE", StatementKind::AlterKeyspace),
    ("alter table t add a int", "ALTER TABLE", StatementKind::AlterTable),
    ("alter materialized view v with", "ALTER MATERIALIZED VIEW", StatementKind::AlterMaterializedView),
    ("alter type t add a int", "ALTER TYPE", StatementKind::AlterType),
    ("alter role r", "ALTER ROLE", StatementKind::AlterRole),
    ("alter user u", "ALTER USER", StatementKind::AlterUser),
    ("drop keyspace k", "DROP KEYSPACE", StatementKind::DropKeyspace),
    ("drop table t", "DROP TABLE", StatementKind::DropTable),
    ("drop index i", "DROP INDEX", StatementKind::DropIndex),
    ("drop materialized view v", "DROP MATERIALIZED VIEW", StatementKind::DropMaterializedView),
    ("drop type t", "DROP TYPE", StatementKind::DropType),
    ("drop function f", "DROP FUNCTION", StatementKind::DropFunction),
    ("drop aggregate f", "DROP AGGREGATE", StatementKind::DropAggregate),
    ("drop trigger x on t", "DROP TRIGGER", StatementKind::DropTrigger),
    ("drop role r", "DROP ROLE", StatementKind::DropRole),
    ("drop user u", "DROP USER", StatementKind::DropUser),
    ("drop identity 'i'", "UNRECOGNIZED CQL", StatementKind::DropIdentity),
    ("add identity 'i' to role r", "UNRECOGNIZED CQL", StatementKind::AddIdentity),
    ("grant select on t to r", "GRANT", StatementKind::Grant),
    ("revoke r from s", "REVOKE", StatementKind::Revoke),
    ("list all permissions", "LIST PERMISSIONS", StatementKind::ListPermissions),
    ("list roles", "LIST ROLES", StatementKind::ListRoles),
    ("list users", "UNRECOGNIZED CQL", StatementKind::ListUsers),
    ("list superusers", "UNRECOGNIZED CQL", StatementKind::ListSuperusers),
    ("describe cluster", "UNRECOGNIZED CQL", StatementKind::Describe),
];

#[test]
fn kinds_are_told_by_the_first_words() {
    for (text, name, expected) in KINDS {
        for text in [text.to_owned(), text.to_uppercase(), format!("-- x\n /* ; */ {text} ; ;")] {
            assert_eq!(kind(&text), expected, "{text}");
            assert_eq!(expected.name(), name, "{text}");
        }
        // The first word alone, which is all that there is of a text that is cut off, says the same.
        let first = match first_statement(text.as_bytes(), true).unwrap() {
            FirstWord::Read => QueryType::Read,
            FirstWord::Write => QueryType::Write,
            FirstWord::Schema | FirstWord::Use => QueryType::SchemaChange,
            FirstWord::Apply => QueryType::ReadWrite,
        };
        assert_eq!(expected.query_type(), first, "{text}");
    }
}

#[test]
fn what_is_not_one_statement_is_not_recognized() {
    let texts = [
        "",
        ";",
        "selec a from t",
        "select1",
        "create nothing",
        "begin",
        "begin logged batch apply batch",
        "begin batch insert into t (a) values (1);",
        "select a from t; drop table t",
        "begin batch apply batch; use ks",
        "use a; use b",
        "-- use ks",
        "/* use ks",
    ];
    for text in texts {
        assert_eq!(kind(text), StatementKind::Unrecognized, "{text}");
        assert!(tables(text).is_empty(), "{text}");
    }
    assert_eq!(kind("select ';' from t"), StatementKind::Select);
    assert_eq!(kind("select a from t where b = 'open"), StatementKind::Select);
}

#[test]
fn tables_are_found_without_parsing() {
    let cases: [(&str, &[&str]); 24] = [
        ("SELECT a, \"from\" FROM Ks.\"T\"\"x\" WHERE a = 'from x'", &["ks.T\"x"]),
        ("INSERT INTO t (a) VALUES (1)", &["-.t"]),
        ("UPDATE ks . t SET a = 1 WHERE k = 1", &["ks.t"]),
        ("DELETE a FROM t WHERE k = 1", &["-.t"]),
        ("TRUNCATE TABLE t", &["-.t"]),
        ("TRUNCATE ks.t", &["ks.t"]),
        (
            "BEGIN BATCH INSERT INTO a (k) VALUES (1); UPDATE b.c SET v = 1 WHERE k = 1 DELETE FROM d WHERE k = 1 APPLY BATCH",
            &["-.a", "b.c", "-.d"],
        ),
        ("CREATE TABLE IF NOT EXISTS t (k int PRIMARY KEY)", &["-.t"]),
        ("CREATE TABLE exists (k int PRIMARY KEY)", &["-.exists"]),
        ("ALTER TABLE IF EXISTS t ADD a int", &["-.t"]),
        ("DROP TABLE IF EXISTS ks.t", &["ks.t"]),
        ("CREATE INDEX i ON t (a)", &["-.t"]),
        ("CREATE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT a FROM ks.t", &["-.v", "ks.t"]),
        ("DROP MATERIALIZED VIEW v", &["-.v"]),
        ("CREATE TRIGGER x ON t USING 'c'", &["-.t"]),
        ("GRANT SELECT ON TABLE ks.t TO r", &["ks.t"]),
        ("GRANT SELECT ON t TO r", &["-.t"]),
        ("GRANT SELECT ON role TO r", &["-.role"]),
        ("GRANT SELECT ON ROLE x TO r", &[]),
        ("GRANT SELECT ON ALL KEYSPACES TO r", &[]),
        ("REVOKE ALL ON KEYSPACE ks FROM r", &[]),
        ("LIST ALL PERMISSIONS ON t OF r", &["-.t"]),
        ("DROP INDEX ks.i", &[]),
        ("USE ks", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(tables(text), expected, "{text}");
    }
}

#[test]
fn the_keyspace_is_the_one_written_or_the_one_in_use() {
    let keyspace = |text: &'static str| classify(text).keyspace(Some("Used")).map(|name| name.into_owned());
    assert_eq!(keyspace("SELECT a FROM Ks.t"), Some("ks".to_owned()));
    assert_eq!(keyspace("SELECT a FROM \"Ks\".t"), Some("Ks".to_owned()));
    assert_eq!(keyspace("SELECT a FROM t"), Some("Used".to_owned()));
    assert_eq!(keyspace("USE Ks"), Some("ks".to_owned()));
    assert_eq!(keyspace("CREATE KEYSPACE IF NOT EXISTS k WITH"), Some("k".to_owned()));
    assert_eq!(keyspace("DROP SCHEMA k"), Some("k".to_owned()));
    assert_eq!(keyspace("LIST ROLES"), None);
    assert_eq!(classify("SELECT a FROM t").keyspace(None), None);
}

#[test]
fn a_batch_tells_the_kinds_inside_of_it() {
    let kinds = |text| -> Vec<StatementKind> { Classified::kinds(&classify(text)).collect() };
    let text = "BEGIN BATCH DELETE FROM t WHERE k = 1; INSERT INTO t (k) VALUES ('UPDATE') APPLY BATCH";
    assert_eq!(kinds(text), [StatementKind::Delete, StatementKind::Insert]);
    assert_eq!(kinds("SELECT a FROM t"), [StatementKind::Select]);
}

#[test]
fn names_are_compared_as_cassandra_compares_them() {
    let Statement::Use(plain) = parse("USE MyKs").unwrap().statement else { panic!("no USE") };
    assert!(plain.matches("myks") && !plain.matches("MyKs") && !plain.is_quoted());
    let Statement::Use(quoted) = parse("USE \"My\"\"Ks\"").unwrap().statement else { panic!("no USE") };
    assert!(quoted.matches("My\"Ks") && !quoted.matches("my\"ks") && quoted.is_quoted());
    assert_eq!((quoted.name().as_ref(), quoted.raw()), ("My\"Ks", "\"My\"\"Ks\""));
}

#[test]
fn a_select_is_taken_apart() {
    let text = "SELECT JSON DISTINCT a AS \"B\", count(*), ttl(c), f(d), ks.g(e), 1 FROM ks.t \
                WHERE a = ? AND b IN (1, :x) AND (c, d) > (1, 2) AND token(e) <= ? AND m['k'] = 'v' AND l CONTAINS KEY ? \
                GROUP BY a, floor(b, 1h) ORDER BY c DESC, e ANN OF ? PER PARTITION LIMIT 2 LIMIT ? ALLOW FILTERING";
    let Statement::Select(select) = parse(text).unwrap().statement else { panic!("no SELECT") };
    assert!(select.is_json && select.is_distinct && select.allows_filtering);
    assert!(select.table.keyspace.unwrap().matches("ks") && select.table.table.matches("t"));
    let whats: Vec<_> = select.selectors.iter().map(|selector| selector.what).collect();
    assert!(matches!(whats[0], Selected::Column(name) if name.matches("a")));
    assert!(matches!(whats[1..3], [Selected::Rows, Selected::Ttl(_)]));
    assert!(matches!(whats[3], Selected::Function { keyspace: None, name } if name.matches("f")));
    assert!(matches!(whats[4], Selected::Function { keyspace: Some(_), .. }));
    assert_eq!(whats[5], Selected::Expression);
    let operators: Vec<_> = select.relations.iter().map(|relation| relation.operator).collect();
    let expected = [
        Operator::Equal,
        Operator::In,
        Operator::Greater,
        Operator::AtMost,
        Operator::Equal,
        Operator::ContainsKey,
    ];
    assert_eq!(operators, expected);
    assert!(matches!(&select.relations[2].subject, Subject::Tuple(columns) if columns.len() == 2));
    assert!(matches!(&select.relations[4].subject, Subject::Element(_, key) if key.text == "'k'"));
    assert_eq!(select.relations[0].values[0].form, Form::Marker);
    assert_eq!((select.relations[1].values.len(), select.relations[1].values[1].markers), (2, (1, 1)));
    assert_eq!(select.group_by, ["a", "floor(b, 1h)"]);
    assert!(select.order_by[0].is_descending && select.order_by[1].nearest_to.is_some());
    assert_eq!((select.per_partition_limit.unwrap().text, select.limit.unwrap().form), ("2", Form::Marker));
    let names = ["a", "x", "partition key token", "key(l)", "e", "[limit]"];
    assert_eq!(markers(text), names);
}

#[test]
fn changes_are_taken_apart() {
    let text = "INSERT INTO t (a, b) VALUES (?, [1, ?]) IF NOT EXISTS USING TTL 5 AND TIMESTAMP ?";
    let Statement::Insert(insert) = parse(text).unwrap().statement else { panic!("no INSERT") };
    assert!(insert.if_not_exists && insert.using.timestamp.is_some());
    let Inserted::Columns(columns, values) = insert.what else { panic!("no columns") };
    assert!(columns[1].matches("b") && values[1].text == "[1, ?]" && values[1].form == Form::List);
    assert_eq!(values[1].markers, (1, 1));

    let text = "UPDATE t USING TTL ? SET a = 1, b = b + ?, c = [1] + c, d -= 2, e[?] = ?, f.g = ? \
                WHERE k = ? IF a = ? AND e['x'] IN (1) AND f.g != 1";
    let Statement::Update(update) = parse(text).unwrap().statement else { panic!("no UPDATE") };
    let hows: Vec<_> = update.assignments.iter().map(|assignment| assignment.how).collect();
    assert!(matches!(
        hows[..],
        [
            Assigned::Value,
            Assigned::Added,
            Assigned::Prepended,
            Assigned::Subtracted,
            Assigned::Element(_),
            Assigned::Field(_)
        ]
    ));
    assert!(matches!(update.condition, Some(Existence::If(conditions)) if conditions.len() == 3));
    assert_eq!(markers(text), ["[ttl]", "b", "key(e)", "value(e)", "f.g", "k", "a"]);

    let text = "DELETE a, b['x'], c.d FROM t USING TIMESTAMP 1 WHERE k = 1 IF EXISTS";
    let Statement::Delete(delete) = parse(text).unwrap().statement else { panic!("no DELETE") };
    assert_eq!(delete.columns.len(), 3);
    assert!(matches!(delete.condition, Some(Existence::Exists)));

    let text = "BEGIN UNLOGGED BATCH USING TIMESTAMP ? INSERT INTO t JSON ?; UPDATE u SET a = 1 WHERE k = ? APPLY BATCH";
    let Statement::Batch(batch) = parse(text).unwrap().statement else { panic!("no BATCH") };
    assert_eq!((batch.kind, batch.statements.len()), (BatchKind::Unlogged, 2));
    assert_eq!(markers(text), ["[timestamp]", "[json]", "k"]);
}

#[test]
fn markers_inside_of_values_are_named_after_what_is_around_them() {
    let insert = |value: &str| markers(&format!("INSERT INTO t (c) VALUES ({value})"));
    assert_eq!(insert("{?: [?, {a: ?}]}"), ["key(c)", "value(value(c))", "value(value(c)).a"]);
    assert_eq!(insert("{[?]: 1}"), ["value(key(c))"]);
    assert_eq!(insert("(?, {?})"), ["c[0]", "value(c[1])"]);
    assert_eq!(insert("ks.F(1, ?)"), ["arg1(ks.f)"]);
    assert_eq!(insert("? + 1 * ?"), ["arg0(system._add)", "arg1(system._multiply)"]);
    assert_eq!(insert("(int)?"), ["c"]);
    assert_eq!(insert("(int)? + 1"), ["arg0(system._add)"]);
    assert_eq!(insert("{\"A\"\"b\": ?}"), ["c.A\"b"]);
    let text = "UPDATE t SET a = 1 WHERE (b, C) IN ? AND (d, e) > :x AND (f, g) IN ((?, ?))";
    assert_eq!(markers(text), ["in(b,c)", "x", "f", "g"]);
}

#[test]
fn results_are_named_as_cassandra_names_them() {
    let text = "SELECT a, B AS \"C\", COUNT( * ), writetime( a ), Token( a,b ), cast(a AS TEXT), m[ 'it''s' ], u . f, \
                a+ -b * (c), [1,a], (frozen<list<int>>) [ 1 ], ks.F( 1 ), m['a'..] FROM t";
    let expected = [
        "a",
        "C",
        "count",
        "writetime(a)",
        "system.token(a, b)",
        "cast(a as text)",
        "m['it's']",
        "u.f",
        "a + -b * (c)",
        "[1, a]",
        "(frozen<list<int>>)[1]",
        "ks.f(1)",
        "m['a'..]",
    ];
    assert_eq!(columns(text), expected);
}

#[test]
fn keywords_that_are_not_reserved_are_names() {
    let text =
        "SELECT json, distinct, key, ttl, type, values, as, exists, cast, expr FROM role WHERE exists = 1";
    assert_eq!(columns(text).len(), 10);
    assert_eq!(columns("SELECT json FROM t"), ["json"]);
    assert_eq!(columns("SELECT distinct FROM t"), ["distinct"]);
    assert_eq!(columns("SELECT JSON json FROM t"), ["json"]);
    for reserved in
        ["select", "from", "table", "token", "null", "nan", "true", "in", "set", "infinity", "schema"]
    {
        assert!(parse(&format!("SELECT a AS {reserved} FROM t")).is_err(), "{reserved}");
        assert!(parse(&format!("SELECT a FROM {reserved}")).is_err(), "{reserved}");
    }
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    let error = |text: &str| parse(text).map(|_| ()).unwrap_err();
    assert_eq!(error("SELECT a FROM t WHERE k = 'open").problem, Problem::Unterminated);
    assert_eq!(error("SELECT a @ FROM t").problem, Problem::UnknownCharacter);
    assert_eq!((error("SELECT a t").problem, error("SELECT a t").at), (Problem::Expected("FROM"), 9));
    assert_eq!(error("UPDATE t SET a = b + 1 WHERE k = 1").problem, Problem::OtherColumn);
    assert_eq!(error("SELECT a FROM t; USE k").problem, Problem::Unrecognized);
    assert_eq!(error("SELECT a t").to_string(), "expected FROM, at byte 9");
}

#[test]
fn nesting_and_markers_are_limited() {
    let nested = |open: &str, close: &str, depth: usize| {
        parse(&format!("INSERT INTO t (a) VALUES ({}1{})", open.repeat(depth), close.repeat(depth)))
            .map(|_| ())
    };
    for (open, close) in [("[", "]"), ("{", "}"), ("(", ")"), ("f(", ")"), ("(int)", ""), ("{1:", "}")] {
        nested(open, close, CQL_DEPTH_MAX - 2).unwrap();
        assert_eq!(nested(open, close, 100_000).unwrap_err().problem, Problem::TooDeep, "{open}");
    }
    let select = |open: &str| parse(&format!("SELECT {}", open.repeat(100_000))).map(|_| ()).unwrap_err();
    for open in ["(", "[", "{", "f(", "(a)", "cast(", "(list<", "a[", "-", "(a)[", "writetime(", "{a:"] {
        select(open);
    }
    let many = |count: usize| {
        parse(&format!("SELECT a FROM t WHERE b IN (?{})", ",?".repeat(count - 1))).map(|_| ())
    };
    many(CQL_MARKERS_MAX).unwrap();
    assert_eq!(many(CQL_MARKERS_MAX + 1).unwrap_err().problem, Problem::TooManyMarkers);
}

/// How often the lexer may go over a byte. Ordinary statements stay below 3; JSON and DISTINCT may each have what is
/// behind them read twice, and a hint before a bracket as well.
const STEPS_A_BYTE_MAX: usize = 10;

/// What hostile texts repeat.
const PIECES: &[&str] = &[
    "a, ",
    "(",
    "(a)",
    "(a)[",
    "[",
    "{",
    "f(",
    "'x', ",
    "'",
    "''",
    "\"\"",
    "$$",
    "--\n",
    "/*",
    "/* */",
    "-",
    "- ",
    "a[",
    "a.",
    "(a, ",
    "((a",
    "(a)[1..2], ",
    "'x')",
    "('x'), ",
    "('x')[",
    "json ",
    "distinct ",
    "0x0",
    "1e",
    "P1",
    "1h",
    "1.",
    "..",
    "?",
    ":a ",
    "cast(",
    "(list<",
    "1 + ",
    "1, ",
    "a AND ",
    "µ",
];

#[test]
fn time_is_linear_in_the_text() {
    let starts = [
        "SELECT ",
        "SELECT JSON DISTINCT ",
        "SELECT a FROM t WHERE a = ",
        "SELECT a FROM t WHERE ",
        "SELECT a FROM t WHERE a IN (",
        "INSERT INTO t (a) VALUES (",
        "UPDATE t SET a = ",
        "BEGIN BATCH ",
        "",
    ];
    // Nested as deeply as is allowed, before what is long.
    let nested = ["(a)[", "(a)[(int)[", "(a)(", "[", "{", "f(", "(a, ", "(((", "(list<int>)[", "a[f("];
    let nested = nested.iter().flat_map(|open| {
        [10, 14, 25, 30]
            .map(|depth| ["JSON DISTINCT ", ""].map(|words| format!("SELECT {words}{}", open.repeat(depth))))
    });
    let nested: Vec<String> = nested.flatten().collect();
    let mut most = 0;
    for start in starts.into_iter().chain(nested.iter().map(String::as_str)) {
        for piece in PIECES {
            for count in [1_000, 4_000] {
                let text = format!("{start}{}", piece.repeat(count));
                let (_, steps) = parse_counted(&text);
                most = most.max(steps / text.len());
                assert!(
                    steps <= STEPS_A_BYTE_MAX * text.len(),
                    "{start}{piece}..: {steps} for {}",
                    text.len()
                );
            }
        }
    }
    println!("at most {most} steps a byte");
}

#[test]
fn every_prefix_of_a_statement_is_read_without_panic() {
    let text = "SELECT JSON a AS \"b\"\"c\", (int)[?]['x'..] FROM ks.t /* x */ WHERE (a, b) IN ((1h, -1.5e3)) \
                AND c = {a: $$x$$, \"µ\": 0xAB} -- end\n";
    for end in 0..=text.len() {
        crate::cql::fuzz::query(&text.as_bytes()[..end]);
    }
}

//! QueryTypeFilter by keyspaces and tables: what is told of each request, and what is not.

use super::options::read;
use std::rc::Rc;

use chain::Prepared;

use super::scene::{
    self, Reply, Scene, Server, batch, execute, execute_of, frame, part_knowing, prepare, query, scene,
};
use crate::QueryTypeFilter;
use wire::cql::opcode;

const FILTERED: Option<i32> = Some(0x2200);
const UNPREPARED: Option<i32> = Some(0x2500);

fn filter(options: &str) -> QueryTypeFilter {
    read(options, QueryTypeFilter::parse).unwrap()
}

/// A client behind a filter, in the keyspace `ks`.
fn client(options: &str) -> Scene {
    let mut scene = scene(&[&filter(options)]);
    scene.send(&[query(0, "USE ks")]);
    assert_eq!(scene.replies(), [(0, None)], "{options}");
    scene
}

/// True when this text passes.
fn passes(scene: &mut Scene, text: &str) -> bool {
    scene.send(&[query(1, text), prepare(2, text)]);
    let mut replies = scene.replies();
    replies.sort_unstable();
    // What may be run may be prepared, and nothing else.
    assert_eq!(replies[0].1, replies[1].1, "{text}");
    replies[0].1 != FILTERED
}

/// Which of these texts do not pass.
fn refused<'t>(scene: &mut Scene, texts: &[&'t str]) -> Vec<&'t str> {
    texts.iter().copied().filter(|text| !passes(scene, text)).collect()
}

fn sorted(scene: &mut Scene) -> Vec<Reply> {
    let mut replies = scene.replies();
    replies.sort_unstable();
    replies
}

#[test]
fn a_denied_table_is_not_touched_in_any_way() {
    let mut scene = client("deny_tables: [ks.secret, salary]");
    let refused_texts = [
        "SELECT * FROM ks.secret",
        "select * from KS.SECRET",
        "SELECT * FROM \"ks\" . \"secret\"",
        "SELECT * FROM secret",
        "INSERT INTO secret (a) VALUES (1)",
        "UPDATE ks.secret SET a = 1 WHERE b = 2",
        "DELETE a FROM secret WHERE b = 2",
        "TRUNCATE TABLE secret",
        "DROP TABLE IF EXISTS ks.secret",
        "ALTER TABLE secret ADD x int",
        "CREATE INDEX ON ks.secret (a)",
        "CREATE MATERIALIZED VIEW ks.v AS SELECT * FROM ks.secret WHERE a IS NOT NULL PRIMARY KEY (a)",
        "BEGIN BATCH INSERT INTO t (a) VALUES (1) UPDATE secret SET a = 1 WHERE b = 2 APPLY BATCH",
        "GRANT SELECT ON TABLE ks.secret TO bob",
        "SELECT * FROM other.salary",
        // These may be of it.
        "DROP KEYSPACE ks",
        "DROP KEYSPACE other",
        "GRANT ALL ON KEYSPACE ks TO bob",
        "GRANT ALL ON ALL KEYSPACES TO bob",
        "DROP INDEX i",
        "DESCRIBE TABLES",
        // And these cannot be told.
        "SELECT * FROM t; SELECT * FROM ks.secret",
        "SELECT * FROM",
        "EXPLAIN SELECT * FROM t",
        "",
    ];
    assert_eq!(refused(&mut scene, &refused_texts), refused_texts);
    let passing = [
        "SELECT * FROM ks.t",
        "SELECT * FROM other.secret",
        "SELECT * FROM ks.\"Secret\"",
        "SELECT 'FROM ks.secret' FROM t /* ks.secret */",
        "SELECT * FROM system.local",
        "CREATE TYPE ks.secret (a int)",
        "CREATE ROLE secret",
        "GRANT one TO other",
        "BEGIN BATCH INSERT INTO t (a) VALUES (1) APPLY BATCH",
    ];
    assert_eq!(refused(&mut scene, &passing), [""; 0]);
}

#[test]
fn only_allowed_keyspaces_pass_and_what_drivers_read() {
    let mut scene = client("allow_keyspaces: [ks, '\"Mixed\"']");
    let passing = [
        "SELECT * FROM ks.t",
        "SELECT * FROM t",
        "SELECT * FROM \"Mixed\".t",
        "DROP TABLE ks.t",
        "DROP KEYSPACE KS",
        "CREATE FUNCTION ks.f (a int) RETURNS NULL ON NULL INPUT RETURNS int LANGUAGE java AS 'return a;'",
        "GRANT ALL ON ALL TABLES IN KEYSPACE ks TO bob",
        "SELECT * FROM system.local",
        "SELECT * FROM system_schema.keyspaces",
        "SELECT * FROM system_virtual_schema.tables",
    ];
    assert_eq!(refused(&mut scene, &passing), [""; 0]);
    let refused_texts = [
        "SELECT * FROM other.t",
        "SELECT * FROM mixed.t",
        "USE other",
        "CREATE TYPE other.y (a int)",
        "CREATE AGGREGATE other.a (int) SFUNC f STYPE int",
        "SELECT * FROM system_auth.roles",
        "TRUNCATE system.local",
        "CREATE KEYSPACE other WITH replication = {}",
        "CREATE ROLE bob",
        "LIST ROLES",
        "DESCRIBE KEYSPACE other",
    ];
    assert_eq!(refused(&mut scene, &refused_texts), refused_texts);
}

#[test]
fn of_the_keyspace_system_only_what_tells_the_topology_passes() {
    let mut scene = client("allow_keyspaces: [ks]");
    let passing = [
        "SELECT * FROM system.local WHERE key = 'local'",
        "SELECT peer FROM system.peers",
        "SELECT * FROM SYSTEM.peers_v2",
        "SELECT * FROM system.size_estimates WHERE keyspace_name = 'ks'",
        "SELECT * FROM system.available_ranges",
        "SELECT * FROM system.available_ranges_v2",
        "SELECT * FROM system_schema.columns",
        "SELECT * FROM system_virtual_schema.columns",
    ];
    assert_eq!(refused(&mut scene, &passing), [""; 0]);
    // These have rows of other keyspaces in them, or statements that were run there.
    let others = [
        "SELECT most_recent_commit FROM system.paxos",
        "SELECT mutations FROM system.batches",
        "SELECT * FROM system.prepared_statements",
        "SELECT * FROM system.\"Local\"",
        "SELECT * FROM system.hints",
    ];
    assert_eq!(refused(&mut scene, &others), others);
    let mut more = client("{allow_keyspaces: [ks], allow_tables: [system.paxos]}");
    assert_eq!(refused(&mut more, &others), others[1..]);
    let mut all = client("allow_keyspaces: [ks, system]");
    assert_eq!(refused(&mut all, &others), [""; 0]);
}

#[test]
fn what_drivers_read_can_be_denied_by_name() {
    let mut scene =
        client("{allow_keyspaces: [ks], deny_tables: [system.peers], deny_keyspaces: [system_schema]}");
    let refused_texts = ["SELECT * FROM system.peers", "SELECT * FROM system_schema.tables"];
    assert_eq!(refused(&mut scene, &refused_texts), refused_texts);
    assert!(passes(&mut scene, "SELECT * FROM system.local"));
}

#[test]
fn either_allow_list_lets_pass_and_either_deny_list_does_not() {
    let mut scene = client(
        "{allow_keyspaces: [a], allow_tables: [ks.t, anywhere], deny_tables: [a.no], deny_keyspaces: [b]}",
    );
    let passing = [
        "SELECT * FROM a.x",
        "SELECT * FROM ks.t",
        "SELECT * FROM c.anywhere",
        "USE a",
        "USE c",
        "SELECT * FROM t",
    ];
    assert_eq!(refused(&mut scene, &passing), ["SELECT * FROM t"], "the last USE was one of c");
    let refused_texts =
        ["SELECT * FROM a.no", "SELECT * FROM ks.x", "SELECT * FROM b.anywhere", "USE b", "DROP KEYSPACE ks"];
    assert_eq!(refused(&mut scene, &refused_texts), refused_texts);
}

#[test]
fn a_name_without_keyspace_is_of_the_one_that_the_server_confirmed() {
    let mut scene = scene(&[&filter("deny_tables: [b.t]")]);
    assert!(!passes(&mut scene, "SELECT * FROM t"), "no keyspace is in use");
    scene.send(&[query(1, "USE a")]);
    assert_eq!(scene.replies(), [(1, None)]);
    assert!(passes(&mut scene, "SELECT * FROM t"));
    // While a USE is in flight, the server may be in either.
    scene.server_answers(false);
    scene.send(&[query(3, "USE b"), query(4, "SELECT * FROM t"), query(5, "SELECT * FROM a.t")]);
    assert_eq!(scene.replies(), [(4, FILTERED)]);
    scene.server_answers(true);
    assert_eq!(scene.replies(), [(3, None), (5, None)]);
    assert!(!passes(&mut scene, "SELECT * FROM t"));
    scene.send(&[query(6, "USE a")]);
    assert_eq!(scene.replies(), [(6, None)]);
    // One that fails changes nothing.
    scene.send(&[query(7, "USE wrong")]);
    assert_eq!(scene.replies(), [(7, None)]);
    assert!(passes(&mut scene, "SELECT * FROM t"));
}

/// The same request with a keyspace of its own (v5's flag): its parameters are a consistency level and no flags.
fn in_keyspace(request: &[u8], keyspace: &str) -> Vec<u8> {
    let (opcode, body) = (request[4], &request[9..request.len() - 1]);
    let length = u16::try_from(keyspace.len()).unwrap().to_be_bytes();
    let id = i16::from_be_bytes([request[2], request[3]]);
    frame(id, opcode, &[body, &[0x80], &length, keyspace.as_bytes()].concat())
}

#[test]
fn a_keyspace_that_a_request_brings_along_opens_no_other() {
    for options in ["deny_keyspaces: [secret]", "deny_tables: [secret.cards]", "allow_keyspaces: [ks]"] {
        let mut scene = client(options);
        let (select, insert) = ("SELECT * FROM cards", "INSERT INTO cards (a) VALUES (1)");
        let qualified = ["SELECT * FROM ks.cards", "INSERT INTO ks.cards (a) VALUES (1)"];
        scene.send(&[prepare(9, insert)]);
        assert_eq!(scene.replies(), [(9, None)], "{options}");
        let requests = [
            query(1, select),
            batch(2, &[insert]),
            batch(3, &["9", insert]),
            query(4, "BEGIN BATCH INSERT INTO cards (a) VALUES (1) APPLY BATCH"),
            query(5, qualified[0]),
            batch(6, &[qualified[1]]),
            // Prepared in ks, whatever comes with it.
            execute_of(7, 9),
            batch(8, &["9"]),
        ];
        scene.send(&requests);
        assert_eq!(sorted(&mut scene), [1, 2, 3, 4, 5, 6, 7, 8].map(|id| (id, None)), "{options}");
        for keyspace in ["secret", "ks"] {
            scene.send(&requests.each_ref().map(|request| in_keyspace(request, keyspace)));
            let expected = [1, 2, 3, 4, 5, 6, 7, 8].map(|id| (id, if id < 5 { FILTERED } else { None }));
            assert_eq!(sorted(&mut scene), expected, "{options}");
        }
    }
}

#[test]
fn a_use_does_not_overtake_what_was_judged_by_the_keyspace_in_use() {
    let mut scene = client("deny_tables: [b.t]");
    // A server runs the requests of one connection in any order: the long one might be read in b.
    for open in ["SELECT * FROM t", "DESCRIBE TABLE t"] {
        scene.server_answers(false);
        scene.send(&[query(1, open), query(2, "USE b"), query(3, "SELECT * FROM a.t")]);
        assert_eq!(scene.replies(), [(2, FILTERED)], "{open}");
        scene.server_answers(true);
        assert_eq!(sorted(&mut scene), [(1, None), (3, None)], "{open}");
    }
    scene.server_answers(false);
    scene.send(&[prepare(1, "SELECT * FROM t"), query(2, "USE b")]);
    assert_eq!(scene.replies(), [(2, FILTERED)]);
    scene.server_answers(true);
    assert_eq!(scene.replies(), [(1, None)]);
    // Of two that are in flight at once nobody can tell which was the last.
    scene.server_answers(false);
    scene.send(&[query(1, "SELECT * FROM a.t"), query(2, "USE a"), query(3, "USE b")]);
    assert_eq!(scene.replies(), [(3, FILTERED)]);
    scene.server_answers(true);
    assert_eq!(sorted(&mut scene), [(1, None), (2, None)]);
    scene.send(&[query(1, "USE b")]);
    assert_eq!(scene.replies(), [(1, None)], "nothing is in flight any more");
}

#[test]
fn a_prepared_describe_is_of_the_keyspace_in_use_when_it_is_executed() {
    let mut scene = client("deny_tables: [b.t]");
    scene.send(&[prepare(5, "DESCRIBE TABLE t"), prepare(6, "DESCRIBE TABLE ks.t")]);
    assert_eq!(sorted(&mut scene), [(5, None), (6, None)]);
    scene.send(&[query(1, "USE b")]);
    assert_eq!(scene.replies(), [(1, None)]);
    scene.send(&[execute_of(1, 5), execute_of(2, 6)]);
    // It is not to be prepared again: that would tell no more.
    assert_eq!(sorted(&mut scene), [(1, FILTERED), (2, None)]);
}

#[test]
fn an_execute_is_its_statement_and_one_that_is_not_known_is_to_be_prepared_again() {
    let mut scene = client("deny_tables: [b.t]");
    for (request, id) in [(prepare(5, "SELECT * FROM t"), 5), (query(6, "USE b"), 6)] {
        scene.send(&[request]);
        assert_eq!(scene.replies(), [(id, None)]);
    }
    // Prepared in ks, whatever keyspace is in use now.
    scene.send(&[execute_of(7, 5), query(8, "SELECT * FROM t"), execute(9)]);
    assert_eq!(sorted(&mut scene), [(7, None), (8, FILTERED), (9, UNPREPARED)]);
    scene.send(&[batch(1, &["5"]), batch(2, &["5", ""]), batch(3, &["5", "INSERT INTO b.t (a) VALUES (1)"])]);
    assert_eq!(sorted(&mut scene), [(1, None), (2, UNPREPARED), (3, FILTERED)]);
    assert_eq!(scene.server_got(), [0, 5, 6, 7, 1]);
}

#[test]
fn an_execute_that_is_not_known_is_to_be_prepared_again_whatever_kinds_pass() {
    for kinds in ["AllowList: [Write]", "DenyList: [Read]", "DenyList: [Write]", "AllowList: [SchemaChange]"]
    {
        let options = format!("{{{kinds}, deny_tables: [ks.t]}}");
        let mut scene = scene(&[&filter(&options)]);
        scene.send(&[execute(1)]);
        assert_eq!(scene.replies(), [(1, UNPREPARED)], "{kinds}");
    }
    // What is known is judged, and what cannot be read does not pass.
    let mut scene = client("{DenyList: [Read], allow_keyspaces: [ks]}");
    scene.send(&[prepare(5, "INSERT INTO t (a) VALUES (1)")]);
    assert_eq!(scene.replies(), [(5, None)]);
    let mut compressed = execute(1);
    compressed[1] = 1;
    scene.send(&[execute_of(2, 5), compressed]);
    assert_eq!(sorted(&mut scene), [(1, FILTERED), (2, None)]);
}

#[test]
fn a_prepared_batch_within_a_batch_does_not_pass() {
    // Not to be prepared again: that would change nothing, and its driver would go on for ever.
    let mut scene = client("deny_tables: [b.t]");
    scene.send(&[prepare(5, "BEGIN BATCH UPDATE t SET a = 1 UPDATE t SET a = 2 APPLY BATCH")]);
    assert_eq!(scene.replies(), [(5, None)]);
    scene.send(&[batch(1, &["5"]), batch(2, &["5", ""]), execute_of(3, 5)]);
    assert_eq!(sorted(&mut scene), [(1, FILTERED), (2, UNPREPARED), (3, None)]);
}

#[test]
fn what_another_filter_let_be_prepared_is_judged_anew() {
    let (any, none) = (filter("deny_tables: [x.y]"), filter("deny_keyspaces: [ks]"));
    let (server, prepared) = (Server::default(), Rc::<Prepared>::default());
    let mut scene = scene::client(&part_knowing(&[&any], &server, Rc::clone(&prepared)), &server);
    scene.send(&[query(1, "USE ks")]);
    assert_eq!(scene.replies(), [(1, None)]);
    scene.send(&[prepare(5, "SELECT * FROM t")]);
    assert_eq!(scene.replies(), [(5, None)]);
    let mut scene = scene::client(&part_knowing(&[&none], &server, prepared), &server);
    scene.send(&[execute_of(1, 5), batch(2, &["5"])]);
    assert_eq!(sorted(&mut scene), [(1, FILTERED), (2, FILTERED)]);
}

#[test]
fn what_cannot_be_read_does_not_pass() {
    for options in ["deny_tables: [ks.t]", "allow_keyspaces: [ks]"] {
        let mut scene = client(options);
        let mut compressed = query(1, "SELECT * FROM ks.u");
        compressed[1] = 1;
        let mut compressed_execute = execute(2);
        compressed_execute[1] = 1;
        let cut = frame(3, opcode::QUERY, b"\0\0\0\x20SELECT * FROM ks.u");
        let torn = frame(4, opcode::BATCH, b"\0\0\x02\0\0\0\0\x12");
        let not_text = frame(5, opcode::QUERY, b"\0\0\0\x13SELECT * FROM ks.u\xff\0\x01\0");
        scene.send(&[compressed, compressed_execute, cut, torn, not_text]);
        let expected = [1, 2, 3, 4, 5].map(|id| (id, FILTERED));
        assert_eq!(sorted(&mut scene), expected, "{options}");
        for opcode in [opcode::OPTIONS, opcode::STARTUP, opcode::AUTH_RESPONSE, opcode::REGISTER] {
            scene.send(&[frame(1, opcode, b"\0\0\0\0")]);
            assert_eq!(scene.replies(), [(1, None)], "{opcode}");
        }
    }
}

#[test]
fn kinds_and_names_can_be_asked_for_together() {
    let mut scene = client("{DenyList: [Write], allow_keyspaces: [ks]}");
    let texts = ["SELECT * FROM t", "SELECT * FROM x.t", "INSERT INTO t (a) VALUES (1)"];
    assert_eq!(refused(&mut scene, &texts), texts[1..]);
}

#[test]
fn options_that_are_no_names_are_told() {
    let said = |options: &str| read(options, QueryTypeFilter::parse).unwrap_err();
    assert!(
        said("deny_tables: ['a.b.c']").contains("`a.b.c` is no table: expected `keyspace.table` or `table`")
    );
    assert!(said("deny_keyspaces: ['a.b']").contains("`a.b` is no keyspace"));
    assert!(said("allow_tables: [select]").contains("`select` is no table"));
    let one = "exactly one of `AllowList` and `DenyList`";
    assert!(said("").contains(one) && said("{AllowList: [Read], DenyList: [Read]}").contains(one));
    assert!(!said("deny_tables: 5").contains(one));
    let both = said("{AllowList: [Read], DenyList: [Read], deny_tables: [t]}");
    assert!(both.contains("at most one of `AllowList` and `DenyList`"), "{both}");
}

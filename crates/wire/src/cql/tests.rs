//! Vectors: frames as drivers and servers send them, and what is to be read in each. Every one is also cut at every byte.

use super::{body, fuzz, opcode, request, response};
use crate::{ConnectionState, ErrorKind, Framed, Malformed, Protocol, QueryType, Raw, Reason, Side};

fn frame(version: u8, flags: u8, id: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![version, flags];
    frame.extend(id.to_be_bytes());
    frame.push(opcode);
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn long_string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

fn query(text: &str) -> Vec<u8> {
    frame(4, 0, 7, opcode::QUERY, &[long_string(text), vec![0, 1, 0]].concat())
}

fn rows_with_types(types: &[u8]) -> Vec<u8> {
    let head = [2_i32.to_be_bytes(), 1_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat();
    [head, string("ks"), string("t"), string("c"), types.to_vec(), 0_i32.to_be_bytes().to_vec()].concat()
}

/// A frame, the way it travels, and what its description says.
type Vector = (Side, Vec<u8>, &'static str);

fn vectors() -> Vec<Vector> {
    [requests(), responses()].concat()
}

fn requests() -> Vec<Vector> {
    let values =
        [vec![0, 1, 0x7f, 0, 2], string("a"), vec![0, 0, 0, 1, 9], string("b"), vec![0xff; 4]].concat();
    let all =
        [values, 100_i32.to_be_bytes().to_vec(), vec![0, 0, 0, 1, 5, 0, 8], 1_i64.to_be_bytes().to_vec()]
            .concat();
    let batch = [
        vec![0, 0, 2, 0],
        long_string("INSERT"),
        vec![0, 1, 0, 0, 0, 1, 9, 1, 0, 2, 0xab, 0xcd, 0, 0, 0, 4, 0],
    ]
    .concat();
    use Side::Request;
    vec![
        (
            Request,
            frame(4, 0, 0, opcode::STARTUP, &[vec![0, 1], string("CQL_VERSION"), string("3.0.0")].concat()),
            "Startup CQL_VERSION=3.0.0",
        ),
        (Request, frame(3, 0, 1, opcode::OPTIONS, &[]), "OPTIONS"),
        (Request, query("SELECT * FROM t"), "Query consistency:ONE SELECT * FROM t"),
        (
            Request,
            frame(4, 0, -3, opcode::QUERY, &[long_string("x\ny"), all].concat()),
            "stream:-3 Query consistency:ONE x\\ny",
        ),
        (Request, frame(4, 0, 2, opcode::PREPARE, &long_string("USE ks")), "Prepare USE ks"),
        (
            Request,
            frame(4, 0, 2, opcode::EXECUTE, &[vec![0, 2, 0xab, 0xcd], vec![0, 6, 0]].concat()),
            "Execute consistency:LOCAL_QUORUM id:abcd",
        ),
        (Request, frame(4, 0, 2, opcode::BATCH, &batch), "Batch consistency:QUORUM of 2; INSERT; abcd"),
        (
            Request,
            frame(4, 0, 2, opcode::REGISTER, &[vec![0, 1], string("SCHEMA_CHANGE")].concat()),
            "Register SCHEMA_CHANGE",
        ),
        (Request, frame(4, 0, 2, opcode::AUTH_RESPONSE, b"\0\0\0\x06secret"), "AUTH_RESPONSE"),
        (Request, frame(4, 1, 2, opcode::QUERY, b"zzzz"), "QUERY (compressed)"),
        (
            Request,
            frame(
                4,
                4,
                2,
                opcode::QUERY,
                &[vec![0, 1], string("k"), long_string("v"), long_string("Q"), vec![0, 1, 0]].concat(),
            ),
            "Query consistency:ONE Q",
        ),
    ]
}

fn responses() -> Vec<Vector> {
    let map_of_udt = [
        vec![0, 0x21, 0, 0x0d, 0, 0x30],
        string("ks"),
        string("u"),
        vec![0, 2],
        string("f"),
        vec![0, 9],
        string("g"),
        vec![0, 0x20, 0, 0x31, 0, 2, 0, 1, 0, 2],
    ]
    .concat();
    let event = [string("STATUS_CHANGE"), string("UP"), vec![4, 127, 0, 0, 1, 0, 0, 0x23, 0x52]].concat();
    let dropped = [string("DROPPED"), string("TABLE"), string("ks"), string("t")].concat();
    let warned =
        [vec![7; 16], vec![0, 1], string("slow"), 3_i32.to_be_bytes().to_vec(), string("ks")].concat();
    use Side::Response;
    vec![
        (Response, frame(0x84, 0, 2, opcode::READY, &[]), "READY"),
        (
            Response,
            frame(0x84, 0, 2, opcode::ERROR, &[vec![0, 0, 0x22, 0], string("no"), vec![1]].concat()),
            "Error 0x2200 no",
        ),
        (Response, frame(0x84, 0, 2, opcode::AUTHENTICATE, &string("Pwd")), "Authenticate Pwd"),
        (Response, frame(0x84, 0, 2, opcode::AUTH_SUCCESS, &[0xff; 4]), "AUTH_SUCCESS"),
        (
            Response,
            frame(
                0x84,
                0,
                2,
                opcode::SUPPORTED,
                &[vec![0, 1], string("C"), vec![0, 2], string("a"), string("b")].concat(),
            ),
            "Supported C=a C=b",
        ),
        (Response, frame(0x84, 0, 2, opcode::RESULT, &1_i32.to_be_bytes()), "Result Void"),
        (Response, frame(0x84, 0, 2, opcode::RESULT, &rows_with_types(&map_of_udt)), "Result Rows 0 x 1"),
        (Response, frame(0x84, 0x0a, 2, opcode::RESULT, &warned), "Result SetKeyspace ks"),
        (Response, frame(0x84, 0, 2, opcode::RESULT, &[0, 0, 0, 4, 0, 2, 1, 2]), "Result Prepared 0102"),
        (Response, frame(0x84, 0, 2, opcode::RESULT, &[vec![0, 0, 0, 5], dropped].concat()), "DROPPED"),
        (Response, frame(0x84, 0, -1, opcode::EVENT, &event), "Event Status"),
    ]
}

#[test]
fn every_vector_is_read_as_it_should_be() {
    for (side, bytes, expected) in vectors() {
        let Framed::Frame(head) = Protocol::Cql.frame(&bytes, side, 1000) else { panic!("{expected}") };
        assert_eq!(head.frame_bytes as usize, bytes.len());
        let shown = Protocol::Cql.describe(side, &head, &bytes);
        assert!(shown.contains(expected), "{shown} does not contain {expected}");
        assert!(!shown.contains("secret"));
    }
}

#[test]
fn every_vector_survives_every_cut() {
    for (side, bytes, expected) in vectors() {
        for cut in 0..=bytes.len() {
            fuzz::frame(side, &bytes[..cut]);
            fuzz::stream(side, &bytes[..cut]);
            let answer = Protocol::Cql.frame(&bytes[..cut], side, 1000);
            assert_eq!(matches!(answer, Framed::Frame(_)), cut >= 9, "{expected} cut at {cut}: {answer:?}");
        }
    }
}

#[test]
fn random_bytes_are_survived() {
    let mut state = 1_u64;
    for (side, bytes, _) in vectors() {
        for _ in 0..2000 {
            let mut bent = bytes.clone();
            for _ in 0..2 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bent.len();
                bent[at] = (state >> 20) as u8;
            }
            fuzz::frame(side, &bent);
            fuzz::stream(side, &bent);
        }
    }
}

#[test]
fn malformed_headers_say_what_and_where() {
    let check = |bytes: &[u8], side, reason, at| match Protocol::Cql.frame(bytes, side, 100) {
        Framed::Malformed(malformed) => {
            assert_eq!((malformed.reason, malformed.at), (reason, at), "{bytes:?}");
        }
        other => panic!("{bytes:?}: {other:?}"),
    };
    use Side::{Request, Response};
    for version in [0, 1, 2, 5, 6, 0x41, 0x42] {
        check(&[version], Request, Reason::UnsupportedVersion { version }, 0);
    }
    check(&[0x84], Request, Reason::WrongDirection, 0);
    check(&[0x04], Response, Reason::WrongDirection, 0);
    check(&[4, 0, 0, 9, 0x63, 0, 0, 0, 0], Request, Reason::UnknownOpcode { opcode: 0x63 }, 4);
    check(&[4, 0, 0, 9, opcode::RESULT, 0, 0, 0, 0], Request, Reason::UnknownOpcode { opcode: 8 }, 4);
    check(
        &[4, 0, 0, 9, opcode::QUERY, 0xff, 0xff, 0xff, 0xff],
        Request,
        Reason::NegativeLength { length: -1 },
        5,
    );
    check(
        &[4, 0, 0, 9, opcode::QUERY, 0x7f, 0xff, 0xff, 0xff],
        Request,
        Reason::TooLong { length: 0x7fff_ffff, max: 100 },
        5,
    );
}

#[test]
fn drivers_step_down_on_the_refusal_of_a_version() {
    let malformed =
        Malformed { reason: Reason::UnsupportedVersion { version: 5 }, at: 0, id: 0, version: None };
    let refusal = Protocol::Cql.refusal(&malformed);
    let Framed::Frame(head) = Protocol::Cql.frame(&refusal, Side::Response, 1000) else { panic!() };
    assert_eq!((head.version, head.id, head.opcode), (4, 0, opcode::ERROR));
    let error = response::error(body(Side::Response, &head, &refusal).unwrap()).unwrap();
    assert_eq!((error.code, error.message), (0x000A, "Invalid or unsupported protocol version"));
}

#[test]
fn a_refusal_is_of_the_version_that_its_client_speaks() {
    let refused = |bytes: &[u8]| {
        let framed = Protocol::Cql.frame(bytes, Side::Request, 100);
        let Framed::Malformed(malformed) = framed else { panic!("{framed:?}") };
        Protocol::Cql.refusal(&malformed)[0]
    };
    for version in [3, 4] {
        let reply = version | 0x80;
        assert_eq!(refused(&[version, 0, 0, 9, 0x63, 0, 0, 0, 0]), reply, "unknown opcode");
        assert_eq!(refused(&[version, 0, 0, 9, opcode::QUERY, 0xff, 0, 0, 0]), reply, "negative length");
        assert_eq!(refused(&[version, 0, 0, 9, opcode::QUERY, 0, 1, 0, 0]), reply, "too long");
        assert_eq!(refused(&[reply, 0, 0, 9, opcode::QUERY, 0, 0, 0, 0]), reply, "wrong direction");
    }
    assert_eq!(refused(&[5, 0, 0, 9, opcode::QUERY, 0, 0, 0, 0]), 0x84, "a version that is not spoken");
}

#[test]
fn errors_are_on_the_requests_stream_and_cut_between_characters() {
    let Framed::Frame(request) = Protocol::Cql.frame(&query("x"), Side::Request, 100) else { panic!() };
    for kind in [ErrorKind::Server, ErrorKind::WriteTimeout, ErrorKind::ReadTimeout] {
        let reply = Protocol::Cql.error_reply(&request, kind, &"é".repeat(40_000));
        let Framed::Frame(head) = Protocol::Cql.frame(&reply, Side::Response, 1 << 20) else { panic!() };
        assert_eq!((head.id, head.frame_bytes as usize), (7, reply.len()));
        let error = response::error(body(Side::Response, &head, &reply).unwrap()).unwrap();
        assert_eq!(error.message.chars().count(), 32_767);
        let rest = match kind {
            ErrorKind::WriteTimeout => b"\0\x01\0\0\0\0\0\0\0\x01\0\x06SIMPLE".as_slice(),
            ErrorKind::ReadTimeout => b"\0\x01\0\0\0\0\0\0\0\x01\0",
            _ => b"",
        };
        assert_eq!(error.rest, rest);
    }
}

#[test]
fn statements_are_told_apart() {
    let check = |text: &str, kind, state| {
        let bytes = query(text);
        let Framed::Frame(head) = Protocol::Cql.frame(&bytes, Side::Request, 1 << 20) else { panic!() };
        assert_eq!(Protocol::Cql.query_type(&head, &bytes), Some(kind), "{text}");
        assert_eq!(Protocol::Cql.connection_state(&head, &bytes), state, "{text}");
    };
    use ConnectionState::{Keyspace, None};
    check("SELECT 1", QueryType::Read, None);
    check("  /* a */ -- b\n // c\r\n insert INTO t", QueryType::Write, None);
    check("/**/UsE ks", QueryType::SchemaChange, Keyspace);
    check("USE\"ks\"", QueryType::SchemaChange, Keyspace);
    check("BEGIN BATCH INSERT", QueryType::Write, None);
    check("APPLY BATCH", QueryType::ReadWrite, None);
    check("DROP TABLE t", QueryType::SchemaChange, None);
    check("", QueryType::Read, None);
    check("/* no end", QueryType::Read, None);
    check("nonsense", QueryType::Read, None);
}

#[test]
fn a_statement_that_is_not_all_there_is_not_guessed() {
    let bytes = query("/* long */ INSERT INTO t");
    let Framed::Frame(head) = Protocol::Cql.frame(&bytes, Side::Request, 100) else { panic!() };
    for cut in 0..bytes.len() {
        let kind = Protocol::Cql.query_type(&head, &bytes[..cut]);
        let word_ends = 9 + 4 + "/* long */ INSERT ".len();
        assert_eq!(kind, (cut >= word_ends).then_some(QueryType::Write), "cut at {cut}");
    }
}

#[test]
fn types_nested_too_deeply_are_refused() {
    let nested: Vec<u8> = [0, 0x20].repeat(40).into_iter().chain([0, 9]).collect();
    let bytes = frame(0x84, 0, 1, opcode::RESULT, &rows_with_types(&nested));
    let Framed::Frame(head) = Protocol::Cql.frame(&bytes, Side::Response, 1000) else { panic!() };
    let outcome = response::result(body(Side::Response, &head, &bytes).unwrap()).unwrap();
    let response::Outcome::Rows(rows) = outcome else { panic!() };
    assert_eq!(rows.page(None).unwrap_err().reason, Reason::TooDeep);
}

#[test]
fn values_and_statements_are_borrowed_from_the_frame() {
    let bytes = frame(
        4,
        0,
        1,
        opcode::QUERY,
        &[long_string("q"), vec![0, 1, 1, 0, 2, 0, 0, 0, 1, 5, 0xff, 0xff, 0xff, 0xff]].concat(),
    );
    let Framed::Frame(head) = Protocol::Cql.frame(&bytes, Side::Request, 100) else { panic!() };
    let (_, parameters) = request::query(body(Side::Request, &head, &bytes).unwrap()).unwrap();
    let mut values = Vec::new();
    parameters.values.each(|_, value| values.push(value)).unwrap();
    assert_eq!(values, [Raw::Bytes(&[5]), Raw::Null]);
}

/// The RESULT in a body.
fn outcome(body: &[u8]) -> response::Outcome<'_> {
    response::result(crate::Reader::new(body, 0)).unwrap()
}

/// Flags, count, what v4 puts behind them, table and one column `c` of a type.
fn metadata(partition_key: &[u8], kind: u8) -> Vec<u8> {
    let lead = [1_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat();
    [lead, partition_key.to_vec(), string("ks"), string("t"), string("c"), vec![0, kind]].concat()
}

#[test]
fn prepared_metadata_is_read_as_its_version_has_it() {
    for (version, partition_key) in [(3, &b""[..]), (4, b"\0\0\0\x01\0\0")] {
        let lead = [vec![0, 0, 0, 4], string("id")].concat();
        let bytes = [lead, metadata(partition_key, 9), metadata(&[], 0x0D)].concat();
        let response::Outcome::Prepared(prepared) = outcome(&bytes) else { panic!() };
        let known = prepared.metadata(version).unwrap();
        assert_eq!((prepared.id, known.partition_key.len()), (&b"id"[..], usize::from(version) - 3));
        assert_eq!(known.binds.columns[0].kind.to_string(), "int");
        let result = known.result.unwrap();
        assert_eq!(result.columns[0].kind.to_string(), "text");
        assert_eq!(&*result.table_of(&result.columns[0]).unwrap().keyspace, "ks");
    }
}

#[test]
fn rows_without_columns_have_the_types_of_their_statement_or_none() {
    let known = |kind| {
        let bytes = [vec![0, 0, 0, 2], metadata(&[], kind), vec![0; 4]].concat();
        let response::Outcome::Rows(rows) = outcome(&bytes) else { panic!() };
        rows.page(None).unwrap().metadata.unwrap()
    };
    let bytes = [&[0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1][..], &long_string("abc")].concat();
    let response::Outcome::Rows(rows) = outcome(&bytes) else { panic!() };
    let shown = |known: Option<std::sync::Arc<super::metadata::Metadata>>| {
        let page = rows.page(known.as_ref()).unwrap();
        let row = page.rows().next().unwrap();
        row.values().next().unwrap().to_string()
    };
    assert_eq!(shown(Some(known(0x0D))), "'abc'");
    assert_eq!(shown(Some(known(9))), "0x616263", "three bytes are no int");
    assert_eq!(shown(None), "0x616263");
    let mut two = (*known(0x0D)).clone();
    two.columns.push(two.columns[0].clone());
    assert_eq!(shown(Some(std::sync::Arc::new(two))), "0x616263", "another number of columns");
}

#[test]
fn columns_of_types_that_nobody_knows_leave_the_others_their_types() {
    use super::metadata::{Column, Metadata};
    use super::types::{ColumnType, CustomType};

    let custom = ColumnType::Custom(Box::new(CustomType { class: "org.example.Own".into(), meaning: None }));
    let shown = |kinds: [&ColumnType; 2], cells: [&str; 2]| {
        let column = |kind: &&ColumnType| Column { table: None, name: "c".into(), kind: (*kind).clone() };
        let known = Metadata { table: None, columns: kinds.iter().map(column).collect() };
        let lead = [0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 1];
        let bytes = [&lead[..], &cells.map(long_string).concat()].concat();
        let response::Outcome::Rows(rows) = outcome(&bytes) else { panic!() };
        let page = rows.page(Some(&std::sync::Arc::new(known))).unwrap();
        let row = page.rows().next().unwrap();
        row.values().map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
    };
    let (text, int, boolean) = (&ColumnType::Varchar, &ColumnType::Int, &ColumnType::Boolean);
    assert_eq!(shown([text, &custom], ["a", "b"]), "'a' 0x62");
    assert_eq!(shown([text, &ColumnType::Other(0x7f)], ["a", "b"]), "'a' 0x62");
    assert_eq!(shown([int, &custom], ["a", "b"]), "0x61 0x62", "one byte is no int");
    // Cassandra stores what a driver says, and takes everything but 0 for true.
    assert_eq!(shown([text, boolean], ["a", "\x02"]), "'a' 0x02");
    assert_eq!(shown([text, boolean], ["a", "\x02\x01"]), "0x61 0x0201", "two bytes are no boolean");
}

#[test]
fn a_negative_length_of_a_bound_value_is_what_its_version_has_it_be() {
    let (null, unset, other) = ([0xff; 4], [0xff, 0xff, 0xff, 0xfe], [0x80, 0, 0, 0]);
    for (version, length, expected) in [
        (3, null, Some("NULL")),
        (3, unset, Some("NULL")),
        (3, other, Some("NULL")),
        (4, null, Some("NULL")),
        (4, unset, Some("UNSET")),
        (4, other, None),
    ] {
        let of_query = [&long_string("Q")[..], &[0, 1, 1, 0, 1], &length].concat();
        let of_batch = [&[0, 0, 1, 0], &long_string("Q")[..], &[0, 1], &length, &[0, 1, 0]].concat();
        let of_execute = [&string("i")[..], &[0, 1, 1, 0, 1], &length].concat();
        for (opcode, body) in
            [(opcode::QUERY, of_query), (opcode::BATCH, of_batch), (opcode::EXECUTE, of_execute)]
        {
            let bytes = frame(version, 0, 1, opcode, &body);
            let Framed::Frame(head) = Protocol::Cql.frame(&bytes, Side::Request, u32::MAX) else { panic!() };
            let (mut shown, nothing) = (None, super::metadata::Metadata::default());
            let all = Protocol::Cql.bound_values(
                &head,
                &bytes,
                |_| Some(&nothing),
                |_, _, value| shown = Some(value.to_string()),
            );
            assert_eq!(shown.filter(|_| all).as_deref(), expected, "{version} {opcode} {length:?}");
            let is_right = expected.is_some();
            assert_eq!(
                Protocol::Cql.check(Side::Request, &head, &bytes).is_ok(),
                is_right,
                "{version} {opcode}"
            );
            let described = Protocol::Cql.describe(Side::Request, &head, &bytes);
            assert_eq!(described.contains("consistency:ONE"), is_right, "{described}");
            fuzz::reencode(&bytes);
        }
    }
}

#[test]
fn rows_of_nothing_cost_nothing() {
    let bytes = [0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
    let response::Outcome::Rows(rows) = outcome(&bytes) else { panic!() };
    assert!(rows.page(None).is_err(), "2^31 rows of no columns");
}

#[test]
fn values_are_typed_by_name_or_by_place() {
    let bytes = [vec![0, 0, 0, 2], metadata(&[], 9), vec![0; 4]].concat();
    let response::Outcome::Rows(rows) = outcome(&bytes) else { panic!() };
    let binds = rows.page(None).unwrap().metadata.unwrap();
    let check = |flags: u8, values: &[u8], expected: &str| {
        let body = [&string("id")[..], &[0, 1, flags, 0, 2], values].concat();
        let (_, parameters) = request::execute(crate::Reader::new(&body, 0)).unwrap();
        let mut shown = Vec::new();
        let each = |name: Option<&str>, value: super::value::Value<'_>| {
            shown.push(format!("{}={value}", name.unwrap_or("?")));
        };
        parameters.values.typed(&binds, each).unwrap();
        assert_eq!(shown.join(" "), expected);
    };
    let seven = long_string("\0\0\0\x07");
    check(0x01, &[&seven[..], &seven].concat(), "c=7 ?=0x00000007");
    check(0x41, &[&string("x")[..], &[0xff; 4], &string("c"), &seven].concat(), "x=NULL c=7");
}

#[test]
fn texts_are_taken_apart_wherever_they_are_cut_off() {
    let text = "BEGIN BATCH /* c */ INSERT INTO \"K\"\"s\".t (a) VALUES ('it''s', $$ x $$, 0xCAFE, -1e-3, \
                abcdef12-1234-1234-1234-123456789abc, P1Y2M, true); -- d\nUPDATE t SET a = ? APPLY BATCH // \u{e9}";
    for start in 0..text.len() {
        for end in start..=text.len() {
            fuzz::query(&text.as_bytes()[start..end]);
        }
    }
}

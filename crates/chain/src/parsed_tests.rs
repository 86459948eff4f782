//! What transforms see of statements that are taken wholly apart, in a chain that learns what is prepared; and of the values
//! that are bound to each.

use std::sync::{Arc, Mutex};

use wire::cql::query::{Inserted, Parsed, Statement};

use crate::enrichment_tests::{
    BATCH, EXECUTE, EXECUTE_7, INT, PREPARE, QUERY, SELECT_T, SELECT_U, USE_OTHER, client_behind, exchange,
    frame,
};
use crate::parsed::{PARSED, PARSED_BYTES_MAX};
use crate::{
    AllPrepared, Batch, Builder, Cx, Fault, Item, Link, ParsedStatement, Transform, Unparsed, WorkerCx,
    WorkerPart,
};

/// A transform that writes down what it sees, as often as it is told to, and may put others in the place of requests.
#[derive(Clone, Default)]
struct Reader {
    times: usize,
    /// It writes down what is bound.
    binds: bool,
    replaces: Option<&'static [u8]>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Builder for Reader {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(self.clone())
    }
    fn enriches(&self) -> bool {
        true
    }
}

impl WorkerPart for Reader {
    fn client(&self) -> Link {
        Link::Transform(Box::new(self.clone()))
    }
}

/// What a statement says, of those that are used here.
fn said(parsed: &Parsed<'_>) -> String {
    let mut words = Vec::new();
    match &parsed.statement {
        Statement::Select(select) => {
            for selector in &select.selectors {
                let alias = selector.alias.map(|alias| format!(" AS {alias}")).unwrap_or_default();
                words.push(format!("{}{alias}", selector.text));
            }
            for relation in &select.relations {
                let values: Vec<_> = relation.values.iter().map(|value| value.text).collect();
                words.push(format!("{:?} {}", relation.operator, values.join(" ")));
            }
        }
        Statement::Insert(insert) => {
            if let Inserted::Columns(columns, values) = &insert.what {
                let pairs = columns.iter().zip(values);
                words.extend(pairs.map(|(column, value)| format!("{column}={}", value.text)));
            }
        }
        other => words.push(format!("{:?}", other.kind())),
    }
    words.join(", ")
}

fn shown(statement: &ParsedStatement<'_>) -> String {
    let what = match statement.parsed {
        Ok(parsed) => said(parsed),
        Err(Unparsed::Syntax(error)) => error.to_string(),
        Err(other) => format!("{other:?}"),
    };
    let kind = statement.kind.map_or("?", |kind| kind.name());
    let prepared = if statement.is_prepared { "prepared " } else { "" };
    format!("{prepared}{kind} in {}: {what}", statement.keyspace.unwrap_or("?"))
}

impl Reader {
    fn see(&self, request: &mut Item<'_>) {
        let statements = request.parsed();
        let mut lines: Vec<String> = statements.each().map(|statement| shown(&statement)).collect();
        if !statements.are_told() {
            lines.push(if statements.are_readable() { "and more" } else { "unreadable" }.to_owned());
        }
        self.seen.lock().unwrap().push(lines.join("; "));
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Transform for Reader {
    fn requests(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|request| {
            (0..self.times).for_each(|_| self.see(request));
            if self.binds {
                let mut bound = Vec::new();
                let all = request.bound_values(|place, name, value| {
                    bound.push(format!("{place}: {}={value}", name.unwrap_or("?")));
                });
                bound.push(if all { "all" } else { "not all" }.to_owned());
                self.seen.lock().unwrap().push(bound.join(", "));
            }
            if let Some(body) = self.replaces {
                assert!(request.replace(frame(4, QUERY, body)));
            }
        });
        Ok(())
    }

    fn responses(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|reply| assert_eq!(reply.parsed().each().count(), 0));
        Ok(())
    }
}

/// What was parsed since this was last asked.
fn parsed() -> usize {
    PARSED.with(|parsed| parsed.replace(0))
}

/// A text as PREPARE has it.
fn long(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// A QUERY of this text, with these flags and what they announce.
fn query(text: &str, flags: u8, rest: &[u8]) -> Vec<u8> {
    [&long(text)[..], &[0, 1, flags], rest].concat()
}

#[test]
fn a_request_is_parsed_once_however_many_ask() {
    let (seer, all) = (Reader { times: 2, ..Reader::default() }, AllPrepared::default());
    let reader =
        |times, replaces| Reader { times, replaces, seen: Arc::clone(&seer.seen), ..Reader::default() };
    parsed();
    exchange(&mut client_behind(&[&reader(0, None)], INT, &all), QUERY, SELECT_T);
    assert_eq!(parsed(), 0);
    let mut three = client_behind(&[&seer, &reader(1, None), &reader(3, None)], INT, &all);
    exchange(&mut three, QUERY, SELECT_T);
    assert_eq!(parsed(), 1);
    assert_eq!(seer.seen(), ["SELECT in ?: "; 6]);
    // Another run, and a keyspace that the server has named since.
    exchange(&mut three, QUERY, SELECT_T);
    assert_eq!((parsed(), seer.seen()), (1, vec!["SELECT in other: ".to_owned(); 6]));
    // One that has other bytes is another one.
    let mut replaced = client_behind(&[&reader(1, Some(USE_OTHER)), &reader(2, None)], INT, &all);
    exchange(&mut replaced, QUERY, SELECT_U);
    let expected = ["SELECT in ?: ", "USE in ?: Use", "USE in ?: Use"];
    assert_eq!((parsed(), seer.seen()), (2, expected.map(str::to_owned).to_vec()));
}

#[test]
fn a_text_says_its_columns_aliases_relations_and_values() {
    let (seer, all) = (Reader { times: 1, ..Reader::default() }, AllPrepared::default());
    let mut client = client_behind(&[&seer], INT, &all);
    let bound = query("SELECT a AS \"B\", count(*) FROM t WHERE c = ? AND d IN (1, 2)", 1, b"\0\0");
    exchange(&mut client, QUERY, &bound);
    exchange(&mut client, PREPARE, &long("INSERT INTO t (a, \"B\") VALUES (1, ?)"));
    exchange(&mut client, QUERY, &query("SELECT FROM t", 0, b""));
    // A keyspace of its own: not every server goes by it.
    exchange(&mut client, QUERY, &query("SELECT a FROM t", 0x80, b"\0\x01k"));
    let mut not_utf8 = query("SELECT a FROM t?", 0, b"");
    not_utf8[19] = 0xFF;
    exchange(&mut client, QUERY, &not_utf8);
    exchange(&mut client, QUERY, &long("SELECT a FROM t"));
    exchange(&mut client, QUERY, b"\0\0\0\x0fSELECT");
    exchange(&mut client, QUERY, b"\0\0");
    let expected = [
        "SELECT in ?: a AS B, count(*), Equal ?, In 1 2",
        "INSERT in other: a=1, B=?",
        "SELECT in other: expected a name, at byte 7",
        "SELECT in ?: a",
        "and more",
        "SELECT in other: a; and more",
        "and more",
        "unreadable",
    ];
    assert_eq!(seer.seen(), expected);
}

#[test]
fn prepared_statements_say_what_their_texts_said() {
    let (seer, all) = (Reader { times: 1, ..Reader::default() }, AllPrepared::default());
    let mut client = client_behind(&[&seer], INT, &all);
    exchange(&mut client, EXECUTE, EXECUTE_7);
    exchange(&mut client, PREPARE, &long("SELECT a FROM t WHERE v = ?"));
    exchange(&mut client, EXECUTE, EXECUTE_7);
    assert_eq!(
        seer.seen(),
        ["prepared ? in ?: NotPrepared", "SELECT in ?: a, Equal ?", "prepared SELECT in ks: a, Equal ?"]
    );
    exchange(&mut client, PREPARE, &long("INSERT INTO t (v) VALUES (?)"));
    let text = long("INSERT INTO k.u (a) VALUES (1)");
    let id = b"\x01\0\x02id\0\x01\0\0\0\x04\0\0\0\x07";
    let unknown = b"\x01\0\x02no\0\x01\xff\xff\xff\xff";
    let batch = [&b"\0\0\x04\0"[..], &text, b"\0\0", id, unknown, id, b"\0\x01\0"].concat();
    parsed();
    exchange(&mut client, BATCH, &batch);
    // Twice the same.
    assert_eq!(parsed(), 2);
    let prepared = "prepared INSERT in ks: v=?";
    let in_batch = format!("INSERT in ?: a=1; {prepared}; prepared ? in ?: NotPrepared; {prepared}");
    assert_eq!(seer.seen()[1..], [in_batch]);
}

#[test]
fn more_than_a_worker_should_parse_at_once_is_not_known() {
    let (seer, all) = (Reader { times: 1, ..Reader::default() }, AllPrepared::default());
    let mut client = client_behind(&[&seer], INT, &all);
    let large = format!("SELECT a FROM t WHERE b = '{}'", "x".repeat(PARSED_BYTES_MAX / 2));
    let (large, small) = (long(&large), long("SELECT a FROM t"));
    let statements =
        [&small, &large, &large, &small].map(|text| [&[0], &text[..], &[0, 0]].concat()).concat();
    exchange(&mut client, BATCH, &[&[0, 0, 4][..], &statements, &[0, 1, 0]].concat());
    let seen = seer.seen().remove(0);
    let kinds: Vec<&str> = seen.split("; ").map(|one| one.get(..13).unwrap()).collect();
    assert_eq!(kinds, ["SELECT in ?: ", "SELECT in ?: ", "? in ?: TooMu", "SELECT in ?: "]);
}

#[test]
fn each_statement_of_a_batch_binds_values_of_its_own_types() {
    let (seer, all) = (Reader { binds: true, ..Reader::default() }, AllPrepared::default());
    let mut client = client_behind(&[&seer], INT, &all);
    exchange(&mut client, PREPARE, &long("INSERT INTO t (v) VALUES (?)"));
    let value = b"\0\x01\0\0\0\x04\0\0\0\x07";
    let text = [&b"\0"[..], &long("INSERT INTO t (v) VALUES (?)"), value].concat();
    let (id, unknown) =
        ([&b"\x01\0\x02id"[..], value].concat(), b"\x01\0\x02no\0\x02\xff\xff\xff\xff\xff\xff\xff\xfe");
    let batch = [&b"\0\0\x04"[..], &id, &text, unknown, &id].concat();
    exchange(&mut client, BATCH, &[&batch[..], b"\0\x01\0"].concat());
    exchange(&mut client, BATCH, &batch[..batch.len() - 1]);
    exchange(&mut client, EXECUTE, EXECUTE_7);
    exchange(&mut client, QUERY, &query("SELECT a FROM t WHERE v = ?", 0x41, b"\0\x01\0\x01w\0\0\0\x01\x07"));
    let of_batch = "0: v=7, 1: ?=0x00000007, 2: ?=NULL, 2: ?=UNSET";
    let expected = [
        "not all".to_owned(),
        format!("{of_batch}, 3: v=7, all"),
        format!("{of_batch}, not all"),
        "0: v=7, all".to_owned(),
        "0: w=0x07, all".to_owned(),
    ];
    assert_eq!(seer.seen(), expected);
}

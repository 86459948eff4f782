//! The CQL parser and a real Cassandra say the same of every statement of the corpus: whether it is CQL, which table
//! it is about, what its bind markers are called, and its result's columns.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use testkit::{Authenticator, Cassandra, workspace};
use wire::Reader;
use wire::cql::query::{Parsed, Statement, StatementKind, classify, parse};

/// What Cassandra says of a statement.
enum Answer {
    Prepared(Prepared),
    Error { code: i32, text: String },
    Other,
}

/// A reply to PREPARE.
#[derive(Default)]
struct Prepared {
    /// Keyspace and table, if any column says them.
    table: Option<(String, String)>,
    markers: Vec<String>,
    columns: Vec<String>,
}

/// ERROR code: no CQL.
const SYNTAX_ERROR: i32 = 0x2000;

/// A connection that speaks protocol v4, one request at a time.
struct Connection {
    socket: TcpStream,
}

impl Connection {
    fn open(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut connection = Self { socket };
        let (opcode, _) =
            connection.ask(wire::cql::opcode::STARTUP, b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0");
        assert_eq!(opcode, wire::cql::opcode::READY);
        connection
    }

    fn ask(&mut self, opcode: u8, body: &[u8]) -> (u8, Vec<u8>) {
        let mut frame = vec![4, 0, 0, 1, opcode];
        frame.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(body);
        self.socket.write_all(&frame).unwrap();
        let mut header = [0; 9];
        self.socket.read_exact(&mut header).unwrap();
        let length = u32::from_be_bytes(header[5..].try_into().unwrap());
        let mut reply = vec![0; length as usize];
        self.socket.read_exact(&mut reply).unwrap();
        // Warnings come before the rest (section 2.2).
        let mut rest = Reader::new(&reply, 0);
        if header[1] & 0x08 != 0 {
            rest.string_list(|_| ()).unwrap();
        }
        (header[4], rest.left().to_vec())
    }

    fn run(&mut self, statement: &str) {
        let mut body = long_string(statement);
        body.extend_from_slice(&[0, 1, 0]);
        let (opcode, reply) = self.ask(wire::cql::opcode::QUERY, &body);
        assert_eq!(opcode, wire::cql::opcode::RESULT, "{statement}: {}", String::from_utf8_lossy(&reply));
    }

    fn prepare(&mut self, statement: &str) -> Answer {
        let (opcode, reply) = self.ask(wire::cql::opcode::PREPARE, &long_string(statement));
        let mut body = Reader::new(&reply, 0);
        if opcode == wire::cql::opcode::ERROR {
            let code = body.i32().unwrap();
            return Answer::Error { code, text: body.string().unwrap().to_owned() };
        }
        if body.i32().unwrap() != 4 {
            return Answer::Other;
        }
        body.short_bytes().unwrap();
        let mut prepared = Prepared::default();
        prepared.markers = names(&mut body, true, &mut prepared.table);
        prepared.columns = names(&mut body, false, &mut prepared.table);
        Answer::Prepared(prepared)
    }
}

fn long_string(text: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The names of metadata (section 4.2.5.2, and 4.2.5.4 where it has the places of the partition key).
fn names(body: &mut Reader<'_>, has_key: bool, table: &mut Option<(String, String)>) -> Vec<String> {
    let (flags, count) = (body.i32().unwrap(), body.i32().unwrap());
    if has_key {
        for _ in 0..body.i32().unwrap() {
            body.u16().unwrap();
        }
    }
    let read_table =
        |body: &mut Reader<'_>| (body.string().unwrap().to_owned(), body.string().unwrap().to_owned());
    if flags & 4 != 0 {
        return Vec::new();
    }
    if flags & 1 != 0 {
        *table = Some(read_table(body));
    }
    let mut names = Vec::new();
    for _ in 0..count {
        if flags & 1 == 0 {
            *table = Some(read_table(body));
        }
        names.push(body.string().unwrap().to_owned());
        skip_type(body);
    }
    names
}

fn skip_type(body: &mut Reader<'_>) {
    match body.u16().unwrap() {
        0x00 => drop(body.string().unwrap()),
        0x20 | 0x22 => skip_type(body),
        0x21 => (0..2).for_each(|_| skip_type(body)),
        0x30 => {
            body.string().unwrap();
            body.string().unwrap();
            for _ in 0..body.u16().unwrap() {
                body.string().unwrap();
                skip_type(body);
            }
        }
        0x31 => (0..body.u16().unwrap()).for_each(|_| skip_type(body)),
        _ => {}
    }
}

/// What differs between what Cassandra says and what the parser does.
fn difference(text: &str, parsed: &Parsed<'_>, prepared: &Prepared) -> Option<String> {
    let classified = classify(text);
    if classified.kind != parsed.statement.kind() || classified.kind == StatementKind::Unrecognized {
        return Some(format!("classified as {:?}", classified.kind));
    }
    let mut markers = Vec::new();
    for place in 0..parsed.markers.count() {
        let name = parsed.markers.name(place).unwrap().into_owned();
        let theirs = prepared.markers.get(place).map_or("", String::as_str);
        // Whether `c[?]` is a key, an index or a value is for the schema to say.
        let inside = name.strip_prefix("key").filter(|_| parsed.markers.is_element(place));
        let is_same = inside
            .is_some_and(|inside| ["idx", "value"].iter().any(|way| theirs == format!("{way}{inside}")));
        markers.push(if is_same { theirs.to_owned() } else { name });
    }
    if markers != prepared.markers {
        return Some(format!("markers {markers:?}, of Cassandra {:?}", prepared.markers));
    }
    if let Statement::Select(select) = &parsed.statement {
        let columns: Vec<String> = select.selectors.iter().map(|selector| selector.name()).collect();
        let columns = if select.is_json { vec!["[json]".to_owned()] } else { columns };
        if !columns.is_empty() && columns != prepared.columns {
            return Some(format!("columns {columns:?}, of Cassandra {:?}", prepared.columns));
        }
    }
    let is_dml = !matches!(parsed.statement, Statement::Other(_));
    if let Some((keyspace, table)) = prepared.table.as_ref().filter(|_| is_dml) {
        let named = classified.tables().next();
        let ours = named.map(|named| (named.keyspace_or(Some("shop")), named.table));
        let is_same =
            ours.is_some_and(|(ours, name)| ours.as_deref() == Some(&**keyspace) && name.matches(table));
        if !is_same {
            return Some(format!("table {named:?}, of Cassandra {keyspace}.{table}"));
        }
    }
    None
}

/// What is wrong with one line of the corpus, if anything is.
fn check(connection: &mut Connection, mark: &str, text: &str) -> Option<String> {
    let (ours, theirs) = (parse(text), connection.prepare(text));
    let said = match &theirs {
        Answer::Prepared(_) => "prepares it".to_owned(),
        Answer::Error { code, text } => format!("says {code:#x} {text}"),
        Answer::Other => "answers otherwise".to_owned(),
    };
    match (mark, &ours, &theirs) {
        ("+", Ok(parsed), Answer::Prepared(prepared)) => difference(text, parsed, prepared),
        ("-", Err(_), Answer::Error { code: SYNTAX_ERROR, .. }) => None,
        ("~", Ok(_), Answer::Error { .. }) => None,
        ("^", Ok(_), Answer::Error { code: SYNTAX_ERROR, .. }) => None,
        (_, Ok(_), _) => Some(format!("the parser parses it, Cassandra {said}")),
        (_, Err(error), _) => Some(format!("the parser says {error}, Cassandra {said}")),
    }
}

fn read(name: &str) -> String {
    std::fs::read_to_string(workspace().join("e2e/tests/corpus").join(name)).unwrap()
}

#[test]
fn the_cql_parser_agrees_with_a_real_cassandra() {
    let cassandra = Cassandra::start(Authenticator::AllowAll).unwrap();
    let mut connection = Connection::open(cassandra.port);
    for statement in read("schema.cql").lines() {
        connection.run(statement);
    }
    let corpus = read("statements.cql");
    let lines = corpus.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (mut wrong, mut counts) = (Vec::new(), [0_usize; 2]);
    for line in lines {
        let (mark, rest) = line.split_once(' ').unwrap();
        let statement = if mark == "~" { rest.split_once(" | ").unwrap().1 } else { rest };
        let statement = statement.replace("\\n", "\n").replace("\\t", "\t");
        counts[usize::from(mark != "+")] += 1;
        if let Some(problem) = check(&mut connection, mark, &statement) {
            wrong.push(format!("{line}\n    {problem}"));
        }
    }
    println!("{} statements prepared, {} refused", counts[0], counts[1]);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(counts[0] >= 300 && counts[1] >= 60, "the corpus has shrunk");
}

//! The CQL parser and a real Cassandra say the same of every statement of the corpus: whether it is CQL, which table
//! it is about, what its bind markers are called, and its result's columns. What is prepared is read with the types that
//! Cassandra's own schema tables give its columns.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use testkit::{Authenticator, Cassandra, workspace};
use wire::Reader;
use wire::cql::metadata::PreparedMetadata;
use wire::cql::query::{Parsed, Selected, Statement, StatementKind, classify, parse};
use wire::cql::response::{Outcome, result};
use wire::cql::types::ColumnType;

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
    /// The same as it is read here.
    metadata: Option<PreparedMetadata>,
}

/// The types of columns, by table and name, as `system_schema.columns` has them.
struct Schema(HashMap<(String, String), String>);

impl Schema {
    fn read(connection: &mut Connection) -> Self {
        let text =
            "SELECT table_name, column_name, type FROM system_schema.columns WHERE keyspace_name = 'shop'";
        let body = [&long_string(text)[..], &[0, 1, 0]].concat();
        let (_, reply) = connection.ask(wire::cql::opcode::QUERY, &body);
        let Outcome::Rows(rows) = result(Reader::new(&reply, 0)).unwrap() else { panic!() };
        let page = rows.page(None).unwrap();
        let columns = page.rows().map(|row| {
            let cells: Vec<String> =
                row.values().map(|value| value.to_string().trim_matches('\'').to_owned()).collect();
            let [table, column, kind] = <[String; 3]>::try_from(cells).unwrap();
            ((table, column), without_frozen(&kind))
        });
        Self(columns.collect())
    }

    /// What differs between a type that was read and that of the column, if it is one.
    fn difference(&self, table: &str, column: &str, read: &ColumnType) -> Option<String> {
        let Some(kind) = self.0.get(&(table.to_owned(), column.to_owned())) else {
            return Some(format!("{table} has no column {column}"));
        };
        let read = read.to_string().replace("shop.", "");
        // From a map a set of keys is taken.
        let is_keys = read.strip_prefix("set<").and_then(|keys| keys.strip_suffix('>'));
        if is_keys.is_some_and(|keys| kind.starts_with(&format!("map<{keys}, "))) {
            return None;
        }
        (*kind != read).then(|| format!("{column} is read as {read}, it is {kind}"))
    }
}

/// The protocol does not say what is frozen.
fn without_frozen(kind: &str) -> String {
    let mut rest = kind.to_owned();
    while let Some(at) = rest.find("frozen<") {
        let mut depth = 1;
        let end = rest[at + 7..].find(|letter| {
            depth += match letter {
                '<' => 1,
                '>' => -1,
                _ => 0,
            };
            depth == 0
        });
        let end = at + 7 + end.unwrap();
        rest = format!("{}{}{}", &rest[..at], &rest[at + 7..end], &rest[end + 1..]);
    }
    rest
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
        let read = result(body);
        if opcode == wire::cql::opcode::ERROR {
            let code = body.i32().unwrap();
            return Answer::Error { code, text: body.string().unwrap().to_owned() };
        }
        if body.i32().unwrap() != 4 {
            return Answer::Other;
        }
        body.short_bytes().unwrap();
        let Ok(Outcome::Prepared(read)) = read else { panic!("{statement}: {read:?}") };
        let mut prepared = Prepared { metadata: Some(read.metadata(4).unwrap()), ..Prepared::default() };
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

/// What differs between the types in a reply to PREPARE, as they are read here, and those of the schema.
fn types_difference(schema: &Schema, parsed: &Parsed<'_>, prepared: &Prepared) -> (usize, Option<String>) {
    let metadata = prepared.metadata.as_ref().unwrap();
    let (binds, mut problems, mut compared) = (&metadata.binds, Vec::new(), 0);
    let names: Vec<&str> = binds.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(names, prepared.markers);
    for (place, column) in binds.columns.iter().enumerate() {
        // What is bound to a part of its value, or has a name of its own, is called otherwise.
        let bound = parsed.markers.column(place).filter(|name| names[place] == name.name());
        let (Some(bound), Some(table)) = (bound, binds.table_of(column)) else { continue };
        compared += 1;
        problems.extend(schema.difference(&table.name, &bound.to_string(), &column.kind));
    }
    if let (Statement::Select(select), Some(result)) = (&parsed.statement, &metadata.result)
        && !select.is_json
    {
        for (selector, column) in select.selectors.iter().zip(&result.columns) {
            let Selected::Column(name) = selector.what else { continue };
            let Some(table) = result.table_of(column) else { continue };
            compared += 1;
            problems.extend(schema.difference(&table.name, &name.to_string(), &column.kind));
        }
    }
    (compared, (!problems.is_empty()).then(|| problems.join("; ")))
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
fn check(theirs: &Answer, mark: &str, text: &str) -> Option<String> {
    let ours = parse(text);
    let said = match theirs {
        Answer::Prepared(_) => "prepares it".to_owned(),
        Answer::Error { code, text } => format!("says {code:#x} {text}"),
        Answer::Other => "answers otherwise".to_owned(),
    };
    match (mark, &ours, theirs) {
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
    let schema = Schema::read(&mut connection);
    let (mut wrong, mut counts, mut types) = (Vec::new(), [0_usize; 2], 0);
    for line in lines {
        let (mark, rest) = line.split_once(' ').unwrap();
        let statement = if mark == "~" { rest.split_once(" | ").unwrap().1 } else { rest };
        let statement = statement.replace("\\n", "\n").replace("\\t", "\t");
        counts[usize::from(mark != "+")] += 1;
        let theirs = connection.prepare(&statement);
        let mut problem = check(&theirs, mark, &statement);
        if let (Ok(parsed), Answer::Prepared(prepared)) = (parse(&statement), &theirs) {
            let (compared, differs) = types_difference(&schema, &parsed, prepared);
            types += compared;
            problem = problem.or(differs);
        }
        if let Some(problem) = problem {
            wrong.push(format!("{line}\n    {problem}"));
        }
    }
    println!("{} statements prepared, {} refused, {types} types of columns", counts[0], counts[1]);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(counts[0] >= 300 && counts[1] >= 60 && types >= 480, "the corpus has shrunk");
}

//! Values, rows and frames of real drivers and a real Cassandra, as `wire` reads and writes them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use testkit::{Authenticator, Cassandra, java_driver, workspace};
use wire::cql::response::{Outcome, Page, result};
use wire::cql::value::Value;
use wire::cql::{body, edit, opcode};
use wire::{Framed, Head, Protocol, Side};

use crate::real_cassandra::{python, python_suite};
use crate::relay::Relay;

/// What a driver's program prints.
fn said_by(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.ends_with("end\n"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn python_values(port: u16) -> String {
    said_by(Command::new(python()).arg(workspace().join("e2e/drivers/values.py")).arg(port.to_string()))
}

fn java_suite(port: u16) -> String {
    let jars = java_driver().unwrap();
    let classes = format!("{}/*", jars.display());
    let mut command = Command::new("java");
    command.args(["-cp", &classes]).arg(workspace().join("e2e/drivers/Suite.java")).arg(port.to_string());
    said_by(&mut command)
}

/// A connection that speaks the protocol by itself.
struct Raw(TcpStream);

impl Raw {
    fn connect(port: u16) -> Self {
        let mut raw = Self(TcpStream::connect(("127.0.0.1", port)).unwrap());
        let (head, _) = raw.ask(opcode::STARTUP, b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0");
        assert_eq!(head.opcode, opcode::READY);
        raw
    }

    fn ask(&mut self, opcode: u8, body: &[u8]) -> (Head, Vec<u8>) {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&[4, 0, 0, 1, opcode], &length[..], body].concat()).unwrap();
        let mut frame = vec![0; 9];
        self.0.read_exact(&mut frame).unwrap();
        let Framed::Frame(head) = Protocol::Cql.frame(&frame, Side::Response, u32::MAX) else { panic!() };
        frame.resize(head.frame_bytes as usize, 0);
        self.0.read_exact(&mut frame[9..]).unwrap();
        (head, frame)
    }

    /// What a SELECT reads, a line a column.
    fn select(&mut self, text: &str) -> Vec<String> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        let (head, frame) = self.ask(opcode::QUERY, &[&length[..], text.as_bytes(), &[0, 1, 0]].concat());
        let page = Protocol::Cql.rows(&head, &frame, None).expect("rows");
        shown(&page)
    }
}

fn shown(page: &Page<'_>) -> Vec<String> {
    let rows = page
        .rows()
        .flat_map(|row| row.values().map(|value| value.to_string()).enumerate().collect::<Vec<_>>());
    rows.map(|(number, value)| format!("{number} {value}")).collect()
}

/// What was found in recorded traffic: frames that were made again, by kind.
#[derive(Default, Debug)]
struct Found {
    again: BTreeMap<String, usize>,
    compressed: usize,
    values: usize,
}

impl Found {
    fn count(&mut self, kind: &str) {
        *self.again.entry(kind.to_owned()).or_default() += 1;
    }

    /// Reads a frame and writes it again.
    fn look(&mut self, side: Side, head: &Head, frame: &[u8]) {
        let Ok(body) = body(side, head, frame) else {
            self.compressed += 1;
            return;
        };
        match (side, head.opcode) {
            (Side::Request, opcode::QUERY | opcode::PREPARE | opcode::EXECUTE | opcode::BATCH) => {
                let request = edit::Request::decode(head, frame).unwrap();
                assert!(request.encode().unwrap() == frame, "{request:?}");
                self.count(opcode::name(head.opcode));
            }
            (Side::Response, opcode::RESULT) => match result(body).unwrap() {
                Outcome::Rows(view) => {
                    let rows = edit::Rows::decode(head, frame).unwrap();
                    assert!(rows.encode().unwrap() == frame, "{rows:?}");
                    let page = view.page(None).unwrap();
                    self.count(if page.metadata.is_some() { "rows" } else { "rows without metadata" });
                    self.look_at_values(&page);
                }
                Outcome::Prepared(prepared) => {
                    prepared.metadata(head.version).unwrap();
                    self.count("prepared");
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn look_at_values(&mut self, page: &Page<'_>) {
        if page.metadata.is_none() {
            return;
        }
        for value in page.rows().flat_map(|row| row.values()) {
            assert!(!matches!(value, Value::Unknown(_)), "{value} of {:?}", page.metadata);
            self.values += 1;
        }
    }
}

/// Reads every frame of every connection and writes it again.
fn made_again(relay: &Relay) -> Found {
    let mut found = Found::default();
    for (side, bytes) in relay.recorded() {
        let mut left = &*bytes;
        while let Framed::Frame(head) = Protocol::Cql.frame(left, side, u32::MAX) {
            let Some((frame, rest)) = left.split_at_checked(head.frame_bytes as usize) else { break };
            found.look(side, &head, frame);
            left = rest;
        }
    }
    println!("{found:?}");
    found
}

#[test]
fn values_are_read_as_the_python_driver_reads_them() {
    let cassandra = Cassandra::start(Authenticator::AllowAll).unwrap();
    let said = python_values(cassandra.port);
    let mut raw = Raw::connect(cassandra.port);
    let mut ours = Vec::new();
    for id in 1..=3 {
        ours.extend(raw.select(&format!("SELECT * FROM values_suite.every WHERE id = {id}")));
    }
    ours.extend(raw.select("SELECT * FROM values_suite.counters"));
    ours.push("end".to_owned());
    for (line, (theirs, ours)) in said.lines().zip(&ours).enumerate() {
        assert_eq!(theirs, ours, "line {line}");
    }
    assert_eq!(said.lines().count(), ours.len());
}

#[test]
fn frames_of_real_drivers_are_made_again_byte_by_byte() {
    let cassandra = Cassandra::start(Authenticator::AllowAll).unwrap();
    let drivers: [(&str, &dyn Fn(u16)); 3] = [
        ("Python", &|port| {
            python_suite(port, &[]);
            python_values(port);
        }),
        ("Rust", &|port| drop(crate::scylla::suite(port, None))),
        ("Java", &|port| drop(java_suite(port))),
    ];
    for (name, run) in drivers {
        let relay = Relay::start(cassandra.port);
        run(relay.port);
        let found = made_again(&relay);
        assert_eq!(found.compressed, 0, "{name}");
        for kind in ["QUERY", "PREPARE", "EXECUTE", "BATCH", "rows", "prepared"] {
            assert!(found.again.get(kind).is_some_and(|count| *count > 0), "{name}: no {kind} in {found:?}");
        }
    }
}

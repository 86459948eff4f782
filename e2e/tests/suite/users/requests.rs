//! What an application asks, and what the answer must be.

use testkit::scripted::{opcode, query};

use super::frames::{Part, batch, execute, prepare};

/// The keyspaces, as the server names them: they differ in case only.
pub(super) const KEYSPACES: [&str; 2] = ["users", "Users"];

/// The roles. Each owns the keyspace of the same index.
pub(super) const ROLES: [(&str, &str); 2] = [("first", "one secret"), ("second", "another secret")];

/// Keys of each table.
pub(super) const KEYS: i32 = 64;

/// What a statement that must not run would have written.
pub(super) const POISON: &str = "poison";

/// Ways to write USE, as applications and drivers do.
const USES: [[&str; 7]; 2] = [
    [
        "USE users",
        "use USERS",
        "USE \"users\"",
        "/* USE \"Users\" */ USE users;",
        "-- USE \"Users\"\nUSE users",
        "\n uSe/**/Users ",
        "// to users\nUSE users",
    ],
    [
        "USE \"Users\"",
        "use \"Users\";",
        "/* USE users */ USE \"Users\"",
        "-- USE users\n\tUSE \"Users\"",
        "USE/**/\"Users\"",
        "// USE users\nuse \"Users\"",
        "\r\nUSE \"Users\" -- USE users\n",
    ],
];

/// Statements that are prepared, all without a keyspace: they belong to the one they were prepared in.
pub(super) const PREPARED: [&str; 7] = [
    "SELECT value FROM mine WHERE client = ? AND key = ?",
    "INSERT INTO mine (client, key, value) VALUES (?, ?, ?) USING TIMESTAMP ?",
    "SELECT value FROM both WHERE key = ?",
    "INSERT INTO both (key, value) VALUES (?, ?)",
    "SELECT value FROM own WHERE key = ?",
    "USE users",
    "USE \"Users\"",
];

/// A statement of [`PREPARED`] in a keyspace.
pub(super) type Statement = (usize, usize);

/// What the reply to a request must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The row this client wrote last there.
    Mine {
        keyspace: usize,
        key: i32,
    },
    /// What this table was filled with.
    Filled {
        keyspace: usize,
        table: &'static str,
        key: i32,
    },
    /// It is done; these rows of this client now have this round.
    Done {
        written: Vec<(usize, i32)>,
        round: i64,
    },
    /// Unauthorized.
    Denied,
    Keyspace(usize),
    NoSuchKeyspace,
    /// `is_denied`: it may be refused, since it could not be executed.
    Prepared {
        statement: Statement,
        is_denied: bool,
    },
    /// The name of this client's role.
    Role,
    Ready,
}

/// A request with what is expected.
pub(super) struct Request {
    pub(super) opcode: u8,
    pub(super) body: Vec<u8>,
    pub(super) expected: Expected,
    /// The statement it executes.
    pub(super) executes: Option<Statement>,
    /// For people.
    pub(super) text: String,
}

fn text_request(text: String, expected: Expected) -> Request {
    Request { opcode: opcode::QUERY, body: query(text.as_bytes()), expected, executes: None, text }
}

/// The row's content: it says whose it is, and where; its length differs from others'.
pub(super) fn content(keyspace: usize, (role, client): (usize, i32), (key, round): (i32, i64)) -> String {
    let padding = "x".repeat((round * 37 % 1500) as usize);
    format!("{} {} {client} {key} {round} {padding}", KEYSPACES[keyspace], ROLES[role].0)
}

/// What a table was filled with.
pub(super) fn filled(keyspace: usize, table: &str, key: i32) -> String {
    format!("{} {table} {key}", KEYSPACES[keyspace])
}

/// Who asks, in which keyspace, and under which number.
pub(super) struct Asker {
    pub(super) role: usize,
    pub(super) client: i32,
    /// The keyspace in use: statements need not name it. `None`: they do.
    pub(super) keyspace: Option<usize>,
    pub(super) round: i64,
}

impl Asker {
    /// A table's name, with its keyspace where it must be.
    fn table(&self, keyspace: usize, name: &str, qualifies: bool) -> String {
        if qualifies || self.keyspace != Some(keyspace) {
            format!("\"{}\".{name}", KEYSPACES[keyspace])
        } else {
            name.to_owned()
        }
    }

    fn owns(&self, keyspace: usize) -> bool {
        self.role == keyspace
    }

    fn insert_text(&self, (keyspace, key): (usize, i32), qualifies: bool, content: &str) -> String {
        let table = self.table(keyspace, "mine", qualifies);
        let Self { client, round, .. } = self;
        format!(
            "INSERT INTO {table} (client, key, value) VALUES ({client}, {key}, '{content}') USING TIMESTAMP {round}"
        )
    }

    fn content(&self, keyspace: usize, key: i32) -> String {
        content(keyspace, (self.role, self.client), (key, self.round))
    }

    pub(super) fn use_keyspace(&self, keyspace: usize, spelling: usize) -> Request {
        let spellings = USES[keyspace];
        text_request(spellings[spelling % spellings.len()].to_owned(), Expected::Keyspace(keyspace))
    }

    pub(super) fn use_nobodys() -> Request {
        text_request("USE nobodys".to_owned(), Expected::NoSuchKeyspace)
    }

    pub(super) fn register() -> Request {
        let body = [&[0, 1, 0, 13][..], b"SCHEMA_CHANGE"].concat();
        let text = "REGISTER".to_owned();
        Request { opcode: opcode::REGISTER, body, expected: Expected::Ready, executes: None, text }
    }

    pub(super) fn list_roles() -> Request {
        text_request("LIST ROLES".to_owned(), Expected::Role)
    }

    pub(super) fn select(&self, (keyspace, key): (usize, i32), qualifies: bool) -> Request {
        let table = self.table(keyspace, "mine", qualifies);
        let text = format!("SELECT value FROM {table} WHERE client = {} AND key = {key}", self.client);
        text_request(text, Expected::Mine { keyspace, key })
    }

    pub(super) fn insert(&self, (keyspace, key): (usize, i32), qualifies: bool) -> Request {
        let text = self.insert_text((keyspace, key), qualifies, &self.content(keyspace, key));
        text_request(text, self.done(&[(keyspace, key)]))
    }

    fn done(&self, written: &[(usize, i32)]) -> Expected {
        Expected::Done { written: written.to_vec(), round: self.round }
    }

    /// Reads or writes what all may read and the owner may write (`both`), or what nobody but the owner sees (`own`).
    pub(super) fn guarded(&self, (keyspace, key): (usize, i32), kind: usize, qualifies: bool) -> Request {
        let table = if kind < 2 { "both" } else { "own" };
        let name = self.table(keyspace, table, qualifies);
        let may = self.owns(keyspace);
        if kind.is_multiple_of(2) {
            let expected = if may || table == "both" {
                Expected::Filled { keyspace, table, key }
            } else {
                Expected::Denied
            };
            return text_request(format!("SELECT value FROM {name} WHERE key = {key}"), expected);
        }
        let value = if may { filled(keyspace, table, key) } else { POISON.to_owned() };
        let expected = if may { self.done(&[]) } else { Expected::Denied };
        text_request(format!("INSERT INTO {name} (key, value) VALUES ({key}, '{value}')"), expected)
    }

    pub(super) fn prepare(&self, statement: Statement) -> Request {
        let (keyspace, index) = statement;
        let is_denied = !self.owns(keyspace) && (3..=4).contains(&index);
        Request {
            opcode: opcode::PREPARE,
            body: prepare(PREPARED[index]),
            expected: Expected::Prepared { statement, is_denied },
            executes: None,
            text: format!("PREPARE {:?} {}", KEYSPACES[keyspace], PREPARED[index]),
        }
    }

    pub(super) fn execute(&self, statement: Statement, id: &[u8], key: i32) -> Request {
        let (keyspace, index) = statement;
        let number = |number: i32| number.to_be_bytes().to_vec();
        let may = self.owns(keyspace);
        let denied_or = |expected| if may { expected } else { Expected::Denied };
        let (bound, expected) = match index {
            0 => (vec![number(self.client), number(key)], Expected::Mine { keyspace, key }),
            1 => (self.bound(keyspace, key), self.done(&[(keyspace, key)])),
            2 => (vec![number(key)], Expected::Filled { keyspace, table: "both", key }),
            3 => {
                let value = if may { filled(keyspace, "both", key) } else { POISON.to_owned() };
                (vec![number(key), value.into_bytes()], denied_or(self.done(&[])))
            }
            4 => (vec![number(key)], denied_or(Expected::Filled { keyspace, table: "own", key })),
            _ => (Vec::new(), Expected::Keyspace(index - 5)),
        };
        Request {
            opcode: opcode::EXECUTE,
            body: execute(id, &bound),
            expected,
            executes: Some(statement),
            text: format!("EXECUTE {:?} {} key {key}", KEYSPACES[keyspace], PREPARED[index]),
        }
    }

    /// What is bound to the prepared INSERT.
    fn bound(&self, keyspace: usize, key: i32) -> Vec<Vec<u8>> {
        vec![
            self.client.to_be_bytes().to_vec(),
            key.to_be_bytes().to_vec(),
            self.content(keyspace, key).into_bytes(),
            self.round.to_be_bytes().to_vec(),
        ]
    }

    /// A batch that writes into both keyspaces, with a prepared statement if there is one.
    pub(super) fn batch(&self, keys: [i32; 2], qualifies: bool, prepared: Option<(usize, &[u8])>) -> Request {
        let places = [(0, keys[0]), (1, keys[0])];
        let mut parts: Vec<Part> = places
            .iter()
            .map(|place| Part::Text(self.insert_text(*place, qualifies, &self.content(place.0, place.1))))
            .collect();
        let mut written = places.to_vec();
        if let Some((keyspace, id)) = prepared {
            parts.push(Part::Prepared(id.to_vec(), self.bound(keyspace, keys[1])));
            written.push((keyspace, keys[1]));
        }
        Request {
            opcode: opcode::BATCH,
            body: batch(&parts),
            expected: self.done(&written),
            executes: prepared.map(|(keyspace, _)| (keyspace, 1)),
            text: format!("BATCH into {written:?}"),
        }
    }

    /// A batch of which one statement is forbidden: nothing of it may be done.
    pub(super) fn forbidden_batch(&self, key: i32) -> Request {
        let others = 1 - self.role;
        let table = self.table(others, "both", false);
        let parts = [
            Part::Text(self.insert_text((self.role, key), true, POISON)),
            Part::Text(format!("INSERT INTO {table} (key, value) VALUES ({key}, '{POISON}')")),
        ];
        Request {
            opcode: opcode::BATCH,
            body: batch(&parts),
            expected: Expected::Denied,
            executes: None,
            text: format!("BATCH with a forbidden INSERT INTO {table}"),
        }
    }
}

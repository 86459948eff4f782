//! Names for what is in a request: its kind, the kinds of its statements, its table; and its text without literals.
//!
//! There are few names, so that they can be labels of metrics. They are those that users of upstream know.

use crate::cql::words::{Kind, Part, Parts};
use crate::cql::{body, opcode, request, response, statement};
use crate::protocol::{Head, Side};

/// What no name is known for.
const UNRECOGNIZED: &str = "UNRECOGNIZED CQL";

/// Statements of one word.
const ONE_WORD: [&str; 8] = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "USE", "GRANT", "REVOKE"];

/// Statements of two words, by the first and the second. Between them may stand what is in [`BETWEEN`].
const TWO_WORDS: [(&str, &str, &str); 34] = [
    ("ALTER", "KEYSPACE", "ALTER KEYSPACE"),
    ("ALTER", "SCHEMA", "ALTER KEYSPACE"),
    ("ALTER", "MATERIALIZED", "ALTER MATERIALIZED VIEW"),
    ("ALTER", "ROLE", "ALTER ROLE"),
    ("ALTER", "TABLE", "ALTER TABLE"),
    ("ALTER", "COLUMNFAMILY", "ALTER TABLE"),
    ("ALTER", "TYPE", "ALTER TYPE"),
    ("ALTER", "USER", "ALTER USER"),
    ("APPLY", "BATCH", "APPLY BATCH"),
    ("CREATE", "AGGREGATE", "CREATE AGGREGATE"),
    ("CREATE", "FUNCTION", "CREATE FUNCTION"),
    ("CREATE", "INDEX", "CREATE INDEX"),
    ("CREATE", "KEYSPACE", "CREATE KEYSPACE"),
    ("CREATE", "SCHEMA", "CREATE KEYSPACE"),
    ("CREATE", "MATERIALIZED", "CREATE MATERIALIZED VIEW"),
    ("CREATE", "ROLE", "CREATE ROLE"),
    ("CREATE", "TABLE", "CREATE TABLE"),
    ("CREATE", "COLUMNFAMILY", "CREATE TABLE"),
    ("CREATE", "TRIGGER", "CREATE TRIGGER"),
    ("CREATE", "TYPE", "CREATE TYPE"),
    ("CREATE", "USER", "CREATE USER"),
    ("DROP", "AGGREGATE", "DROP AGGREGATE"),
    ("DROP", "FUNCTION", "DROP FUNCTION"),
    ("DROP", "INDEX", "DROP INDEX"),
    ("DROP", "KEYSPACE", "DROP KEYSPACE"),
    ("DROP", "SCHEMA", "DROP KEYSPACE"),
    ("DROP", "MATERIALIZED", "DROP MATERIALIZED VIEW"),
    ("DROP", "ROLE", "DROP ROLE"),
    ("DROP", "TABLE", "DROP TABLE"),
    ("DROP", "COLUMNFAMILY", "DROP TABLE"),
    ("DROP", "TRIGGER", "DROP TRIGGER"),
    ("DROP", "TYPE", "DROP TYPE"),
    ("DROP", "USER", "DROP USER"),
    ("LIST", "ROLES", "LIST ROLES"),
];

/// Words that say nothing of the kind: `CREATE OR REPLACE FUNCTION`, `CREATE CUSTOM INDEX`.
const BETWEEN: [&str; 3] = ["OR", "REPLACE", "CUSTOM"];

/// Every name that [`each_statement`] gives.
pub const STATEMENT_NAMES: [&str; 39] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "USE",
    "GRANT",
    "REVOKE",
    "ALTER KEYSPACE",
    "ALTER MATERIALIZED VIEW",
    "ALTER ROLE",
    "ALTER TABLE",
    "ALTER TYPE",
    "ALTER USER",
    "APPLY BATCH",
    "CREATE AGGREGATE",
    "CREATE FUNCTION",
    "CREATE INDEX",
    "CREATE KEYSPACE",
    "CREATE MATERIALIZED VIEW",
    "CREATE ROLE",
    "CREATE TABLE",
    "CREATE TRIGGER",
    "CREATE TYPE",
    "CREATE USER",
    "DROP AGGREGATE",
    "DROP FUNCTION",
    "DROP INDEX",
    "DROP KEYSPACE",
    "DROP MATERIALIZED VIEW",
    "DROP ROLE",
    "DROP TABLE",
    "DROP TRIGGER",
    "DROP TYPE",
    "DROP USER",
    "LIST ROLES",
    "LIST USERS",
    "LIST PERMISSIONS",
    UNRECOGNIZED,
];

/// The name of the statement that these parts begin with; what follows it is left in them.
fn statement_name(parts: &mut Parts<'_>) -> &'static str {
    let Some(first) = parts.next() else { return UNRECOGNIZED };
    if let Some(name) = ONE_WORD.iter().find(|name| first.is(name)) {
        return name;
    }
    let Some(second) = parts.find(|part| !BETWEEN.iter().any(|word| part.is(word))) else {
        return UNRECOGNIZED;
    };
    if first.is("LIST") && second.kind == Kind::Word && !second.is("ROLES") {
        return if second.is("USERS") { "LIST USERS" } else { "LIST PERMISSIONS" };
    }
    let known = TWO_WORDS.iter().find(|(one, two, _)| first.is(one) && second.is(two));
    known.map_or(UNRECOGNIZED, |(_, _, name)| name)
}

/// Each statement of a text: itself, or those between `BEGIN BATCH` and `APPLY BATCH`.
fn each_of_text(text: &[u8], mut each: impl FnMut(&'static str)) {
    let mut parts = Parts::new(text);
    if !parts.clone().next().is_some_and(|first| first.is("BEGIN")) {
        each(statement_name(&mut parts));
        return;
    }
    // All three are reserved: no table or column is named so without quotes.
    const IN_BATCH: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];
    for part in parts {
        if let Some(name) = IN_BATCH.iter().find(|name| part.is(name)) {
            each(name);
        }
        if part.is("APPLY") {
            return;
        }
    }
}

/// See [`crate::Protocol::each_statement`]. A batch that is not all here is read as far as it is.
pub fn each_statement(head: &Head, frame: &[u8], mut each: impl FnMut(&'static str)) -> bool {
    match head.opcode {
        opcode::QUERY => match statement::text(head, frame) {
            Some((text, _)) => {
                each_of_text(text, each);
                true
            }
            None => false,
        },
        opcode::BATCH => {
            let Ok(body) = body(Side::Request, head, frame) else { return false };
            let is_whole = frame.len() >= head.frame_bytes as usize;
            let read = request::batch(body, |statement, _| {
                if let request::BatchStatement::Text(text) = statement {
                    each_of_text(text.as_bytes(), &mut each);
                }
            });
            read.is_ok() || !is_whole
        }
        _ => true,
    }
}

/// See [`crate::Protocol::request_name`]: of a QUERY its statement's, else its opcode's.
#[must_use]
pub fn request_name(head: &Head, frame: &[u8]) -> &'static str {
    if head.opcode != opcode::QUERY {
        return opcode::name(head.opcode);
    }
    let Some((text, _)) = statement::text(head, frame) else { return opcode::name(head.opcode) };
    let mut parts = Parts::new(text);
    if parts.clone().next().is_some_and(|first| first.is("BEGIN")) {
        return opcode::name(opcode::BATCH);
    }
    statement_name(&mut parts)
}

/// See [`crate::Protocol::statements`]. The number stands in front of the statements, so the head of a batch is enough.
#[inline]
#[must_use]
pub fn statements(head: &Head, frame: &[u8]) -> u32 {
    if head.opcode == opcode::BATCH { batch_statements(head, frame) } else { 1 }
}

fn batch_statements(head: &Head, frame: &[u8]) -> u32 {
    let counted = body(Side::Request, head, frame).and_then(|mut body| {
        body.u8()?;
        body.u16()
    });
    counted.map_or(1, |count| u32::from(count).max(1))
}

/// See [`crate::Protocol::runs_statements`].
#[inline]
#[must_use]
pub fn runs_statements(head: &Head) -> bool {
    matches!(head.opcode, opcode::QUERY | opcode::PREPARE | opcode::EXECUTE | opcode::BATCH)
}

/// See [`crate::Protocol::statement_text`]: that of a QUERY or a PREPARE, or the first one of a BATCH.
#[must_use]
pub fn statement_text<'f>(head: &Head, frame: &'f [u8]) -> Option<&'f [u8]> {
    match head.opcode {
        opcode::QUERY | opcode::PREPARE => statement::text(head, frame).map(|(text, _)| text),
        opcode::BATCH => {
            let mut body = body(Side::Request, head, frame).ok()?;
            body.u8().ok()?;
            let has_text = body.u16().ok()? > 0 && body.u8().ok()? == 0;
            let length = usize::try_from(body.i32().ok()?).ok().filter(|_| has_text)?;
            Some(body.left().get(..length).unwrap_or_else(|| body.left()))
        }
        _ => None,
    }
}

/// Words in front of the table of a statement.
const BEFORE_TABLE: [&str; 6] = ["FROM", "INTO", "UPDATE", "TRUNCATE", "TABLE", "COLUMNFAMILY"];

/// See [`crate::Protocol::table`].
#[must_use]
pub fn table(text: &[u8]) -> Option<String> {
    let mut parts = Parts::new(text);
    parts.find(|part| BEFORE_TABLE.iter().any(|word| part.is(word)))?;
    const NO_NAME: [&str; 5] = ["TABLE", "COLUMNFAMILY", "IF", "NOT", "EXISTS"];
    let mut parts = parts.skip_while(|part| NO_NAME.iter().any(|word| part.is(word)));
    let first = parts.next().and_then(name)?;
    match (parts.next(), parts.next().and_then(name)) {
        (Some(Part { kind: Kind::Sign, bytes: b".", .. }), Some(second)) => Some(format!("{first}.{second}")),
        _ => Some(first),
    }
}

/// A name as the server has it: in lower case unless it is quoted.
fn name(part: Part<'_>) -> Option<String> {
    match part.kind {
        Kind::Word => Some(String::from_utf8_lossy(part.bytes).to_ascii_lowercase()),
        Kind::Quoted => {
            let inner = part.bytes.get(1..).and_then(|bytes| bytes.strip_suffix(b"\""))?;
            Some(String::from_utf8_lossy(inner).replace("\"\"", "\""))
        }
        Kind::Literal | Kind::Sign => None,
    }
}

/// See [`crate::Protocol::redacted`]. Of what is cut off nothing is shown: it might end inside a literal.
#[must_use]
pub fn redacted(text: &[u8], bytes_max: usize) -> String {
    let mut shown: Vec<u8> = Vec::new();
    for part in Parts::new(text) {
        let bytes = if part.kind == Kind::Literal { b"?" } else { part.bytes };
        if shown.len().saturating_add(bytes.len()).saturating_add(1) > bytes_max {
            break;
        }
        if part.is_spaced && !shown.is_empty() {
            shown.push(b' ');
        }
        shown.extend_from_slice(bytes);
    }
    String::from_utf8_lossy(&shown).into_owned()
}

/// See [`crate::Protocol::error_code`].
#[must_use]
pub fn error_code(head: &Head, frame: &[u8]) -> Option<i32> {
    if head.opcode != opcode::ERROR {
        return None;
    }
    body(Side::Response, head, frame).and_then(response::error).map(|error| error.code).ok()
}

/// See [`crate::Protocol::login_user`]. SASL PLAIN (RFC 4616): who acts, a zero, who logs in, a zero, the password.
#[must_use]
pub fn login_user(head: &Head, frame: &[u8]) -> Option<String> {
    let body = body(Side::Request, head, frame).ok()?;
    let token = request::auth_response(body).ok()??;
    let mut parts = token.split(|byte| *byte == 0);
    let (_, user, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    std::str::from_utf8(user).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{ONE_WORD, STATEMENT_NAMES, TWO_WORDS, UNRECOGNIZED, each_of_text, redacted, table};

    fn names(text: &str) -> Vec<&'static str> {
        let mut names = Vec::new();
        each_of_text(text.as_bytes(), |name| names.push(name));
        names
    }

    #[test]
    fn statements_have_the_names_that_users_know() {
        for (text, name) in [
            ("SELECT * FROM t", "SELECT"),
            ("/* c */ -- d\n insert into t", "INSERT"),
            ("create table if not exists ks.t (a int primary key)", "CREATE TABLE"),
            ("CREATE OR REPLACE FUNCTION f", "CREATE FUNCTION"),
            ("CREATE CUSTOM INDEX i ON t", "CREATE INDEX"),
            ("Drop Materialized View v", "DROP MATERIALIZED VIEW"),
            ("LIST ALL PERMISSIONS OF x", "LIST PERMISSIONS"),
            ("LIST ROLES", "LIST ROLES"),
            ("GRANT SELECT ON t TO x", "GRANT"),
            ("USE ks", "USE"),
            ("APPLY BATCH", "APPLY BATCH"),
            ("DESCRIBE TABLES", "UNRECOGNIZED CQL"),
            ("CREATE", "UNRECOGNIZED CQL"),
            ("", "UNRECOGNIZED CQL"),
            ("\"SELECT\" x", "UNRECOGNIZED CQL"),
        ] {
            assert_eq!(names(text), [name], "{text}");
        }
    }

    #[test]
    fn every_name_is_listed_once() {
        let two_words = TWO_WORDS.iter().map(|(_, _, name)| *name);
        for name in
            ONE_WORD.into_iter().chain(two_words).chain(["LIST USERS", "LIST PERMISSIONS", UNRECOGNIZED])
        {
            assert_eq!(STATEMENT_NAMES.iter().filter(|known| **known == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn a_batch_in_one_text_is_its_statements() {
        let text = "BEGIN UNLOGGED BATCH USING TIMESTAMP 1 INSERT INTO t (a) VALUES ('DELETE; it''s'); \
                    update t set a = $$ INSERT $$ /* DELETE */ DELETE \"UPDATE\" FROM t APPLY BATCH; INSERT";
        assert_eq!(names(text), ["INSERT", "UPDATE", "DELETE"]);
        assert_eq!(names("begin batch"), [""; 0]);
    }

    #[test]
    fn tables_are_found_with_their_keyspace() {
        for (text, name) in [
            ("SELECT a, b FROM ks.t WHERE x = 1", Some("ks.t")),
            ("INSERT INTO T (a) VALUES (1)", Some("t")),
            ("UPDATE \"My\".\"T\"\"x\" SET a = 1", Some("My.T\"x")),
            ("TRUNCATE TABLE ks . t", Some("ks.t")),
            ("CREATE TABLE IF NOT EXISTS ks.t (a int)", Some("ks.t")),
            ("DELETE FROM t", Some("t")),
            ("SELECT 'FROM x'", None),
            ("SELECT x FROM", None),
        ] {
            assert_eq!(table(text.as_bytes()).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn nothing_of_a_literal_is_shown() {
        for (text, shown) in [
            ("SELECT * FROM t WHERE a = 'it''s' AND b=12.5e-3", "SELECT * FROM t WHERE a = ? AND b=?"),
            ("CREATE ROLE r WITH PASSWORD = 'secret", "CREATE ROLE r WITH PASSWORD = ?"),
            (
                "INSERT INTO t VALUES (0xCAFE, true, null, -1, $$a$b$$)",
                "INSERT INTO t VALUES (?, ?, null, -?, ?)",
            ),
            ("SELECT abcdef12-1234-1234-1234-123456789abc", "SELECT ?"),
            ("SELECT 1h30m, P1Y2M, p1, \"Q 1\", :v, ?", "SELECT ?, ?, p1, \"Q 1\", :v, ?"),
            ("SELECT a -- secret\nFROM t /* secret", "SELECT a FROM t"),
        ] {
            assert_eq!(redacted(text.as_bytes(), 1000), shown);
        }
        assert_eq!(redacted(b"SELECT abcdef FROM t", 12), "SELECT");
    }
}

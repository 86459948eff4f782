//! Names for what is in a request: its kind, the kinds of its statements, its table; and its text without literals.
//!
//! There are few names, so that they can be labels of metrics. They are those that users of upstream know.

use crate::cql::query::{self, Outline, StatementKind, classify_part};
use crate::cql::source::{each_source, readable};
use crate::cql::{Flags, binding_body, body, opcode, request, response, statement};
use crate::protocol::{Head, Outlined, Side, Source, Sourced};

/// Each statement of a text: itself, or those between `BEGIN BATCH` and `APPLY BATCH`.
fn each_of_text(text: &[u8], is_whole: bool, mut each: impl FnMut(&'static str)) {
    classify_part(readable(text), is_whole).kinds().for_each(|kind| each(kind.name()));
}

/// See [`crate::Protocol::each_statement`]. A batch that is not all here is read as far as it is.
pub fn each_statement(head: &Head, frame: &[u8], mut each: impl FnMut(&'static str)) -> bool {
    match head.opcode {
        opcode::QUERY => match statement::text(head, frame) {
            Some((text, is_whole)) => {
                each_of_text(text, is_whole, each);
                true
            }
            None => false,
        },
        opcode::BATCH => {
            let Ok(body) = binding_body(head, frame) else { return false };
            let is_whole = frame.len() >= head.frame_bytes as usize;
            let read = request::batch(body, |statement, _| {
                if let request::BatchStatement::Text(text) = statement {
                    each_of_text(text.as_bytes(), true, &mut each);
                }
            });
            read.is_ok() || !is_whole
        }
        _ => true,
    }
}

/// See [`crate::Protocol::outline`].
#[must_use]
pub fn outline(
    head: &Head,
    frame: &[u8],
    into: &mut Outline,
    mut prepared: impl FnMut(&[u8], &mut Outline),
) -> Outlined {
    let (first, mut of_text) = (into.len(), None);
    let Sourced { is_readable, is_told, has_keyspace } = each_source(head, frame, |source| match source {
        Source::Text(text, is_whole) => of_text = Some(into.push_part(text, is_whole)),
        Source::Prepared(id) => prepared(id, into),
    });
    if has_keyspace {
        into.forget_in_use(first);
    }
    let of_query = of_text.filter(|_| head.opcode == opcode::QUERY);
    // Where a USE with a keyspace of its own leads is not known: not every server heeds both.
    let is_told = is_told && !(has_keyspace && of_query == Some(StatementKind::Use));
    let name = of_query.map_or_else(|| opcode::name(head.opcode), StatementKind::name);
    Outlined { name, is_readable, is_told }
}

/// True for flags that give the request a keyspace of its own. Whether its names without one are of that or of the one in
/// use depends on the server: nobody can tell.
pub(super) fn has_keyspace(flags: u8) -> bool {
    flags & request::flag::KEYSPACE != 0
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
    // Behind a custom payload the number may not have come: then it is as many as there can be.
    let is_cut = frame.len() < usize::try_from(head.frame_bytes).unwrap_or(usize::MAX);
    let is_hidden = is_cut && head.flags & Flags::COMPRESSED == 0;
    let unknown = if is_hidden { u32::from(u16::MAX) } else { 1 };
    counted.map_or(unknown, |count| u32::from(count).max(1))
}

/// See [`crate::Protocol::runs_statements`].
#[inline]
#[must_use]
pub fn runs_statements(head: &Head) -> bool {
    matches!(head.opcode, opcode::QUERY | opcode::PREPARE | opcode::EXECUTE | opcode::BATCH)
}

/// See [`crate::Protocol::statement_text`]: that of a QUERY or a PREPARE, or the first one of a BATCH.
#[must_use]
pub fn statement_text<'f>(head: &Head, frame: &'f [u8]) -> Option<(&'f [u8], bool)> {
    match head.opcode {
        opcode::QUERY | opcode::PREPARE => statement::text(head, frame),
        opcode::BATCH => {
            let mut body = body(Side::Request, head, frame).ok()?;
            body.u8().ok()?;
            let has_text = body.u16().ok()? > 0 && body.u8().ok()? == 0;
            let length = usize::try_from(body.i32().ok()?).ok().filter(|_| has_text)?;
            let text = body.left().get(..length);
            Some((text.unwrap_or_else(|| body.left()), text.is_some()))
        }
        _ => None,
    }
}

/// See [`crate::Protocol::first_batched_id`].
#[inline]
#[must_use]
pub fn first_batched_id<'f>(head: &Head, frame: &'f [u8]) -> Option<&'f [u8]> {
    if head.opcode == opcode::BATCH { id_in_front(head, frame) } else { None }
}

fn id_in_front<'f>(batch: &Head, frame: &'f [u8]) -> Option<&'f [u8]> {
    let mut body = body(Side::Request, batch, frame).ok()?;
    body.u8().ok()?;
    let begins_with_id = body.u16().ok()? > 0 && body.u8().ok()? == 1;
    body.short_bytes().ok().filter(|_| begins_with_id)
}

/// See [`crate::Protocol::redacted`]. Of a word that may go on nothing is shown: it might be the beginning of a literal.
#[must_use]
pub fn redacted(text: &[u8], is_whole: bool, bytes_max: usize) -> String {
    let here = readable(text);
    query::redacted(here, is_whole && here.len() == text.len(), bytes_max)
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
    use super::{each_statement, outline, redacted, statements};
    use crate::cql::opcode;
    use crate::cql::query::{About, Outline};
    use crate::protocol::Head;

    fn names(text: &str) -> Vec<&'static str> {
        let mut outline = Outline::default();
        outline.push(text);
        (0..outline.len()).map(|place| outline.get(place, None).unwrap().kind.name()).collect()
    }

    fn table(text: &str) -> Option<String> {
        let mut outline = Outline::default();
        outline.push(text);
        match outline.get(0, None)?.about {
            About::Table { keyspace: Some(keyspace), table } => Some(format!("{keyspace}.{table}")),
            About::Table { keyspace: None, table } => Some(table.to_owned()),
            _ => None,
        }
    }

    #[test]
    fn statements_have_the_names_that_users_know() {
        for (text, name) in [
            ("SELECT * FROM t", "SELECT"),
            ("/* c */ -- d\n insert into t", "INSERT"),
            ("create table if not exists ks.t (a int primary key)", "CREATE TABLE"),
            ("LIST ALL PERMISSIONS OF x", "LIST PERMISSIONS"),
            ("GRANT SELECT ON t TO x", "GRANT"),
            ("DESCRIBE TABLES", "UNRECOGNIZED CQL"),
            ("", "UNRECOGNIZED CQL"),
        ] {
            assert_eq!(names(text), [name], "{text}");
        }
    }

    #[test]
    fn a_batch_in_one_text_is_its_statements() {
        let text = "BEGIN UNLOGGED BATCH USING TIMESTAMP 1 INSERT INTO t (a) VALUES ('DELETE; it''s'); \
                    update t set a = $$ INSERT $$ /* DELETE */ DELETE \"UPDATE\" FROM t APPLY BATCH;";
        assert_eq!(names(text), ["INSERT", "UPDATE", "DELETE"]);
    }

    fn head(flags: u8, opcode: u8, frame_bytes: u32) -> Head {
        Head { version: 4, flags, id: 1, opcode, frame_bytes }
    }

    #[test]
    fn a_text_batch_that_is_cut_is_its_statements_as_far_as_they_are_here() {
        let text = "BEGIN BATCH INSERT INTO t (a) VALUES ('x'); DELETE FROM u WHERE a = 'and so on";
        let mut frame = vec![4, 0, 0, 1, opcode::QUERY, 0, 1, 0, 0, 0, 0, 0xFF, 0xF0];
        frame.extend(text.as_bytes());
        let (head, mut kinds) = (head(0, opcode::QUERY, 65_545), Vec::new());
        assert!(each_statement(&head, &frame, |kind| kinds.push(kind)));
        assert_eq!(kinds, ["INSERT", "DELETE"]);
        let mut outlined = Outline::default();
        let about = outline(&head, &frame, &mut outlined, |_, _| ());
        assert_eq!((about.name, about.is_told, outlined.len()), ("BATCH", false, 2));
        // One that is whole is none.
        assert_eq!(names(text), ["UNRECOGNIZED CQL"]);
    }

    #[test]
    fn a_batch_whose_number_of_statements_has_not_come_has_as_many_as_there_can_be() {
        let payload = [&[0, 1, 0, 1, b'k'][..], &40_000_u32.to_be_bytes(), &[7; 100]].concat();
        let frame = [&[4, 4, 0, 1, opcode::BATCH, 0, 1, 0, 0][..], &payload].concat();
        assert_eq!(statements(&head(4, opcode::BATCH, 65_545), &frame), 65_535);
        // All of it is here: its server refuses it.
        let all = u32::try_from(frame.len()).unwrap();
        assert_eq!(statements(&head(4, opcode::BATCH, all), &frame), 1);
        // A compressed one is not looked into.
        assert_eq!(statements(&head(1, opcode::BATCH, 65_545), &frame), 1);
    }

    #[test]
    fn what_cassandra_takes_for_null_hides_no_statement() {
        let frame = |body: &[u8]| [&[4, 4, 0, 1, opcode::BATCH, 0, 0, 0, 0][..], body].concat();
        let of = |flags, frame: &[u8]| head(flags, opcode::BATCH, u32::try_from(frame.len()).unwrap());
        let payload = frame(b"\0\x01\0\x01k\xff\xff\xff\xfd\0\x9c\x40\0");
        assert_eq!(statements(&of(4, &payload), &payload), 40_000);
        // Two INSERTs, a value of the first of which has the length -3.
        let insert = b"\0\0\0\0\x0dINSERT INTO t";
        let bound =
            frame(&[b"\0\0\x02", &insert[..], b"\0\x01\xff\xff\xff\xfd", insert, b"\0\0\0\x01\0"].concat());
        for (version, expected) in [(3, (2, true)), (4, (0, false))] {
            let mut outlined = Outline::default();
            let head = Head { version, ..of(0, &bound) };
            let about = outline(&head, &bound, &mut outlined, |_, _| ());
            assert_eq!((outlined.len(), about.is_told), expected, "v{version}");
        }
    }

    #[test]
    fn where_the_request_has_a_keyspace_of_its_own_the_one_in_use_is_not_meant() {
        let long = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
        let statement = |text: &str| [&[0], &long(text)[..], &[0, 0]].concat();
        let told = |opcode: u8, body: &[u8]| {
            let frame = [&[4, 0, 0, 1, opcode, 0, 0, 0, 0][..], body].concat();
            let mut outlined = Outline::default();
            outlined.push("SELECT * FROM another_request");
            let head = head(0, opcode, u32::try_from(frame.len()).unwrap());
            let said = outline(&head, &frame, &mut outlined, |_, _| ());
            assert!(outlined.get(0, None).unwrap().is_in_use);
            let about =
                (1..outlined.len()).map(|place| match outlined.get(place, Some("shop")).unwrap().about {
                    About::Table { keyspace, table } => format!("{}.{table}", keyspace.unwrap_or("?")),
                    about => format!("{about:?}"),
                });
            said.is_told.then(|| about.collect::<Vec<_>>().join(" "))
        };
        // Consistency, flags, and the keyspace, behind all values. Some servers read it, some do not.
        for (rest, t) in [
            (&b"\0\x01\0"[..], "shop.t"),
            (&b"\0\x01\x80\0\x06secret"[..], "Unknown"),
            (&b"\0\x01\x81\0\x01\0\0\0\x01x\0\x06secret"[..], "Unknown"),
            (&b"\0\x01\x80"[..], "Unknown"),
        ] {
            let query = |text: &str| told(opcode::QUERY, &[&long(text), rest].concat());
            assert_eq!(query("SELECT * FROM t").as_deref(), Some(t), "{rest:?}");
            assert_eq!(query("SELECT * FROM k.t").as_deref(), Some("k.t"), "{rest:?}");
            let both = [statement("UPDATE t SET a = 1"), statement("DELETE FROM k.t WHERE a = 1")].concat();
            let batch = told(opcode::BATCH, &[b"\0\0\x02", &both[..], rest].concat());
            assert_eq!(batch, Some(format!("{t} k.t")), "{rest:?}");
        }
        // Of what is not here nobody knows whether it is a keyspace.
        for rest in [&b""[..], b"\0\x01"] {
            assert_eq!(told(opcode::QUERY, &[&long("SELECT * FROM t"), rest].concat()), None, "{rest:?}");
        }
        assert_eq!(told(opcode::PREPARE, &long("SELECT * FROM t")).as_deref(), Some("shop.t"));
    }

    #[test]
    fn tables_are_found_with_their_keyspace() {
        for (text, name) in [
            ("SELECT a, b FROM ks.t WHERE x = 1", Some("ks.t")),
            ("INSERT INTO T (a) VALUES (1)", Some("t")),
            ("UPDATE \"My\".\"T\"\"x\" SET a = 1", Some("My.T\"x")),
            ("TRUNCATE TABLE ks . t", Some("ks.t")),
            ("SELECT 'FROM x'", None),
            ("SELECT x FROM", None),
        ] {
            assert_eq!(table(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn nothing_of_a_literal_is_shown() {
        for (text, shown) in [
            ("SELECT * FROM t WHERE a = 'it''s' AND b=12.5e-3", "SELECT * FROM t WHERE a = ? AND b=?"),
            ("CREATE ROLE r WITH PASSWORD = 'secret", "CREATE ROLE r WITH PASSWORD ="),
            (
                "INSERT INTO t VALUES (0xCAFE, true, null, -1, $$a$b$$)",
                "INSERT INTO t VALUES (?, ?, null, ?, ?)",
            ),
            ("SELECT abcdef12-1234-1234-1234-123456789abc", "SELECT ?"),
            ("SELECT 1h30m, P1Y2M, p1, \"Q 1\", :v, ?", "SELECT ?, ?, p1, \"Q 1\", :v, ?"),
            ("SELECT a -- secret\nFROM t /* secret", "SELECT a FROM t"),
        ] {
            assert_eq!(redacted(text.as_bytes(), true, 1000), shown);
        }
        assert_eq!(redacted(b"SELECT abcdef FROM t", true, 12), "SELECT");
    }

    #[test]
    fn nothing_of_a_literal_is_shown_wherever_the_text_is_cut_off() {
        for literal in [
            "abcdef12-1234-1234-1234-123456789abc",
            "P0001-02-03T04:05:06",
            "12.5e-3",
            "-Infinity",
            "0xCAFE",
            "'it''s a  secret'",
            "$$ a $ secret $$",
            "/* a secret */ true",
            "-- a secret\nfalse",
        ] {
            let text = format!("SELECT * FROM t WHERE a = {literal}\u{e9}");
            let known = text.find(literal).unwrap();
            for cut in known..=known + literal.len() + 1 {
                let shown = redacted(&text.as_bytes()[..cut], false, 1000);
                assert_eq!(shown, "SELECT * FROM t WHERE a =", "{}", text.get(..cut).unwrap_or(literal));
            }
            // Bytes that are no text end it as well.
            let broken = [&text.as_bytes()[..known + 7], &[0xff], literal.as_bytes()].concat();
            assert_eq!(redacted(&broken, true, 1000), "SELECT * FROM t WHERE a =", "{literal}");
        }
        assert_eq!(redacted(b"SELECT a, b FR", false, 1000), "SELECT a, b");
        assert_eq!(redacted(b"SELECT", false, 1000), "");
    }
}

//! What the fuzz targets run; the unit tests run the same on every prefix of their vectors.

use crate::cql::metadata::{Column, Metadata};
use crate::cql::query::{About, Classified, Outline, Statement, StatementKind, classify, parse, redacted};
use crate::cql::types::{ColumnType, Types};
use crate::cql::value::Value;
use crate::cql::{
    Flags, binding_body, body, describe, edit, first_difference, is_same_reply, opcode, request, response,
};
use crate::protocol::{Framed, Head, Protocol, Side, Source};
use crate::reader::{Raw, Reader};

/// What a view said does not matter here: only that it said something.
fn ignore<T>(answer: T) {
    std::hint::black_box(answer);
}

/// Everything that reads a frame of this side.
pub fn frame(side: Side, bytes: &[u8]) {
    let Framed::Frame(head) = Protocol::Cql.frame(bytes, side, u32::MAX) else { return };
    let here = bytes.get(..head.frame_bytes as usize).unwrap_or(bytes);
    ignore(describe(side, &head, here));
    ignore(Protocol::Cql.check(side, &head, here));
    match side {
        Side::Request => views_of_request(&head, here),
        Side::Response => views_of_response(&head, here),
    }
}

fn views_of_request(head: &Head, frame: &[u8]) {
    ignore(Protocol::Cql.query_type(head, frame));
    ignore(Protocol::Cql.connection_state(head, frame));
    ignore(Protocol::Cql.statements(head, frame));
    ignore(Protocol::Cql.each_statement(head, frame, ignore));
    let mut outline = Outline::default();
    ignore(Protocol::Cql.outline(head, frame, &mut outline, |_, into| into.push_unknown()));
    ignore(Protocol::Cql.bound_values(head, frame, |_| Some(int()), |_, _, value| ignore(value.to_string())));
    Protocol::Cql.each_source(head, frame, |source| {
        if let Source::Text(text, true) = source {
            let kept = Protocol::Cql.parsed(text.into());
            assert_eq!((kept.text(), kept.kind()), (text, classify(text).kind));
        }
    });
    ignore(Protocol::Cql.login_user(head, frame));
    if let Some((text, is_whole)) = Protocol::Cql.statement_text(head, frame) {
        ignore(Protocol::Cql.redacted(text, is_whole, 100));
    }
    let Ok(body) = binding_body(head, frame) else { return };
    match head.opcode {
        opcode::STARTUP => ignore(request::startup(body, |_, _| ())),
        opcode::REGISTER => ignore(request::register(body, |_| ())),
        opcode::PREPARE => ignore(request::prepare(body)),
        opcode::AUTH_RESPONSE => ignore(request::auth_response(body)),
        opcode::QUERY => ignore(request::query(body)),
        opcode::EXECUTE => ignore(request::execute(body)),
        opcode::BATCH => ignore(request::batch(body, |_, values| ignore(values.each(|_, _| ())))),
        _ => {}
    }
}

/// What a statement binds that has one value.
fn int() -> Metadata {
    let column = Column { table: None, name: "c".into(), kind: ColumnType::Int };
    Metadata { table: None, columns: vec![column] }
}

fn views_of_response(head: &Head, frame: &[u8]) {
    let Ok(body) = body(Side::Response, head, frame) else { return };
    match head.opcode {
        opcode::ERROR => ignore(response::error(body)),
        opcode::AUTHENTICATE => ignore(response::authenticate(body)),
        opcode::SUPPORTED => ignore(response::supported(body, |_, _| ())),
        opcode::EVENT => ignore(response::event(body)),
        opcode::AUTH_CHALLENGE | opcode::AUTH_SUCCESS => ignore(response::auth_token(body)),
        opcode::RESULT => match response::result(body) {
            Ok(response::Outcome::Rows(rows)) => ignore(rows.page(None).map(|page| shown(&page))),
            Ok(response::Outcome::Prepared(prepared)) => ignore(prepared.metadata(head.version)),
            _ => {}
        },
        _ => {}
    }
}

/// Bytes of text that the rows of a page make.
fn shown(page: &response::Page<'_>) -> usize {
    page.rows().flat_map(|row| row.values()).map(|value| value.to_string().len()).sum()
}

/// A type, then bytes: whatever they are as a value of it, they are again when that is encoded.
pub fn value(bytes: &[u8]) {
    let mut body = Reader::new(bytes, 0);
    let Ok(kind) = Types::new().read(&mut body) else { return };
    let content = body.left();
    let value = Value::decode(&kind, Raw::Bytes(content));
    assert_eq!(value.encode(&kind), Ok(Some(content.to_vec())), "{kind} {value}");
    ignore(kind.to_string());
}

/// A frame that can be changed but is not keeps every byte.
pub fn reencode(bytes: &[u8]) {
    for side in [Side::Request, Side::Response] {
        let Framed::Frame(head) = Protocol::Cql.frame(bytes, side, u32::MAX) else { continue };
        let Some(frame) = bytes.get(..head.frame_bytes as usize) else { continue };
        let again = match side {
            Side::Request => edit::Request::decode(&head, frame).map(|request| request.encode()),
            Side::Response => edit::Rows::decode(&head, frame).map(|rows| rows.encode()),
        };
        if let Ok(again) = again {
            assert_eq!(again.as_deref(), Ok(frame));
            assert_eq!(Protocol::Cql.encode_again(side, &head, frame).as_deref(), Some(frame));
        }
    }
}

/// Cutting a stream byte by byte gives the same frames as cutting it whole.
pub fn stream(side: Side, bytes: &[u8]) {
    let mut at = 0;
    while let Some(left) = bytes.get(at..).filter(|left| !left.is_empty()) {
        let whole = Protocol::Cql.frame(left, side, 1 << 20);
        let shortest = (1..=left.len().min(9)).find_map(|count| {
            let answer = Protocol::Cql.frame(left.get(..count).unwrap_or_default(), side, 1 << 20);
            (answer != Framed::NotYet).then_some(answer)
        });
        match (whole, shortest) {
            (Framed::Frame(head), Some(Framed::Frame(early))) => assert_eq!(head, early),
            (Framed::NotYet, None) => return,
            (Framed::Malformed(_), Some(Framed::Malformed(_))) => return,
            other => unreachable!("cut at another place, another answer: {other:?}"),
        }
        let Framed::Frame(head) = whole else { return };
        at += head.frame_bytes as usize;
    }
}

/// Classifying a text and parsing it tell the same, and neither panics.
pub fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let classified = classify(text);
    ignore((classified.kind.name(), classified.kind.query_type(), classified.keyspace(Some("in_use"))));
    let tables: Vec<_> = classified.tables().collect();
    let kinds: Vec<_> = classified.kinds().collect();
    outlined(text, &classified);
    let shown = redacted(text, true, usize::MAX);
    assert_eq!(redacted(&shown, true, usize::MAX), shown, "a literal was shown");
    assert!(shown.starts_with(&redacted(text, false, usize::MAX)), "more is shown where less is here");
    let Ok(parsed) = parse(text) else { return };
    assert_eq!(parsed.statement.kind(), classified.kind, "{text}");
    let parsed_tables: Vec<_> = match &parsed.statement {
        Statement::Select(select) => vec![select.table],
        Statement::Insert(insert) => vec![insert.table],
        Statement::Update(update) => vec![update.table],
        Statement::Delete(delete) => vec![delete.table],
        Statement::Truncate(table) => vec![*table],
        Statement::Batch(batch) => {
            let inside: Vec<StatementKind> = batch.statements.iter().map(Statement::kind).collect();
            assert_eq!(inside, kinds, "{text}");
            assert_eq!(inside.len(), tables.len(), "{text}");
            tables.clone()
        }
        _ => tables.clone(),
    };
    assert_eq!(tables, parsed_tables, "{text}");
    for place in 0..parsed.markers.count() {
        assert!(parsed.markers.name(place).is_some(), "{text}");
        ignore((parsed.markers.column(place), parsed.markers.is_element(place)));
    }
    if let Statement::Select(select) = &parsed.statement {
        // Asking for each name reads each selector again; texts of many are not what is looked for here.
        select.selectors.iter().take(16).for_each(|selector| ignore(selector.name()));
    }
}

/// Two frames: whether they say the same does not depend on which is asked first, nor on what is not compared.
pub fn compare(bytes: &[u8]) {
    let framed = |bytes: &'_ [u8]| match Protocol::Cql.frame(bytes, Side::Response, u32::MAX) {
        Framed::Frame(head) => bytes.get(..head.frame_bytes as usize).map(|frame| (head, frame.to_vec())),
        Framed::NotYet | Framed::Malformed(_) => None,
    };
    let Some(one) = framed(bytes) else { return };
    let Some(other) = bytes.get(one.1.len()..).and_then(framed) else { return };
    let is_same = |one: &(Head, Vec<u8>), other: &(Head, Vec<u8>)| {
        let is_same = is_same_reply((&one.0, &one.1), (&other.0, &other.1));
        assert_eq!(is_same, is_same_reply((&other.0, &other.1), (&one.0, &one.1)), "by who is asked first");
        is_same
    };
    let is_pair_same = is_same(&one, &other);
    for reply in [&one, &other] {
        assert!(is_same(reply, reply), "not the same as itself");
        for elsewhere in [under_another_id(reply), traced(reply)].into_iter().flatten() {
            assert!(is_same(reply, &elsewhere), "not the same as itself elsewhere");
        }
    }
    let difference = first_difference((&one.0, &one.1), (&other.0, &other.1));
    assert!(
        is_pair_same || !is_rows(&one) || !is_rows(&other) || difference.is_some(),
        "no place of a difference"
    );
    assert_eq!(first_difference((&one.0, &one.1), (&one.0, &one.1)), None, "it differs from itself");
    let (content, other_content) = (content(&one), content(&other));
    let is_read = content.is_some() && other_content.is_some();
    let again = [under_another_id(&one), traced(&one).filter(|_| is_read)];
    for elsewhere in again.into_iter().flatten() {
        assert_eq!(is_same(&elsewhere, &other), is_pair_same, "by what is not compared");
    }
    if is_pair_same {
        assert_eq!(one.0.opcode, other.0.opcode);
        let is_equal = if is_read { content == other_content } else { one.1.get(9..) == other.1.get(9..) };
        assert!(is_equal || (is_rows(&one) && is_rows(&other)), "other content");
    }
}

/// A reply under another stream id.
fn under_another_id((_, frame): &(Head, Vec<u8>)) -> Option<(Head, Vec<u8>)> {
    let mut frame = frame.clone();
    frame.get_mut(2..4)?.iter_mut().for_each(|byte| *byte ^= 0x15);
    match Protocol::Cql.frame(&frame, Side::Response, u32::MAX) {
        Framed::Frame(head) => Some((head, frame)),
        Framed::NotYet | Framed::Malformed(_) => None,
    }
}

/// A reply with a tracing id in front, if it can be read and has none.
fn traced(reply: &(Head, Vec<u8>)) -> Option<(Head, Vec<u8>)> {
    const TRACED: u8 = 2;
    let (head, frame) = reply;
    if head.flags & (Flags::COMPRESSED | TRACED) != 0 || body(Side::Response, head, frame).is_err() {
        return None;
    }
    let mut frame = frame.clone();
    frame.splice(9..9, [7; 16]);
    *frame.get_mut(1)? |= TRACED;
    let body_bytes = u32::try_from(frame.len().checked_sub(9)?).ok()?;
    frame.get_mut(5..9)?.copy_from_slice(&body_bytes.to_be_bytes());
    match Protocol::Cql.frame(&frame, Side::Response, u32::MAX) {
        Framed::Frame(head) => Some((head, frame)),
        Framed::NotYet | Framed::Malformed(_) => None,
    }
}

/// What a reply says behind what leads its body; `None` if that cannot be told from the rest.
fn content((head, frame): &(Head, Vec<u8>)) -> Option<&[u8]> {
    let is_compressed = head.flags & Flags::COMPRESSED != 0;
    let body = body(Side::Response, head, frame).ok().filter(|_| !is_compressed)?;
    Some(body.left())
}

fn is_rows((head, frame): &(Head, Vec<u8>)) -> bool {
    let body = body(Side::Response, head, frame);
    head.opcode == opcode::RESULT && matches!(body.and_then(response::result), Ok(response::Outcome::Rows(_)))
}

/// An outline says the same as what it is made of.
fn outlined(text: &str, classified: &Classified<'_>) {
    let mut outline = Outline::default();
    assert_eq!(outline.push(text), classified.kind);
    let stated: Vec<_> = (0..outline.len()).filter_map(|place| outline.get(place, Some("in_use"))).collect();
    let kinds = stated.iter().filter(|stated| !stated.is_again).map(|stated| stated.kind);
    assert!(kinds.eq(classified.kinds()), "{text}");
    let mut tables = classified.tables();
    for stated in &stated {
        if let About::Table { keyspace, table } = stated.about {
            let Some(name) = tables.next() else { unreachable!("a table that is not named: {text}") };
            assert!(name.table.matches(table), "{text}");
            assert_eq!(name.keyspace_or(Some("in_use")).as_deref(), keyspace, "{text}");
        }
    }
    let are_told = stated.iter().all(|stated| stated.about != About::Unknown);
    assert!(tables.next().is_none() || !are_told, "a table is left out: {text}");
    let mut executed = Outline::default();
    executed.push_prepared(&outline, None);
    assert_eq!(executed.len(), outline.len());
}

//! What statements are about: their kinds, and the keyspaces and tables they name, in a form that outlives their texts
//! and can be asked again and again.

use std::borrow::Cow;

use crate::cql::query::classify::{Classified, classify_part, name_behind};
use crate::cql::query::identifier::{Identifier, TableName};
use crate::cql::query::kind::StatementKind;
use crate::cql::query::lexer::{Kind, Lexer};

/// What a statement is about. Names are as Cassandra stores them. A keyspace that is `None` is one that nobody can tell.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum About<'o> {
    /// A table, or a materialized view.
    Table {
        /// Its keyspace.
        keyspace: Option<&'o str>,
        /// Its name.
        table: &'o str,
    },
    /// A keyspace as a whole, or a table of it that cannot be told.
    Keyspace(Option<&'o str>),
    /// Something in a keyspace that is no table: a type, a function, an aggregate.
    Part(Option<&'o str>),
    /// No keyspace: roles and rights to them.
    Nothing,
    /// It cannot be told, or it is all keyspaces.
    Unknown,
}

/// A statement of a request, and one of the things that it is about.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Stated<'o> {
    /// Its kind.
    pub kind: StatementKind,
    /// What it is about.
    pub about: About<'o>,
    /// Its text is not in the request: only the id under which it was prepared.
    pub is_prepared: bool,
    /// It is the statement before this one again, which is about something else too.
    pub is_again: bool,
    /// It names no keyspace: the one in use is meant.
    pub is_in_use: bool,
}

/// Where a name stands in [`Outline::names`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Span {
    at: u32,
    end: u32,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Named {
    Table(Option<Span>, Span),
    Keyspace(Option<Span>),
    Part(Option<Span>),
    Nothing,
    Unknown,
}

impl Named {
    /// It has no keyspace of its own, and is in one.
    fn is_in_use(self) -> bool {
        matches!(self, Self::Table(None, _) | Self::Keyspace(None) | Self::Part(None))
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Entry {
    kind: StatementKind,
    named: Named,
    is_prepared: bool,
    is_again: bool,
}

/// Statements, one after another, and what each is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    entries: Vec<Entry>,
    /// All names, one after another.
    names: String,
    /// What of all that prepared statements have added, at most.
    prepared_bytes: usize,
}

/// Bytes that prepared statements add to an outline: requests name them by some 20 bytes, whatever they stand for. What is
/// beyond is not known. 65,535 ids of a BATCH whose names are Cassandra's longest (48 bytes of a keyspace, 222 of a table)
/// stay below 24 million.
const PREPARED_BYTES_MAX: usize = 32 * 1024 * 1024;

impl Outline {
    /// How many there are; a statement that is about two things counts twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.names.clear();
        self.prepared_bytes = 0;
    }

    /// The keyspaces that are written in it, as often as they are.
    pub fn keyspaces(&self) -> impl Iterator<Item = &str> {
        let written = self.entries.iter().filter_map(|entry| match entry.named {
            Named::Table(keyspace, _) | Named::Keyspace(keyspace) | Named::Part(keyspace) => keyspace,
            Named::Nothing | Named::Unknown => None,
        });
        written.map(|span| self.name(span))
    }

    /// True if a name in it is written without a keyspace.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.entries.iter().any(|entry| entry.named.is_in_use())
    }

    /// Bytes that it has on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.entries.capacity().saturating_mul(size_of::<Entry>()).saturating_add(self.names.capacity())
    }

    /// One of them. `in_use`: the keyspace of names that are written without one.
    #[must_use]
    pub fn get<'o>(&'o self, place: usize, in_use: Option<&'o str>) -> Option<Stated<'o>> {
        let entry = self.entries.get(place)?;
        let keyspace = |span: Option<Span>| span.map_or(in_use, |span| Some(self.name(span)));
        let about = match entry.named {
            Named::Table(span, table) => About::Table { keyspace: keyspace(span), table: self.name(table) },
            Named::Keyspace(span) => About::Keyspace(keyspace(span)),
            Named::Part(span) => About::Part(keyspace(span)),
            Named::Nothing => About::Nothing,
            Named::Unknown => About::Unknown,
        };
        let (is_prepared, is_again) = (entry.is_prepared, entry.is_again);
        let is_in_use = entry.named.is_in_use();
        Some(Stated { kind: entry.kind, about, is_prepared, is_again, is_in_use })
    }

    /// As [`Outline::get`], of what was prepared. `keyspace`: the one of its names that are written without.
    #[must_use]
    pub fn get_prepared<'o>(&'o self, place: usize, keyspace: Option<&'o str>) -> Option<Stated<'o>> {
        let is_late = self.entries.get(place).is_some_and(|entry| is_told_at_its_end(entry.kind));
        self.get(place, keyspace.filter(|_| !is_late))
    }

    /// Adds the statements of a text: itself, or those between `BEGIN BATCH` and `APPLY BATCH`. Says what kind the text
    /// is of. Linear.
    pub fn push(&mut self, text: &str) -> StatementKind {
        self.push_part(text, true)
    }

    /// As [`Outline::push`], of a text of which the end may not be here.
    pub fn push_part(&mut self, text: &str, is_whole: bool) -> StatementKind {
        let classified = classify_part(text, is_whole);
        let kind = classified.kind;
        match kind {
            StatementKind::Batch => self.push_batch(&classified),
            StatementKind::Use
            | StatementKind::CreateKeyspace
            | StatementKind::AlterKeyspace
            | StatementKind::DropKeyspace => {
                let keyspace = classified.keyspace(None);
                self.add(kind, keyspace.map(|name| Found::Keyspace(Some(name))));
            }
            StatementKind::CreateMaterializedView => self.push_view(&classified),
            StatementKind::CreateTable => self.add(kind, created_table(text)),
            StatementKind::Grant | StatementKind::Revoke | StatementKind::ListPermissions => {
                let table = classified.tables().next().map(Found::Table);
                self.add(kind, table.or_else(|| resource(text)));
            }
            StatementKind::Describe => {
                let table = classified.tables().next().map(Found::Table);
                self.add(kind, table.or_else(|| keyspace_behind(Lexer::new(text))));
            }
            _ => match part_words(kind) {
                Some(words) => {
                    self.add(kind, name_behind(&mut Lexer::new(text), words).map(|name| part(kind, name)))
                }
                None if is_about_nothing(kind) => self.add(kind, Some(Found::Nothing)),
                None => self.add(kind, classified.tables().next().map(Found::Table)),
            },
        }
        kind
    }

    fn push_batch(&mut self, batch: &Classified<'_>) {
        let mut tables = batch.tables();
        for kind in batch.kinds() {
            self.add(kind, tables.next().map(Found::Table));
        }
    }

    /// The view, and the table it is made of.
    fn push_view(&mut self, view: &Classified<'_>) {
        let mut tables = view.tables();
        for _ in 0..2 {
            self.add(view.kind, tables.next().map(Found::Table));
        }
        if let Some(second) = self.entries.last_mut() {
            second.is_again = true;
        }
    }

    /// Adds a prepared statement. `keyspace`: the one of its names that are written without.
    pub fn push_prepared(&mut self, prepared: &Self, keyspace: Option<&str>) {
        let of_each = size_of::<Entry>().saturating_add(keyspace.map_or(0, str::len));
        let added = prepared.len().saturating_mul(of_each).saturating_add(prepared.names.len());
        let prepared_bytes = self.prepared_bytes.saturating_add(added);
        if prepared_bytes > PREPARED_BYTES_MAX {
            return self.push_unknown();
        }
        self.prepared_bytes = prepared_bytes;
        for place in 0..prepared.len() {
            let Some(stated) = prepared.get_prepared(place, keyspace) else { break };
            let found = match stated.about {
                About::Table { keyspace: Some(keyspace), table } => {
                    let named = self.push_name(keyspace).zip(self.push_name(table));
                    named.map(|(keyspace, table)| Named::Table(Some(keyspace), table))
                }
                About::Keyspace(Some(keyspace)) => {
                    self.push_name(keyspace).map(|span| Named::Keyspace(Some(span)))
                }
                About::Part(Some(keyspace)) => self.push_name(keyspace).map(|span| Named::Part(Some(span))),
                About::Nothing => Some(Named::Nothing),
                // The keyspace in use where it is executed is not its own.
                _ => None,
            };
            let named = found.unwrap_or(Named::Unknown);
            let is_again = stated.is_again;
            self.entries.push(Entry { kind: stated.kind, named, is_prepared: true, is_again });
        }
    }

    /// As [`Outline::push_prepared`], of an id in a BATCH: one statement, or nothing is known of it. Cassandra runs single
    /// INSERTs, UPDATEs and DELETEs there; a batch is refused, and would have a short id stand for any number of statements.
    pub fn push_batched(&mut self, prepared: &Self, keyspace: Option<&str>) {
        match prepared.len() {
            1 => self.push_prepared(prepared, keyspace),
            _ => self.push_unknown(),
        }
    }

    /// Of those from this place on, what names no keyspace is in none that anybody can tell.
    pub(crate) fn forget_in_use(&mut self, first: usize) {
        for entry in self.entries.iter_mut().skip(first).filter(|entry| entry.named.is_in_use()) {
            entry.named = Named::Unknown;
        }
    }

    /// Adds a prepared statement of which nothing is known.
    pub fn push_unknown(&mut self) {
        let kind = StatementKind::Unrecognized;
        self.entries.push(Entry { kind, named: Named::Unknown, is_prepared: true, is_again: false });
    }

    fn add(&mut self, kind: StatementKind, found: Option<Found<'_>>) {
        let named = found.and_then(|found| self.named(&found)).unwrap_or(Named::Unknown);
        self.entries.push(Entry { kind, named, is_prepared: false, is_again: false });
    }

    fn named(&mut self, found: &Found<'_>) -> Option<Named> {
        let named = match found {
            Found::Table(name) => {
                let keyspace = match name.keyspace {
                    Some(keyspace) => Some(self.push_name(&keyspace.name())?),
                    None => None,
                };
                Named::Table(keyspace, self.push_name(&name.table.name())?)
            }
            Found::Keyspace(Some(name)) => Named::Keyspace(Some(self.push_name(name)?)),
            Found::Keyspace(None) => Named::Keyspace(None),
            Found::Part(Some(name)) => Named::Part(Some(self.push_name(name)?)),
            Found::Part(None) => Named::Part(None),
            Found::Nothing => Named::Nothing,
        };
        Some(named)
    }

    fn push_name(&mut self, name: &str) -> Option<Span> {
        let at = u32::try_from(self.names.len()).ok()?;
        self.names.push_str(name);
        Some(Span { at, end: u32::try_from(self.names.len()).ok()? })
    }

    fn name(&self, span: Span) -> &str {
        let range =
            usize::try_from(span.at).unwrap_or_default()..usize::try_from(span.end).unwrap_or_default();
        self.names.get(range).unwrap_or_default()
    }
}

/// What a text names.
enum Found<'t> {
    Table(TableName<'t>),
    Keyspace(Option<Cow<'t, str>>),
    Part(Option<Cow<'t, str>>),
    Nothing,
}

/// The word in front of the name of something in a keyspace that is no table.
fn part_words(kind: StatementKind) -> Option<&'static [&'static str]> {
    match kind {
        StatementKind::CreateType | StatementKind::AlterType | StatementKind::DropType => Some(&["TYPE"]),
        StatementKind::CreateFunction | StatementKind::DropFunction => Some(&["FUNCTION"]),
        StatementKind::CreateAggregate | StatementKind::DropAggregate => Some(&["AGGREGATE"]),
        StatementKind::DropIndex => Some(&["INDEX"]),
        _ => None,
    }
}

fn part(kind: StatementKind, name: TableName<'_>) -> Found<'_> {
    let keyspace = name.keyspace.map(Identifier::name);
    // An index is one of a table that its name does not tell.
    if kind == StatementKind::DropIndex { Found::Keyspace(keyspace) } else { Found::Part(keyspace) }
}

/// A prepared DESCRIBE is of the keyspace in use when it is executed. All others are of the one when they were prepared.
fn is_told_at_its_end(kind: StatementKind) -> bool {
    kind == StatementKind::Describe
}

fn is_about_nothing(kind: StatementKind) -> bool {
    matches!(
        kind,
        StatementKind::CreateRole
            | StatementKind::AlterRole
            | StatementKind::DropRole
            | StatementKind::CreateUser
            | StatementKind::AlterUser
            | StatementKind::DropUser
            | StatementKind::AddIdentity
            | StatementKind::DropIdentity
            | StatementKind::ListRoles
            | StatementKind::ListUsers
            | StatementKind::ListSuperusers
    )
}

/// The table that is made, unless it is made after another one (`CREATE TABLE new LIKE old`), which may be in another
/// keyspace: to say that nobody can tell is enough for what is so seldom asked.
fn created_table(text: &str) -> Option<Found<'_>> {
    let mut lexer = Lexer::new(text);
    let name = name_behind(&mut lexer, &["TABLE", "COLUMNFAMILY"])?;
    let next = lexer.next();
    let is_like = lexer.text(next.at, next.end).eq_ignore_ascii_case("LIKE");
    (!is_like).then_some(Found::Table(name))
}

/// The name behind the next KEYSPACE.
fn keyspace_behind(mut lexer: Lexer<'_>) -> Option<Found<'_>> {
    let name = name_behind(&mut lexer, &["KEYSPACE"])?;
    Some(Found::Keyspace(Some(name.table.name())))
}

/// What a right that is not to a table is to.
fn resource(text: &str) -> Option<Found<'_>> {
    let mut lexer = Lexer::new(text);
    loop {
        let token = lexer.next();
        match token.kind {
            // A role that is granted to a role.
            Kind::End => return Some(Found::Nothing),
            Kind::Unknown | Kind::Unterminated => return None,
            Kind::Word if lexer.text(token.at, token.end).eq_ignore_ascii_case("ON") => break,
            _ => {}
        }
    }
    let mut after = lexer;
    let mut word = || {
        let token = after.next();
        after.text(token.at, token.end)
    };
    let (first, second) = (word(), word());
    let is = |word: &str, any: &[&str]| any.iter().any(|known| known.eq_ignore_ascii_case(word));
    if is(first, &["ALL"]) {
        return if is(second, &["ROLES", "MBEANS"]) { Some(Found::Nothing) } else { keyspace_behind(lexer) };
    }
    if is(first, &["ROLE", "MBEAN", "MBEANS"]) {
        return Some(Found::Nothing);
    }
    if is(first, &["FUNCTION"]) {
        let name = name_behind(&mut lexer, &["FUNCTION"])?;
        return Some(Found::Part(name.keyspace.map(Identifier::name)));
    }
    keyspace_behind(lexer)
}

/// A table as people write it in a topology: `keyspace.table`, or `table` alone. Names are read as in CQL, and given as
/// Cassandra stores them.
#[must_use]
pub fn read_table(text: &str) -> Option<(Option<Box<str>>, Box<str>)> {
    let mut lexer = Lexer::new(text);
    let first = lexer.next();
    let name = super::classify::table_name(&mut lexer, first)?;
    if lexer.next().kind != Kind::End {
        return None;
    }
    let stored = |name: Identifier<'_>| name.name().into_owned().into_boxed_str();
    Some((name.keyspace.map(stored), stored(name.table)))
}

#[cfg(test)]
mod tests {
    use super::{About, Outline, PREPARED_BYTES_MAX, read_table};

    /// What a text is about, where `in_use` is in use.
    fn about(text: &str) -> Vec<String> {
        let mut outline = Outline::default();
        outline.push(text);
        shown(&outline)
    }

    fn shown(outline: &Outline) -> Vec<String> {
        let stated = (0..outline.len()).map(|place| outline.get(place, Some("in_use")).unwrap());
        let shown = stated.map(|stated| match stated.about {
            About::Table { keyspace, table } => format!("{}.{table}", keyspace.unwrap_or("?")),
            About::Keyspace(keyspace) => format!("all of {}", keyspace.unwrap_or("?")),
            About::Part(keyspace) => format!("in {}", keyspace.unwrap_or("?")),
            About::Nothing => "nothing".to_owned(),
            About::Unknown => "unknown".to_owned(),
        });
        shown.collect()
    }

    #[test]
    fn every_statement_is_about_something_or_it_is_not_known() {
        for (text, expected) in [
            ("SELECT * FROM \"Ks\".T", "Ks.t"),
            ("UPDATE t SET a = 1", "in_use.t"),
            ("BEGIN BATCH INSERT INTO a.b (c) VALUES (1) DELETE d FROM e APPLY BATCH", "a.b, in_use.e"),
            ("CREATE TABLE IF NOT EXISTS ks.t (a int PRIMARY KEY)", "ks.t"),
            ("CREATE TABLE \"Like\" (a int PRIMARY KEY)", "in_use.Like"),
            ("CREATE TABLE ks.t like other.t", "unknown"),
            ("CREATE TABLE IF NOT EXISTS t LIKE u WITH comment = ''", "unknown"),
            ("CREATE MATERIALIZED VIEW v AS SELECT * FROM k.t", "in_use.v, k.t"),
            ("CREATE MATERIALIZED VIEW v", "in_use.v, unknown"),
            ("USE \"Ks\"", "all of Ks"),
            ("DROP KEYSPACE IF EXISTS ks", "all of ks"),
            ("DROP INDEX IF EXISTS ks.i", "all of ks"),
            ("DROP INDEX i", "all of in_use"),
            ("CREATE TYPE IF NOT EXISTS ks.y (a int)", "in ks"),
            ("CREATE OR REPLACE FUNCTION f (a int)", "in in_use"),
            ("DROP AGGREGATE ks.a (int)", "in ks"),
            ("GRANT SELECT ON ks.t TO r", "ks.t"),
            ("REVOKE ALL ON KEYSPACE ks FROM r", "all of ks"),
            ("GRANT ALL ON ALL TABLES IN KEYSPACE ks TO r", "all of ks"),
            ("GRANT EXECUTE ON ALL FUNCTIONS IN KEYSPACE ks TO r", "all of ks"),
            ("GRANT EXECUTE ON FUNCTION ks.f(int) TO r", "in ks"),
            ("GRANT EXECUTE ON ALL FUNCTIONS TO r", "unknown"),
            ("GRANT ALL ON ALL KEYSPACES TO r", "unknown"),
            ("GRANT ALL ON ALL ROLES TO r", "nothing"),
            ("GRANT ALTER ON ROLE a TO r", "nothing"),
            ("GRANT a TO b", "nothing"),
            ("LIST ALL PERMISSIONS OF r", "nothing"),
            ("CREATE ROLE r", "nothing"),
            ("DESCRIBE TABLE ks.t", "ks.t"),
            ("DESCRIBE KEYSPACE ks", "all of ks"),
            ("DESCRIBE SCHEMA", "unknown"),
            ("SELECT * FROM a.b; SELECT * FROM c.d", "unknown"),
            ("APPLY BATCH", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(about(text).join(", "), expected, "{text}");
        }
    }

    #[test]
    fn a_prepared_statement_keeps_its_keyspace() {
        let (mut prepared, mut outline) = (Outline::default(), Outline::default());
        prepared.push("BEGIN BATCH UPDATE t SET a = 1 UPDATE k.u SET a = 1 APPLY BATCH");
        outline.push("SELECT * FROM x");
        outline.push_prepared(&prepared, Some("then"));
        outline.push_prepared(&prepared, None);
        outline.push_unknown();
        assert_eq!(shown(&outline), ["in_use.x", "then.t", "k.u", "unknown", "k.u", "unknown"]);
        let are_prepared = (0..6).map(|place| outline.get(place, None).unwrap().is_prepared);
        assert!(are_prepared.eq([false, true, true, true, true, true]));
        outline.clear();
        assert!(outline.is_empty() && outline.get(0, None).is_none());
    }

    #[test]
    fn prepared_statements_that_are_repeated_take_no_more_than_they_may() {
        let text = format!("SELECT * FROM {}", "x".repeat(1 << 20));
        let (mut prepared, mut outline) = (Outline::default(), Outline::default());
        prepared.push(&text);
        for round in 0..2 {
            (0..1000).for_each(|_| outline.push_prepared(&prepared, Some("ks")));
            assert!(outline.heap_bytes() <= 2 * PREPARED_BYTES_MAX, "{}", outline.heap_bytes());
            let about = |place| outline.get(place, None).unwrap().about;
            assert!(matches!(about(0), About::Table { keyspace: Some("ks"), .. }), "{round}");
            assert_eq!((outline.len(), about(999)), (1000, About::Unknown), "{round}");
            outline.clear();
        }
    }

    #[test]
    fn tables_are_read_as_people_write_them() {
        let table = |text| read_table(text).map(|(keyspace, table)| (keyspace.unwrap_or_default(), table));
        assert_eq!(table("Ks.T"), Some(("ks".into(), "t".into())));
        assert_eq!(table(" \"Ks\" . \"T\"\"\" "), Some(("Ks".into(), "T\"".into())));
        assert_eq!(table("t"), Some(("".into(), "t".into())));
        for wrong in ["", "a.b.c", "a.", ".b", "select", "a b", "'a'", "5", "a;"] {
            assert_eq!(table(wrong), None, "{wrong}");
        }
    }
}

//! What kind a statement is and which tables it names, from its tokens alone. Allocates nothing.

use std::borrow::Cow;

use crate::cql::query::identifier::{Identifier, TableName};
use crate::cql::query::keyword::is_reserved;
use crate::cql::query::kind::StatementKind;
use crate::cql::query::lexer::{Kind, Lexer, Token};
use crate::cql::statement::{Verb, first_verb};

/// A statement, classified.
#[derive(Copy, Clone, Debug)]
pub struct Classified<'t> {
    /// What kind it is.
    pub kind: StatementKind,
    lexer: Lexer<'t>,
}

/// Tells a statement's kind by its first words, and that it is one statement: two or more that are no batch are not
/// recognized. Whether the rest of it is good CQL is not looked at. Linear, allocates nothing.
#[must_use]
pub fn classify(text: &str) -> Classified<'_> {
    classify_part(text, true)
}

/// As [`classify`], of a text of which the end may not be here: a batch is one though its end has not come.
#[must_use]
pub fn classify_part(text: &str, is_whole: bool) -> Classified<'_> {
    let lexer = Lexer::new(text);
    let mut words = Words { lexer };
    let kind = first_verb(text.as_bytes(), true).and_then(|verb| words.kind(verb));
    let kind =
        kind.filter(|kind| is_one(*kind, is_whole, words.lexer)).unwrap_or(StatementKind::Unrecognized);
    Classified { kind, lexer }
}

impl<'t> Classified<'t> {
    /// The tables it names, in order: of a batch those of every statement in it, of a materialized view the view and
    /// the table it is made of. Indexes, types, functions and roles are no tables.
    #[must_use]
    pub fn tables(&self) -> Tables<'t> {
        Tables { lexer: self.lexer, kind: self.kind, is_first: true, is_done: false }
    }

    /// The keyspace it is about: that of its first table, or the one it names itself (USE, and the keyspace's own
    /// CREATE, ALTER and DROP); else the one in use on its connection, if it names a table at all.
    #[must_use]
    pub fn keyspace(&self, in_use: Option<&'t str>) -> Option<Cow<'t, str>> {
        let mut lexer = self.lexer;
        match self.kind {
            StatementKind::Use => name_behind(&mut lexer, &["USE"]),
            StatementKind::CreateKeyspace | StatementKind::AlterKeyspace | StatementKind::DropKeyspace => {
                name_behind(&mut lexer, &["KEYSPACE", "SCHEMA"])
            }
            _ => return self.tables().next().and_then(|table| table.keyspace_or(in_use)),
        }
        .map(|table| table.table.name())
    }

    /// The kinds of its statements: those inside of a batch, else its own.
    #[must_use]
    pub fn kinds(&self) -> Kinds<'t> {
        Kinds { lexer: self.lexer, kind: Some(self.kind) }
    }
}

/// See [`Classified::kinds`].
#[derive(Clone, Debug)]
pub struct Kinds<'t> {
    lexer: Lexer<'t>,
    kind: Option<StatementKind>,
}

impl Iterator for Kinds<'_> {
    type Item = StatementKind;

    fn next(&mut self) -> Option<StatementKind> {
        if self.kind != Some(StatementKind::Batch) {
            return self.kind.take();
        }
        loop {
            let token = self.lexer.next();
            match token.kind {
                Kind::End | Kind::Unknown | Kind::Unterminated => return None,
                Kind::Word if is(self.lexer, token, "INSERT") => return Some(StatementKind::Insert),
                Kind::Word if is(self.lexer, token, "UPDATE") => return Some(StatementKind::Update),
                Kind::Word if is(self.lexer, token, "DELETE") => return Some(StatementKind::Delete),
                _ => {}
            }
        }
    }
}

/// See [`Classified::tables`].
#[derive(Clone, Debug)]
pub struct Tables<'t> {
    lexer: Lexer<'t>,
    kind: StatementKind,
    is_first: bool,
    is_done: bool,
}

impl<'t> Iterator for Tables<'t> {
    type Item = TableName<'t>;

    fn next(&mut self) -> Option<TableName<'t>> {
        if self.is_done {
            return None;
        }
        let triggers: &[&str] = match self.kind {
            StatementKind::Select => &["FROM"],
            StatementKind::Insert => &["INTO"],
            StatementKind::Update => &["UPDATE"],
            StatementKind::Delete => &["FROM"],
            StatementKind::Truncate => &["TRUNCATE"],
            StatementKind::Batch => &["INTO", "UPDATE", "FROM"],
            StatementKind::CreateTable | StatementKind::AlterTable | StatementKind::DropTable => {
                &["TABLE", "COLUMNFAMILY"]
            }
            StatementKind::CreateIndex | StatementKind::CreateTrigger | StatementKind::DropTrigger => &["ON"],
            StatementKind::CreateMaterializedView if self.is_first => &["VIEW"],
            StatementKind::CreateMaterializedView => &["FROM"],
            StatementKind::AlterMaterializedView | StatementKind::DropMaterializedView => &["VIEW"],
            StatementKind::Grant | StatementKind::Revoke | StatementKind::ListPermissions => {
                self.is_done = true;
                return permitted(self.lexer);
            }
            StatementKind::Describe => &["TABLE", "COLUMNFAMILY", "VIEW"],
            _ => return None,
        };
        let found = name_behind(&mut self.lexer, triggers);
        let goes_on = match self.kind {
            StatementKind::Batch => true,
            StatementKind::CreateMaterializedView => self.is_first,
            _ => false,
        };
        self.is_first = false;
        self.is_done = !goes_on || found.is_none();
        found
    }
}

fn is(lexer: Lexer<'_>, token: Token, word: &str) -> bool {
    token.kind == Kind::Word && lexer.text(token.at, token.end).eq_ignore_ascii_case(word)
}

fn is_any(lexer: Lexer<'_>, token: Token, words: &[&str]) -> bool {
    words.iter().any(|word| is(lexer, token, word))
}

/// The name behind the first of these words. Each is reserved, and so nobody's name, or stands in front of every name of the
/// statements in which it is looked for (TYPE, FUNCTION, AGGREGATE).
pub(super) fn name_behind<'t>(lexer: &mut Lexer<'t>, triggers: &[&str]) -> Option<TableName<'t>> {
    loop {
        let token = lexer.next();
        if matches!(token.kind, Kind::End | Kind::Unknown | Kind::Unterminated) {
            return None;
        }
        if is_any(*lexer, token, triggers) {
            break;
        }
    }
    let mut first = lexer.next();
    if is_any(*lexer, first, &["TABLE", "COLUMNFAMILY"]) {
        first = lexer.next();
    }
    if is(*lexer, first, "IF") {
        let mut last = lexer.next();
        if is(*lexer, last, "NOT") {
            last = lexer.next();
        }
        first = if is(*lexer, last, "EXISTS") { lexer.next() } else { last };
    }
    table_name(lexer, first)
}

/// The name that begins with this token.
pub(super) fn table_name<'t>(lexer: &mut Lexer<'t>, first: Token) -> Option<TableName<'t>> {
    let first = name(*lexer, first)?;
    let mut after = *lexer;
    if after.next().kind != Kind::Symbol(b'.') {
        return Some(TableName { keyspace: None, table: first });
    }
    let second = after.next();
    let table = name(after, second)?;
    *lexer = after;
    Some(TableName { keyspace: Some(first), table })
}

fn name(lexer: Lexer<'_>, token: Token) -> Option<Identifier<'_>> {
    let text = lexer.text(token.at, token.end);
    match token.kind {
        Kind::QuotedName => Some(Identifier::new(text)),
        Kind::Word if !is_reserved(text) => Some(Identifier::new(text)),
        _ => None,
    }
}

/// The table of `.. ON [TABLE] table ..`, unless the right is to something else.
fn permitted(mut lexer: Lexer<'_>) -> Option<TableName<'_>> {
    loop {
        let token = lexer.next();
        if matches!(token.kind, Kind::End | Kind::Unknown | Kind::Unterminated) {
            return None;
        }
        if is(lexer, token, "ON") {
            break;
        }
    }
    let mut first = lexer.next();
    if is_any(lexer, first, &["TABLE", "COLUMNFAMILY"]) {
        first = lexer.next();
    } else if is_any(lexer, first, &["ALL", "KEYSPACE", "ROLE", "FUNCTION", "MBEAN", "MBEANS"]) {
        // None of these but KEYSPACE is reserved, so that a table may be called so: then no name follows it.
        let mut after = lexer;
        let second = after.next();
        if second.kind == Kind::String || name(after, second).is_some() || is(lexer, first, "KEYSPACE") {
            return None;
        }
    }
    table_name(&mut lexer, first)
}

/// The words that a statement begins with.
struct Words<'t> {
    lexer: Lexer<'t>,
}

impl<'t> Words<'t> {
    fn next(&mut self) -> &'t str {
        let token = self.lexer.next();
        if token.kind == Kind::Word { self.lexer.text(token.at, token.end) } else { "" }
    }

    fn kind(&mut self, verb: Verb) -> Option<StatementKind> {
        let first = self.next();
        // `SELECT1` begins with the letters of a verb, and is none.
        if !verb.is(first) {
            return None;
        }
        match verb {
            Verb::Select => Some(StatementKind::Select),
            Verb::Insert => Some(StatementKind::Insert),
            Verb::Update => Some(StatementKind::Update),
            Verb::Delete => Some(StatementKind::Delete),
            Verb::Truncate => Some(StatementKind::Truncate),
            Verb::Use => Some(StatementKind::Use),
            Verb::Grant => Some(StatementKind::Grant),
            Verb::Revoke => Some(StatementKind::Revoke),
            Verb::Describe => Some(StatementKind::Describe),
            Verb::Apply => self.follows("BATCH", StatementKind::ApplyBatch),
            Verb::Add => self.follows("IDENTITY", StatementKind::AddIdentity),
            Verb::Begin => self.begin(),
            Verb::List => Some(self.list()),
            Verb::Create => self.create(),
            Verb::Alter => self.alter(),
            Verb::Drop => self.drop(),
        }
    }

    fn follows(&mut self, word: &str, kind: StatementKind) -> Option<StatementKind> {
        self.next().eq_ignore_ascii_case(word).then_some(kind)
    }

    fn begin(&mut self) -> Option<StatementKind> {
        let word = self.next();
        let is_of_kind = ["UNLOGGED", "COUNTER"].iter().any(|kind| word.eq_ignore_ascii_case(kind));
        let word = if is_of_kind { self.next() } else { word };
        word.eq_ignore_ascii_case("BATCH").then_some(StatementKind::Batch)
    }

    fn list(&mut self) -> StatementKind {
        let word = self.next();
        find(
            word,
            &[
                ("ROLES", StatementKind::ListRoles),
                ("USERS", StatementKind::ListUsers),
                ("SUPERUSERS", StatementKind::ListSuperusers),
            ],
        )
        .unwrap_or(StatementKind::ListPermissions)
    }

    fn create(&mut self) -> Option<StatementKind> {
        let mut word = self.next();
        if word.eq_ignore_ascii_case("OR") && self.next().eq_ignore_ascii_case("REPLACE") {
            word = self.next();
        }
        if word.eq_ignore_ascii_case("CUSTOM") {
            word = self.next();
        }
        if word.eq_ignore_ascii_case("MATERIALIZED") {
            return self.follows("VIEW", StatementKind::CreateMaterializedView);
        }
        find(
            word,
            &[
                ("TABLE", StatementKind::CreateTable),
                ("COLUMNFAMILY", StatementKind::CreateTable),
                ("KEYSPACE", StatementKind::CreateKeyspace),
                ("SCHEMA", StatementKind::CreateKeyspace),
                ("INDEX", StatementKind::CreateIndex),
                ("TYPE", StatementKind::CreateType),
                ("FUNCTION", StatementKind::CreateFunction),
                ("AGGREGATE", StatementKind::CreateAggregate),
                ("TRIGGER", StatementKind::CreateTrigger),
                ("ROLE", StatementKind::CreateRole),
                ("USER", StatementKind::CreateUser),
            ],
        )
    }

    fn alter(&mut self) -> Option<StatementKind> {
        let word = self.next();
        if word.eq_ignore_ascii_case("MATERIALIZED") {
            return self.follows("VIEW", StatementKind::AlterMaterializedView);
        }
        find(
            word,
            &[
                ("TABLE", StatementKind::AlterTable),
                ("COLUMNFAMILY", StatementKind::AlterTable),
                ("KEYSPACE", StatementKind::AlterKeyspace),
                ("SCHEMA", StatementKind::AlterKeyspace),
                ("TYPE", StatementKind::AlterType),
                ("ROLE", StatementKind::AlterRole),
                ("USER", StatementKind::AlterUser),
            ],
        )
    }

    fn drop(&mut self) -> Option<StatementKind> {
        let word = self.next();
        if word.eq_ignore_ascii_case("MATERIALIZED") {
            return self.follows("VIEW", StatementKind::DropMaterializedView);
        }
        find(
            word,
            &[
                ("TABLE", StatementKind::DropTable),
                ("COLUMNFAMILY", StatementKind::DropTable),
                ("KEYSPACE", StatementKind::DropKeyspace),
                ("SCHEMA", StatementKind::DropKeyspace),
                ("INDEX", StatementKind::DropIndex),
                ("TYPE", StatementKind::DropType),
                ("FUNCTION", StatementKind::DropFunction),
                ("AGGREGATE", StatementKind::DropAggregate),
                ("TRIGGER", StatementKind::DropTrigger),
                ("ROLE", StatementKind::DropRole),
                ("USER", StatementKind::DropUser),
                ("IDENTITY", StatementKind::DropIdentity),
            ],
        )
    }
}

fn find(word: &str, kinds: &[(&str, StatementKind)]) -> Option<StatementKind> {
    kinds.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, kind)| *kind)
}

/// True when nothing but `;` follows the statement. A batch ends with APPLY BATCH, any other with its first `;`.
fn is_one(kind: StatementKind, is_whole: bool, mut lexer: Lexer<'_>) -> bool {
    let is_batch = kind == StatementKind::Batch;
    // Nearly always: no `;` but at the end. Finding that out costs a tenth of reading all tokens.
    let inner = lexer.rest().trim_end_matches(|sign: char| sign == ';' || sign.is_ascii_whitespace());
    if !is_batch && !inner.contains(';') {
        return true;
    }
    let mut is_over = false;
    loop {
        let token = lexer.next();
        match token.kind {
            Kind::End => return is_over || !is_batch || !is_whole,
            Kind::Unterminated if !is_whole => return !is_over,
            Kind::Unknown | Kind::Unterminated => return !is_over && !is_batch,
            Kind::Symbol(b';') => is_over |= !is_batch,
            _ if is_over => return false,
            Kind::Word if is_batch && is(lexer, token, "APPLY") => {
                let after = lexer.next();
                if !is(lexer, after, "BATCH") {
                    return false;
                }
                is_over = true;
            }
            _ => {}
        }
    }
}

//! The keyspaces and tables that QueryTypeFilter lets pass.
//!
//! What cannot be told does not pass, neither an allow list nor a deny list: what a request may touch must be known
//! before it goes on.

use std::sync::Arc;

use chain::{Batch, Cx, Fault, Item, Need, Transform, statements_need};
use config::Fields;
use wire::cql::query::{About, Stated, StatementKind, read_table};
use wire::{ErrorKind, Protocol};

use crate::query_type_filter::{FILTERED, QueryTypeFilter, answer_unprepared, unknown_execute};

/// Keyspaces in which drivers read what there is: they may be read unless they are denied by name.
const SCHEMA_KEYSPACES: [&str; 2] = ["system_schema", "system_virtual_schema"];

/// The keyspace in which drivers read who is in the cluster.
const SYSTEM: &str = "system";

/// What of that keyspace drivers and tools read, of which the same holds. Others of its tables have rows of other
/// keyspaces in them (`paxos`, `batches`, hints), or what was run there.
const SYSTEM_TABLES: [&str; 14] = [
    "local",
    "peers",
    "peers_v2",
    "size_estimates",
    "available_ranges",
    "available_ranges_v2",
    // ScyllaDB.
    "versions",
    // The schema of servers before 3.0.
    "schema_keyspaces",
    "schema_columnfamilies",
    "schema_columns",
    "schema_triggers",
    "schema_usertypes",
    "schema_functions",
    "schema_aggregates",
];

/// True for what drivers read when they connect.
fn drivers_read(keyspace: &str, table: &str) -> bool {
    SCHEMA_KEYSPACES.contains(&keyspace) || keyspace == SYSTEM && SYSTEM_TABLES.contains(&table)
}

/// The options.
const KEYS: [&str; 4] = ["deny_keyspaces", "deny_tables", "allow_keyspaces", "allow_tables"];

/// A table, of one keyspace or of any.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    keyspace: Option<Box<str>>,
    name: Box<str>,
}

impl Table {
    fn is(&self, keyspace: &str, table: &str) -> bool {
        *self.name == *table && self.may_be_in(keyspace)
    }

    fn may_be_in(&self, keyspace: &str) -> bool {
        self.keyspace.as_deref().is_none_or(|own| own == keyspace)
    }
}

/// Which names pass, and which kinds besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameRules {
    kinds: Option<Box<QueryTypeFilter>>,
    denied_keyspaces: Vec<Box<str>>,
    denied_tables: Vec<Table>,
    /// There if only these and the following pass.
    allowed_keyspaces: Option<Vec<Box<str>>>,
    allowed_tables: Option<Vec<Table>>,
}

impl NameRules {
    /// Reads the options; `None` if none of them is given.
    pub(crate) fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        let is_given = KEYS.iter().any(|key| fields.has(key));
        let [denied_keyspaces, denied_tables, allowed_keyspaces, allowed_tables] =
            KEYS.map(|key| read_names(fields, key));
        if !is_given {
            return None;
        }
        let names = |tables: Vec<Table>| tables.into_iter().map(|table| table.name).collect();
        Some(Self {
            kinds: None,
            denied_keyspaces: denied_keyspaces.map(names).unwrap_or_default(),
            denied_tables: denied_tables.unwrap_or_default(),
            allowed_keyspaces: allowed_keyspaces.map(names),
            allowed_tables,
        })
    }

    /// The same, where only some kinds pass.
    pub(crate) fn with_kinds(self, kinds: Option<QueryTypeFilter>) -> Self {
        Self { kinds: kinds.map(Box::new), ..self }
    }

    fn lets_pass(&self, stated: &Stated<'_>) -> bool {
        let has_allowed = self.allowed_keyspaces.is_some() || self.allowed_tables.is_some();
        !self.denies(stated) && (!has_allowed || self.allows(stated))
    }

    fn denies(&self, stated: &Stated<'_>) -> bool {
        let denies = |keyspace: &str| self.denied_keyspaces.iter().any(|denied| **denied == *keyspace);
        match stated.about {
            About::Table { keyspace: Some(keyspace), table } => {
                denies(keyspace) || self.denied_tables.iter().any(|denied| denied.is(keyspace, table))
            }
            // A keyspace is not without its tables, but to use it does nothing to them.
            About::Keyspace(Some(keyspace)) => {
                let touches_tables = stated.kind != StatementKind::Use;
                denies(keyspace)
                    || (touches_tables && self.denied_tables.iter().any(|denied| denied.may_be_in(keyspace)))
            }
            About::Part(Some(keyspace)) => denies(keyspace),
            About::Nothing => false,
            About::Table { keyspace: None, .. }
            | About::Keyspace(None)
            | About::Part(None)
            | About::Unknown => true,
        }
    }

    fn allows(&self, stated: &Stated<'_>) -> bool {
        let keyspaces = self.allowed_keyspaces.as_deref().unwrap_or_default();
        let tables = self.allowed_tables.as_deref().unwrap_or_default();
        let allows = |keyspace: &str| keyspaces.iter().any(|allowed| **allowed == *keyspace);
        match stated.about {
            About::Table { keyspace: Some(keyspace), table } => {
                let is_drivers = stated.kind == StatementKind::Select && drivers_read(keyspace, table);
                is_drivers || allows(keyspace) || tables.iter().any(|allowed| allowed.is(keyspace, table))
            }
            About::Keyspace(Some(keyspace)) => {
                let is_use = stated.kind == StatementKind::Use;
                allows(keyspace) || (is_use && tables.iter().any(|allowed| allowed.may_be_in(keyspace)))
            }
            About::Part(Some(keyspace)) => allows(keyspace),
            _ => false,
        }
    }
}

/// Reads a list of tables or, if the key says so, of keyspaces, each of which is the `name` of what is read.
fn read_names(fields: &mut Fields<'_>, key: &str) -> Option<Vec<Table>> {
    if fields.has(key) && !fields.has_value(key) {
        // Taken for one that was left out it would let everything pass.
        fields.fail_key(key, "expected a list, found nothing");
    }
    let texts = fields.optional_strings(key)?;
    let are_tables = key.ends_with("_tables");
    let mut tables = Vec::new();
    for text in &texts {
        match read_table(text) {
            Some((keyspace, name)) if are_tables || keyspace.is_none() => {
                tables.push(Table { keyspace, name })
            }
            _ if are_tables => {
                fields.fail_key(
                    key,
                    format!("`{text}` is no table: expected `keyspace.table` or `table`, as in CQL"),
                );
            }
            _ => fields.fail_key(key, format!("`{text}` is no keyspace: expected a name as in CQL")),
        }
    }
    Some(tables)
}

/// What becomes of a request.
enum Judged {
    /// With this tag.
    Passes(u32),
    Refused,
    /// It runs what nobody prepared through this process.
    Unknown(Box<[u8]>),
}

/// The part of one client.
pub(crate) struct NameFilter {
    rules: Arc<NameRules>,
    /// Requests in flight that change the keyspace in use. Until they have had their end, nobody can tell which it is.
    uses: u32,
    /// Requests in flight that were judged by the keyspace in use: a server may run what comes behind them first.
    in_use: u32,
}

/// What a USE is tagged with.
const USES: u32 = 1;

/// What a request is tagged with that names something without its keyspace.
const IN_USE: u32 = 2;

impl NameFilter {
    pub(crate) fn new(rules: &Arc<NameRules>) -> Self {
        Self { rules: Arc::clone(rules), uses: 0, in_use: 0 }
    }

    fn judge(&self, protocol: Protocol, request: &mut Item<'_>) -> Judged {
        if let Some(kinds) = &self.rules.kinds
            && !request.query_type().is_some_and(|kind| kinds.lets_pass(kind))
        {
            return unknown_execute(protocol, request).map_or(Judged::Refused, Judged::Unknown);
        }
        let prepares = protocol.prepares(request.head().opcode);
        let statements = request.statements();
        if !statements.are_told() {
            return Judged::Refused;
        }
        let statements = if self.uses > 0 { statements.without_keyspace() } else { statements };
        let (mut uses, mut is_unknown, mut is_in_use) = (false, false, false);
        for stated in statements.each() {
            if stated.is_prepared && stated.about == About::Unknown {
                is_unknown = true;
            } else if !self.rules.lets_pass(&stated) || !self.lets_prepared_pass(&stated) {
                return Judged::Refused;
            }
            uses |= !prepares && stated.kind == StatementKind::Use;
            is_in_use |= stated.is_in_use;
        }
        if is_unknown {
            return request.unknown_id().map_or(Judged::Refused, Judged::Unknown);
        }
        match (uses, is_in_use) {
            (true, _) if self.uses > 0 || self.in_use > 0 => Judged::Refused,
            (true, _) => Judged::Passes(USES),
            (false, true) => Judged::Passes(IN_USE),
            (false, false) => Judged::Passes(0),
        }
    }

    /// A BATCH is a write; what it names by an id must be of a kind that passes too.
    fn lets_prepared_pass(&self, stated: &Stated<'_>) -> bool {
        let kinds = self.rules.kinds.as_ref().filter(|_| stated.is_prepared);
        kinds.is_none_or(|kinds| kinds.lets_pass(stated.kind.query_type()))
    }
}

impl Transform for NameFilter {
    fn request_need(&self, opcode: u8) -> Need {
        statements_need(Protocol::Cql, opcode)
    }

    fn requests(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let protocol = batch.protocol();
        batch.each(|request| {
            if !protocol.runs_statements(request.head()) {
                return;
            }
            match self.judge(protocol, request) {
                Judged::Passes(tag) => {
                    self.uses += u32::from(tag == USES);
                    self.in_use += u32::from(tag == IN_USE);
                    if tag != 0 {
                        request.set_tag(tag);
                    }
                }
                Judged::Refused => request.answer_error(ErrorKind::Invalid, FILTERED),
                Judged::Unknown(id) => answer_unprepared(protocol, request, &id),
            }
        });
        Ok(())
    }

    fn responses(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if self.uses > 0 || self.in_use > 0 {
            batch.each(|reply| {
                let tag = reply.tag();
                self.uses = self.uses.saturating_sub(u32::from(tag == USES));
                self.in_use = self.in_use.saturating_sub(u32::from(tag == IN_USE));
            });
        }
        Ok(())
    }
}

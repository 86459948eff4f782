//! What is known of prepared statements: one map a chain for the whole process, with a copy on each worker. A driver
//! prepares on one connection and executes on all, so what one worker has learned, the others look up when they meet
//! the id: a broadcast would lose the race between the reply to a PREPARE and the first EXECUTE.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wire::cql::metadata::{Metadata, PreparedMetadata};
use wire::cql::query::{Outline, Stated, StatementKind};
use wire::{Protocol, QueryType};

/// Bytes of statements that are remembered in a chain's map. An EXECUTE of one that is not is seen without types.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of statements that a worker has at hand. The copies are shared with the map while that has them too; this is
/// what a worker can keep beyond it.
const OWN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of new statements after which a worker tells the map which of those at hand were used since: far fewer than it
/// takes for the ones that are in use to look like the oldest there.
const TOUCHED_AFTER_BYTES: u64 = BYTES_MAX as u64 / 4;

/// What a map takes for a statement besides its text, its id and its metadata.
const ENTRY_BYTES: usize = 256;

/// A prepared statement.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement {
    /// Its text, as the server got it.
    pub text: Arc<str>,
    /// The keyspace of what its text names without one: the server says it with what the statement binds and with its
    /// columns. If it does not, the one that was in use when the statement was prepared.
    pub keyspace: Option<Box<str>>,
    /// What it binds and what rows it has.
    pub metadata: PreparedMetadata,
    /// What it does.
    pub query_type: QueryType,
    /// What it is, in the words of its protocol: one of a few names.
    pub name: &'static str,
    /// What it is about: its text is taken apart once.
    pub(crate) outline: Outline,
}

impl Statement {
    /// Takes its text apart. `in_use`: the keyspace that was in use when it was prepared, as far as anybody knows.
    #[must_use]
    pub fn new(
        protocol: Protocol,
        text: Arc<str>,
        in_use: Option<Box<str>>,
        metadata: PreparedMetadata,
    ) -> Self {
        let (query_type, name, outline) = protocol.outline_of_text(&text);
        let keyspace = said_keyspace(&outline, &metadata).map(Into::into).or(in_use);
        Self { text, keyspace, metadata, query_type, name, outline }
    }

    /// True for one that changes the keyspace in use.
    #[must_use]
    pub fn changes_keyspace(&self) -> bool {
        self.name == StatementKind::Use.name()
    }

    /// Itself, or the first of those in it, and what that is about.
    #[must_use]
    pub fn first_stated(&self) -> Option<Stated<'_>> {
        self.outline.get_prepared(0, self.keyspace.as_deref())
    }

    /// True if who knows this one is wrong about the other one.
    fn contradicts(&self, other: &Self) -> bool {
        // The id of a text that names no keyspace is that of one keyspace; others have one id in all of them.
        let is_elsewhere = self.outline.is_in_use() && self.keyspace != other.keyspace;
        is_elsewhere || self.metadata != other.metadata
    }

    fn memory_bytes(&self) -> usize {
        let names = self.keyspace.as_ref().map_or(0, |name| name.len()) + self.outline.heap_bytes();
        self.text.len() + names + self.metadata.memory_bytes()
    }
}

/// The keyspace of names that are written without one, as the server says. A statement of several tables may name others:
/// one that is not written in the text is none of theirs. Nor is what Cassandra calls the table and the keyspace of a
/// batch's own timestamp.
fn said_keyspace<'m>(outline: &Outline, metadata: &'m PreparedMetadata) -> Option<&'m str> {
    let written: HashSet<&str> = outline.keyspaces().collect();
    let mut said = metadata.tables().map(|table| &*table.keyspace);
    said.find(|keyspace| *keyspace != "[batch]" && !written.contains(keyspace))
}

/// A statement that this worker knows. To clone it is to count without an atomic.
#[derive(Clone, Debug)]
#[expect(
    clippy::redundant_allocation,
    reason = "the inner count is shared with other threads, the outer is not"
)]
pub struct Known(Rc<Arc<Statement>>);

impl Deref for Known {
    type Target = Statement;

    fn deref(&self) -> &Statement {
        &self.0
    }
}

/// What it binds.
impl AsRef<Metadata> for Known {
    fn as_ref(&self) -> &Metadata {
        &self.metadata.binds
    }
}

/// Statements by their ids. The one that was learned or touched longest ago makes room.
struct Map<V> {
    entries: HashMap<Arc<[u8]>, Place<V>>,
    /// By when they were learned or touched.
    ages: BTreeMap<u64, Arc<[u8]>>,
    next_age: u64,
    bytes: usize,
    bytes_max: usize,
}

struct Place<V> {
    statement: V,
    age: u64,
    bytes: usize,
}

/// What a map takes for a statement of so many bytes.
fn room(id: &[u8], bytes: usize) -> usize {
    bytes + id.len() + ENTRY_BYTES
}

impl<V> Map<V> {
    fn new(bytes_max: usize) -> Self {
        Self { entries: HashMap::new(), ages: BTreeMap::new(), next_age: 0, bytes: 0, bytes_max }
    }

    fn insert(&mut self, id: &[u8], statement: V, bytes: usize) {
        self.remove(id);
        let bytes = room(id, bytes);
        if bytes > self.bytes_max {
            return;
        }
        while self.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = self.ages.pop_first() else { break };
            self.remove(&oldest);
        }
        let id: Arc<[u8]> = id.into();
        let age = self.next_age;
        self.next_age += 1;
        self.ages.insert(age, Arc::clone(&id));
        self.entries.insert(id, Place { statement, age, bytes });
        self.bytes += bytes;
    }

    fn remove(&mut self, id: &[u8]) {
        if let Some(place) = self.entries.remove(id) {
            self.ages.remove(&place.age);
            self.bytes -= place.bytes;
        }
    }

    fn get(&self, id: &[u8]) -> Option<&V> {
        self.entries.get(id).map(|place| &place.statement)
    }

    /// As `get`; it is the youngest from now on.
    fn touch(&mut self, id: &[u8]) -> Option<&V> {
        let place = self.entries.get_mut(id)?;
        if let Some(id) = self.ages.remove(&place.age) {
            place.age = self.next_age;
            self.ages.insert(self.next_age, id);
            self.next_age += 1;
        }
        Some(&place.statement)
    }
}

struct All {
    map: Mutex<Map<Arc<Statement>>>,
    /// Counts the statements that came again as something else: what workers have at hand may be out of date.
    replaced: AtomicU64,
    /// Bytes of statements that were learned.
    learned_bytes: AtomicU64,
}

/// A chain's map, of the whole process.
#[derive(Clone)]
pub struct AllPrepared(Arc<All>);

impl Default for AllPrepared {
    fn default() -> Self {
        let map = Mutex::new(Map::new(BYTES_MAX));
        Self(Arc::new(All { map, replaced: AtomicU64::new(0), learned_bytes: AtomicU64::new(0) }))
    }
}

/// A statement that a worker has at hand.
struct AtHand {
    known: Known,
    /// Since the map was last told.
    is_used: Cell<bool>,
}

/// A worker's copy of it.
pub struct Prepared {
    all: AllPrepared,
    own: RefCell<Map<AtHand>>,
    /// What `replaced` was when `own` was last emptied.
    as_of: Cell<u64>,
    /// What `learned_bytes` was when the map was last told what is used.
    told_at: Cell<u64>,
}

impl Default for Prepared {
    fn default() -> Self {
        Self::new(&AllPrepared::default())
    }
}

impl Prepared {
    /// The copy of one worker.
    #[must_use]
    pub fn new(all: &AllPrepared) -> Self {
        let as_of = Cell::new(all.0.replaced.load(Ordering::Acquire));
        let told_at = Cell::new(all.0.learned_bytes.load(Ordering::Relaxed));
        Self { all: all.clone(), own: RefCell::new(Map::new(OWN_BYTES_MAX)), as_of, told_at }
    }

    /// Forgets what is at hand if a statement was replaced since, and tells the map now and then what is in use. Called
    /// once a run, so that a look-up need not.
    pub(crate) fn refresh(&self) {
        let replaced = self.all.0.replaced.load(Ordering::Acquire);
        let learned_bytes = self.all.0.learned_bytes.load(Ordering::Relaxed);
        let is_replaced = self.as_of.replace(replaced) != replaced;
        if is_replaced || learned_bytes.wrapping_sub(self.told_at.get()) >= TOUCHED_AFTER_BYTES {
            self.told_at.set(learned_bytes);
            self.tell_used();
            if is_replaced {
                *self.own.borrow_mut() = Map::new(OWN_BYTES_MAX);
            }
        }
    }

    /// What is looked up here looks unused there: without this new statements would take the room of those in use.
    #[cold]
    #[inline(never)]
    fn tell_used(&self) {
        let mut map = self.all.0.map.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, place) in &self.own.borrow().entries {
            if place.statement.is_used.take() {
                let _known = map.touch(id);
            }
        }
    }

    /// Remembers a statement. Called before its client can learn the id.
    pub(crate) fn learn(&self, id: &[u8], statement: Statement) {
        let mut map = self.all.0.map.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match map.touch(id) {
            // The same again, as from each of a driver's connections.
            Some(known) if **known == statement => Arc::clone(known),
            other => {
                let is_replaced = other.is_some_and(|known| known.contradicts(&statement));
                let bytes = statement.memory_bytes();
                let statement = Arc::new(statement);
                map.insert(id, Arc::clone(&statement), bytes);
                self.all.0.learned_bytes.fetch_add(room(id, bytes) as u64, Ordering::Relaxed);
                if is_replaced {
                    self.all.0.replaced.fetch_add(1, Ordering::Release);
                }
                statement
            }
        };
        drop(map);
        self.keep(id, known);
    }

    fn keep(&self, id: &[u8], statement: Arc<Statement>) -> Known {
        let bytes = statement.memory_bytes();
        let known = Known(Rc::new(statement));
        // Whoever looked it up in the map has touched it there.
        let at_hand = AtHand { known: known.clone(), is_used: Cell::new(false) };
        self.own.borrow_mut().insert(id, at_hand, bytes);
        known
    }

    /// The statement of this id, if anybody prepared it through this process.
    #[must_use]
    pub fn get(&self, id: &[u8]) -> Option<Known> {
        if let Some(at_hand) = self.own.borrow().get(id) {
            at_hand.is_used.set(true);
            return Some(at_hand.known.clone());
        }
        let mut map = self.all.0.map.lock().unwrap_or_else(PoisonError::into_inner);
        let statement = Arc::clone(map.touch(id)?);
        drop(map);
        Some(self.keep(id, statement))
    }
}

#[cfg(test)]
mod tests {
    use super::{AllPrepared, BYTES_MAX, Map, Prepared, Statement};
    use wire::Protocol;
    use wire::cql::metadata::{Column, Metadata, PreparedMetadata, Table};
    use wire::cql::types::ColumnType;

    fn statement(text: &str, kind: ColumnType) -> Statement {
        let columns = vec![Column { table: None, name: "c".into(), kind }];
        let metadata = PreparedMetadata {
            binds: Metadata { table: None, columns },
            partition_key: Vec::new(),
            result: None,
        };
        Statement::new(Protocol::Cql, text.into(), Some("ks".into()), metadata)
    }

    #[test]
    fn what_one_worker_learned_the_others_find_at_once() {
        let all = AllPrepared::default();
        let workers = [Prepared::new(&all), Prepared::new(&all)];
        assert!(workers[1].get(b"id").is_none());
        workers[0].learn(b"id", statement("SELECT", ColumnType::Int));
        let known = workers[1].get(b"id").unwrap();
        assert_eq!((&*known.text, known.keyspace.as_deref()), ("SELECT", Some("ks")));
        assert!(Prepared::default().get(b"id").is_none(), "a map of its own");
    }

    #[test]
    fn a_statement_with_other_metadata_is_replaced_on_all_workers() {
        let all = AllPrepared::default();
        let workers = [Prepared::new(&all), Prepared::new(&all)];
        workers[0].learn(b"id", statement("SELECT", ColumnType::Int));
        assert!(workers[1].get(b"id").is_some());
        workers[0].learn(b"id", statement("SELECT", ColumnType::Int));
        workers[0].learn(b"id", statement("SELECT", ColumnType::BigInt));
        for worker in &workers {
            worker.refresh();
            let known = worker.get(b"id").unwrap();
            assert_eq!(known.metadata.binds.columns[0].kind, ColumnType::BigInt);
        }
    }

    #[test]
    fn a_statement_of_another_keyspace_is_replaced_on_all_workers() {
        let all = AllPrepared::default();
        let workers = [Prepared::new(&all), Prepared::new(&all)];
        let in_keyspace = |text: &str, keyspace: &str| Statement {
            keyspace: Some(keyspace.into()),
            ..statement(text, ColumnType::Int)
        };
        for (text, is_replaced) in [("SELECT * FROM t", true), ("SELECT * FROM k.t", false)] {
            let id = text.as_bytes();
            workers[0].learn(id, in_keyspace(text, "a"));
            assert_eq!(workers[1].get(id).unwrap().keyspace.as_deref(), Some("a"), "{text}");
            workers[0].learn(id, in_keyspace(text, "b"));
            workers[1].refresh();
            let known = workers[1].get(id).unwrap();
            assert_eq!(known.keyspace.as_deref(), Some(if is_replaced { "b" } else { "a" }), "{text}");
        }
    }

    #[test]
    fn the_keyspace_is_the_one_that_the_server_says() {
        let table = |keyspace: &str| Some(Table { keyspace: keyspace.into(), name: "t".into() });
        let of_columns = |keyspaces: &[&str]| {
            let column = |keyspace: &&str| {
                let table = table(keyspace).map(Box::new);
                Column { table, name: "c".into(), kind: ColumnType::Int }
            };
            Metadata { table: None, columns: keyspaces.iter().map(column).collect() }
        };
        let of_all = |keyspace: &str| Metadata { table: table(keyspace), ..Metadata::default() };
        let said = |text: &str, binds: Metadata, result: Option<Metadata>| {
            let metadata = PreparedMetadata {
                binds,
                partition_key: Vec::new(),
                result: result.map(std::sync::Arc::new),
            };
            let statement = Statement::new(Protocol::Cql, text.into(), Some("noted".into()), metadata);
            statement.keyspace.unwrap()
        };
        let (select, none) = ("SELECT * FROM t", Metadata::default());
        assert_eq!(&*said(select, of_all("a"), Some(none.clone())), "a");
        assert_eq!(&*said(select, none.clone(), Some(of_all("a"))), "a");
        assert_eq!(&*said(select, of_columns(&["a", "a"]), None), "a");
        assert_eq!(&*said(select, none.clone(), Some(of_columns(&["a"]))), "a");
        assert_eq!(&*said(select, none.clone(), Some(none)), "noted");
        // Of several tables one may be in a keyspace that is written.
        let batch = "BEGIN BATCH DELETE FROM b.t WHERE c = ? DELETE FROM t WHERE c = ? APPLY BATCH";
        assert_eq!(&*said(batch, of_columns(&["b", "a"]), None), "a");
        assert_eq!(&*said(batch, of_all("b"), None), "noted", "the other may bind nothing");
        let timed = "BEGIN BATCH USING TIMESTAMP ? DELETE FROM t WHERE c = ? APPLY BATCH";
        assert_eq!(&*said(timed, of_columns(&["[batch]", "a"]), None), "a");
        assert_eq!(&*said(timed, of_all("[batch]"), None), "noted");
    }

    #[test]
    fn the_map_is_bounded_and_the_oldest_make_room() {
        let mut map = Map::new(10_000);
        for id in 0..100_u32 {
            map.insert(&id.to_be_bytes(), id, 200);
            map.touch(&0_u32.to_be_bytes());
            assert!(map.bytes <= 10_000);
            assert_eq!(map.ages.len(), map.entries.len());
        }
        assert_eq!(map.get(&0_u32.to_be_bytes()), Some(&0), "touched each time");
        assert_eq!((map.get(&1_u32.to_be_bytes()), map.get(&99_u32.to_be_bytes())), (None, Some(&99)));
        map.insert(b"large", 1, 10_000);
        assert!(map.get(b"large").is_none());
        let held: usize = map.entries.values().map(|place| place.bytes).sum();
        assert_eq!(held, map.bytes);
    }

    #[test]
    fn what_a_worker_has_at_hand_and_uses_stays_known() {
        let all = AllPrepared::default();
        let (busy, flooded) = (Prepared::new(&all), Prepared::new(&all));
        for id in [b"used", b"idle"] {
            busy.learn(id, statement("SELECT", ColumnType::Int));
        }
        let text = "x".repeat(1 << 19);
        for id in 0..200_u32 {
            flooded.learn(&id.to_be_bytes(), statement(&text, ColumnType::Int));
            busy.refresh();
            assert!(busy.get(b"used").is_some());
        }
        let late = Prepared::new(&all);
        assert!(late.get(b"used").is_some() && late.get(b"idle").is_none());
        // Another one is replaced, and all workers forget what they have at hand.
        for kind in [ColumnType::Int, ColumnType::BigInt] {
            flooded.learn(b"other", statement("SELECT", kind));
        }
        busy.refresh();
        assert!(busy.own.borrow().entries.is_empty() && busy.get(b"used").is_some());
    }

    #[test]
    fn a_process_holds_no_more_than_it_may() {
        let worker = Prepared::default();
        let text = "x".repeat(1 << 20);
        for id in 0..100_u32 {
            worker.learn(&id.to_be_bytes(), statement(&text, ColumnType::Int));
        }
        let map = worker.all.0.map.lock().unwrap();
        assert!(map.bytes <= BYTES_MAX && map.entries.len() > 50);
    }
}

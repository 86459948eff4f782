//! Server connections that several clients share: `connections: Shared`.
//!
//! `client` decides where each request goes, `connection` is one server connection, `turn` its task, `slots` says which
//! request a stream id stands for, `timeouts` which waits too long, `inbox` takes replies to clients, `gather` makes one
//! write of many requests, `identity` says who may share, `prepared` what statements do.
//!
//! A client reaches a pool only after the server itself has accepted that client's own handshake, and only for
//! requests that leave nothing behind on their connection; everything else goes on a connection of its own.

mod client;
mod connection;
mod gather;
mod identity;
mod inbox;
#[cfg(test)]
mod keyspace_tests;
#[cfg(test)]
mod pause_tests;
#[cfg(test)]
mod pool_tests;
mod prepared;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod session_tests;
mod slots;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod timeout_tests;
mod timeouts;
#[cfg(test)]
mod torn_tests;
mod turn;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use chain::{Connector, Link, Spawner, Task, Tick, WorkerCx, WorkerPart};
use observe::RetireReason;

use self::connection::{Connection, Surroundings};
use self::identity::{Key, Replay};
use self::inbox::{Inbox, NO_CONNECTION, Spill};
use self::prepared::Prepared;
pub(crate) use self::prepared::{AllPrepared, none_prepared};
use self::turn::ConnectionTask;
use crate::single::CassandraSinkSingle;

/// Connections of one pool on one worker. The second and further ones are opened only when the others have no room or
/// are stuck: the fewer there are, the more requests leave in one write.
pub(crate) const CONNECTIONS_MAX: usize = 4;

/// What the clients of one worker share.
pub(crate) struct SharedPart {
    surroundings: Rc<Surroundings>,
    connector: Rc<dyn Connector>,
    spawner: Rc<dyn Spawner>,
    pools: RefCell<HashMap<Key, Weak<ConnectionPool>>>,
    next_connection: Cell<u64>,
    connections_max: usize,
}

impl SharedPart {
    pub(crate) fn new(options: &CassandraSinkSingle, all: &AllPrepared, worker: &WorkerCx) -> Rc<Self> {
        Rc::new(Self {
            surroundings: Rc::new(Surroundings {
                pool: worker.pool.clone(),
                prepared: Prepared::new(all),
                spill: Rc::new(Spill::new(&worker.sharing)),
                metrics: Rc::clone(&worker.sharing),
                address: options.remote_address.clone(),
                connect_timeout: options.connect_timeout,
                read_timeout: options.read_timeout,
            }),
            connector: Rc::clone(&worker.connector),
            spawner: Rc::clone(&worker.spawner),
            pools: RefCell::default(),
            next_connection: Cell::new(NO_CONNECTION + 1),
            connections_max: options.connections_max,
        })
    }

    /// The pool of these clients.
    fn pool(&self, key: &Key) -> Rc<ConnectionPool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(key).and_then(Weak::upgrade) {
            return pool;
        }
        pools.retain(|_, pool| pool.strong_count() > 0);
        let connections_max = self.connections_max;
        let pool = Rc::new(ConnectionPool { connections: RefCell::default(), connections_max });
        pools.insert(key.clone(), Rc::downgrade(&pool));
        pool
    }

    /// Opens a connection, and gives it a task.
    fn open(&self, now: Tick, replay: Option<Replay>, owner: Option<Rc<Inbox>>) -> Rc<Connection> {
        let id = self.next_connection.get();
        self.next_connection.set(id + 1);
        let attempt = self.connector.connect(&self.surroundings.address);
        let connection = Connection::new(id, &self.surroundings, (attempt, now), replay, owner);
        let task: Box<dyn Task> = Box::new(ConnectionTask(Rc::clone(&connection)));
        self.spawner.spawn(task);
        connection
    }
}

/// Makes the clients' parts.
pub(crate) struct SharedWorkerPart(pub(crate) Rc<SharedPart>);

impl WorkerPart for SharedWorkerPart {
    fn client(&self) -> Link {
        Link::Sink(Box::new(client::SharedSink::new(&self.0)))
    }
}

/// The connections of clients with the same key. It lives as long as one of these clients does.
struct ConnectionPool {
    connections: RefCell<Vec<Rc<Connection>>>,
    connections_max: usize,
}

impl ConnectionPool {
    /// True when a connection more is of use.
    fn has_place(&self) -> bool {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.is_usable());
        connections.is_empty()
    }

    fn add(&self, connection: Rc<Connection>) {
        self.connections.borrow_mut().push(connection);
    }

    /// The connection for the next request: the one with the fewest in flight, among those that can take it. Opens
    /// one by `open` when none can and there may be another.
    fn pick(&self, now: Tick, open: impl FnOnce() -> Rc<Connection>) -> Option<Rc<Connection>> {
        let mut connections = self.connections.borrow_mut();
        // Nearly always there is one, and it is well.
        if let [only] = &**connections
            && only.can_take(now)
        {
            return Some(Rc::clone(only));
        }
        connections.retain(|connection| connection.is_usable());
        let able = connections.iter().filter(|connection| connection.can_take(now));
        if let Some(best) = able.min_by_key(|connection| connection.load()) {
            return Some(Rc::clone(best));
        }
        if connections.len() >= self.connections_max {
            return None;
        }
        let opened = open();
        connections.push(Rc::clone(&opened));
        Some(opened)
    }

    /// All that are on its list. Those that take no more requests may not be.
    fn each(&self, look: impl FnMut(&Rc<Connection>)) {
        self.connections.borrow().iter().for_each(look);
    }
}

impl Drop for ConnectionPool {
    fn drop(&mut self) {
        self.each(|connection| connection.retire(RetireReason::Unused));
    }
}

//! RequestThrottling of each keyspace or each table.
//!
//! Every statement is taken from the quota of what it is about; a request passes if all of its statements do.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use chain::{Batch, Cx, Fault, Item, Need, Tick, Transform, statements_need};
use wire::cql::query::About;
use wire::{ErrorKind, Protocol};

use crate::limiter::{Limiter, Limiters};
use crate::request_throttling::{OVERLOADED, warn_of_too_many};

/// Limiters that a worker has at hand. Few, since none of them can make room for another.
const NEAR_MAX: usize = 64;

/// Names longer than this are nobody's: Cassandra's own are shorter.
const NAME_BYTES_MAX: usize = 512;

/// What has a quota of its own.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Per {
    /// Each keyspace.
    Keyspace,
    /// Each table.
    Table,
}

/// The quotas, of all workers.
pub(crate) struct NameLimits {
    per: Per,
    quota: u32,
    limiters: Limiters<Box<str>>,
    /// Of all that is about none of them.
    of_none: Arc<Limiter>,
}

impl NameLimits {
    pub(crate) fn new(per: Per, quota: u32) -> Self {
        Self { per, quota, limiters: Limiters::new(quota), of_none: Arc::new(Limiter::new(quota)) }
    }

    /// Writes the key of what a statement is about; false if it is about none.
    fn write_key(&self, about: About<'_>, key: &mut String) -> bool {
        key.clear();
        match (self.per, about) {
            (Per::Keyspace, About::Table { keyspace: Some(keyspace), .. })
            | (Per::Keyspace, About::Keyspace(Some(keyspace)) | About::Part(Some(keyspace))) => {
                key.push_str(keyspace);
            }
            (Per::Table, About::Table { keyspace: Some(keyspace), table }) => {
                key.push_str(keyspace);
                key.push('\0');
                key.push_str(table);
            }
            _ => return false,
        }
        key.len() <= NAME_BYTES_MAX
    }
}

/// What the clients of one worker share.
#[derive(Default)]
pub(crate) struct Near {
    limiters: HashMap<Box<str>, Arc<Limiter>>,
    key: String,
}

impl Near {
    /// The limiter of what a statement is about.
    fn limiter(&mut self, limits: &NameLimits, about: About<'_>, now: Tick) -> Arc<Limiter> {
        if !limits.write_key(about, &mut self.key) {
            return Arc::clone(&limits.of_none);
        }
        if let Some(limiter) = self.limiters.get(&*self.key) {
            return Arc::clone(limiter);
        }
        let limiter = limits.limiters.of(self.key.as_str().into(), now);
        // The one of those that found no place may have one of its own the next time.
        if !limits.limiters.is_of_the_rest(&limiter) {
            if self.limiters.len() >= NEAR_MAX {
                self.limiters.clear();
            }
            self.limiters.insert(self.key.as_str().into(), Arc::clone(&limiter));
        }
        limiter
    }
}

/// The part of one client.
pub(crate) struct NameThrottle {
    limits: Arc<NameLimits>,
    near: Rc<RefCell<Near>>,
    /// What a request costs, and from which quotas. Empty between two requests.
    costs: Vec<(Arc<Limiter>, u64)>,
}

impl NameThrottle {
    pub(crate) fn new(limits: &Arc<NameLimits>, near: &Rc<RefCell<Near>>) -> Self {
        Self { limits: Arc::clone(limits), near: Rc::clone(near), costs: Vec::new() }
    }

    fn lets_pass(&mut self, request: &mut Item<'_>, protocol: Protocol, now: Tick) -> bool {
        let statements = request.statements();
        let (are_told, mut told) = (statements.are_told(), 0);
        for stated in statements.each() {
            let limiter = self.near.borrow_mut().limiter(&self.limits, stated.about, now);
            self.add(limiter, 1);
            told += 1;
        }
        // A batch costs as many as it says it has, also those that cannot be read.
        let all = if are_told { 1 } else { protocol.statements(request.head(), request.bytes()) };
        if u64::from(all) > told {
            self.add(Arc::clone(&self.limits.of_none), u64::from(all) - told);
        }
        let passes = self.pay(now);
        self.costs.clear();
        passes
    }

    fn add(&mut self, limiter: Arc<Limiter>, count: u64) {
        match self.costs.last_mut() {
            Some((last, cost)) if Arc::ptr_eq(last, &limiter) => *cost += count,
            _ => self.costs.push((limiter, count)),
        }
    }

    /// Takes all that a request costs; false, and nothing is taken, if there is not all of it.
    fn pay(&mut self, now: Tick) -> bool {
        self.costs.sort_unstable_by_key(|(limiter, _)| Arc::as_ptr(limiter));
        self.costs.dedup_by(|(limiter, cost), (first, sum)| {
            let is_same = Arc::ptr_eq(limiter, first);
            *sum += if is_same { *cost } else { 0 };
            is_same
        });
        if self.costs.iter().any(|(_, cost)| *cost > u64::from(self.limits.quota)) {
            warn_of_too_many();
            return false;
        }
        // What is taken from one while another has too little would be missed by everybody else until it is given back.
        if self.costs.len() > 1 && !self.costs.iter().all(|(limiter, cost)| limiter.has(now, *cost)) {
            return false;
        }
        let missing = self.costs.iter().position(|(limiter, cost)| !limiter.take_all(now, *cost));
        for (limiter, cost) in self.costs.iter().take(missing.unwrap_or_default()) {
            limiter.give_back(*cost);
        }
        missing.is_none()
    }
}

impl Transform for NameThrottle {
    fn request_need(&self, opcode: u8) -> Need {
        statements_need(Protocol::Cql, opcode)
    }

    fn requests(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let protocol = batch.protocol();
        batch.each(|request| {
            if protocol.runs_statements(request.head()) && !self.lets_pass(request, protocol, cx.now) {
                request.answer_error(ErrorKind::Overloaded, OVERLOADED);
            }
        });
        // A large batch is rare.
        self.costs.shrink_to(NEAR_MAX);
        Ok(())
    }
}

//! ParallelMap: spreads the requests of a client over several instances of a chain of its own.
//!
//! Toward server: request i goes to instance i mod n. Requests that carry state of their connection (handshake, USE,
//! REGISTER), and PREPARE, go to every instance. Toward client: each reply once; events of one instance only.
//! Wants decoded: the first chunk of a request, for the first word of its statement.
//! Must hold: all instances have the same state. An instance that fails leaves no request without an answer.

mod agreement;
mod gather;
mod instances;
#[cfg(test)]
mod tests;

use chain::{Builder, ChainPart, ChainPlan, Link, WorkerCx, WorkerPart};
use config::{COUNT_MAX, Fields};
use std::rc::Rc;

use crate::own_chains::OwnChains;
use instances::Instances;

/// The options.
pub struct ParallelMap {
    plans: Vec<ChainPlan>,
    is_ordered: bool,
}

impl ParallelMap {
    /// Reads the options.
    pub fn parse(fields: &mut Fields<'_>, mut chains: OwnChains) -> Option<Self> {
        let count = fields.required_u64("parallelism", 1..=COUNT_MAX);
        let is_ordered = fields.required_bool("ordered_results");
        fields.required_chain("chain")?;
        count?;
        Some(Self { plans: chains.take(0), is_ordered: is_ordered? })
    }
}

impl Builder for ParallelMap {
    fn worker(&self, worker: &WorkerCx) -> Box<dyn WorkerPart> {
        let parts = self.plans.iter().map(|plan| plan.worker(worker)).collect();
        Box::new(Part { parts, is_ordered: self.is_ordered })
    }

    fn reaches_servers(&self) -> bool {
        self.plans.iter().any(ChainPlan::reaches_servers)
    }

    fn chains(&self) -> Vec<&ChainPlan> {
        self.plans.iter().collect()
    }
}

/// ConnectionBalanceAndPool: a chain of its own whose clients share the server connections of its sink.
///
/// Toward server and toward client: the chain's transforms run for each client by itself, in front of a sink with
/// `connections: Shared`. Upstream's shares whole chains, so that late replies can reach the wrong client.
pub struct ConnectionBalanceAndPool {
    plan: ChainPlan,
}

impl ConnectionBalanceAndPool {
    /// Reads the options.
    pub fn parse(fields: &mut Fields<'_>, mut chains: OwnChains) -> Option<Self> {
        let connections_max = fields.required_u64("max_connections", 1..=u64::from(u32::MAX));
        let node = fields.required_chain("chain")?;
        // Nothing there: what was wrong with it has been said.
        let mut plan = chains.take(0).pop()?;
        let connections_max = usize::try_from(connections_max?).unwrap_or(usize::MAX);
        let sink = plan.sink_mut()?;
        if sink.reaches_servers() && !sink.share_connections(connections_max) {
            fields.fail_at(
                &node,
                "the sink of this chain cannot share connections: it must be a CassandraSinkSingle",
            );
            return None;
        }
        Some(Self { plan })
    }
}

impl Builder for ConnectionBalanceAndPool {
    fn worker(&self, worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(Part { parts: vec![self.plan.worker(worker)], is_ordered: false })
    }

    fn reaches_servers(&self) -> bool {
        self.plan.reaches_servers()
    }

    fn chains(&self) -> Vec<&ChainPlan> {
        vec![&self.plan]
    }
}

struct Part {
    parts: Vec<Rc<ChainPart>>,
    is_ordered: bool,
}

impl WorkerPart for Part {
    fn client(&self) -> Link {
        Link::Sink(Box::new(Instances::new(&self.parts, self.is_ordered)))
    }
}

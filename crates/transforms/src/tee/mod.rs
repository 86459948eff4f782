//! Tee: sends a copy of each request down a second chain, and may compare what comes back.
//!
//! Toward server: everything passes unchanged. Toward client: the first chain's replies, or the second one's if the
//! switch says so; with `FailOnMismatch`, an error where they differ.
//! Wants decoded: the first chunk of a request; the whole reply only where replies are compared or exchanged.
//! Must hold: with `Ignore` the second chain neither slows nor fails the first. What it does not get is counted.
//!
//! `client` is the transform of one client, `mirror` its second chain, `session` says what a request means for another
//! server, `agreement` whether both are in the same keyspace. `pairs` keeps requests of which both replies matter,
//! `large` one that is not whole yet, `prepared` what another server calls a statement, `ids` what is in flight there.

mod agreement;
#[cfg(test)]
mod bounds_tests;
mod client;
mod emptying;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod ids;
mod large;
mod mirror;
mod pairs;
mod prepared;
mod session;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::Duration;

use chain::{Builder, ChainPart, ChainPlan, Link, Pool, Spawner, Switch, WorkerCx, WorkerPart};
use config::Fields;
use observe::Counter;

use self::client::TeeClient;
use self::prepared::{AllPrepared, Prepared, none_prepared};
use crate::own_chains::OwnChains;

#[cfg(any(test, fuzzing))]
pub use self::fuzz::session as fuzz_tee_session;

/// Batches that may wait for the second chain unless told otherwise.
const BUFFER_BATCHES: u64 = 5;

/// What becomes of replies that differ.
enum Behavior {
    /// Nobody compares them.
    Ignore,
    /// They are logged.
    LogWarning,
    /// The client gets an error.
    Fail,
    /// The request is sent down this chain.
    Subchain(ChainPlan),
}

/// The options.
pub struct Tee {
    plan: ChainPlan,
    behavior: Behavior,
    buffer_batches: usize,
    wait_max: Duration,
    sample_percent: u32,
    switch: Option<Switch>,
    prepared: AllPrepared,
}

impl Tee {
    /// Reads the options.
    pub fn parse(fields: &mut Fields<'_>, mut chains: OwnChains) -> Option<Self> {
        fields.aliases("switch_port", &["http_api_port"]);
        let behavior = read_behavior(fields, &mut chains);
        let buffer_batches = fields.optional_u64("buffer_size", 1..=1_000_000).unwrap_or(BUFFER_BATCHES);
        let wait_micros = fields.optional_u64("timeout_micros", 0..=u64::MAX).unwrap_or(0);
        let sample_percent = fields.optional_u64("sample_percent", 0..=100).unwrap_or(100);
        let port = fields.optional_u64("switch_port", 1..=65_535);
        fields.required_chain("chain")?;
        Some(Self {
            plan: chains.take(0).pop()?,
            behavior: behavior?,
            buffer_batches: usize::try_from(buffer_batches).unwrap_or(usize::MAX),
            wait_max: Duration::from_micros(wait_micros),
            sample_percent: u32::try_from(sample_percent).unwrap_or(100),
            switch: port.and_then(|port| u16::try_from(port).ok()).map(Switch::new),
            prepared: none_prepared(),
        })
    }
}

fn read_behavior(fields: &mut Fields<'_>, chains: &mut OwnChains) -> Option<Behavior> {
    const WORDS: [&str; 4] = ["Ignore", "LogWarningOnMismatch", "FailOnMismatch", "SubchainOnMismatch"];
    let Some(node) = fields.optional_node("behavior").filter(|node| !node.is_null()) else {
        return Some(Behavior::Ignore);
    };
    let (word, options) = fields.choice(&node, &WORDS)?;
    match word {
        "Ignore" => Some(Behavior::Ignore),
        "LogWarningOnMismatch" => Some(Behavior::LogWarning),
        "FailOnMismatch" => Some(Behavior::Fail),
        "SubchainOnMismatch" => {
            // The older dialect has the list itself there.
            fields.chain_or_nested(&options)?;
            chains.take(1).pop().map(Behavior::Subchain)
        }
        _ => None,
    }
}

impl Builder for Tee {
    fn worker(&self, worker: &WorkerCx) -> Box<dyn WorkerPart> {
        let mismatch = match &self.behavior {
            Behavior::Subchain(plan) => Some(plan.worker(worker)),
            Behavior::Ignore | Behavior::LogWarning | Behavior::Fail => None,
        };
        Box::new(Part(Rc::new(Surroundings {
            chain: self.plan.worker(worker),
            mismatch,
            on_mismatch: match &self.behavior {
                Behavior::Ignore => OnMismatch::Ignore,
                Behavior::LogWarning => OnMismatch::Log,
                Behavior::Fail => OnMismatch::Fail,
                Behavior::Subchain(_) => OnMismatch::Resend,
            },
            buffer_batches: self.buffer_batches,
            wait_max: self.wait_max,
            sample_percent: self.sample_percent,
            switch: self.switch.clone(),
            prepared: Prepared::new(&self.prepared),
            dropped: Rc::clone(&worker.nested.tee_dropped),
            pool: worker.pool.clone(),
            spawner: Rc::clone(&worker.spawner),
        })))
    }

    fn chains(&self) -> Vec<&ChainPlan> {
        let mismatch = match &self.behavior {
            Behavior::Subchain(plan) => Some(plan),
            Behavior::Ignore | Behavior::LogWarning | Behavior::Fail => None,
        };
        std::iter::once(&self.plan).chain(mismatch).collect()
    }

    fn switch(&self) -> Option<&Switch> {
        self.switch.as_ref()
    }
}

/// As [`Behavior`], on a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnMismatch {
    Ignore,
    Log,
    Fail,
    Resend,
}

/// What the clients of one worker have in common.
struct Surroundings {
    chain: Rc<ChainPart>,
    mismatch: Option<Rc<ChainPart>>,
    on_mismatch: OnMismatch,
    buffer_batches: usize,
    wait_max: Duration,
    sample_percent: u32,
    switch: Option<Switch>,
    prepared: Prepared,
    dropped: Rc<Counter>,
    pool: Pool,
    spawner: Rc<dyn Spawner>,
}

struct Part(Rc<Surroundings>);

impl WorkerPart for Part {
    fn client(&self) -> Link {
        Link::Transform(Box::new(TeeClient::new(&self.0)))
    }
}

//! QueryCounter: counts statements by their kind.
//!
//! Toward server and toward client: everything passes unchanged.
//! Wants decoded: the first chunk of a request, for the words its statements begin with.
//! Must hold: the number of series is bounded, whatever clients send.

use std::sync::Arc;

use chain::{Batch, Builder, Cx, Fault, Link, Need, Transform, WorkerCx, WorkerPart};
use config::Fields;
use observe::{OwnFamily, OwnMetrics, Tallies, Tally};
use wire::Protocol;

/// Kinds of statements that are told apart; no protocol has more.
const KINDS_MAX: usize = 64;

/// Requests that cannot be read.
const UNREADABLE: usize = KINDS_MAX - 1;

/// The options.
#[derive(Clone)]
pub struct QueryCounter {
    counts: Arc<Counts>,
}

/// What all workers count.
struct Counts {
    name: String,
    tallies: Tallies<KINDS_MAX>,
}

impl QueryCounter {
    /// A counter with this label `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { counts: Arc::new(Counts { name: name.to_owned(), tallies: Tallies::default() }) }
    }

    /// Reads the options. In the older dialect `name` is what is called `counter_name` now.
    pub fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        fields.aliases("counter_name", &["name"]);
        fields.required_string("counter_name").map(|name| Self::new(&name))
    }
}

impl Builder for QueryCounter {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(CounterPart(Arc::new(self.counts.tallies.worker())))
    }

    fn own_metrics(&self) -> Vec<Arc<dyn OwnMetrics>> {
        vec![Arc::clone(&self.counts) as Arc<dyn OwnMetrics>]
    }
}

impl OwnMetrics for Counts {
    fn families(&self) -> Vec<OwnFamily> {
        let name = || ("name", self.name.clone());
        let mut series = vec![(vec![name()], 0)];
        for (index, count) in self.tallies.sums().into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let (query, kind) = match Protocol::Cql.statement_names().get(index) {
                Some(query) => (*query, Protocol::Cql.name()),
                None => ("unknown", "none"),
            };
            series.push((vec![name(), ("query", query.to_owned()), ("type", kind.to_owned())], count));
        }
        vec![OwnFamily { name: "shotover_query_count", help: "Statements, by their kind", series }]
    }
}

struct CounterPart(Arc<Tally<KINDS_MAX>>);

impl WorkerPart for CounterPart {
    fn client(&self) -> Link {
        Link::Transform(Box::new(Counter(Arc::clone(&self.0))))
    }
}

struct Counter(Arc<Tally<KINDS_MAX>>);

impl Transform for Counter {
    fn request_need(&self, _opcode: u8) -> Need {
        Need::Head
    }

    fn requests(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let protocol = batch.protocol();
        let names = protocol.statement_names();
        batch.each(|request| {
            let opcode = request.head().opcode;
            let count = |name: &str| {
                let index = names.iter().position(|known| *known == name);
                self.0.add(index.unwrap_or(UNREADABLE), 1);
            };
            if protocol.prepares(opcode) || protocol.executes(opcode) {
                return;
            }
            // Whoever asked before has found out more than this needs to know.
            let is_readable = match request.known_statements() {
                Some(statements) => {
                    let stated = statements.each().filter(|stated| !stated.is_prepared && !stated.is_again);
                    stated.for_each(|stated| count(stated.kind.name()));
                    statements.are_readable()
                }
                None => protocol.each_statement(request.head(), request.bytes(), count),
            };
            if !is_readable {
                self.0.add(UNREADABLE, 1);
            }
        });
        Ok(())
    }
}

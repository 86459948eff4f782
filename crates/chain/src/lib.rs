//! Message, batch, ledger, and the contract of transforms and sinks.
//!
//! Toward the server: requests in batches that borrow the chunk they were received in. Toward the client: replies,
//! the same way. Needs decoded: nothing but headers; a transform says what more it looks at.
//! Must hold: every request entered in the ledger has exactly one end.

#![warn(missing_docs)]

mod chain;
mod chunk;
mod enrich;
#[cfg(test)]
mod enrichment_tests;
mod exit;
mod framing;
mod identity;
mod ids;
mod ids_in_flight;
mod inlet;
mod item;
#[cfg(test)]
mod item_tests;
mod kept;
mod ledger;
mod message;
mod nested;
mod outlet;
mod parsed;
#[cfg(test)]
mod parsed_tests;
mod part;
mod prepared;
mod stream;
mod tail;
#[cfg(test)]
mod tests;
mod transform;
mod up;
mod view;

pub use chain::Chain;
pub use chunk::{CHUNK_BYTES, Chunk, Piece, Pool};
pub use exit::Exit;
pub use framing::{After, Framing};
pub use identity::Identity;
pub use ids::{AllIds, Ids};
pub use inlet::{Filled, Inlet};
pub use item::Item;
pub use kept::{KeptReply, with_id};
pub use ledger::{Entry, IN_FLIGHT_MAX, IdTable, Ledger, REQUESTS_KEPT, Stage, Ticket};
pub use message::{Batch, Held, Leaving, Message, Outgoing, Verdict, mark_sent};
pub use nested::{ChainPlan, Origin, PlanEntry, Replies, Run, SubChain, SubExit, Switch};
pub use outlet::Outlet;
pub use parsed::{ParsedStatement, ParsedStatements, Unparsed};
pub use part::{ChainPart, Named};
pub use prepared::{AllPrepared, Known, Prepared, Statement};
pub use stream::{Connecting, Connector, Cx, Spawner, Stream, Task, Tick};
pub use transform::{
    Builder, Fault, Link, Need, Progress, Sink, Transform, WHOLE_BYTES_MAX, Why, WorkerCx, WorkerPart,
};
pub use up::{Up, reply_too_large};
pub use view::{Statements, statements_need};

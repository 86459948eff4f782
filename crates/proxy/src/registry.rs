//! The one registry: which transforms there are, and how the options of each are read.

use chain::Builder;
use config::{ChainSlot, Fields, TransformShape};
use observe::{open_lines, open_message_files};
use sinks::CassandraSinkSingle;
use transforms::{
    Coalesce, ConnectionBalanceAndPool, DebugForceEncode, DebugForceParse, DebugLogToFile, DebugPrinter,
    DebugReturner, NullSink, OwnChains, ParallelMap, QueryCounter, QueryTypeFilter, RequestLog,
    RequestThrottling, Tee,
};

use crate::custom::CustomTransform;

/// Reads the options of one transform; what is wrong with them is recorded in the fields.
pub(crate) type ReadOptions = fn(&mut Fields<'_>) -> Option<Box<dyn Builder>>;

/// As [`ReadOptions`], for a transform that has chains of its own.
pub(crate) type ReadOwner = fn(&mut Fields<'_>, OwnChains) -> Option<Box<dyn Builder>>;

/// How the options of a type are read.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    Plain(ReadOptions),
    Owner(ReadOwner),
}

/// A type of transform.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) shape: TransformShape,
    pub(crate) read: Read,
}

/// Everything that can stand in a topology.
pub(crate) struct Registry {
    kinds: Vec<Kind>,
}

const ANYWHERE: &[&str] = &[];
const IN_CASSANDRA: &[&str] = &["Cassandra"];

const fn slot(
    path: &'static [&'static str],
    released_name: &'static str,
    suffix: &'static str,
    count: Option<&'static str>,
) -> ChainSlot {
    ChainSlot { path, released_name, suffix, count }
}

const TEE_CHAINS: &[ChainSlot] = &[
    slot(&["chain"], "tee_chain", "", None),
    slot(&["behavior", "SubchainOnMismatch"], "mismatch_chain", ".mismatch", None),
];
const MAP_CHAINS: &[ChainSlot] = &[slot(&["chain"], "parallel_map_chain", "", Some("parallelism"))];
const POOL_CHAINS: &[ChainSlot] = &[slot(&["chain"], "", "", None)];

impl Registry {
    /// The transforms of this version.
    pub(crate) fn built_in() -> Self {
        let kind = |name, is_terminating, accepts, read: ReadOptions| Kind {
            name,
            shape: TransformShape { is_terminating, accepts, name_is_option: false, chains: &[] },
            read: Read::Plain(read),
        };
        let owner = |name, is_terminating, name_is_option, chains, read: ReadOwner| Kind {
            name,
            shape: TransformShape { is_terminating, accepts: ANYWHERE, name_is_option, chains },
            read: Read::Owner(read),
        };
        Self {
            kinds: vec![
                kind("CassandraSinkSingle", true, IN_CASSANDRA, |fields| {
                    CassandraSinkSingle::parse(fields).map(boxed)
                }),
                kind("Coalesce", false, ANYWHERE, |fields| Coalesce::parse(fields).map(boxed)),
                owner("ConnectionBalanceAndPool", true, true, POOL_CHAINS, |fields, chains| {
                    // In the older dialect it has a name as well, which says nothing.
                    fields.optional_node("name");
                    ConnectionBalanceAndPool::parse(fields, chains).map(boxed)
                }),
                kind("DebugForceEncode", false, ANYWHERE, |fields| {
                    DebugForceEncode::parse(fields).map(boxed)
                }),
                kind("DebugForceParse", false, ANYWHERE, |fields| DebugForceParse::parse(fields).map(boxed)),
                kind("DebugLogToFile", false, ANYWHERE, |fields| {
                    DebugLogToFile::parse(fields, open_message_files).map(boxed)
                }),
                kind("DebugPrinter", false, ANYWHERE, |fields| DebugPrinter::parse(fields).map(boxed)),
                kind("DebugReturner", true, ANYWHERE, |fields| DebugReturner::parse(fields).map(boxed)),
                kind("NullSink", true, ANYWHERE, |fields| NullSink::parse(fields).map(boxed)),
                owner("ParallelMap", true, false, MAP_CHAINS, |fields, chains| {
                    ParallelMap::parse(fields, chains).map(boxed)
                }),
                Kind {
                    name: "QueryCounter",
                    shape: TransformShape {
                        is_terminating: false,
                        accepts: ANYWHERE,
                        name_is_option: true,
                        chains: &[],
                    },
                    read: Read::Plain(|fields| QueryCounter::parse(fields).map(boxed)),
                },
                kind("QueryTypeFilter", false, ANYWHERE, |fields| QueryTypeFilter::parse(fields).map(boxed)),
                kind("RequestLog", false, ANYWHERE, |fields| {
                    RequestLog::parse(fields, open_lines).map(boxed)
                }),
                kind("RequestThrottling", false, IN_CASSANDRA, |fields| {
                    RequestThrottling::parse(fields).map(boxed)
                }),
                owner("Tee", false, false, TEE_CHAINS, |fields, chains| {
                    Tee::parse(fields, chains).map(boxed)
                }),
            ],
        }
    }

    /// Those, and others.
    ///
    /// # Errors
    /// A name that stands for two.
    pub(crate) fn with(custom: &[CustomTransform]) -> Result<Self, String> {
        let mut registry = Self::built_in();
        for CustomTransform { name, is_terminating, accepts, read } in custom.iter().copied() {
            if registry.kind(name).is_some() {
                return Err(format!("two transforms are called {name}"));
            }
            let shape = TransformShape { is_terminating, accepts, name_is_option: false, chains: &[] };
            registry.kinds.push(Kind { name, shape, read: Read::Plain(read) });
        }
        Ok(registry)
    }

    /// What its types are called.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.kinds.iter().map(|kind| kind.name).collect()
    }

    /// The type of this name.
    pub(crate) fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }
}

fn boxed<B: Builder + 'static>(builder: B) -> Box<dyn Builder> {
    Box::new(builder)
}

impl config::Catalog for Registry {
    fn sources(&self) -> Vec<&str> {
        vec!["Cassandra"]
    }

    fn transforms(&self) -> Vec<&str> {
        self.names()
    }

    fn shape(&self, transform: &str) -> Option<TransformShape> {
        self.kind(transform).map(|kind| kind.shape)
    }
}

//! The one registry: which transforms there are, and how the options of each are read.

use chain::Builder;
use config::{Fields, TransformShape};
use observe::{open_lines, open_message_files};
use sinks::CassandraSinkSingle;
use transforms::{
    Coalesce, DebugForceParse, DebugLogToFile, DebugPrinter, DebugReturner, NullSink, QueryCounter,
    QueryTypeFilter, RequestLog, RequestThrottling,
};

use crate::custom::CustomTransform;

/// Reads the options of one transform; what is wrong with them is recorded in the fields.
pub(crate) type ReadOptions = fn(&mut Fields<'_>) -> Option<Box<dyn Builder>>;

/// A type of transform.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) shape: TransformShape,
    pub(crate) read: ReadOptions,
}

/// Everything that can stand in a topology.
pub(crate) struct Registry {
    kinds: Vec<Kind>,
}

const ANYWHERE: &[&str] = &[];
const IN_CASSANDRA: &[&str] = &["Cassandra"];

impl Registry {
    /// The transforms of this version.
    pub(crate) fn built_in() -> Self {
        let kind = |name, is_terminating, accepts, read| Kind {
            name,
            shape: TransformShape { is_terminating, accepts, name_is_option: false },
            read,
        };
        Self {
            kinds: vec![
                kind("CassandraSinkSingle", true, IN_CASSANDRA, |fields| {
                    CassandraSinkSingle::parse(fields).map(boxed)
                }),
                kind("Coalesce", false, ANYWHERE, |fields| Coalesce::parse(fields).map(boxed)),
                kind("DebugForceParse", false, ANYWHERE, |fields| DebugForceParse::parse(fields).map(boxed)),
                kind("DebugLogToFile", false, ANYWHERE, |fields| {
                    DebugLogToFile::parse(fields, open_message_files).map(boxed)
                }),
                kind("DebugPrinter", false, ANYWHERE, |fields| DebugPrinter::parse(fields).map(boxed)),
                kind("DebugReturner", true, ANYWHERE, |fields| DebugReturner::parse(fields).map(boxed)),
                kind("NullSink", true, ANYWHERE, |fields| NullSink::parse(fields).map(boxed)),
                Kind {
                    name: "QueryCounter",
                    shape: TransformShape { is_terminating: false, accepts: ANYWHERE, name_is_option: true },
                    read: |fields| QueryCounter::parse(fields).map(boxed),
                },
                kind("QueryTypeFilter", false, ANYWHERE, |fields| QueryTypeFilter::parse(fields).map(boxed)),
                kind("RequestLog", false, ANYWHERE, |fields| {
                    RequestLog::parse(fields, open_lines).map(boxed)
                }),
                kind("RequestThrottling", false, IN_CASSANDRA, |fields| {
                    RequestThrottling::parse(fields).map(boxed)
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
            let shape = TransformShape { is_terminating, accepts, name_is_option: false };
            registry.kinds.push(Kind { name, shape, read });
        }
        Ok(registry)
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
        self.kinds.iter().map(|kind| kind.name).collect()
    }

    fn shape(&self, transform: &str) -> Option<TransformShape> {
        self.kind(transform).map(|kind| kind.shape)
    }
}

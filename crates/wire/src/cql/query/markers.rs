//! Bind markers, in order, and what each is bound to.
//!
//! A marker inside of a value is named after what is around it: in `SET m = {?: [?]}` the first is `key(m)`, the
//! second `value(value(m))`. What is around a marker is a chain of steps; markers with the same chain share it.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write as _;

use crate::cql::query::identifier::Identifier;
use crate::cql::query::lexer::{Kind, Lexer};
use crate::limits::{CQL_DEPTH_MAX, CQL_MARKERS_MAX};

/// The bind markers of a statement.
#[derive(Clone, Debug, Default)]
pub struct Markers<'t> {
    markers: Vec<Marker<'t>>,
    nodes: Vec<Node<'t>>,
}

#[derive(Copy, Clone, Debug)]
struct Marker<'t> {
    node: u32,
    name: Option<Identifier<'t>>,
}

#[derive(Copy, Clone, Debug)]
struct Node<'t> {
    around: Option<u32>,
    step: Step<'t>,
}

/// What a value is, within what is around it or on its own.
#[derive(Copy, Clone, Debug)]
pub(super) enum Step<'t> {
    Column(Identifier<'t>),
    /// Columns in parentheses, as they are written.
    Columns(&'t str),
    Limit,
    PerPartitionLimit,
    Ttl,
    Timestamp,
    Json,
    Token,
    Selection,
    Index,
    /// All of the values of IN at once.
    In,
    /// An element of a list or a set, or the value of a map.
    Value,
    Key,
    /// The key of a map, or the index in a list: only the schema knows.
    Element,
    Component(u32),
    Field(Identifier<'t>),
    Argument(u32, Function<'t>),
}

#[derive(Copy, Clone, Debug)]
pub(super) enum Function<'t> {
    Named {
        keyspace: Option<Identifier<'t>>,
        name: Identifier<'t>,
    },
    Operator(&'static str),
    /// CAST to this type.
    CastTo(&'t str),
}

/// What is around the value that is being read. It is on the parser's stack, and gets a node when a marker needs it.
pub(super) struct Binding<'a, 't> {
    around: Option<&'a Self>,
    step: Step<'t>,
    node: Cell<Option<u32>>,
}

impl<'a, 't> Binding<'a, 't> {
    pub(super) fn new(step: Step<'t>) -> Self {
        Self { around: None, step, node: Cell::new(None) }
    }

    pub(super) fn inside(around: &'a Self, step: Step<'t>) -> Self {
        Self { around: Some(around), step, node: Cell::new(None) }
    }
}

impl<'t> Markers<'t> {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.markers.len()
    }

    /// The name of a marker as Cassandra's PREPARED has it: its own (`:name`), or that of what it is bound to, such as
    /// `column`, `value(column)`, `in(column)`, `[limit]`, `partition key token`. `key(column)` may be called
    /// `idx(column)` or `value(column)` there: see [`Self::is_element`]. Functions without a keyspace are taken for
    /// Cassandra's own.
    #[must_use]
    pub fn name(&self, place: usize) -> Option<Cow<'t, str>> {
        let marker = self.markers.get(place)?;
        if let Some(name) = marker.name {
            return Some(name.name());
        }
        let node = self.node(marker.node)?;
        if let (Step::Column(column), None) = (node.step, node.around) {
            return Some(column.name());
        }
        let mut name = String::new();
        self.write(marker.node, &mut name);
        Some(Cow::Owned(name))
    }

    /// The column that a marker is bound to, or to a part of whose value it is.
    #[must_use]
    pub fn column(&self, place: usize) -> Option<Identifier<'t>> {
        let mut node = self.node(self.markers.get(place)?.node)?;
        while let Some(around) = node.around {
            node = self.node(around)?;
        }
        match node.step {
            Step::Column(column) => Some(column),
            _ => None,
        }
    }

    /// True for the key in `column[?]`: Cassandra calls it `idx(..)` of a list, `key(..)` of a map and `value(..)` of
    /// a set, and the text does not say which of them the column is.
    #[must_use]
    pub fn is_element(&self, place: usize) -> bool {
        let node = self.markers.get(place).and_then(|marker| self.node(marker.node));
        node.is_some_and(|node| matches!(node.step, Step::Element))
    }

    /// Takes a marker. `false` when there are too many.
    pub(super) fn push(&mut self, name: Option<Identifier<'t>>, binding: &Binding<'_, 't>) -> bool {
        let Some(node) = self.materialize(binding) else { return false };
        self.markers.push(Marker { node, name });
        self.markers.len() <= CQL_MARKERS_MAX
    }

    /// Drops the markers behind the first `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        self.markers.truncate(count);
    }

    /// What was read with this binding turned out to be something else.
    pub(super) fn correct(&mut self, binding: &Binding<'_, 't>, step: Step<'t>) {
        let node = binding.node.get().and_then(|node| self.nodes.get_mut(usize::try_from(node).ok()?));
        if let Some(node) = node {
            node.step = step;
        }
    }

    /// The last marker turned out to be bound to something else.
    pub(super) fn rebind(&mut self, binding: &Binding<'_, 't>) {
        let node = self.materialize(binding);
        if let (Some(marker), Some(node)) = (self.markers.last_mut(), node) {
            marker.node = node;
        }
    }

    /// The node of a binding; made when it is asked for first. The depth of the parser limits the recursion.
    fn materialize(&mut self, binding: &Binding<'_, 't>) -> Option<u32> {
        if let Some(node) = binding.node.get() {
            return Some(node);
        }
        let around = match binding.around {
            Some(around) => Some(self.materialize(around)?),
            None => None,
        };
        let node = u32::try_from(self.nodes.len()).ok()?;
        self.nodes.push(Node { around, step: binding.step });
        binding.node.set(Some(node));
        Some(node)
    }

    fn node(&self, node: u32) -> Option<&Node<'t>> {
        self.nodes.get(usize::try_from(node).ok()?)
    }

    /// Writes the name of a node: from the outside in, then the closing parentheses and what stands behind.
    fn write(&self, node: u32, name: &mut String) {
        let mut chain = Vec::new();
        let mut next = Some(node);
        while let Some(node) = next.and_then(|node| self.node(node))
            && chain.len() <= CQL_DEPTH_MAX
        {
            chain.push(node.step);
            next = node.around;
        }
        // Columns have parentheses of their own.
        if let [Step::In, columns @ Step::Columns(_)] = *chain {
            name.push_str("in");
            return write_behind(columns, name);
        }
        for step in &chain {
            name.push_str(match step {
                Step::In => "in(",
                Step::Value => "value(",
                Step::Key | Step::Element => "key(",
                _ => "",
            });
        }
        for step in chain.iter().rev() {
            write_behind(*step, name);
        }
    }
}

fn write_behind(step: Step<'_>, name: &mut String) {
    // Writing into a String cannot fail.
    let _written = match step {
        Step::Column(column) => write!(name, "{column}"),
        Step::Columns(text) => write_columns(text, name),
        Step::Limit => name.write_str("[limit]"),
        Step::PerPartitionLimit => name.write_str("[per_partition_limit]"),
        Step::Ttl => name.write_str("[ttl]"),
        Step::Timestamp => name.write_str("[timestamp]"),
        Step::Json => name.write_str("[json]"),
        Step::Token => name.write_str("partition key token"),
        Step::Selection => name.write_str("[selection]"),
        Step::Index => name.write_str("custom index expression"),
        Step::In | Step::Value | Step::Key | Step::Element => name.write_str(")"),
        Step::Component(place) => write!(name, "[{place}]"),
        Step::Field(field) => write!(name, ".{field}"),
        Step::Argument(place, function) => {
            let _written = write!(name, "arg{place}(");
            write_function(function, name).and_then(|()| name.write_str(")"))
        }
    };
}

fn write_function(function: Function<'_>, name: &mut String) -> std::fmt::Result {
    match function {
        Function::Named { keyspace: Some(keyspace), name: function } => write!(name, "{keyspace}.{function}"),
        Function::Named { keyspace: None, name: function } => write!(name, "system.{function}"),
        Function::Operator(operator) => write!(name, "system.{operator}"),
        Function::CastTo(text) => write!(name, "system.cast_as_{}", text.to_ascii_lowercase()),
    }
}

/// Columns in parentheses, without blanks and quotes.
fn write_columns(text: &str, name: &mut String) -> std::fmt::Result {
    let mut lexer = Lexer::new(text);
    loop {
        let token = lexer.next();
        let text = lexer.text(token.at, token.end);
        match token.kind {
            Kind::End | Kind::Unknown | Kind::Unterminated => return Ok(()),
            Kind::Word | Kind::QuotedName => write!(name, "{}", Identifier::new(text))?,
            _ => name.write_str(text)?,
        }
    }
}

//! What a parsed statement says, borrowed from its text.

use crate::cql::query::identifier::{Identifier, TableName};
use crate::cql::query::kind::StatementKind;

/// A parsed statement.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Statement<'t> {
    /// SELECT.
    Select(Select<'t>),
    /// INSERT.
    Insert(Insert<'t>),
    /// UPDATE.
    Update(Update<'t>),
    /// DELETE.
    Delete(Delete<'t>),
    /// TRUNCATE.
    Truncate(TableName<'t>),
    /// USE.
    Use(Identifier<'t>),
    /// BEGIN BATCH .. APPLY BATCH.
    Batch(Batch<'t>),
    /// Any other statement: its kind is known, and the rest of it was not read.
    Other(StatementKind),
}

impl Statement<'_> {
    /// What kind it is; the same that [`super::classify`] says.
    #[must_use]
    pub fn kind(&self) -> StatementKind {
        match self {
            Self::Select(_) => StatementKind::Select,
            Self::Insert(_) => StatementKind::Insert,
            Self::Update(_) => StatementKind::Update,
            Self::Delete(_) => StatementKind::Delete,
            Self::Truncate(_) => StatementKind::Truncate,
            Self::Use(_) => StatementKind::Use,
            Self::Batch(_) => StatementKind::Batch,
            Self::Other(kind) => *kind,
        }
    }
}

/// SELECT.
#[derive(Clone, Debug)]
pub struct Select<'t> {
    /// Each row is one column, JSON.
    pub is_json: bool,
    /// DISTINCT.
    pub is_distinct: bool,
    /// What is selected; empty for `*`.
    pub selectors: Vec<Selector<'t>>,
    /// FROM.
    pub table: TableName<'t>,
    /// WHERE.
    pub relations: Vec<Relation<'t>>,
    /// GROUP BY, each as it is written.
    pub group_by: Vec<&'t str>,
    /// ORDER BY.
    pub order_by: Vec<Order<'t>>,
    /// PER PARTITION LIMIT.
    pub per_partition_limit: Option<Term<'t>>,
    /// LIMIT.
    pub limit: Option<Term<'t>>,
    /// ALLOW FILTERING.
    pub allows_filtering: bool,
}

/// One thing that is selected.
#[derive(Copy, Clone, Debug)]
pub struct Selector<'t> {
    /// As it is written, without its alias.
    pub text: &'t str,
    /// What it is.
    pub what: Selected<'t>,
    /// AS.
    pub alias: Option<Identifier<'t>>,
}

/// What a selector is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Selected<'t> {
    /// A column.
    Column(Identifier<'t>),
    /// `count(*)`.
    Rows,
    /// `writetime(column)`, and an element or a field of it.
    WriteTime(Identifier<'t>),
    /// `maxwritetime(column)`.
    MaxWriteTime(Identifier<'t>),
    /// `ttl(column)`.
    Ttl(Identifier<'t>),
    /// The call of a function.
    Function {
        /// Its keyspace, where it is written.
        keyspace: Option<Identifier<'t>>,
        /// Its name.
        name: Identifier<'t>,
    },
    /// Anything else: elements and fields, casts, literals, arithmetic.
    Expression,
}

/// One clause of ORDER BY.
#[derive(Copy, Clone, Debug)]
pub struct Order<'t> {
    /// By what.
    pub column: Identifier<'t>,
    /// DESC.
    pub is_descending: bool,
    /// ANN OF: by the distance from this vector.
    pub nearest_to: Option<Term<'t>>,
}

/// A value as it is written.
#[derive(Copy, Clone, Debug)]
pub struct Term<'t> {
    /// As it is written.
    pub text: &'t str,
    /// What it is.
    pub form: Form,
    /// The first bind marker inside of it, and how many there are: places in [`super::Markers`].
    pub markers: (u16, u16),
}

/// What a value is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the grammar")]
pub enum Form {
    /// A bind marker, and nothing else: the value is not in the text.
    Marker,
    Null,
    Boolean,
    Integer,
    Float,
    String,
    Blob,
    Uuid,
    Duration,
    List,
    /// `{}` may be an empty map as well.
    Set,
    Map,
    UserType,
    Tuple,
    Function,
    /// `(type)value`, `CAST(value AS type)`.
    Cast,
    /// Arithmetic.
    Operation,
}

/// A condition on rows, in WHERE.
#[derive(Clone, Debug)]
pub struct Relation<'t> {
    /// Of what.
    pub subject: Subject<'t>,
    /// How it is compared.
    pub operator: Operator,
    /// With what: one value, two of BETWEEN, none of IS NOT NULL, as many as there are of IN. `IN ?` has one.
    pub values: Vec<Term<'t>>,
}

/// What a condition is about.
#[derive(Clone, Debug)]
pub enum Subject<'t> {
    /// `column`.
    Column(Identifier<'t>),
    /// `column[key]`.
    Element(Identifier<'t>, Term<'t>),
    /// `column.field`; conditions only.
    Field(Identifier<'t>, Identifier<'t>),
    /// `(column, column)`.
    Tuple(Vec<Identifier<'t>>),
    /// `token(column, column)`.
    Token(Vec<Identifier<'t>>),
    /// `expr(index, value)`: the operator is `=`.
    Index(Identifier<'t>),
}

/// How values are compared.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is called as it is written")]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    NotIn,
    Contains,
    NotContains,
    ContainsKey,
    NotContainsKey,
    Like,
    IsNotNull,
    Between,
}

/// USING.
#[derive(Copy, Clone, Debug, Default)]
pub struct Using<'t> {
    /// TTL, seconds.
    pub ttl: Option<Term<'t>>,
    /// TIMESTAMP, microseconds.
    pub timestamp: Option<Term<'t>>,
}

/// INSERT.
#[derive(Clone, Debug)]
pub struct Insert<'t> {
    /// INTO.
    pub table: TableName<'t>,
    /// What is inserted.
    pub what: Inserted<'t>,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// USING.
    pub using: Using<'t>,
}

/// What an INSERT inserts.
#[derive(Clone, Debug)]
pub enum Inserted<'t> {
    /// Each column with its value. The text may have more of one than of the other, which Cassandra refuses.
    Columns(Vec<Identifier<'t>>, Vec<Term<'t>>),
    /// `JSON value`.
    Json {
        /// The value.
        value: Term<'t>,
        /// DEFAULT UNSET: columns that are not in the value are left as they are.
        is_default_unset: bool,
    },
}

/// UPDATE.
#[derive(Clone, Debug)]
pub struct Update<'t> {
    /// The table.
    pub table: TableName<'t>,
    /// USING.
    pub using: Using<'t>,
    /// SET.
    pub assignments: Vec<Assignment<'t>>,
    /// WHERE.
    pub relations: Vec<Relation<'t>>,
    /// IF.
    pub condition: Option<Existence<'t>>,
}

/// One clause of SET.
#[derive(Copy, Clone, Debug)]
pub struct Assignment<'t> {
    /// To which column.
    pub column: Identifier<'t>,
    /// How.
    pub how: Assigned<'t>,
    /// Which value.
    pub value: Term<'t>,
}

/// How a column gets a value.
#[derive(Copy, Clone, Debug)]
pub enum Assigned<'t> {
    /// `column = value`.
    Value,
    /// `column = column + value`, `column += value`.
    Added,
    /// `column = value + column`.
    Prepended,
    /// `column = column - value`, `column -= value`.
    Subtracted,
    /// `column[key] = value`.
    Element(Term<'t>),
    /// `column.field = value`.
    Field(Identifier<'t>),
}

/// DELETE.
#[derive(Clone, Debug)]
pub struct Delete<'t> {
    /// What of the rows; empty for all of them.
    pub columns: Vec<Deleted<'t>>,
    /// FROM.
    pub table: TableName<'t>,
    /// USING TIMESTAMP.
    pub timestamp: Option<Term<'t>>,
    /// WHERE.
    pub relations: Vec<Relation<'t>>,
    /// IF.
    pub condition: Option<Existence<'t>>,
}

/// What a DELETE deletes of a row.
#[derive(Copy, Clone, Debug)]
pub enum Deleted<'t> {
    /// `column`.
    Column(Identifier<'t>),
    /// `column[key]`.
    Element(Identifier<'t>, Term<'t>),
    /// `column.field`.
    Field(Identifier<'t>, Identifier<'t>),
}

/// IF.
#[derive(Clone, Debug)]
pub enum Existence<'t> {
    /// EXISTS.
    Exists,
    /// Each condition.
    If(Vec<Condition<'t>>),
}

/// One condition of IF: a relation, of a column, an element or a field.
pub type Condition<'t> = Relation<'t>;

/// BEGIN BATCH .. APPLY BATCH.
#[derive(Clone, Debug)]
pub struct Batch<'t> {
    /// Which kind.
    pub kind: BatchKind,
    /// USING.
    pub using: Using<'t>,
    /// INSERT, UPDATE and DELETE, in order.
    pub statements: Vec<Statement<'t>>,
}

/// Kinds of batches.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is called as it is written")]
pub enum BatchKind {
    Logged,
    Unlogged,
    Counter,
}

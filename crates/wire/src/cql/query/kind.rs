//! Kinds of statements.

use crate::protocol::QueryType;

/// What kind a statement is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is called as its statement begins; see `name`")]
pub enum StatementKind {
    Select,
    Insert,
    Update,
    Delete,
    Truncate,
    /// BEGIN BATCH .. APPLY BATCH.
    Batch,
    /// APPLY BATCH without its BEGIN.
    ApplyBatch,
    Use,
    CreateKeyspace,
    CreateTable,
    CreateIndex,
    CreateMaterializedView,
    CreateType,
    CreateFunction,
    CreateAggregate,
    CreateTrigger,
    CreateRole,
    CreateUser,
    AlterKeyspace,
    AlterTable,
    AlterMaterializedView,
    AlterType,
    AlterRole,
    AlterUser,
    DropKeyspace,
    DropTable,
    DropIndex,
    DropMaterializedView,
    DropType,
    DropFunction,
    DropAggregate,
    DropTrigger,
    DropRole,
    DropUser,
    DropIdentity,
    AddIdentity,
    Grant,
    Revoke,
    ListPermissions,
    ListRoles,
    ListUsers,
    ListSuperusers,
    Describe,
    /// Anything else, and texts of several statements that are no batch.
    Unrecognized,
}

impl StatementKind {
    /// What it does, in the words of topologies. Changes of rights and of the keyspace in use count as changes of the
    /// schema, and what is not recognized as a read.
    #[must_use]
    pub fn query_type(self) -> QueryType {
        match self {
            Self::Insert | Self::Update | Self::Delete | Self::Truncate | Self::Batch => QueryType::Write,
            Self::ApplyBatch => QueryType::ReadWrite,
            Self::Select
            | Self::ListPermissions
            | Self::ListRoles
            | Self::ListUsers
            | Self::ListSuperusers
            | Self::Describe
            | Self::Unrecognized => QueryType::Read,
            _ => QueryType::SchemaChange,
        }
    }

    /// The words that metrics call it by. DESCRIBE, LIST USERS, LIST SUPERUSERS and the two of IDENTITY, which
    /// shotover's own parser does not know, have the words of what is not recognized.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
            Self::Batch => "BATCH",
            Self::ApplyBatch => "APPLY BATCH",
            Self::Use => "USE",
            Self::CreateKeyspace => "CREATE KEYSPACE",
            Self::CreateTable => "CREATE TABLE",
            Self::CreateIndex => "CREATE INDEX",
            Self::CreateMaterializedView => "CREATE MATERIALIZED VIEW",
            Self::CreateType => "CREATE TYPE",
            Self::CreateFunction => "CREATE FUNCTION",
            Self::CreateAggregate => "CREATE AGGREGATE",
            Self::CreateTrigger => "CREATE TRIGGER",
            Self::CreateRole => "CREATE ROLE",
            Self::CreateUser => "CREATE USER",
            Self::AlterKeyspace => "ALTER KEYSPACE",
            Self::AlterTable => "ALTER TABLE",
            Self::AlterMaterializedView => "ALTER MATERIALIZED VIEW",
            Self::AlterType => "ALTER TYPE",
            Self::AlterRole => "ALTER ROLE",
            Self::AlterUser => "ALTER USER",
            Self::DropKeyspace => "DROP KEYSPACE",
            Self::DropTable => "DROP TABLE",
            Self::DropIndex => "DROP INDEX",
            Self::DropMaterializedView => "DROP MATERIALIZED VIEW",
            Self::DropType => "DROP TYPE",
            Self::DropFunction => "DROP FUNCTION",
            Self::DropAggregate => "DROP AGGREGATE",
            Self::DropTrigger => "DROP TRIGGER",
            Self::DropRole => "DROP ROLE",
            Self::DropUser => "DROP USER",
            Self::Grant => "GRANT",
            Self::Revoke => "REVOKE",
            Self::ListPermissions => "LIST PERMISSIONS",
            Self::ListRoles => "LIST ROLES",
            Self::ListUsers
            | Self::ListSuperusers
            | Self::Describe
            | Self::AddIdentity
            | Self::DropIdentity
            | Self::Unrecognized => "UNRECOGNIZED CQL",
        }
    }
}

//! Which words of CQL cannot be names unless they are quoted.

/// Reserved words, TRUE and FALSE among them. A column may have the name of any other word.
const RESERVED: [&str; 59] = [
    "ADD",
    "ALLOW",
    "ALTER",
    "AND",
    "APPLY",
    "ASC",
    "AUTHORIZE",
    "BATCH",
    "BEGIN",
    "BY",
    "COLUMNFAMILY",
    "CREATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DROP",
    "ENTRIES",
    "EXECUTE",
    "FALSE",
    "FROM",
    "FULL",
    "GRANT",
    "IF",
    "IN",
    "INDEX",
    "INFINITY",
    "INSERT",
    "INTO",
    "IS",
    "KEYSPACE",
    "LIMIT",
    "MATERIALIZED",
    "MODIFY",
    "NAN",
    "NORECURSIVE",
    "NOT",
    "NULL",
    "OF",
    "ON",
    "OR",
    "ORDER",
    "PRIMARY",
    "RENAME",
    "REVOKE",
    "SCHEMA",
    "SELECT",
    "SET",
    "TABLE",
    "TO",
    "TOKEN",
    "TRUE",
    "TRUNCATE",
    "UNLOGGED",
    "UPDATE",
    "USE",
    "USING",
    "VIEW",
    "WHERE",
    "WITH",
];

/// The types that need no parameters. Each may be a name, but no type of a user may be called so.
const NATIVE_TYPES: [&str; 21] = [
    "ASCII",
    "BIGINT",
    "BLOB",
    "BOOLEAN",
    "COUNTER",
    "DATE",
    "DECIMAL",
    "DOUBLE",
    "DURATION",
    "FLOAT",
    "INET",
    "INT",
    "SMALLINT",
    "TEXT",
    "TIME",
    "TIMESTAMP",
    "TIMEUUID",
    "TINYINT",
    "UUID",
    "VARCHAR",
    "VARINT",
];

/// Words that are names, but neither of functions nor of types: their call has a grammar of its own.
const NO_FUNCTION: [&str; 7] = ["CAST", "DISTINCT", "JSON", "KEY", "MAXWRITETIME", "TTL", "WRITETIME"];

/// Names that Cassandra keeps from types of users.
const NO_USER_TYPE: [&str; 6] = ["bitstring", "byte", "complex", "enum", "interval", "macaddr"];

fn has(words: &[&str], word: &str) -> bool {
    words.iter().any(|one| one.eq_ignore_ascii_case(word))
}

/// True for a word that is no name.
pub(super) fn is_reserved(word: &str) -> bool {
    // The longest has 12 letters; most names are told apart by that or their first letter.
    word.len() <= 12 && RESERVED.iter().any(|one| one.len() == word.len() && one.eq_ignore_ascii_case(word))
}

/// True for a type that needs no parameters.
pub(super) fn is_native_type(word: &str) -> bool {
    has(&NATIVE_TYPES, word)
}

/// True for the name of a function that may be called without quotes, TOKEN included, though it is reserved.
pub(super) fn is_function(word: &str) -> bool {
    word.eq_ignore_ascii_case("TOKEN") || !(is_reserved(word) || has(&NO_FUNCTION, word))
}

/// True for what may be the name of a user's type without quotes.
pub(super) fn is_user_type(word: &str) -> bool {
    let is_taken = has(&NO_FUNCTION, word) && !word.eq_ignore_ascii_case("KEY");
    !(is_taken
        || word.eq_ignore_ascii_case("COUNT")
        || is_reserved(word)
        || is_native_type(word)
        || NO_USER_TYPE.contains(&word))
}

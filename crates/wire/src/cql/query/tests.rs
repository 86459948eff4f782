//! Statements and what they say.

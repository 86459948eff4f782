//! Types, where casts name them.

use crate::cql::query::keyword::{is_native_type, is_user_type};
use crate::cql::query::lexer::Kind;
use crate::cql::query::parser::{Parser, Result};

impl Parser<'_> {
    /// Any type.
    pub(super) fn any_type(&mut self) -> Result<()> {
        if self.eat(Kind::String) {
            return Ok(());
        }
        let has_parameters = matches!(self.ahead(), [next, _] if next.kind == Kind::Symbol(b'<'));
        let word = self.text();
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if has_parameters && self.kind() == Kind::Word {
            let types = match () {
                () if is("MAP") => 2,
                () if is("LIST") || is("SET") || is("FROZEN") => 1,
                () if is("TUPLE") => usize::MAX,
                () if is("VECTOR") => 0,
                () => return Err(self.expected("a type")),
            };
            return self.parameters(types);
        }
        if self.kind() == Kind::Word && is_native_type(word) && !self.is_qualified() {
            self.emit(&word.to_ascii_lowercase());
            self.advance();
            return Ok(());
        }
        self.user_type()
    }

    /// True when a dot follows the token that is next.
    fn is_qualified(&mut self) -> bool {
        matches!(self.ahead(), [next, _] if next.kind == Kind::Symbol(b'.'))
    }

    fn user_type(&mut self) -> Result<()> {
        if self.is_qualified() {
            let keyspace = self.name()?;
            self.emit_name(keyspace);
            self.expect_symbol(b'.', "`.`")?;
            self.emit(".");
        }
        if self.kind() == Kind::Word && !is_user_type(self.text()) {
            return Err(self.expected("a type"));
        }
        let name = self.name()?;
        self.emit_name(name);
        Ok(())
    }

    /// `<type, type>`, so many; `usize::MAX` for one or more, 0 for those of a vector.
    fn parameters(&mut self, types: usize) -> Result<()> {
        self.enter()?;
        self.emit(&self.text().to_ascii_lowercase());
        self.advance();
        self.expect_symbol(b'<', "`<`")?;
        self.emit("<");
        self.any_type()?;
        let mut count: usize = 1;
        while count < types && self.eat_symbol(b',') {
            self.emit(", ");
            self.any_type()?;
            count = count.saturating_add(1);
        }
        if types == 0 {
            self.expect_symbol(b',', "`,`")?;
            self.emit(", ");
            self.emit(self.text());
            if !self.eat(Kind::Integer) {
                return Err(self.expected("how many elements the vector has"));
            }
        } else if types != usize::MAX && count < types {
            return Err(self.expected("`,`"));
        }
        self.expect_symbol(b'>', "`>`")?;
        self.emit(">");
        self.leave();
        Ok(())
    }

    /// A type that needs no parameters.
    pub(super) fn native_type(&mut self) -> Result<()> {
        if self.kind() != Kind::Word || !is_native_type(self.text()) {
            return Err(self.expected("a type"));
        }
        self.emit(&self.text().to_ascii_lowercase());
        self.advance();
        Ok(())
    }
}

//! INSERT, UPDATE, DELETE and BATCH.

use crate::cql::query::identifier::Identifier;
use crate::cql::query::lexer::Kind;
use crate::cql::query::markers::{Binding, Step};
use crate::cql::query::parser::{Parser, Problem, Result};
use crate::cql::query::view::{
    Assigned, Assignment, Batch, BatchKind, Delete, Deleted, Form, Insert, Inserted, Statement, Term, Update,
    Using,
};

impl<'t> Parser<'t> {
    pub(super) fn insert(&mut self) -> Result<Insert<'t>> {
        self.expect_word("INSERT")?;
        self.expect_word("INTO")?;
        let table = self.table()?;
        let what = if self.eat_word("JSON") { self.json()? } else { self.columns_and_values()? };
        let if_not_exists = self.eat_word("IF");
        if if_not_exists {
            self.expect_word("NOT")?;
            self.expect_word("EXISTS")?;
        }
        Ok(Insert { table, what, if_not_exists, using: self.using()? })
    }

    fn json(&mut self) -> Result<Inserted<'t>> {
        let value = match self.marker_term(&Binding::new(Step::Json))? {
            Some(marker) => marker,
            None => {
                let (at, before) = (self.at(), self.markers.count());
                if !self.eat(Kind::String) {
                    return Err(self.expected("a string or a bind marker"));
                }
                self.term_since(at, before, Form::String)
            }
        };
        let mut is_default_unset = false;
        if self.eat_word("DEFAULT") {
            is_default_unset = self.eat_word("UNSET");
            if !is_default_unset {
                self.expect_word("NULL")?;
            }
        }
        Ok(Inserted::Json { value, is_default_unset })
    }

    fn columns_and_values(&mut self) -> Result<Inserted<'t>> {
        self.expect_symbol(b'(', "`(` or JSON")?;
        let mut columns = Vec::new();
        loop {
            columns.push(self.column()?);
            if self.eat_symbol(b')') {
                break;
            }
            self.expect_symbol(b',', "`,` or `)`")?;
        }
        self.expect_word("VALUES")?;
        self.expect_symbol(b'(', "`(`")?;
        let mut values = Vec::new();
        loop {
            // More values than columns are refused by Cassandra, not by its grammar.
            let step = columns.get(values.len()).map_or(Step::Selection, |column| Step::Column(*column));
            values.push(self.term(&Binding::new(step))?);
            if self.eat_symbol(b')') {
                return Ok(Inserted::Columns(columns, values));
            }
            self.expect_symbol(b',', "`,` or `)`")?;
        }
    }

    /// USING, if it is next.
    fn using(&mut self) -> Result<Using<'t>> {
        let mut using = Using::default();
        if !self.eat_word("USING") {
            return Ok(using);
        }
        loop {
            if self.eat_word("TTL") {
                using.ttl = Some(self.number(Step::Ttl)?);
            } else {
                self.expect_word("TIMESTAMP")?;
                using.timestamp = Some(self.number(Step::Timestamp)?);
            }
            if !self.eat_word("AND") {
                return Ok(using);
            }
        }
    }

    pub(super) fn update(&mut self) -> Result<Update<'t>> {
        self.expect_word("UPDATE")?;
        let table = self.table()?;
        let using = self.using()?;
        self.expect_word("SET")?;
        let mut assignments = Vec::new();
        loop {
            assignments.push(self.assignment()?);
            if !self.eat_symbol(b',') {
                break;
            }
        }
        self.expect_word("WHERE")?;
        let relations = self.relations()?;
        Ok(Update { table, using, assignments, relations, condition: self.existence()? })
    }

    fn assignment(&mut self) -> Result<Assignment<'t>> {
        let column = self.column()?;
        let whole = Binding::new(Step::Column(column));
        let (how, value) = match self.kind() {
            Kind::Symbol(b'=') => {
                self.advance();
                return self.assigned(column, &whole);
            }
            Kind::PlusEqual | Kind::MinusEqual => {
                let is_added = self.kind() == Kind::PlusEqual;
                self.advance();
                (if is_added { Assigned::Added } else { Assigned::Subtracted }, self.term(&whole)?)
            }
            Kind::Symbol(b'[') => {
                self.advance();
                let key = self.term(&Binding::inside(&whole, Step::Element))?;
                self.expect_symbol(b']', "`]`")?;
                self.expect_symbol(b'=', "`=`")?;
                (Assigned::Element(key), self.term(&Binding::inside(&whole, Step::Value))?)
            }
            Kind::Symbol(b'.') => {
                self.advance();
                let field = self.name()?;
                self.expect_symbol(b'=', "`=`")?;
                (Assigned::Field(field), self.term(&Binding::inside(&whole, Step::Field(field)))?)
            }
            _ => return Err(self.expected("`=`, `+=`, `-=`, `[` or `.`")),
        };
        Ok(Assignment { column, how, value })
    }

    /// From behind `column =`.
    fn assigned(&mut self, column: Identifier<'t>, whole: &Binding<'_, 't>) -> Result<Assignment<'t>> {
        let is_column = matches!(self.kind(), Kind::EmptyQuotedName)
            || (self.is_name()
                && matches!(self.ahead(), [next, _] if !matches!(next.kind, Kind::Symbol(b'(' | b'.'))));
        if !is_column {
            let value = self.term(whole)?;
            if !self.eat_symbol(b'+') {
                return Ok(Assignment { column, how: Assigned::Value, value });
            }
            self.same_column(column)?;
            return Ok(Assignment { column, how: Assigned::Prepended, value });
        }
        self.same_column(column)?;
        // The sign of a number is part of it: `c = c -1`.
        if self.kind() == Kind::Integer {
            let (at, before) = (self.at(), self.markers.count());
            self.advance();
            let value = self.term_since(at, before, Form::Integer);
            return Ok(Assignment { column, how: Assigned::Added, value });
        }
        let how = if self.eat_symbol(b'+') {
            Assigned::Added
        } else {
            self.expect_symbol(b'-', "`+` or `-`")?;
            Assigned::Subtracted
        };
        Ok(Assignment { column, how, value: self.term(whole)? })
    }

    fn same_column(&mut self, column: Identifier<'t>) -> Result<()> {
        let error = self.error(Problem::OtherColumn);
        if self.column()? == column { Ok(()) } else { Err(error) }
    }

    pub(super) fn delete(&mut self) -> Result<Delete<'t>> {
        self.expect_word("DELETE")?;
        let mut columns = Vec::new();
        while !self.is_word("FROM") || !columns.is_empty() {
            columns.push(self.deleted()?);
            if !self.eat_symbol(b',') {
                break;
            }
        }
        self.expect_word("FROM")?;
        let table = self.table()?;
        let mut timestamp = None;
        if self.eat_word("USING") {
            self.expect_word("TIMESTAMP")?;
            timestamp = Some(self.number(Step::Timestamp)?);
        }
        self.expect_word("WHERE")?;
        let relations = self.relations()?;
        Ok(Delete { columns, table, timestamp, relations, condition: self.existence()? })
    }

    fn deleted(&mut self) -> Result<Deleted<'t>> {
        let column = self.column()?;
        if self.eat_symbol(b'[') {
            let whole = Binding::new(Step::Column(column));
            let key: Term<'t> = self.term(&Binding::inside(&whole, Step::Element))?;
            self.expect_symbol(b']', "`]`")?;
            return Ok(Deleted::Element(column, key));
        }
        if self.eat_symbol(b'.') {
            return Ok(Deleted::Field(column, self.name()?));
        }
        Ok(Deleted::Column(column))
    }

    pub(super) fn batch(&mut self) -> Result<Batch<'t>> {
        self.expect_word("BEGIN")?;
        let kind = if self.eat_word("UNLOGGED") {
            BatchKind::Unlogged
        } else if self.eat_word("COUNTER") {
            BatchKind::Counter
        } else {
            BatchKind::Logged
        };
        self.expect_word("BATCH")?;
        let using = self.using()?;
        let mut statements = Vec::new();
        while !self.eat_word("APPLY") {
            statements.push(if self.is_word("INSERT") {
                Statement::Insert(self.insert()?)
            } else if self.is_word("UPDATE") {
                Statement::Update(self.update()?)
            } else if self.is_word("DELETE") {
                Statement::Delete(self.delete()?)
            } else {
                return Err(self.expected("INSERT, UPDATE, DELETE or APPLY BATCH"));
            });
            self.eat_symbol(b';');
        }
        self.expect_word("BATCH")?;
        Ok(Batch { kind, using, statements })
    }
}

//! WHERE, and the conditions of IF.

use crate::cql::query::identifier::Identifier;
use crate::cql::query::lexer::Kind;
use crate::cql::query::markers::{Binding, Step};
use crate::cql::query::parser::{Parser, Result};
use crate::cql::query::view::{Condition, Existence, Form, Operator, Relation, Subject, Term};

impl<'t> Parser<'t> {
    /// Relations between ANDs, behind WHERE.
    pub(super) fn relations(&mut self) -> Result<Vec<Relation<'t>>> {
        let mut relations = Vec::new();
        loop {
            relations.push(self.relation()?);
            if !self.eat_word("AND") {
                return Ok(relations);
            }
        }
    }

    /// One relation, in as many parentheses as it likes.
    fn relation(&mut self) -> Result<Relation<'t>> {
        let mut parentheses: usize = 0;
        while self.is_symbol(b'(') && !self.is_tuple() {
            self.advance();
            parentheses = parentheses.saturating_add(1);
        }
        let is_inside = parentheses > 0;
        let relation = match self.kind() {
            // `expr` is not a relation, and so not in parentheses.
            Kind::ExprOpen if !is_inside => self.index_expression()?,
            Kind::Symbol(b'(') => self.tuple_relation()?,
            _ if self.is_word("TOKEN") => self.token_relation()?,
            _ => self.column_relation()?,
        };
        for _ in 0..parentheses {
            self.expect_symbol(b')', "`)`")?;
        }
        Ok(relation)
    }

    /// True when the parenthesis that is next begins columns and not a relation.
    fn is_tuple(&mut self) -> bool {
        let [name, next] = self.ahead();
        self.is_column_token(name) && matches!(next.kind, Kind::Symbol(b',' | b')'))
    }

    fn index_expression(&mut self) -> Result<Relation<'t>> {
        self.advance();
        let index = self.name()?;
        self.expect_symbol(b',', "`,`")?;
        let value = self.term(&Binding::new(Step::Index))?;
        self.expect_symbol(b')', "`)`")?;
        Ok(Relation { subject: Subject::Index(index), operator: Operator::Equal, values: vec![value] })
    }

    fn columns(&mut self) -> Result<Vec<Identifier<'t>>> {
        self.expect_symbol(b'(', "`(`")?;
        let mut columns = Vec::new();
        loop {
            columns.push(self.column()?);
            if self.eat_symbol(b')') {
                return Ok(columns);
            }
            self.expect_symbol(b',', "`,` or `)`")?;
        }
    }

    fn token_relation(&mut self) -> Result<Relation<'t>> {
        self.expect_word("TOKEN")?;
        let subject = Subject::Token(self.columns()?);
        let binding = Binding::new(Step::Token);
        if self.eat_word("BETWEEN") {
            return self.between(subject, &binding);
        }
        let operator = self.comparison()?;
        Ok(Relation { subject, operator, values: vec![self.term(&binding)?] })
    }

    fn between(&mut self, subject: Subject<'t>, binding: &Binding<'_, 't>) -> Result<Relation<'t>> {
        let low = self.term(binding)?;
        self.expect_word("AND")?;
        let values = vec![low, self.term(binding)?];
        Ok(Relation { subject, operator: Operator::Between, values })
    }

    fn comparison(&mut self) -> Result<Operator> {
        let operator = match self.kind() {
            Kind::Symbol(b'=') => Operator::Equal,
            Kind::Symbol(b'<') => Operator::Less,
            Kind::Symbol(b'>') => Operator::Greater,
            Kind::AtMost => Operator::AtMost,
            Kind::AtLeast => Operator::AtLeast,
            Kind::NotEqual => Operator::NotEqual,
            _ => return Err(self.expected("an operator")),
        };
        self.advance();
        Ok(operator)
    }

    fn column_relation(&mut self) -> Result<Relation<'t>> {
        let column = self.column()?;
        let binding = Binding::new(Step::Column(column));
        if self.eat_symbol(b'[') {
            let key = self.term(&Binding::inside(&binding, Step::Key))?;
            self.expect_symbol(b']', "`]`")?;
            let subject = Subject::Element(column, key);
            let operator = self.comparison()?;
            let value = self.term(&Binding::inside(&binding, Step::Value))?;
            return Ok(Relation { subject, operator, values: vec![value] });
        }
        let subject = Subject::Column(column);
        let is_negated = self.eat_word("NOT");
        if self.eat_word("IN") {
            let operator = if is_negated { Operator::NotIn } else { Operator::In };
            return Ok(Relation { subject, operator, values: self.in_values(&binding)? });
        }
        if self.is_word("CONTAINS") {
            return self.contains(subject, &binding, is_negated);
        }
        if is_negated {
            return Err(self.expected("IN or CONTAINS"));
        }
        if self.eat_word("BETWEEN") {
            return self.between(subject, &binding);
        }
        if self.eat_word("LIKE") {
            let values = vec![self.term(&binding)?];
            return Ok(Relation { subject, operator: Operator::Like, values });
        }
        if self.eat_word("IS") {
            self.expect_word("NOT")?;
            self.expect_word("NULL")?;
            return Ok(Relation { subject, operator: Operator::IsNotNull, values: Vec::new() });
        }
        let operator = self.comparison()?;
        Ok(Relation { subject, operator, values: vec![self.term(&binding)?] })
    }

    fn contains(
        &mut self,
        subject: Subject<'t>,
        binding: &Binding<'_, 't>,
        is_negated: bool,
    ) -> Result<Relation<'t>> {
        self.expect_word("CONTAINS")?;
        // A function may be called key; a value it is not.
        let is_key = self.eat_word("KEY");
        let operator = match (is_negated, is_key) {
            (false, false) => Operator::Contains,
            (false, true) => Operator::ContainsKey,
            (true, false) => Operator::NotContains,
            (true, true) => Operator::NotContainsKey,
        };
        let step = if is_key { Step::Key } else { Step::Value };
        let value = self.term(&Binding::inside(binding, step))?;
        Ok(Relation { subject, operator, values: vec![value] })
    }

    /// The values of IN, or the marker for all of them.
    fn in_values(&mut self, binding: &Binding<'_, 't>) -> Result<Vec<Term<'t>>> {
        if let Some(marker) = self.marker_term(&Binding::inside(binding, Step::In))? {
            return Ok(vec![marker]);
        }
        self.expect_symbol(b'(', "`(` or a bind marker")?;
        let mut values = Vec::new();
        if self.eat_symbol(b')') {
            return Ok(values);
        }
        loop {
            values.push(self.term(binding)?);
            if self.eat_symbol(b')') {
                return Ok(values);
            }
            self.expect_symbol(b',', "`,` or `)`")?;
        }
    }

    fn tuple_relation(&mut self) -> Result<Relation<'t>> {
        let at = self.at();
        let columns = self.columns()?;
        let binding = Binding::new(Step::Columns(self.text_since(at)));
        let is_negated = self.eat_word("NOT");
        let (operator, values) = if self.eat_word("IN") {
            (if is_negated { Operator::NotIn } else { Operator::In }, self.in_tuples(&columns, &binding)?)
        } else if is_negated {
            return Err(self.expected("IN"));
        } else if self.eat_word("BETWEEN") {
            let low = self.tuple_or_marker(&columns, &binding)?;
            self.expect_word("AND")?;
            (Operator::Between, vec![low, self.tuple_or_marker(&columns, &binding)?])
        } else {
            (self.comparison()?, vec![self.tuple_or_marker(&columns, &binding)?])
        };
        Ok(Relation { subject: Subject::Tuple(columns), operator, values })
    }

    fn tuple_or_marker(&mut self, columns: &[Identifier<'t>], binding: &Binding<'_, 't>) -> Result<Term<'t>> {
        match self.marker_term(binding)? {
            Some(marker) => Ok(marker),
            None => self.tuple_literal(columns),
        }
    }

    /// A value for each of the columns.
    fn tuple_literal(&mut self, columns: &[Identifier<'t>]) -> Result<Term<'t>> {
        let (at, before) = (self.at(), self.markers.count());
        self.expect_symbol(b'(', "`(`")?;
        let mut columns = columns.iter();
        loop {
            let step = columns.next().map_or(Step::Selection, |column| Step::Column(*column));
            self.term(&Binding::new(step))?;
            if self.eat_symbol(b')') {
                return Ok(self.term_since(at, before, Form::Tuple));
            }
            self.expect_symbol(b',', "`,` or `)`")?;
        }
    }

    /// A marker for all, or tuples, or a marker for each.
    fn in_tuples(&mut self, columns: &[Identifier<'t>], binding: &Binding<'_, 't>) -> Result<Vec<Term<'t>>> {
        if let Some(marker) = self.marker_term(&Binding::inside(binding, Step::In))? {
            return Ok(vec![marker]);
        }
        self.expect_symbol(b'(', "`(` or a bind marker")?;
        let mut values: Vec<Term<'t>> = Vec::new();
        if self.eat_symbol(b')') {
            return Ok(values);
        }
        loop {
            let value = self.tuple_or_marker(columns, binding)?;
            // Markers and tuples do not mix.
            if values.last().is_some_and(|last| last.form != value.form) {
                return Err(self.expected("values of the same kind"));
            }
            values.push(value);
            if self.eat_symbol(b')') {
                return Ok(values);
            }
            self.expect_symbol(b',', "`,` or `)`")?;
        }
    }

    /// IF EXISTS or IF with conditions, if it is next.
    pub(super) fn existence(&mut self) -> Result<Option<Existence<'t>>> {
        if !self.eat_word("IF") {
            return Ok(None);
        }
        // A column may be called exists.
        let is_column =
            matches!(self.ahead(), [next, _] if is_behind_column(next.kind, self.token_text(next)));
        if self.is_word("EXISTS") && !is_column {
            self.advance();
            return Ok(Some(Existence::Exists));
        }
        let mut conditions = Vec::new();
        loop {
            conditions.push(self.condition()?);
            if !self.eat_word("AND") {
                return Ok(Some(Existence::If(conditions)));
            }
        }
    }

    fn condition(&mut self) -> Result<Condition<'t>> {
        let column = self.column()?;
        let whole = Binding::new(Step::Column(column));
        if self.eat_symbol(b'[') {
            let key = self.term(&Binding::inside(&whole, Step::Element))?;
            self.expect_symbol(b']', "`]`")?;
            let value = Binding::inside(&whole, Step::Value);
            return self.compared(Subject::Element(column, key), &value);
        }
        if self.eat_symbol(b'.') {
            let field = self.name()?;
            let value = Binding::inside(&whole, Step::Field(field));
            return self.compared(Subject::Field(column, field), &value);
        }
        if self.is_word("CONTAINS") {
            return self.contains(Subject::Column(column), &whole, false);
        }
        self.compared(Subject::Column(column), &whole)
    }

    fn compared(&mut self, subject: Subject<'t>, binding: &Binding<'_, 't>) -> Result<Condition<'t>> {
        if self.eat_word("IN") {
            return Ok(Relation { subject, operator: Operator::In, values: self.in_values(binding)? });
        }
        let operator = self.comparison()?;
        Ok(Relation { subject, operator, values: vec![self.term(binding)?] })
    }
}

/// True for what stands behind the column of a condition.
fn is_behind_column(kind: Kind, text: &str) -> bool {
    match kind {
        Kind::Symbol(b'=' | b'<' | b'>' | b'[' | b'.') => true,
        Kind::AtMost | Kind::AtLeast | Kind::NotEqual => true,
        Kind::Word => text.eq_ignore_ascii_case("IN") || text.eq_ignore_ascii_case("CONTAINS"),
        _ => false,
    }
}

//! What is selected: columns, functions, casts, literals, elements, fields and arithmetic.
//!
//! The same functions read a selector and, when its name is asked for, write what Cassandra calls it in a result.

use crate::cql::query::identifier::Identifier;
use crate::cql::query::keyword::{is_native_type, is_reserved};
use crate::cql::query::lexer::Kind;
use crate::cql::query::markers::{Binding, Step};
use crate::cql::query::parser::{Parser, Result};
use crate::cql::query::term::operator_text;
use crate::cql::query::view::{Selected, Selector};

impl Selector<'_> {
    /// What Cassandra calls it in a result: its alias, or how Cassandra itself would write it, such as `count`,
    /// `writetime(column)`, `system.token(column)`. Functions without a keyspace are taken for Cassandra's own.
    #[must_use]
    pub fn name(&self) -> String {
        if let Some(alias) = self.alias {
            return alias.to_string();
        }
        let mut parser = Parser::new(self.text);
        parser.name = Some(String::new());
        match parser.selection() {
            Ok(_) => parser.name.unwrap_or_default(),
            // It was parsed before, so that this is not reached.
            Err(_) => self.text.to_owned(),
        }
    }
}

impl<'t> Parser<'t> {
    /// What is selected, with its alias.
    pub(super) fn selector(&mut self) -> Result<Selector<'t>> {
        let at = self.at();
        let what = self.selection()?;
        let text = self.text_since(at);
        let alias = if self.eat_word("AS") { Some(self.name()?) } else { None };
        Ok(Selector { text, what, alias })
    }

    /// What is selected, without an alias.
    pub(super) fn selection(&mut self) -> Result<Selected<'t>> {
        self.enter()?;
        let what = self.selected_operation(b"+-")?;
        self.leave();
        Ok(what)
    }

    fn selected_operation(&mut self, operators: &[u8]) -> Result<Selected<'t>> {
        let operand = |parser: &mut Self| {
            if operators == b"+-" { parser.selected_operation(b"*/%") } else { parser.selected_group() }
        };
        let mut what = operand(self)?;
        while let Kind::Symbol(operator) = self.kind()
            && operators.contains(&operator)
        {
            self.emit(operator_text(operator));
            self.advance();
            operand(self)?;
            what = Selected::Expression;
        }
        Ok(what)
    }

    fn selected_group(&mut self) -> Result<Selected<'t>> {
        let mut is_negated = false;
        while self.eat_symbol(b'-') {
            self.emit("-");
            is_negated = true;
        }
        let what = self.selected_base()?;
        let is_part = self.parts(what)?;
        Ok(if is_negated || is_part { Selected::Expression } else { what })
    }

    /// `.field`, `[element]` and `[from..to]` of this, as many as there are.
    fn parts(&mut self, of: Selected<'t>) -> Result<bool> {
        let mut is_part = false;
        let whole = match of {
            Selected::Column(column) => Binding::new(Step::Column(column)),
            _ => Binding::new(Step::Selection),
        };
        let element = Binding::inside(&whole, Step::Element);
        loop {
            if self.eat_symbol(b'.') {
                let field = self.name()?;
                self.emit(".");
                self.emit_name(field);
            } else if self.eat_symbol(b'[') {
                self.emit("[");
                // Of parts of parts, Cassandra's name tells types that are not known here.
                self.sub_selection(if is_part { &whole } else { &element })?;
                self.expect_symbol(b']', "`]`")?;
                self.emit("]");
            } else {
                return Ok(is_part);
            }
            is_part = true;
        }
    }

    fn sub_selection(&mut self, binding: &Binding<'_, 't>) -> Result<()> {
        if self.eat(Kind::Range) {
            self.emit("..");
            return self.term(binding).map(|_| ());
        }
        self.term(binding)?;
        if self.eat(Kind::Range) {
            self.emit("..");
            if !self.is_symbol(b']') {
                self.term(binding)?;
            }
        }
        Ok(())
    }

    /// One thing without `-` before it, and without a part behind it.
    fn selected_base(&mut self) -> Result<Selected<'t>> {
        self.enter()?;
        let what = match self.kind() {
            Kind::Symbol(b'(') => self.hint_or_tuple()?,
            Kind::Symbol(b'[') => self.selected_list()?,
            Kind::Symbol(b'{') => self.selected_braces()?,
            Kind::Symbol(b'?' | b':') => {
                self.marker(&Binding::new(Step::Selection))?;
                Selected::Expression
            }
            Kind::QuotedName => self.column_or_call()?,
            Kind::Word => match self.constant() {
                Some(_) => Selected::Expression,
                None => self.column_or_call()?,
            },
            _ => match self.constant() {
                Some(_) => Selected::Expression,
                None => return Err(self.expected("what to select")),
            },
        };
        self.leave();
        Ok(what)
    }

    /// `(type)thing`, a tuple, or a thing in parentheses.
    fn hint_or_tuple(&mut self) -> Result<Selected<'t>> {
        let place = self.place();
        if self.hint().is_ok() && self.is_thing() {
            match self.selected_base() {
                Ok(_) => return Ok(Selected::Expression),
                // `(thing)['a'..'b']`: no list is like this, so that it was no hint. Nothing else is read again, for
                // then each level of nesting would double the time.
                Err(_) if self.kind() == Kind::Range => {}
                Err(error) => return Err(error),
            }
        }
        self.go_back(&place);
        self.advance();
        self.emit("(");
        self.selections(b')')?;
        self.emit(")");
        Ok(Selected::Expression)
    }

    /// A type in parentheses.
    fn hint(&mut self) -> Result<()> {
        self.advance();
        self.emit("(");
        self.any_type()?;
        self.expect_symbol(b')', "`)`")?;
        self.emit(")");
        Ok(())
    }

    /// True when what is next is what a hint can be for.
    fn is_thing(&self) -> bool {
        match self.kind() {
            Kind::Word => {
                let word = self.text();
                let is_constant = ["NULL", "TRUE", "FALSE", "NAN", "INFINITY", "TOKEN"];
                // `(column) AS alias`: who has a column called as cannot hint at its type.
                (!is_reserved(word) && !word.eq_ignore_ascii_case("AS"))
                    || is_constant.iter().any(|constant| word.eq_ignore_ascii_case(constant))
            }
            Kind::QuotedName | Kind::String | Kind::Integer | Kind::Float | Kind::NegativeFloat => true,
            Kind::Duration | Kind::Uuid | Kind::Blob | Kind::Symbol(b'(' | b'[' | b'{' | b'?' | b':') => true,
            _ => false,
        }
    }

    /// Things between commas, up to the symbol that closes them.
    fn selections(&mut self, close: u8) -> Result<()> {
        loop {
            self.selection()?;
            if self.eat_symbol(close) {
                return Ok(());
            }
            self.expect_symbol(b',', "`,` or the end of what is selected")?;
            self.emit(", ");
        }
    }

    fn selected_list(&mut self) -> Result<Selected<'t>> {
        self.advance();
        self.emit("[");
        if !self.eat_symbol(b']') {
            self.selections(b']')?;
        }
        self.emit("]");
        Ok(Selected::Expression)
    }

    fn selected_braces(&mut self) -> Result<Selected<'t>> {
        self.advance();
        self.emit("{");
        if !self.eat_symbol(b'}') {
            self.selection()?;
            if self.is_symbol(b':') {
                self.selected_entries()?;
            } else if self.eat_symbol(b',') {
                self.emit(", ");
                self.selections(b'}')?;
            } else {
                self.expect_symbol(b'}', "`:`, `,` or `}`")?;
            }
        }
        self.emit("}");
        Ok(Selected::Expression)
    }

    /// From behind the first key.
    fn selected_entries(&mut self) -> Result<()> {
        loop {
            self.expect_symbol(b':', "`:`")?;
            self.emit(": ");
            self.selection()?;
            if self.eat_symbol(b'}') {
                return Ok(());
            }
            self.expect_symbol(b',', "`,` or `}`")?;
            self.emit(", ");
            self.selection()?;
        }
    }

    /// A name: of a column, or of a function when it is called.
    fn column_or_call(&mut self) -> Result<Selected<'t>> {
        let [next, after] = self.ahead();
        let is_call = match next.kind {
            Kind::Symbol(b'(') => true,
            // `keyspace.function(`, or a field of a column.
            Kind::Symbol(b'.') => {
                let mut lexer = self.lexer_behind(after);
                lexer.next().kind == Kind::Symbol(b'(')
            }
            _ => false,
        };
        if !is_call {
            let column = self.name()?;
            self.emit_name(column);
            return Ok(Selected::Column(column));
        }
        if next.kind == Kind::Symbol(b'(')
            && let Some(what) = self.special_call()?
        {
            return Ok(what);
        }
        let (keyspace, name) = self.function_name()?;
        let is_count = name.matches("count") && keyspace.is_none_or(|keyspace| keyspace.matches("system"));
        if is_count && self.is_literal_argument() {
            self.emit("count");
            // What follows is not written any more.
            let name_so_far = self.name.take();
            self.arguments()?;
            self.name = name_so_far;
            return Ok(Selected::Function { keyspace, name });
        }
        if self.name.is_some() {
            match keyspace {
                Some(keyspace) => self.emit_name(keyspace),
                None => self.emit("system"),
            }
            self.emit(".");
            self.emit_function(name);
        }
        self.arguments()?;
        Ok(Selected::Function { keyspace, name })
    }

    fn arguments(&mut self) -> Result<()> {
        self.expect_symbol(b'(', "`(`")?;
        self.emit("(");
        if !self.eat_symbol(b')') {
            self.selections(b')')?;
        }
        self.emit(")");
        Ok(())
    }

    /// True for `(1)`: COUNT of any literal counts rows.
    fn is_literal_argument(&mut self) -> bool {
        let [argument, close] = self.ahead();
        let is_literal = match argument.kind {
            Kind::String | Kind::Integer | Kind::Float | Kind::NegativeFloat => true,
            Kind::Duration | Kind::Uuid | Kind::Blob => true,
            Kind::Word => {
                let word = self.token_text(argument);
                ["TRUE", "FALSE", "NAN", "INFINITY"].iter().any(|literal| word.eq_ignore_ascii_case(literal))
            }
            _ => false,
        };
        is_literal && close.kind == Kind::Symbol(b')')
    }

    /// Functions that are called like a type have the name of the type.
    fn emit_function(&mut self, name: Identifier<'_>) {
        if !name.is_quoted() && is_native_type(name.raw()) {
            self.emit(&name.raw().to_ascii_lowercase());
        } else {
            self.emit_name(name);
        }
    }

    /// The calls that have a grammar of their own, if one of them is next.
    fn special_call(&mut self) -> Result<Option<Selected<'t>>> {
        if self.is_word("COUNT") {
            return self.count();
        }
        if self.is_word("CAST") {
            return self.selected_cast().map(Some);
        }
        let make: fn(Identifier<'t>) -> Selected<'t> = if self.is_word("WRITETIME") {
            Selected::WriteTime
        } else if self.is_word("MAXWRITETIME") {
            Selected::MaxWriteTime
        } else if self.is_word("TTL") {
            Selected::Ttl
        } else {
            return Ok(None);
        };
        self.emit(&self.text().to_ascii_lowercase());
        self.advance();
        self.expect_symbol(b'(', "`(`")?;
        self.emit("(");
        let column = self.name()?;
        self.emit_name(column);
        self.parts(Selected::Column(column))?;
        self.expect_symbol(b')', "`)`")?;
        self.emit(")");
        Ok(Some(make(column)))
    }

    /// `count(*)`.
    fn count(&mut self) -> Result<Option<Selected<'t>>> {
        let place = self.place();
        self.advance();
        self.advance();
        let is_rows = self.eat_symbol(b'*') && self.eat_symbol(b')');
        if !is_rows {
            self.go_back(&place);
            return Ok(None);
        }
        self.emit("count");
        Ok(Some(Selected::Rows))
    }

    fn selected_cast(&mut self) -> Result<Selected<'t>> {
        self.advance();
        self.expect_symbol(b'(', "`(`")?;
        self.emit("cast(");
        self.selection()?;
        self.expect_word("AS")?;
        self.emit(" as ");
        self.native_type()?;
        self.expect_symbol(b')', "`)`")?;
        self.emit(")");
        Ok(Selected::Expression)
    }
}

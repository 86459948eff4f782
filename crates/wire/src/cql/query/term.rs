//! Values: literals, markers, calls, casts and arithmetic.

use crate::cql::query::identifier::Identifier;
use crate::cql::query::keyword::{is_function, is_reserved};
use crate::cql::query::lexer::{Kind, Token};
use crate::cql::query::markers::{Binding, Function, Step};
use crate::cql::query::parser::{Parser, Result};
use crate::cql::query::view::{Form, Term};

/// What Cassandra calls the function of an operator.
pub(super) fn operator_function(operator: u8) -> Option<&'static str> {
    match operator {
        b'+' => Some("_add"),
        b'-' => Some("_substract"),
        b'*' => Some("_multiply"),
        b'/' => Some("_divide"),
        b'%' => Some("_modulo"),
        _ => None,
    }
}

/// As operators are written between operands.
pub(super) fn operator_text(operator: u8) -> &'static str {
    match operator {
        b'+' => " + ",
        b'-' => " - ",
        b'*' => " * ",
        b'/' => " / ",
        _ => " % ",
    }
}

impl<'t> Parser<'t> {
    pub(super) fn term(&mut self, binding: &Binding<'_, 't>) -> Result<Term<'t>> {
        let (at, before) = (self.at(), self.markers.count());
        let form = self.operation(binding, b"+-")?;
        Ok(self.term_since(at, before, form))
    }

    /// Values between which operators stand: of sums, products; of products, single values.
    fn operation(&mut self, binding: &Binding<'_, 't>, operators: &[u8]) -> Result<Form> {
        let operand = |parser: &mut Self, binding: &Binding<'_, 't>| {
            if operators == b"+-" { parser.operation(binding, b"*/%") } else { parser.signed(binding) }
        };
        let mut form = operand(self, binding)?;
        while let Kind::Symbol(operator) = self.kind()
            && operators.contains(&operator)
            && !self.is_column_behind()
            && let Some(function) = operator_function(operator)
        {
            self.rebind_operand(0, function);
            self.emit(operator_text(operator));
            self.advance();
            operand(self, binding)?;
            self.rebind_operand(1, function);
            self.is_marker = false;
            form = Form::Operation;
        }
        Ok(form)
    }

    /// The marker that was just read, if it was one, turned out to be an operand.
    fn rebind_operand(&mut self, place: u32, operator: &'static str) {
        if self.is_marker {
            self.markers.rebind(&Binding::new(Step::Argument(place, Function::Operator(operator))));
        }
    }

    /// True when what follows the operator is a column, and no call: `c = [1] + c`.
    fn is_column_behind(&mut self) -> bool {
        let [name, next] = self.ahead();
        self.is_column_token(name) && !matches!(next.kind, Kind::Symbol(b'(' | b'.'))
    }

    /// True for the name of a column.
    pub(super) fn is_column_token(&self, token: Token) -> bool {
        token.kind == Kind::EmptyQuotedName || self.is_name_token(token)
    }

    fn signed(&mut self, binding: &Binding<'_, 't>) -> Result<Form> {
        if !self.eat_symbol(b'-') {
            return self.simple_term(binding);
        }
        self.emit("-");
        self.simple_term(binding)?;
        self.rebind_operand(0, "_negate");
        self.is_marker = false;
        Ok(Form::Operation)
    }

    fn simple_term(&mut self, binding: &Binding<'_, 't>) -> Result<Form> {
        self.enter()?;
        let form = match self.kind() {
            Kind::Symbol(b'[') => self.list(binding)?,
            Kind::Symbol(b'{') => self.braces(binding)?,
            Kind::Symbol(b'(') => self.parenthesis(binding)?,
            Kind::Symbol(b'?' | b':') => {
                self.marker(binding)?;
                Form::Marker
            }
            Kind::QuotedName => self.call()?,
            Kind::Word => match self.constant() {
                Some(form) => form,
                None if self.is_word("CAST") => self.cast()?,
                None => self.call()?,
            },
            _ => self.constant().ok_or_else(|| self.expected("a value"))?,
        };
        // A cast of a marker is bound as the marker alone is.
        self.is_marker = form == Form::Marker || (form == Form::Cast && self.is_marker);
        self.leave();
        Ok(form)
    }

    /// A literal of one token, if one is next.
    pub(super) fn constant(&mut self) -> Option<Form> {
        let text = self.text();
        let form = match self.kind() {
            Kind::String => Form::String,
            Kind::Integer => Form::Integer,
            Kind::Float | Kind::NegativeFloat => Form::Float,
            Kind::Duration => Form::Duration,
            Kind::Uuid => Form::Uuid,
            Kind::Blob => Form::Blob,
            Kind::Word if text.eq_ignore_ascii_case("NULL") => Form::Null,
            Kind::Word if ["TRUE", "FALSE"].iter().any(|word| text.eq_ignore_ascii_case(word)) => {
                Form::Boolean
            }
            Kind::Word if ["NAN", "INFINITY"].iter().any(|word| text.eq_ignore_ascii_case(word)) => {
                Form::Float
            }
            _ => return None,
        };
        if self.name.is_some() {
            self.emit_constant(form, text);
        }
        self.advance();
        Some(form)
    }

    /// Writes a literal as Cassandra does: strings with one quote for two.
    fn emit_constant(&mut self, form: Form, text: &str) {
        let dollars = text.strip_prefix("$$").and_then(|text| text.strip_suffix("$$"));
        let quoted = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
        match (form, dollars, quoted) {
            (Form::String, Some(inner), _) => self.emit(&format!("'{inner}'")),
            (Form::String, _, Some(inner)) => self.emit(&format!("'{}'", inner.replace("''", "'"))),
            (Form::Null, ..) => self.emit("NULL"),
            (Form::Float, ..) if text.eq_ignore_ascii_case("NAN") => self.emit("NaN"),
            (Form::Float, ..) if text.eq_ignore_ascii_case("-NAN") => self.emit("NaN"),
            (Form::Float, ..) if text.eq_ignore_ascii_case("INFINITY") => self.emit("Infinity"),
            (Form::Float, ..) if text.eq_ignore_ascii_case("-INFINITY") => self.emit("-Infinity"),
            _ => self.emit(text),
        }
    }

    /// Values between commas, up to the symbol that closes them.
    fn values(&mut self, binding: &Binding<'_, 't>, step: Step<'t>, close: u8) -> Result<()> {
        loop {
            self.term(&Binding::inside(binding, step))?;
            if self.eat_symbol(close) {
                return Ok(());
            }
            self.expect_symbol(b',', "`,` or the end of the values")?;
            self.emit(", ");
        }
    }

    fn list(&mut self, binding: &Binding<'_, 't>) -> Result<Form> {
        self.advance();
        self.emit("[");
        if !self.eat_symbol(b']') {
            // All elements share what is around them.
            let inside = Binding::inside(binding, Step::Value);
            loop {
                self.term(&inside)?;
                if self.eat_symbol(b']') {
                    break;
                }
                self.expect_symbol(b',', "`,` or `]`")?;
                self.emit(", ");
            }
        }
        self.emit("]");
        Ok(Form::List)
    }

    fn braces(&mut self, binding: &Binding<'_, 't>) -> Result<Form> {
        self.advance();
        self.emit("{");
        if self.eat_symbol(b'}') {
            self.emit("}");
            return Ok(Form::Set);
        }
        let is_user_type =
            self.is_name() && matches!(self.ahead(), [next, _] if next.kind == Kind::Symbol(b':'));
        let form = if is_user_type { self.fields(binding)? } else { self.set_or_map(binding)? };
        self.emit("}");
        Ok(form)
    }

    fn fields(&mut self, binding: &Binding<'_, 't>) -> Result<Form> {
        loop {
            let field = self.name()?;
            self.emit_name(field);
            self.expect_symbol(b':', "`:`")?;
            self.emit(": ");
            self.term(&Binding::inside(binding, Step::Field(field)))?;
            if self.eat_symbol(b'}') {
                return Ok(Form::UserType);
            }
            self.expect_symbol(b',', "`,` or `}`")?;
            self.emit(", ");
        }
    }

    fn set_or_map(&mut self, binding: &Binding<'_, 't>) -> Result<Form> {
        let first = Binding::inside(binding, Step::Value);
        self.term(&first)?;
        if self.eat_symbol(b'}') {
            return Ok(Form::Set);
        }
        if self.eat_symbol(b',') {
            self.emit(", ");
            self.values(binding, Step::Value, b'}')?;
            return Ok(Form::Set);
        }
        // It was a key, and so are the others.
        self.markers.correct(&first, Step::Key);
        loop {
            self.expect_symbol(b':', "`:`, `,` or `}`")?;
            self.emit(": ");
            self.term(&Binding::inside(binding, Step::Value))?;
            if self.eat_symbol(b'}') {
                return Ok(Form::Map);
            }
            self.expect_symbol(b',', "`,` or `}`")?;
            self.emit(", ");
            self.term(&Binding::inside(binding, Step::Key))?;
        }
    }

    /// `(type)value`, or a tuple.
    fn parenthesis(&mut self, binding: &Binding<'_, 't>) -> Result<Form> {
        if self.is_cast() {
            self.advance();
            self.emit("(");
            self.any_type()?;
            self.expect_symbol(b')', "`)`")?;
            self.emit(")");
            self.simple_term(binding)?;
            return Ok(Form::Cast);
        }
        self.advance();
        self.emit("(");
        let mut place = 0_u32;
        loop {
            self.term(&Binding::inside(binding, Step::Component(place)))?;
            if self.eat_symbol(b')') {
                break;
            }
            self.expect_symbol(b',', "`,` or `)`")?;
            self.emit(", ");
            place = place.saturating_add(1);
        }
        self.emit(")");
        Ok(Form::Tuple)
    }

    /// True when the parenthesis that is next holds a type. A name that is not called is no value, so a name alone in
    /// parentheses is a type; a string may be one, and is when a value follows.
    fn is_cast(&mut self) -> bool {
        let [first, second] = self.ahead();
        match first.kind {
            Kind::Word | Kind::QuotedName => {
                let is_constant = first.kind == Kind::Word && is_reserved(self.token_text(first));
                match second.kind {
                    Kind::Symbol(b'<') => true,
                    Kind::Symbol(b')') => !is_constant,
                    Kind::Symbol(b'.') => self.is_closed_behind(second, 1),
                    _ => false,
                }
            }
            Kind::String if second.kind == Kind::Symbol(b')') => self.is_value_behind(second),
            _ => false,
        }
    }

    /// True when so many tokens behind this one, a parenthesis closes.
    fn is_closed_behind(&self, token: Token, count: usize) -> bool {
        let mut lexer = self.lexer_behind(token);
        for _ in 0..count {
            lexer.next();
        }
        lexer.next().kind == Kind::Symbol(b')')
    }

    /// True when the token behind this one begins a value.
    fn is_value_behind(&self, token: Token) -> bool {
        let mut lexer = self.lexer_behind(token);
        let first = lexer.next();
        match first.kind {
            Kind::String | Kind::Integer | Kind::Float | Kind::NegativeFloat | Kind::Duration => true,
            Kind::Uuid | Kind::Blob | Kind::Symbol(b'?' | b':' | b'[' | b'{' | b'(') => true,
            Kind::Word | Kind::QuotedName => {
                let word = self.token_text(first);
                let is_constant = ["NULL", "TRUE", "FALSE", "NAN", "INFINITY"];
                is_constant.iter().any(|constant| word.eq_ignore_ascii_case(constant))
                    || matches!(lexer.next().kind, Kind::Symbol(b'(' | b'.'))
            }
            _ => false,
        }
    }

    fn cast(&mut self) -> Result<Form> {
        self.advance();
        self.expect_symbol(b'(', "`(`")?;
        self.emit("CAST(");
        self.simple_term(&Binding::new(Step::Selection))?;
        self.expect_word("AS")?;
        self.emit(" AS ");
        let at = self.at();
        self.native_type()?;
        if std::mem::take(&mut self.is_marker) {
            let function = Function::CastTo(self.text_since(at));
            self.markers.rebind(&Binding::new(Step::Argument(0, function)));
        }
        self.expect_symbol(b')', "`)`")?;
        self.emit(")");
        Ok(Form::Cast)
    }

    /// The call of a function.
    fn call(&mut self) -> Result<Form> {
        let (keyspace, name) = self.function_name()?;
        if self.name.is_some() {
            if let Some(keyspace) = keyspace {
                self.emit_name(keyspace);
                self.emit(".");
            }
            self.emit_name(name);
        }
        self.expect_symbol(b'(', "`(`")?;
        self.emit("(");
        let function = Function::Named { keyspace, name };
        let mut place = 0_u32;
        while !self.is_symbol(b')') || place > 0 {
            self.term(&Binding::new(Step::Argument(place, function)))?;
            place = place.saturating_add(1);
            if !self.eat_symbol(b',') {
                break;
            }
            self.emit(", ");
        }
        self.expect_symbol(b')', "`,` or `)`")?;
        self.emit(")");
        Ok(Form::Function)
    }

    /// The name of a function: TOKEN may be called though it is reserved, and some names that are not may not.
    pub(super) fn function_name(&mut self) -> Result<(Option<Identifier<'t>>, Identifier<'t>)> {
        let is_qualified = matches!(self.ahead(), [next, _] if next.kind == Kind::Symbol(b'.'));
        let keyspace = if is_qualified { Some(self.name()?) } else { None };
        if is_qualified {
            self.expect_symbol(b'.', "`.`")?;
        }
        let is_callable = match self.kind() {
            Kind::QuotedName => true,
            Kind::Word => is_function(self.text()),
            _ => false,
        };
        if !is_callable {
            return Err(self.expected("a value"));
        }
        let name = Identifier::new(self.text());
        self.advance();
        Ok((keyspace, name))
    }
}

//! A text together with what was parsed of it: a view that can be kept for longer than one borrows the text.

use std::fmt;
use std::sync::Arc;

use self_cell::self_cell;

use crate::cql::query::classify::classify;
use crate::cql::query::kind::StatementKind;
use crate::cql::query::parser::{Parsed, Result, parse};

type Tree<'t> = Result<Parsed<'t>>;

self_cell!(
    struct TextAndTree {
        owner: Arc<str>,
        #[covariant]
        dependent: Tree,
    }
);

/// A text that was parsed, or that is none that can be.
pub struct ParsedText(TextAndTree);

impl ParsedText {
    /// Parses a text: see [`parse`].
    #[must_use]
    pub fn new(text: Arc<str>) -> Self {
        Self(TextAndTree::new(text, |text| parse(text)))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.borrow_owner()
    }

    /// What it says.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parsed(&self) -> Result<&Parsed<'_>> {
        self.0.borrow_dependent().as_ref().map_err(|error| *error)
    }

    /// What kind of statement it is, also where no more can be told.
    #[must_use]
    pub fn kind(&self) -> StatementKind {
        match self.parsed() {
            Ok(parsed) => parsed.statement.kind(),
            Err(_) => classify(self.text()).kind,
        }
    }
}

impl fmt::Debug for ParsedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ParsedText").field(&self.parsed()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::ParsedText;
    use crate::cql::query::{Problem, Statement, StatementKind};

    #[test]
    fn a_text_and_what_it_says_are_kept_together() {
        let kept: Vec<ParsedText> = ["SELECT a AS b FROM k.t WHERE c = 1", "USE \"K\"", "SELECT FROM", ""]
            .map(|text| ParsedText::new(text.into()))
            .into();
        let Ok(Statement::Select(select)) = kept[0].parsed().map(|parsed| &parsed.statement) else {
            panic!()
        };
        assert_eq!(select.selectors[0].alias.unwrap().raw(), "b");
        assert!(matches!(&kept[1].parsed().unwrap().statement, Statement::Use(name) if name.matches("K")));
        assert_eq!(kept[1].text(), "USE \"K\"");
        assert_eq!(kept[2].parsed().unwrap_err().problem, Problem::Expected("a name"));
        assert_eq!(kept[3].parsed().unwrap_err().problem, Problem::Unrecognized);
        let kinds = [StatementKind::Select, StatementKind::Use, StatementKind::Select];
        assert!(kept.iter().map(ParsedText::kind).eq(kinds.into_iter().chain([StatementKind::Unrecognized])));
    }
}

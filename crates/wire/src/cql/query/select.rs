//! SELECT.

use crate::cql::query::markers::{Binding, Step};
use crate::cql::query::parser::{Parser, Result};
use crate::cql::query::view::{Order, Select, Selector};

impl<'t> Parser<'t> {
    pub(super) fn select(&mut self) -> Result<Select<'t>> {
        self.expect_word("SELECT")?;
        let (is_json, (is_distinct, selectors)) =
            self.keyword_or_column("JSON", |parser| parser.keyword_or_column("DISTINCT", Self::selectors))?;
        self.expect_word("FROM")?;
        let table = self.table()?;
        let relations = if self.eat_word("WHERE") { self.relations()? } else { Vec::new() };
        let group_by = self.group_by()?;
        let order_by = self.order_by()?;
        let mut per_partition_limit = None;
        if self.eat_word("PER") {
            self.expect_word("PARTITION")?;
            self.expect_word("LIMIT")?;
            per_partition_limit = Some(self.number(Step::PerPartitionLimit)?);
        }
        let limit = if self.eat_word("LIMIT") { Some(self.number(Step::Limit)?) } else { None };
        let allows_filtering = self.eat_word("ALLOW");
        if allows_filtering {
            self.expect_word("FILTERING")?;
        }
        Ok(Select {
            is_json,
            is_distinct,
            selectors,
            table,
            relations,
            group_by,
            order_by,
            per_partition_limit,
            limit,
            allows_filtering,
        })
    }

    /// A word that is a keyword where what follows it can be read on its own, and else the name of a column.
    /// Tried at most twice a statement, for JSON and for DISTINCT.
    fn keyword_or_column<T>(
        &mut self,
        word: &str,
        mut clause: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<(bool, T)> {
        if self.is_word(word) {
            let place = self.place();
            self.advance();
            if let Ok(read) = clause(self) {
                return Ok((true, read));
            }
            self.go_back(&place);
        }
        clause(self).map(|read| (false, read))
    }

    fn selectors(&mut self) -> Result<Vec<Selector<'t>>> {
        let mut selectors = Vec::new();
        if self.eat_symbol(b'*') {
            return Ok(selectors);
        }
        loop {
            selectors.push(self.selector()?);
            if !self.eat_symbol(b',') {
                return Ok(selectors);
            }
        }
    }

    fn group_by(&mut self) -> Result<Vec<&'t str>> {
        let mut groups = Vec::new();
        if self.eat_word("GROUP") {
            self.expect_word("BY")?;
            loop {
                let at = self.at();
                self.selection()?;
                groups.push(self.text_since(at));
                if !self.eat_symbol(b',') {
                    break;
                }
            }
        }
        Ok(groups)
    }

    fn order_by(&mut self) -> Result<Vec<Order<'t>>> {
        let mut orders = Vec::new();
        if self.eat_word("ORDER") {
            self.expect_word("BY")?;
            loop {
                orders.push(self.order()?);
                if !self.eat_symbol(b',') {
                    break;
                }
            }
        }
        Ok(orders)
    }

    fn order(&mut self) -> Result<Order<'t>> {
        let column = self.column()?;
        let mut nearest_to = None;
        if self.eat_word("ANN") {
            self.expect_word("OF")?;
            nearest_to = Some(self.term(&Binding::new(Step::Column(column)))?);
        }
        let is_descending = !self.eat_word("ASC") && self.eat_word("DESC");
        Ok(Order { column, is_descending, nearest_to })
    }
}

//! What is wrong with a file: every mistake, with its place.

use std::fmt;

/// The mistakes found in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    file: String,
    found: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    line: usize,
    column: usize,
    path: String,
    message: String,
}

impl Errors {
    /// None yet, in this file.
    #[must_use]
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), found: Vec::new() }
    }

    /// True when nothing is wrong so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Records a mistake. Lines and columns count from 1.
    pub(crate) fn push(&mut self, place: (usize, usize), path: &str, message: impl Into<String>) {
        let (line, column) = place;
        let problem = Problem { line, column, path: path.to_owned(), message: message.into() };
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }
}

/// One line a mistake, in the order of the file.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&Problem> = self.found.iter().collect();
        sorted.sort_by_key(|problem| (problem.line, problem.column));
        for (index, Problem { line, column, path, message }) in sorted.into_iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
            write!(f, "{separator}{}:{line}:{column}: {path}{message}", self.file)?;
        }
        Ok(())
    }
}

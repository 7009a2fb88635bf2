//! What is wrong with a file, and where.

use crate::document::Position;

/// One thing that is wrong. The file's author is at fault; the same file will be refused again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the key or value at fault begins.
    pub at: Position,
    /// What is wrong and, where there is one answer, what to write instead.
    pub message: String,
}

/// Everything that is wrong with one file, in the order of the file. Prints one `file:line:column: message` per line, the
/// form that editors and terminals can jump to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file as it was named.
    pub file: String,
    /// At least one, sorted by position.
    pub problems: Vec<Problem>,
}

impl Problems {
    pub(crate) fn new(file: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.at);
        Self { file: file.to_owned(), problems }
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, Problem { at, message }) in self.problems.iter().enumerate() {
            let end_of_last = if i > 0 { "\n" } else { "" };
            write!(f, "{end_of_last}{}:{}:{}: {message}", self.file, at.line, at.column)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

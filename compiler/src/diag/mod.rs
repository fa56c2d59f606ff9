//! Errors: collected and carried as data, rendered only at the command line.

mod codes;
pub mod render;

pub use codes::Code;
use std::{fmt, path::PathBuf};

/// One finding: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diag {
    /// Row of the table.
    pub code: Code,
    /// What was found, with the numbers.
    pub found: String,
    /// Node of the model, by its name.
    pub node: Option<String>,
    /// Tensor of the model, by its name.
    pub tensor: Option<String>,
    /// File or directory.
    pub file: Option<PathBuf>,
    /// What to do, where the table's own advice can be sharper.
    pub help: Option<String>,
}

/// What a step of the compiler returns.
pub type Result<T, E = Vec<Diag>> = std::result::Result<T, E>;

impl Diag {
    /// A finding of one kind.
    pub fn new(code: Code, found: impl Into<String>) -> Self {
        Diag {
            code,
            found: found.into(),
            node: None,
            tensor: None,
            file: None,
            help: None,
        }
    }

    /// Names the node.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// Names the tensor.
    pub fn tensor(mut self, name: impl Into<String>) -> Self {
        self.tensor = Some(name.into());
        self
    }

    /// Names the file or directory.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Replaces the table's advice.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

impl From<Diag> for Vec<Diag> {
    fn from(d: Diag) -> Self {
        vec![d]
    }
}

impl fmt::Display for Diag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.code.id(), self.code.title(), self.found)
    }
}

//! What is wrong in a plugin directory: one sentence a problem, with its place and what is left out because of it.

use std::fmt;
use std::path::{Path, PathBuf};

use voxtra_core::{HandlerName, TenantId};

/// Something in the directory that cannot be used. Its `Display` is one sentence, on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder.
    pub file: PathBuf,
    /// From 1; `None` where it is not about a line.
    pub line: Option<usize>,
    /// What is wrong and what to do. Never a value that may be a secret.
    pub why: String,
    /// What is left out.
    pub part: Part,
    /// Whether that part was there before and stays as it was, instead of being absent.
    pub kept: bool,
}

/// A part of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A tenant with everything that it has.
    Tenant(TenantId),
    /// One handler.
    Handler(TenantId, HandlerName),
    /// One router, by its name.
    Router(TenantId, String),
    /// One filter, by its name.
    Filter(TenantId, String),
    /// What follows the prompts when a handler failed; callers are hung up on instead.
    Fallback(TenantId),
    /// Only the file or folder itself, which belongs to nothing.
    Entry(Option<TenantId>),
}

impl Part {
    /// Whose it is; `None`: it is in no tenant's folder.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tenant(tenant)
            | Self::Handler(tenant, _)
            | Self::Router(tenant, _)
            | Self::Filter(tenant, _)
            | Self::Fallback(tenant) => Some(tenant),
            Self::Entry(tenant) => tenant.as_ref(),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "the tenant `{tenant}`"),
            Self::Handler(_, name) => write!(f, "the handler `{name}`"),
            Self::Router(_, name) => write!(f, "the router `{name}`"),
            Self::Filter(_, name) => write!(f, "the filter `{name}`"),
            Self::Fallback(_) => f.write_str("what follows the prompts"),
            Self::Entry(_) => f.write_str("it"),
        }
    }
}

impl Problem {
    pub(crate) fn new(file: &Path, part: Part, fault: impl Into<Fault>) -> Self {
        let Fault { line, why } = fault.into();
        Self { file: file.to_path_buf(), line, why, part, kept: false }
    }

    /// Whose it is; `None`: it is in no tenant's folder.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.part.tenant()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", crate::names::shown(self.file.as_os_str()))?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        let outcome = if self.kept { "stays as it was" } else { "is left out" };
        write!(f, ": {}; {} {outcome}", self.why, self.part)
    }
}

/// What is wrong, before it is known what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: Option<usize>,
    pub(crate) why: String,
}

impl Fault {
    pub(crate) fn at(line: usize, why: impl Into<String>) -> Self {
        Self { line: Some(line), why: why.into() }
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self { line: None, why }
    }
}

impl From<&str> for Fault {
    fn from(why: &str) -> Self {
        Self { line: None, why: why.to_owned() }
    }
}

//! The process's surroundings, as a value: tests make their own.

use super::Parameters;
use super::keywords::KEYWORDS;
use std::collections::HashMap;
use std::path::PathBuf;

/// Environment variables and the name of the user.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: HashMap<String, String>,
    user: Option<String>,
}

impl Environment {
    pub(crate) fn of_process() -> Self {
        // `vars_os`: a variable that is not UTF-8 is none of ours, and no reason to panic.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { variables, user: whoami::username().ok() }
    }

    #[cfg(test)]
    pub(crate) fn of_pairs(pairs: &[(&str, &str)], user: &str) -> Self {
        let variables = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { variables, user: Some(user.to_owned()) }
    }

    /// A variable's value; empty counts as not set, as in libpq.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(super) fn home(&self) -> Option<PathBuf> {
        self.get("HOME").map(PathBuf::from)
    }

    /// What the `PG*` variables say.
    pub(super) fn parameters(&self) -> Parameters {
        KEYWORDS
            .iter()
            .filter_map(|(keyword, variable)| Some((*keyword, self.get((*variable)?)?.to_owned())))
            .collect()
    }
}

//! The connection service file: named sets of parameters.

use super::keywords::known;
use super::{Environment, Parameters};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Debian's place for `pg_service.conf`, which is where its libpq looks.
const SYSTEM_DIRECTORY: &str = "/etc/postgresql-common";

/// The parameters of service `name`: from the user's file, else from the system's.
pub(super) fn read(name: &str, environment: &Environment) -> Result<Parameters> {
    for path in files(environment) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if let Some(found) = section(&text, name, &path)? {
            return Ok(found);
        }
    }
    Err(Error::config(format!("definition of service \"{name}\" not found")).hint(
        "Services stand in ~/.pg_service.conf, $PGSERVICEFILE, or pg_service.conf of $PGSYSCONFDIR.",
    ))
}

fn files(environment: &Environment) -> Vec<PathBuf> {
    let user = match environment.get("PGSERVICEFILE") {
        Some(path) => Some(PathBuf::from(path)),
        None => environment.home().map(|home| home.join(".pg_service.conf")),
    };
    let system = environment.get("PGSYSCONFDIR").unwrap_or(SYSTEM_DIRECTORY);
    user.into_iter().chain([Path::new(system).join("pg_service.conf")]).collect()
}

fn section(text: &str, name: &str, path: &Path) -> Result<Option<Parameters>> {
    let mut found: Option<Parameters> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if found.is_some() {
                break;
            }
            if title == name {
                found = Some(Parameters::new());
            }
            continue;
        }
        let Some(parameters) = &mut found else { continue };
        let place = || format!("{}, line {}", path.display(), number + 1);
        let Some((keyword, value)) = line.split_once('=') else {
            return Err(Error::config("syntax error in service file").at(place()));
        };
        let keyword = known(keyword.trim()).map_err(|error| error.at(place()))?;
        if keyword == "service" {
            return Err(Error::config("a service cannot name another service").at(place()));
        }
        parameters.entry(keyword).or_insert_with(|| value.trim().to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\n[hq]\nhost=a\nport = 7\n\n[branch]\nhost=b\n";

    #[test]
    fn finds_its_section_and_no_more() {
        let found = section(FILE, "hq", Path::new("f")).unwrap().unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found["port"], "7");
        assert!(section(FILE, "none", Path::new("f")).unwrap().is_none());
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = section("[a]\nhost\n", "a", Path::new("f")).unwrap_err();
        assert!(error.to_string().contains("f, line 2"), "{error}");
    }

    #[test]
    fn a_missing_service_is_an_error() {
        let environment = Environment::of_pairs(&[("PGSYSCONFDIR", "/nonexistent")], "me");
        assert!(read("nowhere", &environment).is_err());
    }
}

//! Connection strings, by libpq's rules.
//!
//! A `dsn` of the configuration is what psql takes as its `-d`: `keyword=value` pairs, a
//! `postgresql://` URI, or a bare database name. What it leaves open comes from the service file,
//! then from the `PG*` variables, then from libpq's defaults, so that a string that works in psql
//! works here. The result is an [`Endpoint`]: values checked and typed, ready for `net/`.
//!
//! Options that would silently weaken a connection when ignored (`sslcrl`, `requirepeer`,
//! `gssencmode=require`...) are refused instead.

mod endpoint;
mod environment;
mod keywords;
mod passfile;
mod service;
mod uri;

pub(crate) use endpoint::{
    Address, ChannelBinding, Endpoint, Host, RootCertificates, SessionAttributes, SslMode,
};
pub(crate) use environment::Environment;

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// Keyword and value, as yet unchecked. A later source fills in only what earlier ones left open.
pub(crate) type Parameters = BTreeMap<&'static str, String>;

/// Turns a connection string into an endpoint.
pub(crate) fn resolve(dsn: &str, environment: &Environment) -> Result<Endpoint> {
    let mut parameters = parse(dsn)?;
    let service = parameters
        .get("service")
        .cloned()
        .or_else(|| environment.get("PGSERVICE").map(str::to_owned));
    if let Some(name) = service {
        fill(&mut parameters, service::read(&name, environment)?);
    }
    fill(&mut parameters, environment.parameters());
    Endpoint::from_parameters(&parameters, environment)
}

fn parse(dsn: &str) -> Result<Parameters> {
    let dsn = dsn.trim();
    if uri::is_uri(dsn) {
        uri::parse(dsn)
    } else if dsn.contains('=') || dsn.is_empty() {
        keywords::parse(dsn)
    } else {
        Ok(Parameters::from([("dbname", dsn.to_owned())]))
    }
}

fn fill(parameters: &mut Parameters, more: Parameters) {
    for (keyword, value) in more {
        parameters.entry(keyword).or_insert(value);
    }
}

/// The error for everything wrong inside a connection string. It never repeats the string, which
/// may hold a password.
fn invalid(message: impl Into<String>) -> Error {
    Error::config(message)
        .hint("Connection strings are libpq's: keyword=value pairs or a postgresql:// URI.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dsn: &str, variables: &[(&str, &str)]) -> Result<Endpoint> {
        resolve(dsn, &Environment::of_pairs(variables, "me"))
    }

    #[test]
    fn the_string_wins_over_the_environment() {
        let endpoint =
            of("host=a dbname=shop", &[("PGHOST", "b"), ("PGDATABASE", "x"), ("PGPORT", "77")])
                .unwrap();
        assert_eq!(endpoint.addresses[0].host, Host::Tcp("a".into()));
        assert_eq!(endpoint.dbname, "shop");
        assert_eq!(endpoint.addresses[0].port, 77);
        assert_eq!(endpoint.user, "me");
    }

    #[test]
    fn a_bare_word_is_a_database() {
        assert_eq!(of("shop", &[("PGHOST", "/tmp")]).unwrap().dbname, "shop");
    }

    #[test]
    fn the_database_defaults_to_the_user() {
        assert_eq!(of("user=anna host=/tmp", &[]).unwrap().dbname, "anna");
    }

    #[test]
    fn an_unknown_keyword_is_refused_by_name() {
        let error = of("hots=a", &[]).unwrap_err();
        assert!(error.to_string().contains("\"hots\""), "{error}");
    }

    #[test]
    fn what_would_weaken_the_connection_is_refused() {
        assert!(of("host=a sslcrl=/x", &[]).is_err());
        assert!(of("host=a gssencmode=require", &[]).is_err());
        assert!(of("host=a gssencmode=prefer", &[]).is_ok());
    }
}

//! `keyword = 'value'` strings, and the list of keywords.

use super::{Parameters, invalid};
use crate::error::Result;

/// Every keyword that libpq 15 to 18 knows and its environment variable, if it has one.
pub(super) const KEYWORDS: &[(&str, Option<&str>)] = &[
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("port", Some("PGPORT")),
    ("dbname", Some("PGDATABASE")),
    ("user", Some("PGUSER")),
    ("password", Some("PGPASSWORD")),
    ("passfile", Some("PGPASSFILE")),
    ("service", None),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("options", Some("PGOPTIONS")),
    ("application_name", Some("PGAPPNAME")),
    ("fallback_application_name", None),
    ("client_encoding", Some("PGCLIENTENCODING")),
    ("keepalives", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("keepalives_count", None),
    ("tcp_user_timeout", None),
    ("sslmode", Some("PGSSLMODE")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("sslcompression", Some("PGSSLCOMPRESSION")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslpassword", None),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslcrl", Some("PGSSLCRL")),
    ("sslcrldir", Some("PGSSLCRLDIR")),
    ("sslsni", Some("PGSSLSNI")),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    ("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("requirepeer", Some("PGREQUIREPEER")),
    ("require_auth", Some("PGREQUIREAUTH")),
    ("gssencmode", Some("PGGSSENCMODE")),
    ("krbsrvname", Some("PGKRBSRVNAME")),
    ("gsslib", Some("PGGSSLIB")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    ("replication", None),
];

/// The keyword as one of the list, or an error that names it.
pub(super) fn known(word: &str) -> Result<&'static str> {
    KEYWORDS
        .iter()
        .map(|(keyword, _)| *keyword)
        .find(|keyword| *keyword == word)
        .ok_or_else(|| invalid(format!("invalid connection option \"{word}\"")))
}

/// Reads `keyword = value` pairs; a value in single quotes may hold spaces, `\` escapes.
pub(super) fn parse(dsn: &str) -> Result<Parameters> {
    let mut parameters = Parameters::new();
    let mut rest = dsn.trim_start();
    while !rest.is_empty() {
        let Some(equals) = rest.find('=') else {
            let word = rest.split_whitespace().next().unwrap_or_default();
            return Err(invalid(format!("missing \"=\" after \"{word}\" in connection string")));
        };
        let word = rest[..equals].trim_end();
        if word.contains(char::is_whitespace) {
            let word = word.split_whitespace().next().unwrap_or_default();
            return Err(invalid(format!("missing \"=\" after \"{word}\" in connection string")));
        }
        let keyword = known(word)?;
        let (value, after) = value(rest[equals + 1..].trim_start())?;
        parameters.insert(keyword, value);
        rest = after.trim_start();
    }
    // libpq takes an empty value for one that was not given.
    parameters.retain(|_, value| !value.is_empty());
    Ok(parameters)
}

fn value(text: &str) -> Result<(String, &str)> {
    let (text, quoted) = match text.strip_prefix('\'') {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                if let Some((_, escaped)) = characters.next() {
                    value.push(escaped);
                }
            }
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            space if !quoted && space.is_whitespace() => return Ok((value, &text[at..])),
            other => value.push(other),
        }
    }
    if quoted {
        return Err(invalid("unterminated quoted string in connection string"));
    }
    Ok((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_spaces_and_escapes() {
        let parsed = parse(r"host = localhost  password='a b\'c\\' user=x\ y dbname=").unwrap();
        assert_eq!(parsed["host"], "localhost");
        assert_eq!(parsed["password"], r"a b'c\");
        assert_eq!(parsed["user"], "x y");
        assert!(!parsed.contains_key("dbname"));
    }

    #[test]
    fn broken_strings_are_errors() {
        for dsn in ["host", "host=a port", "password='x", "host port=1", "=a"] {
            assert!(parse(dsn).is_err(), "{dsn}");
        }
    }

    #[test]
    fn an_error_never_shows_the_password() {
        let error = parse("password=geheim bogus=1").unwrap_err();
        assert!(!error.report().contains("geheim"));
    }
}

//! `postgresql://user:password@host:port,host:port/dbname?keyword=value`.

use super::keywords::known;
use super::{Parameters, invalid};
use crate::error::Result;

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

pub(super) fn is_uri(dsn: &str) -> bool {
    SCHEMES.iter().any(|scheme| dsn.starts_with(scheme))
}

pub(super) fn parse(dsn: &str) -> Result<Parameters> {
    let rest = SCHEMES.iter().find_map(|scheme| dsn.strip_prefix(scheme)).unwrap_or(dsn);
    let mut parameters = Parameters::new();
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, query),
        None => (rest, ""),
    };
    let (authority, dbname) = match rest.split_once('/') {
        Some((authority, dbname)) => (authority, dbname),
        None => (rest, ""),
    };
    // The last @: a password may hold one that nobody escaped.
    let hosts = match authority.rsplit_once('@') {
        Some((userinfo, hosts)) => {
            let (user, password) = match userinfo.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (userinfo, None),
            };
            put(&mut parameters, "user", user)?;
            put(&mut parameters, "password", password.unwrap_or_default())?;
            hosts
        }
        None => authority,
    };
    put_hosts(&mut parameters, hosts)?;
    put(&mut parameters, "dbname", dbname)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((keyword, value)) = pair.split_once('=') else {
            return Err(invalid(format!("missing \"=\" after \"{pair}\" in the URI's query")));
        };
        match keyword {
            // JDBC's word for it, which libpq takes too.
            "ssl" if value == "true" => put(&mut parameters, "sslmode", "require")?,
            _ => put(&mut parameters, known(&decode(keyword)?)?, value)?,
        }
    }
    Ok(parameters)
}

fn put(parameters: &mut Parameters, keyword: &'static str, value: &str) -> Result<()> {
    if !value.is_empty() {
        parameters.insert(keyword, decode(value)?);
    }
    Ok(())
}

/// Splits `host:port,[::1]:port` into the two comma lists that the keyword form has.
fn put_hosts(parameters: &mut Parameters, text: &str) -> Result<()> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let (host, port) = match part.strip_prefix('[') {
            Some(bracketed) => {
                let Some((host, after)) = bracketed.split_once(']') else {
                    return Err(invalid("missing \"]\" after an IPv6 address in the URI"));
                };
                match (after.is_empty(), after.strip_prefix(':')) {
                    (true, _) => (host, ""),
                    (false, Some(port)) => (host, port),
                    (false, None) => {
                        return Err(invalid("unexpected text after \"]\" in the URI"));
                    }
                }
            }
            None => part.split_once(':').unwrap_or((part, "")),
        };
        hosts.push(decode(host)?);
        ports.push(port);
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        parameters.insert("host", hosts.join(","));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        parameters.insert("port", ports.join(","));
    }
    Ok(())
}

/// `%XX` to bytes; the result must be UTF-8 and without a zero byte, as in libpq.
fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(byte)) if byte != 0 => bytes.push(byte),
            _ => return Err(invalid("invalid percent-encoding in the URI")),
        }
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| invalid("the URI is not UTF-8 once decoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts() {
        let parsed = parse(
            "postgresql://an%20na:p%40ss@a:1,[::1]:2,c/shop?sslmode=require&options=-c%20x%3D1",
        )
        .unwrap();
        assert_eq!(parsed["user"], "an na");
        assert_eq!(parsed["password"], "p@ss");
        assert_eq!(parsed["host"], "a,::1,c");
        assert_eq!(parsed["port"], "1,2,");
        assert_eq!(parsed["dbname"], "shop");
        assert_eq!(parsed["options"], "-c x=1");
    }

    #[test]
    fn a_socket_directory() {
        let parsed = parse("postgresql:///shop?host=/run/postgresql&port=7101").unwrap();
        assert_eq!(parsed["host"], "/run/postgresql");
        assert_eq!(parse("postgresql://%2Ftmp/x").unwrap()["host"], "/tmp");
    }

    #[test]
    fn nothing_but_the_scheme() {
        assert!(parse("postgres://").unwrap().is_empty());
    }

    #[test]
    fn broken_uris_are_errors() {
        for dsn in [
            "postgresql://[::1/x",
            "postgresql://[::1]x/x",
            "postgresql:///x?host",
            "postgresql:///x?nothing=1",
            "postgresql:///%zz",
            "postgresql:///%0",
            "postgresql:///%00",
        ] {
            assert!(parse(dsn).is_err(), "{dsn}");
        }
    }
}

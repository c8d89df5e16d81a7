//! A connection's parameters, checked and typed.

use super::{Environment, Parameters, invalid, passfile};
use crate::error::{Error, Result};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DEFAULT_PORT: u16 = 5432;
/// Debian's socket directory first, then that of a Postgres built from source.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Unix(PathBuf),
    Tcp(String),
}

impl Host {
    /// What `.pgpass` calls it: the default socket directory is `localhost`.
    pub(super) fn passfile_name(&self) -> String {
        match self {
            Self::Unix(path) if SOCKET_DIRECTORIES.iter().any(|d| Path::new(d) == path) => {
                "localhost".into()
            }
            Self::Unix(path) => path.display().to_string(),
            Self::Tcp(name) => name.clone(),
        }
    }
}

/// One of the places that are tried in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: Host,
    /// Given by `hostaddr`: no look-up of the name, which is then for the certificate only.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Against what a server's certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootCertificates {
    /// sslmode asks for no check, and no root file lies in its default place.
    Unchecked,
    /// The operating system's store.
    System,
    File(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionAttributes {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// All that `net/` needs to open a session.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) addresses: Vec<Address>,
    pub(crate) dbname: String,
    pub(crate) user: String,
    password: Option<String>,
    passfile: Option<PathBuf>,
    pub(crate) ssl_mode: SslMode,
    pub(crate) root_certificates: RootCertificates,
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) server_name_indication: bool,
    pub(crate) channel_binding: ChannelBinding,
    pub(crate) options: Option<String>,
    pub(crate) application_name: Option<String>,
    /// None waits as long as the operating system does.
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) session_attributes: SessionAttributes,
}

/// Leaves the password out.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("addresses", &self.addresses)
            .field("dbname", &self.dbname)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(super) fn from_parameters(
        parameters: &Parameters,
        environment: &Environment,
    ) -> Result<Self> {
        refuse_unsupported(parameters)?;
        let get = |keyword: &str| parameters.get(keyword).map(String::as_str);
        let user = match get("user").or_else(|| environment.user()) {
            Some(user) => user.to_owned(),
            None => return Err(invalid("no user name given and the system's is not known")),
        };
        let ssl_mode = ssl_mode(get("sslmode"))?;
        let home = environment.home().map(|home| home.join(".postgresql"));
        Ok(Self {
            addresses: addresses(get("host"), get("hostaddr"), get("port"))?,
            dbname: get("dbname").unwrap_or(&user).to_owned(),
            user,
            password: get("password").map(str::to_owned),
            passfile: get("passfile")
                .map(PathBuf::from)
                .or_else(|| passfile::default_path(environment)),
            ssl_mode,
            root_certificates: root_certificates(get("sslrootcert"), ssl_mode, home.as_deref())?,
            client_certificate: client_certificate(get("sslcert"), get("sslkey"), home.as_deref()),
            server_name_indication: get("sslsni") != Some("0"),
            channel_binding: channel_binding(get("channel_binding"))?,
            options: get("options").map(str::to_owned),
            application_name: get("application_name")
                .or(get("fallback_application_name"))
                .map(str::to_owned),
            connect_timeout: connect_timeout(get("connect_timeout"))?,
            session_attributes: session_attributes(get("target_session_attrs"))?,
        })
    }

    /// The same, at one address: a second session must talk to the server of the first.
    pub(crate) fn only_at(&self, address: &Address) -> Self {
        let mut endpoint = self.clone();
        endpoint.addresses = vec![address.clone()];
        endpoint
    }

    /// The password for one of the addresses: given, else from the password file.
    pub(crate) fn password_for(&self, address: &Address) -> Option<String> {
        self.password.clone().or_else(|| {
            let path = self.passfile.as_deref()?;
            passfile::look_up(path, &address.host, address.port, &self.dbname, &self.user)
        })
    }
}

/// What cannot be honoured and may not be ignored.
fn refuse_unsupported(parameters: &Parameters) -> Result<()> {
    let accepted_values: &[(&str, &[&str])] = &[
        ("sslcrl", &[]),
        ("sslcrldir", &[]),
        ("sslpassword", &[]),
        ("requirepeer", &[]),
        ("require_auth", &[]),
        ("gssencmode", &["disable", "prefer"]),
        ("sslnegotiation", &["postgres"]),
        ("sslcompression", &["0"]),
        ("ssl_min_protocol_version", &["TLSv1", "TLSv1.1", "TLSv1.2"]),
        ("ssl_max_protocol_version", &["TLSv1.3"]),
        ("client_encoding", &["UTF8", "utf8", "UTF-8", "auto"]),
        ("replication", &[]),
    ];
    for (keyword, accepted) in accepted_values {
        if let Some(value) = parameters.get(keyword)
            && !accepted.contains(&value.as_str())
        {
            return Err(invalid(format!(
                "connection option \"{keyword}\" cannot be set to \"{value}\" here"
            )));
        }
    }
    Ok(())
}

fn addresses(
    host: Option<&str>,
    hostaddr: Option<&str>,
    port: Option<&str>,
) -> Result<Vec<Address>> {
    let split = |list: Option<&str>| -> Vec<String> {
        list.map(|list| list.split(',').map(|item| item.trim().to_owned()).collect())
            .unwrap_or_default()
    };
    let (hosts, ips, ports) = (split(host), split(hostaddr), split(port));
    if !hosts.is_empty() && !ips.is_empty() && hosts.len() != ips.len() {
        return Err(invalid(format!(
            "could not match {} host names to {} hostaddr values",
            hosts.len(),
            ips.len()
        )));
    }
    let count = hosts.len().max(ips.len()).max(1);
    if ports.len() > 1 && ports.len() != count {
        return Err(invalid(format!(
            "could not match {} port numbers to {count} hosts",
            ports.len()
        )));
    }
    (0..count)
        .map(|at| {
            let ip =
                match ips.get(at).filter(|ip| !ip.is_empty()) {
                    Some(ip) => Some(ip.parse().map_err(|_| {
                        invalid(format!("could not parse network address \"{ip}\""))
                    })?),
                    None => None,
                };
            let name = hosts.get(at).filter(|host| !host.is_empty());
            Ok(Address {
                host: host_of(name.map(String::as_str), ip)?,
                ip,
                port: port_of(if ports.len() == 1 { ports.first() } else { ports.get(at) })?,
            })
        })
        .collect()
}

fn host_of(name: Option<&str>, ip: Option<IpAddr>) -> Result<Host> {
    match (name, ip) {
        (Some(name), _) if name.starts_with('@') => {
            Err(invalid("abstract unix sockets are not supported"))
        }
        (Some(name), None) if name.starts_with('/') => Ok(Host::Unix(name.into())),
        (Some(name), _) => Ok(Host::Tcp(name.to_owned())),
        (None, Some(ip)) => Ok(Host::Tcp(ip.to_string())),
        (None, None) => {
            let present = SOCKET_DIRECTORIES.iter().find(|path| Path::new(path).is_dir());
            Ok(Host::Unix(present.unwrap_or(&SOCKET_DIRECTORIES[0]).into()))
        }
    }
}

fn port_of(text: Option<&String>) -> Result<u16> {
    match text.map(|text| text.trim()).filter(|text| !text.is_empty()) {
        None => Ok(DEFAULT_PORT),
        Some(text) => match text.parse() {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(invalid(format!("invalid port number: \"{text}\""))),
        },
    }
}

fn ssl_mode(text: Option<&str>) -> Result<SslMode> {
    Ok(match text {
        None | Some("prefer") => SslMode::Prefer,
        Some("disable") => SslMode::Disable,
        Some("allow") => SslMode::Allow,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(other) => return Err(invalid(format!("invalid sslmode value: \"{other}\""))),
    })
}

fn root_certificates(
    given: Option<&str>,
    mode: SslMode,
    home: Option<&Path>,
) -> Result<RootCertificates> {
    if given == Some("system") {
        // Any site can have a certificate of a public authority: only the name makes it ours.
        if mode != SslMode::VerifyFull {
            return Err(invalid("weak sslmode may not be used with sslrootcert=system")
                .hint("Use sslmode=verify-full."));
        }
        return Ok(RootCertificates::System);
    }
    let path = given.map(PathBuf::from).or_else(|| home.map(|home| home.join("root.crt")));
    match path {
        Some(path) if path.is_file() => Ok(RootCertificates::File(path)),
        path if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) => {
            let path = path.unwrap_or_default();
            Err(Error::config(format!(
                "root certificate file \"{}\" does not exist",
                path.display()
            ))
            .hint(
                "Provide the file, use the system's trusted roots with sslrootcert=system and \
                 sslmode=verify-full, or change sslmode.",
            ))
        }
        _ => Ok(RootCertificates::Unchecked),
    }
}

fn client_certificate(
    cert: Option<&str>,
    key: Option<&str>,
    home: Option<&Path>,
) -> Option<(PathBuf, PathBuf)> {
    let place = |given: Option<&str>, name: &str| match given {
        Some(path) => Some(PathBuf::from(path)),
        None => home.map(|home| home.join(name)),
    };
    let cert_path = place(cert, "postgresql.crt")?;
    // One that was asked for by name must exist: opening it says so. The default may be absent.
    (cert.is_some() || cert_path.is_file())
        .then(|| place(key, "postgresql.key").map(|key_path| (cert_path, key_path)))?
}

fn channel_binding(text: Option<&str>) -> Result<ChannelBinding> {
    Ok(match text {
        None | Some("prefer") => ChannelBinding::Prefer,
        Some("disable") => ChannelBinding::Disable,
        Some("require") => ChannelBinding::Require,
        Some(other) => return Err(invalid(format!("invalid channel_binding value: \"{other}\""))),
    })
}

/// libpq's rule: nothing, zero and below wait for ever, one second counts as two.
fn connect_timeout(text: Option<&str>) -> Result<Option<Duration>> {
    let Some(text) = text else { return Ok(None) };
    let seconds: i32 = text.trim().parse().map_err(|_| {
        invalid(format!(
            "invalid integer value \"{text}\" for connection option \"connect_timeout\""
        ))
    })?;
    Ok(u64::try_from(seconds).ok().filter(|s| *s > 0).map(|s| Duration::from_secs(s.max(2))))
}

fn session_attributes(text: Option<&str>) -> Result<SessionAttributes> {
    Ok(match text {
        None | Some("any") => SessionAttributes::Any,
        Some("read-write") => SessionAttributes::ReadWrite,
        Some("read-only") => SessionAttributes::ReadOnly,
        Some("primary") => SessionAttributes::Primary,
        Some("standby") => SessionAttributes::Standby,
        Some("prefer-standby") => SessionAttributes::PreferStandby,
        Some(other) => {
            return Err(invalid(format!("invalid target_session_attrs value: \"{other}\"")));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_pair_up() {
        let found = addresses(Some("a,/run/x,"), None, Some("1,2,")).unwrap();
        assert_eq!(found[0], Address { host: Host::Tcp("a".into()), ip: None, port: 1 });
        assert_eq!(found[1].host, Host::Unix("/run/x".into()));
        assert_eq!(found[2].port, 5432);
        let found = addresses(Some("a,b"), None, Some("9")).unwrap();
        assert!(found.iter().all(|address| address.port == 9));
        assert!(addresses(Some("a,b,c"), None, Some("1,2")).is_err());
        assert!(addresses(Some("a,b"), Some("::1"), None).is_err());
    }

    #[test]
    fn an_address_spares_the_look_up_and_keeps_the_name() {
        let found = addresses(Some("db.example"), Some("10.0.0.1"), None).unwrap();
        assert_eq!(found[0].host, Host::Tcp("db.example".into()));
        assert_eq!(found[0].ip, Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn ports_are_checked() {
        for bad in ["0", "x", "70000", "-1"] {
            assert!(addresses(Some("a"), None, Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn verifying_without_roots_is_refused() {
        assert!(root_certificates(Some("/nonexistent"), SslMode::VerifyFull, None).is_err());
        assert!(root_certificates(Some("system"), SslMode::Require, None).is_err());
        assert_eq!(
            root_certificates(None, SslMode::Require, None).unwrap(),
            RootCertificates::Unchecked
        );
    }

    #[test]
    fn timeouts() {
        assert_eq!(connect_timeout(Some("0")).unwrap(), None);
        assert_eq!(connect_timeout(Some("1")).unwrap(), Some(Duration::from_secs(2)));
        assert!(connect_timeout(Some("soon")).is_err());
    }
}

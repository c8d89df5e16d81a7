//! `~/.pgpass`: `host:port:database:user:password`, `*` for any, `\` escapes `:` and itself.

use super::{Environment, Host};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The password for a connection, if the file has one and is nobody else's to read.
pub(super) fn look_up(
    path: &Path,
    host: &Host,
    port: u16,
    dbname: &str,
    user: &str,
) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() {
        tracing::warn!(path = %path.display(), "password file is not a plain file");
        return None;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            "password file has group or world access; permissions should be u=rw (0600) or less"
        );
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    let port = port.to_string();
    find(&text, [&host.passfile_name(), &port, dbname, user])
}

/// Where the file is when nobody says.
pub(super) fn default_path(environment: &Environment) -> Option<PathBuf> {
    environment.home().map(|home| home.join(".pgpass"))
}

fn find(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = fields(line);
        for want in wanted {
            let field = fields.next()?;
            // Only a bare star is a wildcard, an escaped one is a name.
            if field.raw != "*" && field.value != want {
                return None;
            }
        }
        fields.next().map(|password| password.value).filter(|password| !password.is_empty())
    })
}

struct Field<'a> {
    raw: &'a str,
    value: String,
}

fn fields(line: &str) -> impl Iterator<Item = Field<'_>> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut value = String::new();
        let mut characters = text.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                ':' => {
                    rest = Some(&text[at + 1..]);
                    return Some(Field { raw: &text[..at], value });
                }
                other => value.push(other),
            }
        }
        rest = None;
        Some(Field { raw: text, value })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\na\\:b:5432:x:y:co\\:lon\n*:*:shop:anna:secret\nlocalhost:1:*:*:l\n\
                        h:1:d:u\n";

    #[test]
    fn wildcards_and_escapes() {
        assert_eq!(find(FILE, ["a:b", "5432", "x", "y"]).unwrap(), "co:lon");
        assert_eq!(find(FILE, ["any", "9", "shop", "anna"]).unwrap(), "secret");
        assert_eq!(find(FILE, ["localhost", "1", "q", "r"]).unwrap(), "l");
        assert_eq!(find(FILE, ["any", "9", "shop", "bob"]), None);
    }

    #[test]
    fn a_line_without_a_password_is_passed_over() {
        assert_eq!(find(FILE, ["h", "1", "d", "u"]), None);
    }

    #[test]
    fn a_file_that_others_can_read_is_ignored() {
        let path = std::env::temp_dir().join(format!("pgpass-{}", std::process::id()));
        std::fs::write(&path, "*:*:*:*:open\n").unwrap();
        let host = Host::Tcp("h".into());
        for (mode, expected) in [(0o644, None), (0o600, Some("open".to_owned()))] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(look_up(&path, &host, 1, "d", "u"), expected);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn sockets_match_localhost() {
        assert_eq!(Host::Unix("/var/run/postgresql".into()).passfile_name(), "localhost");
        assert_eq!(Host::Unix("/srv/x".into()).passfile_name(), "/srv/x");
    }
}

//! A certificate authority of the test's own, and a server certificate from it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::run;

/// Writes `ca.crt`, `server.crt` and `server.key` into a folder; the certificate is good for
/// `localhost` and `127.0.0.1`. Returns the authority's certificate.
pub(crate) fn make_certificates(folder: &Path) -> PathBuf {
    let openssl = |arguments: &[&str]| {
        run(Command::new("openssl").args(arguments).current_dir(folder));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority = ["-x509", "-days", "2", "-subj", "/CN=syncjournal test authority"];
    let authority_files = ["-keyout", "ca.key", "-out", "ca.crt"];
    openssl(&[&["req"], &key[..], &authority, &authority_files].concat());
    let server = ["-x509", "-days", "2", "-subj", "/CN=localhost", "-CA", "ca.crt", "-CAkey"];
    let names = ["ca.key", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
    let server_files = ["-keyout", "server.key", "-out", "server.crt"];
    openssl(&[&["req"], &key[..], &server, &names, &leaf, &server_files].concat());
    folder.join("ca.crt")
}

//! Running programs, and running them as somebody who may start Postgres.
//!
//! Postgres refuses to run as root. So where the tests run as root (a container, CI), the server and
//! its tools run as the user `postgres`; otherwise as the caller.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Output};
use std::sync::LazyLock;

/// The account that runs the server where the tests run as root.
const SERVER_USER: &str = "postgres";

static IS_ROOT: LazyLock<bool> =
    LazyLock::new(|| std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0));

/// The words before a command that make it run as the server's user; none for an ordinary caller.
pub(crate) fn as_server_user() -> Vec<String> {
    if !*IS_ROOT {
        return Vec::new();
    }
    ["setpriv", "--init-groups"]
        .map(String::from)
        .into_iter()
        .chain([format!("--reuid={SERVER_USER}"), format!("--regid={SERVER_USER}")])
        .chain(["--".to_owned()])
        .collect()
}

/// A command that runs as the server's user, in a directory which that user can read.
pub(crate) fn server_command(program: impl AsRef<OsStr>) -> Command {
    let mut words = as_server_user().into_iter();
    let mut command = match words.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(program.as_ref());
            command
        }
        None => Command::new(program.as_ref()),
    };
    command.current_dir("/");
    command
}

/// Runs a command to its end and returns its standard output; panics with all it said if it fails.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?} failed with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

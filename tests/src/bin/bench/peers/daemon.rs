//! A peer's process that runs beside the servers.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use syncjournal_tests::Guard;

use super::ran;

/// A process that is asked to end at the latest when it is dropped, or this process is gone.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    guard: Guard,
}

impl Daemon {
    /// Starts it; what it says goes to a file.
    pub(super) fn start(command: &mut Command, log: &Path) -> Self {
        let log = File::create(log).expect("the folder is writable");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let guard = Guard::new("kill \"$1\"", &[&child.id().to_string()]);
        Self { child, guard }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits for it.
    pub(super) fn end(mut self) {
        ran(Command::new("kill").arg(self.pid().to_string()));
        self.child.wait().expect("a child can be waited for");
        self.guard.release();
    }
}

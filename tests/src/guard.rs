//! Cleaning up after a test process that may be killed at any moment.
//!
//! A guard is a shell that waits on a pipe whose other end only the test process holds. When that end
//! closes (the process returned, panicked, was killed, or lost its terminal), the shell runs the
//! cleanup. It stands in a process group of its own, so that Ctrl-C does not end it first.

use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Runs a shell script once the test process ends, unless it is released before.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
}

impl Guard {
    /// `cleanup` is a shell script; `arguments` are its `$1`, `$2`, ….
    pub fn new(cleanup: &str, arguments: &[&str]) -> Self {
        let script = format!("if read -r released; then exit 0; fi\n{cleanup}");
        let shell = Command::new("sh")
            .args(["-c", &script, "guard"])
            .args(arguments)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");
        Self { shell }
    }

    /// Runs the cleanup now and waits for it.
    pub fn fire(mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }

    /// Ends the guard without its cleanup.
    pub fn release(mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            let _ = stdin.write_all(b"released\n");
        }
        let _ = self.shell.wait();
    }
}

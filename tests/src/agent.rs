//! The agent as a process.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::build;
use crate::guard::Guard;
use crate::process::run;

/// How long the agent may take to end once it was told to, or has nothing more to do.
const TIME_TO_END: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// A call of the agent that is being put together.
#[derive(Debug)]
pub struct AgentCommand {
    folder: TempDir,
    command: Command,
}

/// A call of the agent that is over.
#[derive(Debug)]
pub struct Finished {
    /// The exit status; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// An agent that runs in the background; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    guard: Option<Guard>,
    folder: TempDir,
}

impl AgentCommand {
    /// `config` is the content of the configuration file.
    pub fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, config).expect("a temporary folder is writable");
        let output = |name| File::create(folder.path().join(name)).expect("it is writable");
        let mut command = Command::new(build::agent());
        command
            .arg("--config")
            .arg(&file)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"));
        Self { folder, command }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the agent's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives it a terminal of its own: what it writes there, errors too, is in `stdout`.
    pub fn on_terminal(mut self) -> Self {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let quoted = |word: &OsStr| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"));
        let line: Vec<String> = words.map(quoted).collect();
        let output = |name| File::create(self.folder.path().join(name)).expect("it is writable");
        let mut command = Command::new("script");
        command
            .args(["-qec", &line.join(" "), "/dev/null"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"));
        self.command = command;
        self
    }

    /// Starts it in the background.
    pub fn start(mut self) -> Agent {
        let child = self.command.spawn().expect("the agent can be started");
        let guard = Guard::new("kill -KILL \"$1\"", &[&child.id().to_string()]);
        Agent { child, guard: Some(guard), folder: self.folder }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.start().wait()
    }
}

impl Agent {
    /// Starts `syncjournal-agent run` with a configuration.
    pub fn run(config: &str) -> Self {
        AgentCommand::new(config).arg("run").start()
    }

    /// The folder of its configuration file, `agent.toml`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.written("stderr")
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Sends a signal, such as `TERM` or `HUP`.
    pub fn signal(&self, name: &str) {
        run(Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()));
    }

    /// Asks it to stop, and waits for that.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it ends by itself; panics if it does not in time.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        let start = Instant::now();
        while self.is_running() {
            assert!(start.elapsed() < TIME_TO_END, "the agent does not end");
            std::thread::sleep(PAUSE);
        }
        let status = self.child.wait().expect("a child can be waited for");
        let (stdout, stderr) = (self.written("stdout"), self.written("stderr"));
        Finished { code: status.code(), stdout, stderr }
    }

    fn written(&self, name: &str) -> String {
        let bytes = std::fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // A test that failed is understood by what the agent has said.
            eprintln!("the agent's standard error:\n{}", self.stderr());
        }
        if let Some(guard) = self.guard.take() {
            guard.release();
        }
    }
}

//! On what, and under which settings, a run took place: figures mean nothing without it.

use std::process::Command;

use serde_json::{Value, json};
use syncjournal_tests::{Options, server};

/// The same for every system and both ends; what a peer needs more is said with the peer.
///
/// Autovacuum is off so that one system's rest is not another's load: the bench itself vacuums and
/// analyzes before every turn.
pub(crate) const SETTINGS: [(&str, &str); 10] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("wal_level", "logical"),
    ("shared_buffers", "512MB"),
    ("max_wal_size", "2GB"),
    ("checkpoint_timeout", "30min"),
    ("autovacuum", "off"),
    ("wal_retrieve_retry_interval", "200ms"),
    ("jit", "off"),
];

pub(crate) fn settings() -> Options {
    SETTINGS.iter().fold(Options::default(), |options, (name, value)| options.set(name, value))
}

/// What can be said about this machine.
#[derive(Debug)]
pub(crate) struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let folder = std::env::temp_dir();
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let field = |file: &str, name: &str| {
            let text = read(file);
            let value = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            value.split_once(':').map_or("", |(_, value)| value).trim().to_owned()
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let facts = vec![
            ("started", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
            ("commit", said("git", &["describe", "--always", "--dirty"])),
            ("server", said(&server().bin.join("postgres").to_string_lossy(), &["--version"])),
            ("processor", format!("{cores} x {}", field("/proc/cpuinfo", "model name"))),
            ("memory", field("/proc/meminfo", "MemTotal")),
            ("kernel", said("uname", &["-sr"])),
            ("file system", file_system(&folder.to_string_lossy())),
            ("load at the start", read("/proc/loadavg").trim().to_owned()),
        ];
        Self { facts }
    }

    pub(crate) fn for_people(&self) -> String {
        let facts = self.facts.iter().map(|(name, value)| format!("  {name:<18} {value}\n"));
        let settings = SETTINGS.iter().map(|(name, value)| format!("{name}={value}"));
        let settings = settings.collect::<Vec<_>>().join(", ");
        format!(
            "{}  {:<18} {settings}\n  {:<18} no process is pinned to a core\n",
            facts.collect::<String>(),
            "settings",
            "pinning"
        )
    }

    pub(crate) fn json(&self) -> Value {
        let facts = self.facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        let settings = SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        json!({
            "facts": facts.collect::<serde_json::Map<_, _>>(),
            "settings": settings.collect::<serde_json::Map<_, _>>(),
            "pinned": false,
        })
    }
}

/// Where the clusters stand: `fsync` costs nothing on a tmpfs, which must not go unnoticed.
fn file_system(folder: &str) -> String {
    format!("{} below {folder}", said("stat", &["--file-system", "--format=%T", folder]))
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| "unknown".to_owned())
}

//! What ARCHITECTURE.md says of the code as a whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file is one idea; past this it is several.
const MOST_LINES: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the workspace")
}

#[test]
fn the_core_is_pure_and_the_two_shells_do_not_know_each_other() {
    let rules = [
        ("syncjournal-core", &["pgrx", "tokio", "postgres-protocol", "syncjournal"][..]),
        ("syncjournal", &["tokio", "syncjournal-agent"]),
        ("syncjournal-agent", &["pgrx", "pgrx-pg-sys", "syncjournal", "openssl-sys", "native-tls"]),
    ];
    for (package, forbidden) in rules {
        let needs = needs(package);
        assert!(needs.contains(package) && needs.len() > 1, "{package} needs {needs:?}");
        for name in forbidden {
            assert!(!needs.contains(*name), "{package} must not depend on {name}");
        }
    }
}

#[test]
fn unsafe_code_stays_where_it_is_expected() {
    // The wrappers of the server's functions, and the codec, whose callers vouch for a datum's type.
    let addresses = ["extension/src/pg", "extension/src/value/codec.rs"].map(|at| root().join(at));
    for file in sources(&["journal/src", "extension/src", "agent/src", "tests"], "rs") {
        let text = std::fs::read_to_string(&file).expect("a source file can be read");
        let expected = addresses.iter().any(|address| file.starts_with(address));
        for (number, line) in text.lines().enumerate().filter(|_| !expected) {
            let code = line.split("//").next().unwrap_or_default();
            let opens = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
            let found = opens.iter().any(|words| code.contains(words) && !code.contains('"'));
            assert!(!found, "{}:{}: {line}", file.display(), number + 1);
        }
    }
}

#[test]
fn no_file_has_outgrown_one_idea() {
    let folders = ["journal", "extension/src", "agent", "tests", "sql"];
    let files = ["rs", "sql"].iter().flat_map(|kind| sources(&folders, kind));
    for file in files {
        let lines =
            std::fs::read_to_string(&file).expect("a source file can be read").lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", file.display());
    }
}

/// The packages that this one needs on this machine, itself included; not those of its tests and build.
fn needs(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges=normal", "--prefix=none", "-p", package])
        .current_dir(root())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout);
    lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn sources(folders: &[&str], kind: &str) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a source folder can be read") {
            let path = entry.expect("a folder's entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == kind) {
                found.push(path);
            }
        }
    }
    found
}

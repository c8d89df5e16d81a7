//! What ARCHITECTURE.md says of the code as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

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
    let dependencies = dependencies();
    for (package, forbidden) in rules {
        let found = reachable(&dependencies, package);
        assert!(found.len() > 1, "{package} has dependencies");
        for name in forbidden {
            assert!(!found.contains(*name), "{package} must not depend on {name}");
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

/// Each package's direct dependencies, those of tests and build scripts left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let names: BTreeMap<&str, &str> =
        packages.map(|package| (text(&package["id"]), text(&package["name"]))).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes").iter();
    let edges = nodes.map(|node| {
        let used = node["deps"].as_array().expect("deps").iter().filter(|dependency| {
            dependency["dep_kinds"].as_array().expect("kinds").iter().any(|k| k["kind"].is_null())
        });
        let used = used.map(|dependency| names[text(&dependency["pkg"])].to_owned());
        (names[text(&node["id"])].to_owned(), used.collect())
    });
    edges.collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn reachable(dependencies: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(package) = open.pop() {
        for next in dependencies.get(&package).into_iter().flatten() {
            if found.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    found
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

//! What the tests test: the extension and the agent, built from this very source tree, and a private
//! copy of the installed Postgres that has the extension.
//!
//! Postgres finds its libraries and shared files relative to its executable. So a folder that holds
//! copies of the executables, links to everything else, and our files beside the links is a server of
//! its own, made without touching the system's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::guard::Guard;
use crate::process::{run, server_command};

/// The private server.
#[derive(Debug)]
pub struct Server {
    /// Holds `postgres`, `psql` and the like.
    pub bin: PathBuf,
    /// The library that is installed in the private server.
    pub library: PathBuf,
    /// Removes the tree at the end of the run where it could not stand in the target folder.
    _temporary: Option<Guard>,
}

/// The private server; the first caller builds it.
pub fn server() -> &'static Server {
    static SERVER: LazyLock<Server> = LazyLock::new(build);
    &SERVER
}

/// The executable of the agent; the first caller builds it. Apart from the server, so that the tests of
/// the extension do not depend on the agent.
pub fn agent() -> &'static Path {
    static AGENT: LazyLock<PathBuf> = LazyLock::new(|| {
        build_package("syncjournal-agent");
        profile_folder().join("syncjournal-agent")
    });
    &AGENT
}

/// The Chinook sample database, which stands beside the repository on the project's own machines.
pub fn chinook() -> Option<PathBuf> {
    let named = std::env::var_os("SYNCJOURNAL_CHINOOK").map(PathBuf::from);
    let beside = source_root().join("../shared/data/chinook.sql");
    named.into_iter().chain([beside]).find(|path| path.is_file())
}

fn source_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the workspace")
}

fn build() -> Server {
    build_package("syncjournal");
    let profile = profile_folder();
    let target = profile.parent().expect("a profile stands in the target folder");
    let (tree, temporary) = tree_folder(target);
    let bin = install(&tree, &profile.join("libsyncjournal.so"));
    let libraries = run(Command::new(bin.join("pg_config")).arg("--pkglibdir"));
    let library = PathBuf::from(libraries.trim()).join("syncjournal.so");
    Server { library, bin, _temporary: temporary }
}

fn build_package(name: &str) {
    let release = profile_folder().ends_with("release").then_some("--release");
    // The variable is cargo's own, for running tests; it must not look like a changed environment.
    run(script("build").args(["-p", name]).args(release).env_remove("LD_LIBRARY_PATH"));
}

/// `…/debug` of `…/debug/deps/main-0123`: what is built now has the profile of this executable.
fn profile_folder() -> PathBuf {
    let executable = std::env::current_exe().expect("a process knows its executable");
    let profile = executable.ancestors().find(|folder| folder.join("deps").is_dir());
    profile.expect("a test binary stands below its profile's folder").to_owned()
}

fn script(name: &str) -> Command {
    let mut command = Command::new(source_root().join("scripts").join(name));
    command.current_dir(source_root());
    command
}

/// `target/pg`, or a temporary folder where the server's user cannot reach the target folder (a clone
/// in root's home).
fn tree_folder(target: &Path) -> (PathBuf, Option<Guard>) {
    let tree = target.join("pg");
    fs::create_dir_all(&tree).expect("the target folder can be written");
    let tree = tree.canonicalize().expect("it was just made");
    let reachable = server_command("test").arg("-x").arg(&tree).status();
    if reachable.is_ok_and(|status| status.success()) {
        return (tree, None);
    }
    let temporary = PathBuf::from(
        run(server_command("mktemp").args(["-d", "/tmp/syncjournal-server-XXXXXXXX"])).trim(),
    );
    let guard = Guard::new("rm -rf \"$1\"", &[temporary.to_str().expect("mktemp's name is ASCII")]);
    (temporary, Some(guard))
}

/// Fills the tree and installs the extension into it; returns its folder of executables.
fn install(tree: &Path, library: &Path) -> PathBuf {
    // Two test runs in one target folder take turns.
    let lock = fs::File::create(tree.join(".lock")).expect("the tree can be written");
    lock.lock().expect("a file can be locked");

    let common = source_root().join("scripts/common.sh");
    let find = ". \"$1\" && find_pg_config";
    let pg_config = run(Command::new("bash").args(["-c", find, "-"]).arg(common));
    let pg_config = pg_config.trim();
    let folder = |option: &str| PathBuf::from(run(Command::new(pg_config).arg(option)).trim());
    let (bin, lib, share) = (folder("--bindir"), folder("--pkglibdir"), folder("--sharedir"));

    copy_executables(&bin, &below(tree, &bin));
    link_contents(&lib, &below(tree, &lib));
    link_contents(&share, &below(tree, &share));
    // The extension folder becomes a real one: ours goes there.
    let extension = share.join("extension");
    link_contents(&extension, &below(tree, &extension));

    run(script("install-extension").arg(library).env("DESTDIR", tree).env("PG_CONFIG", pg_config));
    below(tree, &bin)
}

/// Where an absolute path of the system stands in the tree: relative paths between the folders stay
/// what they are, which is what makes the server find them.
fn below(tree: &Path, path: &Path) -> PathBuf {
    tree.join(path.strip_prefix("/").expect("pg_config prints absolute paths"))
}

fn copy_executables(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the tree can be written");
    for file in entries(from) {
        let copy = to.join(file.file_name().expect("a directory entry has a name"));
        let (original, made) = (fs::metadata(&file), fs::metadata(&copy));
        let current = matches!((&original, &made), (Ok(original), Ok(made))
            if original.len() == made.len()
                && original.modified().ok() <= made.modified().ok());
        if !current && original.is_ok_and(|file| file.is_file()) {
            // A running server may still use the old copy: it keeps its inode.
            let _ = fs::remove_file(&copy);
            fs::copy(&file, &copy).unwrap_or_else(|error| panic!("copying {file:?}: {error}"));
        }
    }
}

fn link_contents(from: &Path, to: &Path) {
    if to.is_symlink() {
        fs::remove_file(to).expect("the tree can be written");
    }
    fs::create_dir_all(to).expect("the tree can be written");
    for entry in entries(from) {
        let name = entry.file_name().expect("a directory entry has a name");
        // A syncjournal that is installed in the system is not the one under test.
        let ours = name.to_string_lossy().starts_with("syncjournal");
        let link = to.join(name);
        if !ours && !link.exists() {
            let _ = fs::remove_file(&link);
            symlink(&entry, &link).unwrap_or_else(|error| panic!("linking {entry:?}: {error}"));
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read {folder:?}: {error}"))
        .map(|entry| entry.expect("a directory can be read").path())
        .collect()
}

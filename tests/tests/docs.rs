//! The examples of docs/conflicts.md, run as they are written.
//!
//! A block that begins with ```` ```sql hq ```` or ```` ```sql branch ```` goes into that window: a psql in that
//! database. What psql says must be the block ```` ```text ```` that follows, or nothing where none does.
//! `SYNCJOURNAL_DOCS=write` puts what it says into the document instead.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use syncjournal_tests::{Db, server, shared};

const END: &str = "=== end of block ===";

/// A psql that stays open, as a reader's does.
struct Window {
    psql: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Window {
    fn open(db: &Db, folder: &Path) -> Self {
        let psql = server().bin.join("psql");
        let mut psql = Command::new("sh")
            .args(["-c", "exec \"$0\" --no-psqlrc --dbname \"$1\" 2>&1"])
            .arg(psql)
            .arg(db.dsn())
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql can be started");
        let input = psql.stdin.take().expect("it was asked for");
        let output = BufReader::new(psql.stdout.take().expect("it was asked for"));
        Self { psql, input, output }
    }

    /// What psql says to a block, without blank lines at its end.
    fn say(&mut self, block: &str) -> String {
        writeln!(self.input, "{block}\n\\echo '{END}'").expect("psql reads on");
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let length = self.output.read_line(&mut line).expect("psql writes text");
            assert!(length > 0, "psql has ended in the middle of:\n{block}\nafter:\n{said}");
            if line.trim_end() == END {
                return said.trim_end().to_owned();
            }
            writeln!(said, "{}", line.trim_end()).expect("a string takes it");
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}

/// A piece of the document.
enum Piece {
    Text(String),
    Example { window: String, block: String, shown: String },
}

fn pieces(document: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut lines = document.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(window) = line.strip_prefix("```sql ") else {
            text = text + line + "\n";
            continue;
        };
        pieces.push(Piece::Text(std::mem::take(&mut text)));
        let mut code = || {
            let lines: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            lines.join("\n")
        };
        let block = code();
        let shown = if lines.next_if_eq(&"```text").is_some() {
            let lines: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            lines.join("\n")
        } else {
            String::new()
        };
        pieces.push(Piece::Example { window: window.to_owned(), block, shown });
    }
    pieces.push(Piece::Text(text));
    pieces
}

#[test]
fn the_examples_say_what_the_document_shows() {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conflicts.md");
    let document = std::fs::read_to_string(&file).expect("the document is there");
    // The first database makes the cluster's roles; those of the example make the extension.
    Db::fresh(shared(0));
    let databases = [Db::bare(shared(0)), Db::bare(shared(0))];
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut windows = databases.each_ref().map(|db| Window::open(db, folder.path()));
    let mut written = String::new();
    let mut wrong = Vec::new();
    for piece in pieces(&document) {
        match piece {
            Piece::Text(text) => written += &text,
            Piece::Example { window, block, shown } => {
                let place = ["hq", "branch"].iter().position(|name| *name == window);
                let place = place.unwrap_or_else(|| panic!("there is no window {window}"));
                let said = windows[place].say(&block);
                if said != shown {
                    wrong.push(format!("{window}:\n{block}\n--- says\n{said}\n--- not\n{shown}\n"));
                }
                write!(written, "```sql {window}\n{block}\n```\n").expect("a string takes it");
                if !said.is_empty() {
                    write!(written, "```text\n{said}\n```\n").expect("a string takes it");
                }
            }
        }
    }
    if std::env::var_os("SYNCJOURNAL_DOCS").is_some() {
        std::fs::write(&file, written).expect("the document can be written");
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

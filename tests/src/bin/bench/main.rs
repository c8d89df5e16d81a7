//! What syncjournal costs and moves, beside the other ways to have the same rows twice.
//!
//! ```text
//! main -> measure (one file a measurement) -> bench (turns) -> peers (one file a system) -> pair
//!              |-> work (what is done to the rows)   |-> gauge (CPU, memory)
//!              '-> figures (samples, tables, JSON, plots)
//! ```
//!
//! Systems take turns within every round, so that what else the machine does falls on all of them, and
//! ratios are taken within a round. docs/performance.md says how to read the numbers.

mod bench;
mod choice;
mod figures;
mod gauge;
mod machine;
mod measure;
mod pair;
mod peers;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};
use syncjournal_tests::agent_binary;

use bench::Bench;
use choice::Choice;
use figures::{Book, json, plot, table};
use machine::Machine;
use peers::Peer;

fn main() -> ExitCode {
    let choice = match Choice::from_environment() {
        Ok(choice) => choice,
        Err(problem) => {
            eprintln!("bench: {problem}");
            return ExitCode::from(2);
        }
    };
    let all = measure::all();
    let chosen: Vec<_> = all.iter().filter(|m| choice.wants(m.name)).collect();
    if choice.wants_help() || chosen.is_empty() {
        help(&all);
        return if choice.wants_help() { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    // Built here, not within what is timed.
    agent_binary();
    let machine = Machine::look();
    println!("{}", machine.for_people());
    println!("  {:<18} {}, rounds {}", "scale", choice.scale(), choice.rounds);
    println!("  {:<18} ↑ more is better, ↓ less is better", "arrows");
    let (peers, systems) = look_for_peers();
    let folder = output_folder();
    let bench = Bench::new(choice, peers);
    let mut measured = Vec::new();
    for measurement in chosen {
        eprintln!("measuring {}", measurement.name);
        let start = Instant::now();
        let mut book = measurement.book();
        (measurement.run)(&bench, &mut book);
        print!("{}", table::render(&book));
        println!("\n({:.0} s)", start.elapsed().as_secs_f64());
        draw(&book, &folder);
        measured.push(json::render(&book));
        // After each, so that a run that is ended early leaves what it has.
        let whole = json!({
            "machine": machine.json(),
            "scale": bench.choice.scale(),
            "rounds": bench.rounds(),
            "systems": systems,
            "measurements": measured,
        });
        write(&folder.join("bench.json"), &format!("{whole:#}\n"));
    }
    println!("\nall samples and plots: {}", folder.display());
    ExitCode::SUCCESS
}

fn help(all: &[measure::Measurement]) {
    println!("make bench [ONLY=name,..] [PEERS=name,..] [SCALE=1] [ROUNDS=5]\n\nmeasurements:");
    for measurement in all {
        println!("  {:<18} {}", measurement.name, measurement.about);
    }
    println!("\nsystems:");
    for peer in peers::all() {
        println!("  {:<18} {}", peer.name(), peer.unlike());
    }
}

/// The systems that are here; and of all of them, for the record, their version or why they are not.
fn look_for_peers() -> (Vec<Box<dyn Peer>>, Value) {
    println!("\nsystems");
    let (mut present, mut record) = (Vec::new(), serde_json::Map::new());
    for peer in peers::all() {
        let (name, unlike) = (peer.name(), peer.unlike());
        let found = peer.look();
        let line = match &found {
            Ok(version) => format!("{version}; {unlike}"),
            Err(reason) => format!("NOT MEASURED: {reason}"),
        };
        println!("  {name:<18} {line}");
        let absent = found.as_ref().err();
        let version = found.as_ref().ok();
        record.insert(
            name.to_owned(),
            json!({ "version": version, "absent": absent, "unlike": unlike }),
        );
        if found.is_ok() {
            present.push(peer);
        }
    }
    (present, Value::Object(record))
}

fn draw(book: &Book, folder: &Path) {
    for metric in book.metrics() {
        if let Some(picture) = plot::render(book, metric) {
            let name = metric.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            write(&folder.join(format!("{}-{name}.svg", book.name)), &picture);
        }
    }
}

/// `bench` in the target folder that this executable stands in.
fn output_folder() -> PathBuf {
    let executable = std::env::current_exe().expect("a process knows its executable");
    let target = executable.ancestors().nth(2).expect("it stands in a profile's folder");
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

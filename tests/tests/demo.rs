//! The demo is the first thing that a newcomer runs.

use std::process::Command;

use syncjournal_tests::server;

/// As many lines as a newcomer sees without scrolling back.
const SCREEN: usize = 50;

#[test]
fn the_demo_runs_to_its_end_and_fits_a_screen() {
    // The demo builds what it shows; when it starts there must be nothing left to build.
    server();
    let done = Command::new(env!("CARGO_BIN_EXE_demo")).output().expect("the demo can be started");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains("the same row by row: yes"), "{said}");
    assert!(said.contains("till_log: 1000 rows at hq, 0 at the branch"), "{said}");
    assert!(said.trim_end().ends_with("stopped and gone."), "{said}");
    assert!(said.lines().count() <= SCREEN, "{} lines:\n{said}", said.lines().count());
}

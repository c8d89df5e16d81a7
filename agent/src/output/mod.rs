//! What commands print on standard output: psql's aligned table, or JSON.

mod table;

pub(crate) use table::Table;

use crate::error::{Error, Kind, Result};
use serde::Serialize;
use std::io::{self, Write};

/// Writes to standard output. A reader that went away (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::File, "could not write to standard output").caused_by(error))
        }
        _ => Ok(()),
    }
}

/// Writes a value as JSON, one document.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::protocol("could not write JSON").caused_by(error))?;
    print(&format!("{text}\n"))
}

//! `prune`: retention, now, at every node.

use crate::config::Config;
use crate::error::Result;
use crate::exit::Outcome;
use crate::output::{Table, print};
use crate::supervisor;

pub(super) async fn execute(config: &Config) -> Result<Outcome> {
    let mut table = Table::new(&["node", "dropped"]);
    for node in config.nodes.values() {
        let dropped = supervisor::prune(node).await?;
        table.row([node.name.clone(), dropped.to_string()]);
    }
    print(&table.render())?;
    Ok(Outcome::Done)
}

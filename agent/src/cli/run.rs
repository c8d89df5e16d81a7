//! `run`: the service.

use crate::config::Config;
use crate::conninfo::Environment;
use crate::error::Result;
use crate::exit::Outcome;
use crate::supervisor;
use std::path::PathBuf;

pub(super) async fn execute(
    config: Config,
    path: PathBuf,
    environment: Environment,
) -> Result<Outcome> {
    supervisor::run(config, || Config::load(&path, &environment)).await?;
    Ok(Outcome::Done)
}

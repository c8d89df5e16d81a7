//! Harness for tests on real Postgres clusters.
//!
//! ```text
//! build      scripts/build, then scripts/install-extension into a private server tree (once a run)
//! Cluster    initdb + start in a temporary folder; gone when the test process is gone, however it ends
//! shared(n)  three clusters that all tests of a run share, started when first asked for
//! Db         a database of its own for each test, with the extension, and a session in it
//! Agent      the built syncjournal-agent as a process
//! ```
//!
//! A test takes its databases by [`Db::fresh`], [`pair`] or [`triple`], and a cluster of its own by
//! [`Cluster::start`] only where it stops, kills or configures the server. Nothing is installed into
//! or taken from the system's running Postgres. What the helpers cannot do, they panic about: a
//! broken harness must look like a failed test.

mod agent;
mod build;
mod cluster;
mod compare;
pub mod converge;
mod database;
mod guard;
mod process;
mod random;
mod session;
mod tls;
mod transfer;
mod wait;

pub use agent::{Agent, AgentCommand, Finished};
pub use build::{Server, agent as agent_binary, chinook, server};
pub use cluster::{Cluster, Options, shared};
pub use compare::{assert_same_rows, table_rows};
pub use database::{Db, pair, triple};
pub use guard::Guard;
pub use random::Random;
pub use session::{Session, SqlError};
pub use transfer::{Applied, apply_set, carry, confirm_set, introduce, prepare_set};
pub use wait::{wait_until, wait_until_within};

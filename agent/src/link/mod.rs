//! One flow of a link, from the first sync to the live stream.
//!
//! [`state`] says what comes after what, without doing anything; [`live`] does it; [`run`] begins
//! anew after a failure. [`sync`] is the way of the command: once, by windows.

mod activity;
mod backoff;
mod ends;
mod extras;
mod feed;
mod live;
mod meeting;
mod run;
mod state;
mod sync;
mod windows;

pub(crate) use activity::{activity_of, is_claimed};
pub(crate) use ends::Ends;
pub(crate) use meeting::align;
pub(crate) use run::keep_running;
pub(crate) use state::State;
pub(crate) use sync::{FlowReport, sync_flow, try_flow};

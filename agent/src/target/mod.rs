//! The end that entries go to.

mod ahead;
mod pipeline;
mod session;
mod totals;

pub(crate) use ahead::RowAhead;
pub(crate) use pipeline::Pipeline;
pub(crate) use session::Target;
pub(crate) use totals::Totals;

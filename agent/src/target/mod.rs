//! The end that entries go to.

mod session;
mod totals;

pub(crate) use session::Target;
pub(crate) use totals::Totals;

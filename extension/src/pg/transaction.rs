//! The current transaction: its callbacks, its numbers, where the WAL stands.
//!
//! Callbacks are registered once, when the library is loaded. Those of a finished transaction may
//! not raise an error: Postgres would take the whole server down. They are exported symbols, so
//! their names say whose they are.

use pgrx::pg_sys;

/// Of a page of WAL, and of the first one of a file.
const PAGE_HEADER: u64 = size_of::<pg_sys::XLogPageHeaderData>() as u64;
const LONG_PAGE_HEADER: u64 = size_of::<pg_sys::XLogLongPageHeaderData>() as u64;

/// What happened to the top-level transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionEvent {
    /// About to commit or to be prepared: the last chance to write, errors still abort cleanly.
    BeforeEnd,
    /// Committed or prepared. No error may be raised.
    Done,
    /// Rolled back. No error may be raised.
    RolledBack,
}

/// What happens to a subtransaction; its level is [`nest_level`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubtransactionEvent {
    /// About to be released; errors still abort cleanly.
    BeforeRelease,
    /// Released. No error may be raised.
    Released,
    /// Rolled back. No error may be raised.
    RolledBack,
}

type OnTransaction = fn(TransactionEvent);
type OnSubtransaction = fn(SubtransactionEvent);
type Handlers = (OnTransaction, OnSubtransaction);

/// Calls the handlers at the events of every transaction of this backend. Who came last is asked
/// first.
pub fn on_events(transaction: OnTransaction, subtransaction: OnSubtransaction) {
    let handlers: &'static Handlers = Box::leak(Box::new((transaction, subtransaction)));
    let argument = std::ptr::from_ref(handlers).cast_mut().cast();
    // SAFETY: both callbacks are functions of this library, which stays loaded to the backend's
    // end, as the handlers do.
    unsafe {
        pg_sys::RegisterXactCallback(Some(syncjournal_on_transaction), argument);
        pg_sys::RegisterSubXactCallback(Some(syncjournal_on_subtransaction), argument);
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn syncjournal_on_transaction(
    event: pg_sys::XactEvent::Type,
    argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent::{
        XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PRE_COMMIT, XACT_EVENT_PRE_PREPARE,
        XACT_EVENT_PREPARE,
    };
    let event = match event {
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => TransactionEvent::BeforeEnd,
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => TransactionEvent::Done,
        XACT_EVENT_ABORT => TransactionEvent::RolledBack,
        // Parallel workers write nothing.
        _ => return,
    };
    // SAFETY: the argument that `on_events` registered.
    let (handler, _) = unsafe { &*argument.cast::<Handlers>() };
    handler(event);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn syncjournal_on_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    _own: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    argument: *mut std::ffi::c_void,
) {
    use pg_sys::SubXactEvent::{
        SUBXACT_EVENT_ABORT_SUB, SUBXACT_EVENT_COMMIT_SUB, SUBXACT_EVENT_PRE_COMMIT_SUB,
    };
    let event = match event {
        SUBXACT_EVENT_PRE_COMMIT_SUB => SubtransactionEvent::BeforeRelease,
        SUBXACT_EVENT_COMMIT_SUB => SubtransactionEvent::Released,
        SUBXACT_EVENT_ABORT_SUB => SubtransactionEvent::RolledBack,
        _ => return,
    };
    // SAFETY: the argument that `on_events` registered.
    let (_, handler) = unsafe { &*argument.cast::<Handlers>() };
    handler(event);
}

/// 1 in the top-level transaction, one more in each savepoint.
pub fn nest_level() -> i32 {
    // SAFETY: reads a field of the transaction state.
    unsafe { pg_sys::GetCurrentTransactionNestLevel() }
}

/// The number of the top-level transaction, epoch included; assigned if it has none yet.
pub fn top_xid() -> u64 {
    // SAFETY: no arguments; raises an ordinary error in recovery.
    unsafe { pg_sys::GetTopFullTransactionId() }.value
}

/// Where the next WAL record goes.
pub fn wal_insert_position() -> u64 {
    // SAFETY: no arguments, reads shared state under its own spinlock.
    unsafe { pg_sys::GetXLogInsertRecPtr() }
}

/// Waits until the WAL up to this place is on disk; none: all that is written by now.
pub fn flush_wal(up_to: Option<u64>) {
    // SAFETY: a place that has been written.
    unsafe { pg_sys::XLogFlush(written_end(up_to)) };
}

/// Waits until synchronous standbys have the WAL up to this place, as a commit does.
pub fn await_standbys(up_to: Option<u64>) {
    // SAFETY: as a commit does it: without interrupts, which end the wait with a warning.
    unsafe {
        pg_sys::InterruptHoldoffCount += 1;
        pg_sys::SyncRepWaitForLSN(written_end(up_to), true);
        pg_sys::InterruptHoldoffCount -= 1;
    }
}

/// Where what is written ends, at this place or before it.
fn written_end(up_to: Option<u64>) -> u64 {
    // SAFETY: reads shared state under its own locks; the segment size is set at the start.
    let (now, segment) = unsafe { (pg_sys::GetXLogInsertRecPtr(), pg_sys::wal_segment_size) };
    let end = up_to.map_or(now, |place| place.min(now));
    let page = u64::from(pg_sys::XLOG_BLCKSZ);
    // The next record would begin behind the header of a page that has none yet: what is written
    // ends with the page before.
    let is_first = end % u64::try_from(segment).unwrap_or(page) < page;
    let header = if is_first { LONG_PAGE_HEADER } else { PAGE_HEADER };
    if end % page == header { end - header } else { end }
}

/// Number of this backend among those alive, from 1.
pub fn backend_number() -> i32 {
    // SAFETY: set once, before any SQL runs.
    unsafe { pg_sys::MyBackendId }
}

/// The number of the running command within the transaction.
pub fn command() -> u32 {
    // SAFETY: reads a counter; does not mark it as used.
    unsafe { pg_sys::GetCurrentCommandId(false) }
}

/// Makes what this transaction has written visible to its next command.
pub fn next_command() {
    // SAFETY: no arguments; raises an ordinary error when commands run out.
    unsafe { pg_sys::CommandCounterIncrement() };
}

/// Grows with every transaction of the whole server that has written anything and ends.
pub fn ended_so_far() -> u64 {
    // SAFETY: in shared memory from the server's start on; read whole, and a moment too early only
    // where the other transaction could as well have ended a moment later.
    unsafe { std::ptr::read_volatile(&raw const (*pg_sys::ShmemVariableCache).xactCompletionCount) }
}

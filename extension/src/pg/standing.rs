//! A look-up that stays open for a statement: its triggers ask it for every row.
//!
//! It belongs to the transaction, whose savepoints may come and go meanwhile, and is closed when the
//! memory of the statement goes: from then on tables may be altered and dropped again. What is left
//! when the transaction ends is closed there. After an error Postgres closes it with all else.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::mem::ManuallyDrop;

use pgrx::pg_sys::{self, Oid};

use crate::pg::probe::Probe;

struct Standing {
    /// Tells it from earlier ones, whose memory may go later.
    number: usize,
    probe: Probe,
}

thread_local! {
    static STANDING: ManuallyDrop<RefCell<Option<Standing>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
    static OPENED: Cell<usize> = const { Cell::new(0) };
}

/// Asks the table that `find` finds, always the same; its primary key begins with an int4 and a uuid.
/// None where there is none. For a trigger, in the memory that is emptied after each of its calls.
pub fn ask<R>(
    find: impl FnOnce() -> Option<Oid>,
    question: impl FnOnce(&mut Probe) -> R,
) -> Option<R> {
    STANDING.with(|standing| {
        let mut standing = standing.borrow_mut();
        as_transaction(|| {
            if standing.is_none() {
                *standing = find().and_then(open);
            }
            standing.as_mut().map(|open| {
                let answer = question(&mut open.probe);
                open.probe.rest();
                answer
            })
        })
    })
}

/// At the end of the transaction, while errors are still possible.
pub fn close() {
    STANDING.with(|standing| as_transaction(|| *standing.borrow_mut() = None));
}

/// When the transaction is over: Postgres has closed it.
pub fn forget() {
    STANDING.with(|standing| std::mem::forget(standing.borrow_mut().take()));
}

fn open(relid: Oid) -> Option<Standing> {
    let number = OPENED.get() + 1;
    OPENED.set(number);
    // SAFETY: the current context is a child of the statement's. The callback lies there, and is
    // called once, before that memory goes.
    unsafe {
        let statement = pg_sys::MemoryContextGetParent(pg_sys::CurrentMemoryContext);
        let outer = pg_sys::MemoryContextSwitchTo(statement);
        let probe = Probe::numbered(relid);
        let callback: *mut pg_sys::MemoryContextCallback =
            pg_sys::palloc0(size_of::<pg_sys::MemoryContextCallback>()).cast();
        (*callback).func = Some(syncjournal_statement_over);
        (*callback).arg = number as *mut c_void;
        pg_sys::MemoryContextRegisterResetCallback(statement, callback);
        pg_sys::MemoryContextSwitchTo(outer);
        probe.map(|probe| Standing { number, probe })
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn syncjournal_statement_over(number: *mut c_void) {
    STANDING.with(|standing| {
        let mut standing = standing.borrow_mut();
        if standing.as_ref().is_some_and(|open| open.number == number as usize) {
            as_transaction(|| *standing = None);
        }
    });
}

/// What is opened or pinned meanwhile is the transaction's, not the statement's or the savepoint's.
fn as_transaction<R>(work: impl FnOnce() -> R) -> R {
    struct Back(pg_sys::ResourceOwner);
    impl Drop for Back {
        fn drop(&mut self) {
            // SAFETY: what was current before; it outlives the call, also while an error unwinds.
            unsafe { pg_sys::CurrentResourceOwner = self.0 };
        }
    }
    // SAFETY: there is one as long as there is a transaction.
    let _back = unsafe {
        let back = Back(pg_sys::CurrentResourceOwner);
        pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
        back
    };
    work()
}

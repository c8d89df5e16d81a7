//! Who runs, and with which triggers: both set for a while and taken back, by Postgres itself where
//! an error cuts the while short.

use pgrx::pg_sys::{self, Oid};

use crate::pg::setting::SettingScope;

unsafe extern "C-unwind" {
    // Without the guard that pgrx puts around every call: they raise nothing, and are called for each
    // row that is written.
    fn GetUserIdAndSecContext(user: *mut Oid, context: *mut i32);
    fn SetUserIdAndSecContext(user: Oid, context: i32);
}

/// While it lives, statements run with the rights of the given role.
#[derive(Debug)]
pub struct RunAs {
    user: Oid,
    context: i32,
}

impl RunAs {
    pub fn role(role: Oid) -> Self {
        Self::switch(role, pg_sys::SECURITY_LOCAL_USERID_CHANGE)
    }

    /// As the owner of a table whose code is about to run: it may not touch the session, either.
    pub fn restricted(role: Oid) -> Self {
        Self::switch(
            role,
            pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION,
        )
    }

    /// As the owner of a table that is read to verify a constraint, as its triggers would.
    pub fn checking(role: Oid) -> Self {
        Self::switch(
            role,
            pg_sys::SECURITY_LOCAL_USERID_CHANGE
                | pg_sys::SECURITY_RESTRICTED_OPERATION
                | pg_sys::SECURITY_NOFORCE_RLS,
        )
    }

    fn switch(role: Oid, flags: u32) -> Self {
        let (mut user, mut context) = (Oid::INVALID, 0);
        // SAFETY: valid out-pointers; the abort of a (sub)transaction restores both values.
        unsafe {
            GetUserIdAndSecContext(&mut user, &mut context);
            SetUserIdAndSecContext(role, context | flags as i32);
        }
        Self { user, context }
    }
}

impl Drop for RunAs {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the values that `role` found.
            unsafe { SetUserIdAndSecContext(self.user, self.context) };
        }
    }
}

/// Who has logged in.
pub fn session_user() -> Oid {
    // SAFETY: set when the session began.
    unsafe { pg_sys::GetSessionUserId() }
}

/// While it lives, ordinary triggers and foreign keys do not fire, as in logical replication. Costs the
/// session all its cached plans: only for where there are triggers.
#[derive(Debug)]
pub struct ReplicaRole {
    _scope: SettingScope,
}

impl ReplicaRole {
    pub fn enter() -> Self {
        let scope = SettingScope::enter();
        scope.set("session_replication_role", "replica");
        Self { _scope: scope }
    }
}

//! Which triggers of a table fire while changes from elsewhere are written.

use pgrx::pg_sys;

/// Trigger functions of ours: silent while changes are applied, so not worth the calls.
const OWN_PREFIXES: [&[u8]; 2] = [b"~syncjournal_", b"syncjournal_"];

/// Leaves the triggers on a result relation where one fires in replica mode (ENABLE REPLICA or
/// ALWAYS) and takes all away otherwise; says whether any is left.
///
/// # Safety
/// `result` must be an initialised result relation, whose triggers are its own copy.
pub unsafe fn keep_firing(result: *mut pg_sys::ResultRelInfo) -> bool {
    // SAFETY: the description has `numtriggers` triggers with NUL-terminated names.
    unsafe {
        let description = (*result).ri_TrigDesc;
        if description.is_null() {
            return false;
        }
        let count = (*description).numtriggers as usize;
        let all = std::slice::from_raw_parts((*description).triggers, count);
        let fires = all.iter().any(|trigger| {
            let name = std::ffi::CStr::from_ptr(trigger.tgname).to_bytes();
            let own = OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            let enabled = trigger.tgenabled as u8;
            !own && (enabled == pg_sys::TRIGGER_FIRES_ALWAYS
                || enabled == pg_sys::TRIGGER_FIRES_ON_REPLICA)
        });
        if !fires {
            (*result).ri_TrigDesc = std::ptr::null_mut();
        }
        fires
    }
}

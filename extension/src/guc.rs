//! The settings of the extension; SQL reads them by `current_setting`.

use std::ffi::CString;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

/// Off: changes are neither versioned nor journaled. For repairs by a superuser.
static CAPTURE: GucSetting<bool> = GucSetting::<bool>::new(true);

/// How long the journal is kept for peers that do not fetch.
static RETENTION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"7 days"));

/// How far ahead of this clock a version from elsewhere may be.
static MAX_CLOCK_SKEW: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"5 minutes"));

pub fn register() {
    GucRegistry::define_bool_guc(
        c"syncjournal.capture",
        c"Journals the changes of tracked tables.",
        c"When off, changes reach no journal and no peer.",
        &CAPTURE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"syncjournal.retention",
        c"How long the journal is kept for peers that do not fetch (an interval).",
        c"A peer that stays away longer must be synchronised in full.",
        &RETENTION,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"syncjournal.max_clock_skew",
        c"How far ahead of this server's clock a version from elsewhere may be (an interval).",
        c"",
        &MAX_CLOCK_SKEW,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// Whether changes are journaled.
pub fn capture() -> bool {
    CAPTURE.get()
}

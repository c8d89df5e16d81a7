//! Every cap of the formats, each with its reason.

/// What the capture aims at for one frame: one journal tuple a page, so that a bulk change writes
/// a tuple per page and not per row. 8 kB less page header, tuple header and the other columns.
pub const FRAME_TARGET_BYTES: usize = 7_900;

/// What a row of the journal with several frames may take: as much as makes the row's own cost, and that
/// of its index entries, small beside it.
pub const BUNDLE_MAX_BYTES: usize = 2_000;

/// Entries in one frame: the index in a version has 16 bits.
pub const FRAME_MAX_ENTRIES: usize = 1 << 16;

/// A `bytea` cannot be larger, so neither can a frame: Postgres's `MaxAllocSize`, less a header.
pub const FRAME_MAX_BYTES: u64 = 0x3fff_ffff - 64;

/// What a part of a sync set aims at, uncompressed: large enough to amortise a round trip, small
/// enough that both ends hold it in memory without noticing.
pub const PART_TARGET_BYTES: usize = 4 << 20;

/// The header of a part: thousands of relations with hundreds of columns each fit in.
pub const HEADER_MAX_BYTES: usize = 64 << 20;

/// Postgres's own limit on columns is 1600.
pub const MAX_COLUMNS: usize = 1_600;

/// Identifiers are at most 63 bytes in Postgres as shipped; a server may be built with longer.
pub const MAX_NAME_BYTES: usize = 1_024;

/// Length of a list of patterns, and of a snapshot's list of running transactions.
pub const MAX_LIST: usize = 1 << 20;

/// zstd window: a decoder never reserves more than 2^27 bytes (128 MiB) on a header's word.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

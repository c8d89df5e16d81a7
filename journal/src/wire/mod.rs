//! The sync set: one format for every way of travel (stream batch, file, message).
//!
//! A set is one part or several, each a value of its own:
//!
//! ```text
//! part   = magic (8) format (u16) flags (u16) header-length (u32) body-length (u64)
//!          stored-length (u64) header body checksum (16)
//! body   = transaction*                      zstd if flagged; body-length is the plain length
//! transaction = 1 xid lsn (2 layout entries frame-id length frame)* 3
//! ```
//!
//! Numbers in the fixed part are little-endian, those in header and body are varints. The checksum
//! (xxh3, 128 bits) covers everything before it. Frames stand in the body as the journal has them.
//!
//! A transaction may run on into the next part: then `continues` is set here and `resumes` there,
//! and both belong in one transaction of the target.

mod decode;
mod encode;
mod header;
mod terms;

pub use decode::{Record, Records, SetError, SetPart};
pub use encode::PartWriter;
pub use header::{Header, Mode, NodeInfo};
pub use terms::Terms;

/// Begins every part.
pub const MAGIC: [u8; 8] = *b"SYNCJRNL";
/// The newest format that this code writes and reads: 2 has terms at the end of the header.
pub const FORMAT_VERSION: u16 = 2;

const FLAG_ZSTD: u16 = 1;
/// Magic, format, flags and the three lengths.
const FIXED_LEN: usize = 8 + 2 + 2 + 4 + 8 + 8;
const CHECKSUM_LEN: usize = 16;

const TAG_BEGIN: u8 = 1;
const TAG_FRAME: u8 = 2;
const TAG_END: u8 = 3;

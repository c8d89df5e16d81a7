//! Identities for new rows: UUID version 7.

use crate::capture::allocate::wall_clock;
use crate::pg::random;

/// Ordered by time down to a quarter of a microsecond, so that their index grows at its right edge.
pub fn new_row_id() -> [u8; 16] {
    let micros = wall_clock().unix_micros();
    let (millis, rest) = (micros / 1000, micros % 1000);
    // Twelve bits take the part of the millisecond, as RFC 9562 allows (6.2, method 3).
    let fraction = (rest * 4096 / 1000) as u16;
    let mut id = [0; 16];
    id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    id[6..8].copy_from_slice(&(0x7000 | fraction).to_be_bytes());
    id[8..].copy_from_slice(&random::bytes::<8>());
    id[8] = id[8] & 0x3f | 0x80;
    id
}

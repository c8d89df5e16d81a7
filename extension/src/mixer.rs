//! A hash for what is random as it comes, rows' identities above all: nobody gains by choosing them so
//! that they meet, but a slow look-up in a session of his own.

use std::hash::{BuildHasherDefault, Hasher};

pub type Mixed = BuildHasherDefault<Mixer>;

#[derive(Debug, Default)]
pub struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let mixed = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
            self.0 = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(32) ^ self.0
    }
}

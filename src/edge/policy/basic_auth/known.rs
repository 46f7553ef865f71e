//! Passwords that were right, known again at the cost of one keyed hash.

use std::sync::atomic::{AtomicU64, Ordering};

use ring::hmac;
use ring::rand::SystemRandom;

use crate::config::PasswordHash;

/// Passwords remembered, of all routes together.
const KNOWN: usize = 1024;

/// Passwords that were right, as keyed hashes in a table of fixed size; a new one takes the place of
/// whichever was there.
pub(super) struct Known {
    key: hmac::Key,
    tags: Box<[[AtomicU64; 2]]>,
}

/// SECURITY: what stands for a password and the hash it belongs to. 128 bits of HMAC-SHA-256 under a
/// key that never leaves the process, so nothing of the password can be had from it, and nobody can
/// look for another password with the same tag. A reader that meets a tag being replaced sees half of
/// each of two, which is the tag of nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag([u64; 2]);

impl Known {
    pub(super) fn new() -> Self {
        // The system's random numbers have served TLS before; without them nothing would run.
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .expect("the system has random numbers");
        Self {
            key,
            tags: (0..KNOWN).map(|_| Default::default()).collect(),
        }
    }

    pub(super) fn tag(&self, hash: &PasswordHash, password: &[u8]) -> Tag {
        let (PasswordHash::Argon2id(hash) | PasswordHash::Bcrypt(hash)) = hash;
        let mut context = hmac::Context::with_key(&self.key);
        context.update(hash.as_bytes());
        // A hash has no NUL, so no other pair reads the same.
        context.update(&[0]);
        context.update(password);
        let signed = context.sign();
        let half = |at: usize| {
            let bytes = signed.as_ref()[at..at + 8].try_into();
            u64::from_ne_bytes(bytes.expect("SHA-256 has 32 bytes"))
        };
        Tag([half(0), half(8)])
    }

    pub(super) fn has(&self, tag: Tag) -> bool {
        let place = self.place(tag);
        Tag([
            place[0].load(Ordering::Relaxed),
            place[1].load(Ordering::Relaxed),
        ]) == tag
    }

    pub(super) fn add(&self, tag: Tag) {
        let place = self.place(tag);
        place[0].store(tag.0[0], Ordering::Relaxed);
        place[1].store(tag.0[1], Ordering::Relaxed);
    }

    fn place(&self, tag: Tag) -> &[AtomicU64; 2] {
        // The remainder is below KNOWN.
        #[allow(clippy::cast_possible_truncation)]
        let index = (tag.0[0] % KNOWN as u64) as usize;
        &self.tags[index]
    }
}

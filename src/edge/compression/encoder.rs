//! The encoder of one live body.

use std::io::{self, Write};

use bytes::buf::Writer;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::write::GzEncoder;

use crate::config::Coding;

/// The level where the configuration leaves it to us: nearly the size of the best levels at a
/// fraction of their time.
const LIVE_LEVEL: u32 = 5;

/// Encoded bytes that a body of known length collects before they are worth a write.
const WORTH_A_WRITE: usize = 8 * 1024;

/// When encoded bytes leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// At every piece: somebody may be waiting for it.
    Live,
    /// When there are enough of them: the length is known, so the body is there.
    Bulk,
}

/// Turns the pieces of a body into the pieces of its encoded form.
pub(super) struct Encoder {
    gzip: GzEncoder<Writer<BytesMut>>,
    pace: Pace,
}

impl Encoder {
    /// Begins a body. Level 0 chooses.
    pub(super) fn new(coding: Coding, level: u32, pace: Pace) -> Self {
        let level = if level == 0 { LIVE_LEVEL } else { level };
        let output = BytesMut::new().writer();
        match coding {
            Coding::Gzip => Self {
                gzip: GzEncoder::new(output, flate2::Compression::new(level)),
                pace,
            },
        }
    }

    /// Takes the next piece, and gives what may leave now; nothing is an empty piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        if piece.is_empty() {
            return Ok(Bytes::new());
        }
        self.gzip.write_all(piece)?;
        if self.pace == Pace::Live {
            self.gzip.flush()?;
        }
        let output = self.gzip.get_mut().get_mut();
        if self.pace == Pace::Bulk && output.len() < WORTH_A_WRITE {
            return Ok(Bytes::new());
        }
        // What is split off leaves; the buffer is used again once it has left.
        Ok(output.split().freeze())
    }

    /// Takes the last piece, which may be empty, and gives all that is left.
    pub(super) fn finish(mut self, piece: &[u8]) -> io::Result<Bytes> {
        self.gzip.write_all(piece)?;
        Ok(self.gzip.finish()?.into_inner().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use flate2::write;
    use proptest::prelude::*;
    use std::io::Read;

    fn gunzip(encoded: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        GzDecoder::new(encoded).read_to_end(&mut decoded).unwrap();
        decoded
    }

    fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(prop::sample::select(b"abc \n".to_vec()), 0..20_000),
        ];
        prop::collection::vec(piece, 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However a body is cut, the client decodes the same.
        #[test]
        fn what_is_decoded_is_what_was_encoded(
            pieces in pieces(),
            live in any::<bool>(),
            level in 0_u32..=9,
        ) {
            let pace = if live { Pace::Live } else { Pace::Bulk };
            let mut encoder = Encoder::new(Coding::Gzip, level, pace);
            let (last, rest) = pieces.split_last().map_or((&[][..], &[][..]), |(last, rest)| (last, rest));
            let mut encoded = Vec::new();
            for piece in rest {
                encoded.extend_from_slice(&encoder.push(piece).unwrap());
            }
            encoded.extend_from_slice(&encoder.finish(last).unwrap());
            prop_assert_eq!(gunzip(&encoded), pieces.concat());
        }

        /// A client of a stream can read each piece before the next one is written.
        #[test]
        fn a_live_piece_is_readable_at_once(pieces in pieces()) {
            let mut encoder = Encoder::new(Coding::Gzip, 0, Pace::Live);
            let mut client = write::GzDecoder::new(Vec::new());
            for piece in pieces {
                client.write_all(&encoder.push(&piece).unwrap()).unwrap();
                client.flush().unwrap();
                prop_assert_eq!(std::mem::take(client.get_mut()), piece);
            }
        }
    }

    #[test]
    fn bulk_pieces_leave_together() {
        let mut encoder = Encoder::new(Coding::Gzip, 0, Pace::Bulk);
        assert!(encoder.push(&[b'a'; 4096]).unwrap().is_empty());
        // Noise does not shrink, so there is soon enough of it.
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        })
        .take(400_000)
        .collect();
        assert!(encoder.push(&noise).unwrap().len() >= WORTH_A_WRITE);
    }
}

//! The encoder of one live body.

use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use bytes::buf::Writer;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::write::GzEncoder;

use crate::config::Coding;

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
    codec: Codec,
    pace: Pace,
}

type Output = Writer<BytesMut>;

enum Codec {
    Gzip(GzEncoder<Output>),
    Br(Box<CompressorWriter<Output>>),
    Zstd(zstd::stream::write::Encoder<'static, Output>),
}

/// The level where the configuration leaves it to us: nearly the size of the best levels at a
/// fraction of their time.
fn live_level(coding: Coding) -> u32 {
    match coding {
        Coding::Gzip | Coding::Br => 5,
        Coding::Zstd => 3,
    }
}

impl Encoder {
    /// Begins a body. Level 0 chooses. Fails where memory is short.
    pub(super) fn new(coding: Coding, level: u32, pace: Pace) -> io::Result<Self> {
        let level = if level == 0 {
            live_level(coding)
        } else {
            level
        };
        let output = BytesMut::new().writer();
        let codec = match coding {
            Coding::Gzip => Codec::Gzip(GzEncoder::new(output, flate2::Compression::new(level))),
            Coding::Br => {
                let parameters = BrotliEncoderParams {
                    quality: level.try_into().unwrap_or(i32::MAX),
                    lgwin: 18,
                    ..Default::default()
                };
                Codec::Br(Box::new(CompressorWriter::with_params(
                    output,
                    4096,
                    &parameters,
                )))
            }
            Coding::Zstd => {
                let level = level.try_into().unwrap_or(i32::MAX);
                let mut encoder = zstd::stream::write::Encoder::new(output, level)?;
                encoder.window_log(18)?;
                Codec::Zstd(encoder)
            }
        };
        Ok(Self { codec, pace })
    }

    /// Takes the next piece, and gives what may leave now; nothing is an empty piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        if piece.is_empty() {
            return Ok(Bytes::new());
        }
        let writer = self.codec.writer();
        writer.write_all(piece)?;
        if self.pace == Pace::Live {
            writer.flush()?;
        }
        let output = self.codec.output();
        if self.pace == Pace::Bulk && output.len() < WORTH_A_WRITE {
            return Ok(Bytes::new());
        }
        // What is split off leaves; the buffer is used again once it has left.
        Ok(output.split().freeze())
    }

    /// Takes the last piece, which may be empty, and gives all that is left.
    pub(super) fn finish(mut self, piece: &[u8]) -> io::Result<Bytes> {
        self.codec.writer().write_all(piece)?;
        let output = match self.codec {
            Codec::Gzip(encoder) => encoder.finish()?,
            Codec::Br(encoder) => encoder.into_inner(),
            Codec::Zstd(encoder) => encoder.finish()?,
        };
        Ok(output.into_inner().freeze())
    }
}

impl Codec {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Br(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn output(&mut self) -> &mut BytesMut {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Br(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
        .get_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::compression::tests::{Decoder, decoded};
    use proptest::prelude::*;

    fn any_coding() -> impl Strategy<Value = Coding> {
        prop::sample::select(Coding::ALL.to_vec())
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
            coding in any_coding(),
            pieces in pieces(),
            live in any::<bool>(),
            level in 0_u32..=19,
        ) {
            let level = level.min(coding.highest_level());
            let pace = if live { Pace::Live } else { Pace::Bulk };
            let mut encoder = Encoder::new(coding, level, pace).unwrap();
            let (last, rest) = pieces.split_last().map_or((&[][..], &[][..]), |(last, rest)| (last, rest));
            let mut encoded = Vec::new();
            for piece in rest {
                encoded.extend_from_slice(&encoder.push(piece).unwrap());
            }
            encoded.extend_from_slice(&encoder.finish(last).unwrap());
            prop_assert_eq!(decoded(coding, &encoded), pieces.concat());
        }

        /// A client of a stream can read each piece before the next one is written.
        #[test]
        fn a_live_piece_is_readable_at_once(coding in any_coding(), pieces in pieces()) {
            let mut encoder = Encoder::new(coding, 0, Pace::Live).unwrap();
            let mut client = Decoder::new(coding);
            for piece in pieces {
                prop_assert_eq!(client.read(&encoder.push(&piece).unwrap()), piece);
            }
        }
    }

    #[test]
    fn bulk_pieces_leave_together() {
        let mut encoder = Encoder::new(Coding::Gzip, 0, Pace::Bulk).unwrap();
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

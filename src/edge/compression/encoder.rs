//! The encoder of one live body.

use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use bytes::buf::Writer;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::write::GzEncoder;
use zstd::stream::raw::CParameter;
use zstd::stream::{raw, zio};

use super::encoders::Share;
use crate::config::Coding;

/// Windows of brotli and zstd, as powers of 2: 256 KiB. Larger ones save a few hundredths of what
/// is longer than that, and cost every body in flight their size. Brotli must not have less than
/// 2^17: at level 5 and above it then takes 34 MiB and 4 ms for its tables.
const WINDOW: u32 = 18;

/// Encoded bytes that a body of known length collects before they are worth a write.
const WORTH_A_WRITE: usize = 8 * 1024;

/// Turns the pieces of a body into the pieces of its encoded form.
pub(super) struct Encoder {
    codec: Codec,
    is_flushed: bool,
    share: Share,
}

type Output = Writer<BytesMut>;

/// The part of a zstd encoder that is used again.
pub(super) type Context = raw::Encoder<'static>;

enum Codec {
    Gzip(GzEncoder<Output>),
    Br(Box<CompressorWriter<Output>>),
    Zstd(zio::Writer<Output, Context>),
}

/// The level where the configuration leaves it to us; `docs/compression.md` has the measurements.
pub(super) fn live_level(coding: Coding) -> u32 {
    match coding {
        Coding::Gzip | Coding::Br => 4,
        Coding::Zstd => 3,
    }
}

/// What an encoder takes at most, in KiB: measured, and rounded up.
pub(super) fn memory(coding: Coding, level: u32) -> usize {
    match (coding, level) {
        (Coding::Gzip, _) => 640,
        (Coding::Br, ..=3) => 1400,
        (Coding::Br, 4) => 2500,
        (Coding::Br, 5..=6) => 4400,
        (Coding::Br, 7) => 11_000,
        (Coding::Br, 8) => 20_000,
        (Coding::Br, 9) => 38_000,
        (Coding::Br, _) => 7_500,
        (Coding::Zstd, ..=3) => 2000,
        (Coding::Zstd, _) => 4000,
    }
}

impl Encoder {
    /// Begins a body of `length` bytes. One of unknown length is a stream that somebody may be
    /// waiting for: each of its pieces leaves at once. `idle` is a zstd context to use again.
    pub(super) fn new(
        coding: Coding,
        level: u32,
        length: Option<u64>,
        idle: Option<Context>,
        share: Share,
    ) -> io::Result<Self> {
        let output = BytesMut::new().writer();
        let codec = match coding {
            Coding::Gzip => Codec::Gzip(GzEncoder::new(output, flate2::Compression::new(level))),
            Coding::Br => {
                let parameters = BrotliEncoderParams {
                    quality: level.cast_signed(),
                    lgwin: WINDOW.cast_signed(),
                    ..Default::default()
                };
                let writer = CompressorWriter::with_params(output, 4096, &parameters);
                Codec::Br(Box::new(writer))
            }
            Coding::Zstd => Codec::Zstd(zio::Writer::new(output, context(idle, level, length)?)),
        };
        Ok(Self {
            codec,
            is_flushed: length.is_none(),
            share,
        })
    }

    /// Takes the next piece, and gives what may leave now; nothing is an empty piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        if piece.is_empty() {
            return Ok(Bytes::new());
        }
        self.share.count(piece.len(), 0);
        let writer = self.codec.writer();
        writer.write_all(piece)?;
        if self.is_flushed {
            writer.flush()?;
        }
        let output = self.codec.output();
        if !self.is_flushed && output.len() < WORTH_A_WRITE {
            return Ok(Bytes::new());
        }
        // What is split off leaves; the buffer is used again once it has left.
        let output = output.split().freeze();
        self.share.count(0, output.len());
        Ok(output)
    }

    /// Takes the last piece, which may be empty, and gives all that is left. It fails where the
    /// body is not as long as was said.
    pub(super) fn finish(mut self, piece: &[u8]) -> io::Result<Bytes> {
        self.codec.writer().write_all(piece)?;
        let output = match self.codec {
            Codec::Gzip(encoder) => encoder.finish()?,
            Codec::Br(encoder) => encoder.into_inner(),
            Codec::Zstd(mut encoder) => {
                encoder.finish()?;
                let (output, context) = encoder.into_inner();
                self.share.give_back(context);
                output
            }
        };
        let output = output.into_inner().freeze();
        self.share.count(piece.len(), output.len());
        Ok(output)
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
            Self::Zstd(encoder) => encoder.writer_mut(),
        }
        .get_mut()
    }
}

/// A zstd context at the beginning of a body.
fn context(idle: Option<Context>, level: u32, length: Option<u64>) -> io::Result<Context> {
    let level = level.cast_signed();
    // One that ended a body is at the beginning of the next.
    let mut context = if let Some(context) = idle {
        context
    } else {
        let mut context = Context::new(level)?;
        context.set_parameter(CParameter::WindowLog(WINDOW))?;
        // The tables of the higher levels are made for windows of many MiB: up to 84 MiB, and
        // 40 ms to clear them.
        if level > 6 {
            context.set_parameter(CParameter::HashLog(WINDOW))?;
            context.set_parameter(CParameter::ChainLog(WINDOW))?;
        }
        context
    };
    context.set_pledged_src_size(length)?;
    Ok(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::compression::encoders::Encoders;
    use crate::edge::compression::tests::{Decoder, config, decoded};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn begin(coding: Coding, level: u32, length: Option<usize>) -> Encoder {
        let mut config = config();
        config.level = level;
        let encoders = Arc::new(Encoders::new(config, Arc::default()));
        let length = length.map(|length| length as u64);
        encoders.begin(coding, length).unwrap().unwrap()
    }

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

    /// The whole of an encoded body.
    fn encode(mut encoder: Encoder, pieces: &[Vec<u8>]) -> Vec<u8> {
        let (last, rest) = match pieces.split_last() {
            Some((last, rest)) => (last.as_slice(), rest),
            None => (&[][..], &[][..]),
        };
        let mut output = Vec::new();
        for piece in rest {
            output.extend_from_slice(&encoder.push(piece).unwrap());
        }
        output.extend_from_slice(&encoder.finish(last).unwrap());
        output
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However a body is cut, the client decodes the same.
        #[test]
        fn what_is_decoded_is_what_was_encoded(
            coding in any_coding(),
            pieces in pieces(),
            is_stream in any::<bool>(),
            level in 0_u32..=19,
        ) {
            let level = level.min(coding.highest_level());
            let whole = pieces.concat();
            let length = (!is_stream).then_some(whole.len());
            let encoded = encode(begin(coding, level, length), &pieces);
            prop_assert_eq!(decoded(coding, &encoded), whole);
        }

        /// A client of a stream can read each piece before the next one is written.
        #[test]
        fn a_piece_of_a_stream_is_readable_at_once(coding in any_coding(), pieces in pieces()) {
            let mut encoder = begin(coding, 0, None);
            let mut client = Decoder::new(coding);
            for piece in pieces {
                prop_assert_eq!(client.read(&encoder.push(&piece).unwrap()), piece);
            }
        }
    }

    #[test]
    fn a_context_used_again_forgets_what_it_saw() {
        let encoders = Arc::new(Encoders::new(config(), Arc::default()));
        let page = vec![b"a page like many others ".repeat(500)];
        let begin = |length| encoders.begin(Coding::Zstd, length).unwrap().unwrap();
        let first = encode(begin(None), &page);
        for _ in 0..3 {
            assert_eq!(encode(begin(None), &page), first);
            let length = page[0].len() as u64;
            let known = encode(begin(Some(length)), &page);
            assert_eq!(decoded(Coding::Zstd, &known), page[0]);
        }
    }

    #[test]
    fn a_body_shorter_than_it_said_does_not_end_well() {
        let mut encoder = begin(Coding::Zstd, 0, Some(6));
        encoder.push(b"hello").unwrap();
        assert!(encoder.finish(b"").is_err());
    }

    #[test]
    fn pieces_of_a_body_of_known_length_leave_together() {
        // Numbers shrink little, so there is soon enough of them.
        let numbers: Vec<_> = (0..50_000_u32)
            .map(|number| number.wrapping_mul(2_654_435_761).to_string())
            .collect();
        let numbers = numbers.join(" ");
        for coding in Coding::ALL {
            let mut encoder = begin(coding, 0, Some(4096 + numbers.len()));
            assert!(encoder.push(&[b'a'; 4096]).unwrap().is_empty());
            assert!(encoder.push(numbers.as_bytes()).unwrap().len() >= WORTH_A_WRITE);
        }
    }
}

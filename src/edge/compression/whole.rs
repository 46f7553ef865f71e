//! The encoder of whole bodies, for what is compressed once and sent often.

use std::io::{self, Write};

use brotli::enc::BrotliEncoderParams;
use flate2::write::GzEncoder;

use crate::config::Coding;

/// Window of brotli, as a power of 2: 4 MiB. Every client has it, and larger ones win nothing on
/// files of this size.
const BR_WINDOW: i32 = 22;

/// Encodes `bytes` at `level`, from 1 to [`Coding::highest_level`]. It takes long at the highest
/// levels, hundreds of milliseconds for each MiB: never where a request waits. The same bytes
/// always give the same encoding.
///
/// Fails where memory is short.
pub(crate) fn compress(coding: Coding, level: u32, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(level));
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Coding::Br => {
            let parameters = BrotliEncoderParams {
                quality: level.try_into().unwrap_or(i32::MAX),
                lgwin: BR_WINDOW,
                size_hint: bytes.len(),
                ..Default::default()
            };
            let mut encoded = Vec::new();
            brotli::BrotliCompress(&mut &bytes[..], &mut encoded, &parameters)?;
            Ok(encoded)
        }
        Coding::Zstd => zstd::bulk::compress(bytes, level.try_into().unwrap_or(i32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::compression::tests::decoded;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_decoded_is_what_was_encoded(
            coding in prop::sample::select(Coding::ALL.to_vec()),
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..3000),
                prop::collection::vec(prop::sample::select(b"abc \n".to_vec()), 0..50_000),
            ],
            level in 1_u32..=19,
        ) {
            let level = level.min(coding.highest_level());
            let encoded = compress(coding, level, &bytes).unwrap();
            prop_assert_eq!(decoded(coding, &encoded), bytes);
        }
    }

    #[test]
    fn the_highest_level_is_worth_its_time() {
        let notes: Vec<_> = (0..4000)
            .map(|number: u32| number.pow(2).to_string())
            .collect();
        let text = notes.join(" is the next after ");
        for coding in Coding::ALL {
            let [fast, best] = [1, coding.highest_level()]
                .map(|level| compress(coding, level, text.as_bytes()).unwrap().len());
            assert!(best * 10 < fast * 9, "{coding:?}: {fast} to {best} bytes");
        }
    }
}

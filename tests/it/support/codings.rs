//! Content codings as a client reads them.

use std::io::{Read, Write};

/// Every coding that the server can produce, in its order of preference.
pub const CODINGS: [&str; 3] = ["zstd", "br", "gzip"];

/// A whole body; panics where its encoding does not end.
pub fn decoded(coding: &str, encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    match coding {
        "zstd" => zstd::stream::read::Decoder::new(encoded)
            .unwrap()
            .read_to_end(&mut decoded),
        "br" => brotli::Decompressor::new(encoded, 4096).read_to_end(&mut decoded),
        "gzip" => flate2::read::GzDecoder::new(encoded).read_to_end(&mut decoded),
        other => panic!("unknown coding {other}"),
    }
    .unwrap();
    decoded
}

/// What a client can make of a stream as it comes.
pub struct Decoder(Box<dyn DecoderWrite>);

trait DecoderWrite: Write {
    fn take(&mut self) -> Vec<u8>;
}

impl DecoderWrite for flate2::write::GzDecoder<Vec<u8>> {
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.get_mut())
    }
}

impl DecoderWrite for brotli::DecompressorWriter<Vec<u8>> {
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.get_mut())
    }
}

impl DecoderWrite for zstd::stream::write::Decoder<'_, Vec<u8>> {
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.get_mut())
    }
}

impl Decoder {
    /// A decoder at the beginning of a body.
    pub fn new(coding: &str) -> Self {
        Self(match coding {
            "zstd" => Box::new(zstd::stream::write::Decoder::new(Vec::new()).unwrap()),
            "br" => Box::new(brotli::DecompressorWriter::new(Vec::new(), 1 << 20)),
            "gzip" => Box::new(flate2::write::GzDecoder::new(Vec::new())),
            other => panic!("unknown coding {other}"),
        })
    }

    /// What `piece` adds.
    pub fn read(&mut self, piece: &[u8]) -> Vec<u8> {
        self.0.write_all(piece).unwrap();
        self.0.flush().unwrap();
        self.0.take()
    }
}

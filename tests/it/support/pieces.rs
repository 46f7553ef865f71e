//! Bodies piece by piece on a raw connection.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use super::raw::Raw;
use super::server::PATIENCE;

/// How long a connection must take nothing more to count as stalled.
const STALLED: Duration = Duration::from_secs(1);

impl Raw {
    /// Reads the next chunk: empty is the last one, `None` that the connection ended before it.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(self.byte()?);
        }
        let size = std::str::from_utf8(&line).unwrap().trim();
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).ok()?;
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(size);
        Some(chunk)
    }

    /// Reads chunks up to the last; `None` when the connection ended before it.
    pub fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Some(body);
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// Sends `piece` as one chunk.
    pub fn send_chunk(&mut self, piece: &[u8]) -> &mut Self {
        self.send(format!("{:x}\r\n", piece.len()))
            .send(piece)
            .send("\r\n")
    }

    /// Sends up to `most` bytes until the peer takes no more; returns how many it took.
    pub fn send_until_stalled(&mut self, most: usize) -> usize {
        self.0.set_write_timeout(Some(STALLED)).unwrap();
        let piece = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        while sent < most {
            match self.0.write(&piece[..piece.len().min(most - sent)]) {
                Ok(taken) => sent += taken,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    break;
                }
                Err(error) => panic!("after {sent} bytes: {error}"),
            }
        }
        self.0.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(1) => Some(byte[0]),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("nothing more to read: {error}"),
        }
    }
}

//! One strict reading of a chunked body (RFC 9112, section 7.1) on its way to whoever decodes it.
//!
//! Pingora decodes the body; what is read here is where it ends, and that it has one meaning only. It is
//! stricter than Pingora's parser, which takes a missing size for 0, the last chunk:
//!
//! - a size is at least one hexadecimal digit, and nothing but `;` (white space before it) and an extension
//!   stands between it and the end of its line;
//! - lines end in CRLF, data of a chunk too, and hold no control byte;
//! - trailers are fields with a name, not folded;
//! - what is neither data nor trailers is bounded by the data it comes with, so that no client spends a
//!   server's time on extensions.

/// Most digits of a size; no body is as large as they can tell.
const MAX_DIGITS: u8 = 15;
/// Bytes a chunk may take besides its data without being remarkable, and for each byte of data.
const USUAL: (u64, u64) = (16, 2);
/// Most bytes beyond that, trailers included, over a whole body. Pingora takes no longer line of a size.
pub(super) const MAX_EXCESS: u64 = 8 * 1024;

/// How far the reading of one body has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::edge) struct Chunks {
    expected: Expected,
    /// The size being read, then how much of its data is still to come, in bytes.
    left: u64,
    /// Bytes that are not data, less the usual ones.
    excess: u64,
    fault: Option<Malformed>,
}

/// What may come next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Expected {
    /// The first digit of a size.
    #[default]
    Size,
    /// More digits; so many have been read.
    Digits(u8),
    /// The `;` after white space.
    Semicolon,
    Extension,
    /// The LF of a size's line.
    SizeEnd,
    /// As much data as is left, then a CR.
    Data,
    /// The LF after the data.
    DataEnd,
    /// A trailer, or the empty line that ends the body.
    Trailer,
    TrailerName,
    TrailerValue,
    /// The LF of a trailer's line.
    TrailerEnd,
    /// The LF of the last line.
    LastEnd,
    /// The next request.
    Nothing,
}

/// Why bytes are no chunked body, in a few words for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in crate::edge) struct Malformed(pub(in crate::edge) &'static str);

impl Chunks {
    /// Reads on, and says how many of `bytes` belong to the body: all of them while it goes on.
    ///
    /// # Errors
    /// What is wrong with them, now and whatever is read later.
    pub(in crate::edge) fn read(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        self.fault.map_or(Ok(()), Err)?;
        let outcome = self.read_on(bytes);
        self.fault = outcome.err();
        outcome
    }

    fn read_on(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut read = 0;
        while let Some(&byte) = bytes.get(read)
            && !self.has_ended()
        {
            if self.expected == Expected::Data && self.left > 0 {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let here = left.min(bytes.len() - read);
                self.left -= here as u64;
                read += here;
            } else {
                self.expected = self.take(byte)?;
                read += 1;
            }
        }
        Ok(read)
    }

    /// Whether the whole body has been read.
    pub(in crate::edge) fn has_ended(&self) -> bool {
        self.expected == Expected::Nothing
    }

    /// Takes a byte that is not data.
    fn take(&mut self, byte: u8) -> Result<Expected, Malformed> {
        use Expected as E;
        self.excess += 1;
        if self.excess > MAX_EXCESS {
            return Err(Malformed("too many chunk extensions or trailers"));
        }
        Ok(match (self.expected, byte) {
            (E::Size, _) => {
                self.left = digit(byte)?;
                E::Digits(1)
            }
            (E::Digits(_) | E::Semicolon, b';') => E::Extension,
            (E::Digits(_) | E::Semicolon, b' ' | b'\t') => E::Semicolon,
            (E::Digits(_) | E::Extension, b'\r') => E::SizeEnd,
            (E::Digits(MAX_DIGITS), _) => return Err(Malformed("a chunk is too large")),
            (E::Digits(count), _) => {
                self.left = self.left * 16 + digit(byte)?;
                E::Digits(count + 1)
            }
            (E::Extension, _) if is_text(byte) => E::Extension,
            (E::SizeEnd, b'\n') if self.left == 0 => E::Trailer,
            (E::SizeEnd, b'\n') => {
                let usual = USUAL.0 + USUAL.1 * self.left;
                self.excess = self.excess.saturating_sub(usual);
                E::Data
            }
            (E::Data, b'\r') => E::DataEnd,
            (E::DataEnd, b'\n') => E::Size,
            (E::Trailer, b'\r') => E::LastEnd,
            (E::Trailer | E::TrailerName, _) if is_name(byte) => E::TrailerName,
            (E::TrailerName, b':') => E::TrailerValue,
            (E::TrailerValue, b'\r') => E::TrailerEnd,
            (E::TrailerValue, _) if is_text(byte) => E::TrailerValue,
            (E::TrailerEnd, b'\n') => E::Trailer,
            (E::LastEnd, b'\n') => E::Nothing,
            (E::Semicolon | E::Extension | E::SizeEnd, _) => {
                return Err(Malformed("invalid line of a chunk's size"));
            }
            (E::Data | E::DataEnd, _) => {
                return Err(Malformed("a chunk is not as long as it says"));
            }
            (_, _) => return Err(Malformed("invalid trailers")),
        })
    }
}

fn digit(byte: u8) -> Result<u64, Malformed> {
    char::from(byte)
        .to_digit(16)
        .map(u64::from)
        .ok_or(Malformed("invalid size of a chunk"))
}

/// What a field's value and an extension are made of (RFC 9110, section 5.5).
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// What a field's name is made of (RFC 9110, section 5.6.2).
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

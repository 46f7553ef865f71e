//! `multipart/byteranges` (RFC 9110, section 14.6): several stretches of a file in one answer.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderValue;

use super::range;
use super::reader::Stretch;

/// A line that stands in no file: 122 random bits, new for each answer, so that nobody can put it
/// into a file beforehand.
#[must_use]
pub(super) fn boundary() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The `Content-Type` of the whole.
#[must_use]
pub(super) fn content_type(boundary: &str) -> String {
    format!("multipart/byteranges; boundary={boundary}")
}

/// The parts of a file of `length` bytes and type `part_type`, each with its head, and the closing line.
#[must_use]
pub(super) fn stretches(
    boundary: &str,
    part_type: &HeaderValue,
    parts: &[Range<u64>],
    length: u64,
) -> Vec<Stretch> {
    let part_type = String::from_utf8_lossy(part_type.as_bytes());
    let mut stretches = Vec::with_capacity(2 * parts.len() + 1);
    for part in parts {
        // The line break before a boundary belongs to the boundary (RFC 2046, section 5.1.1).
        let before = if stretches.is_empty() { "" } else { "\r\n" };
        let content_range = range::content_range(part, length);
        let head = format!(
            "{before}--{boundary}\r\nContent-Type: {part_type}\r\nContent-Range: {content_range}\r\n\r\n"
        );
        stretches.push(Stretch::Text(Bytes::from(head)));
        stretches.push(Stretch::File(part.clone()));
    }
    stretches.push(Stretch::Text(Bytes::from(format!(
        "\r\n--{boundary}--\r\n"
    ))));
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_framed() {
        let text = |text: &'static str| Stretch::Text(Bytes::from_static(text.as_bytes()));
        let stretches = stretches(
            "b",
            &HeaderValue::from_static("text/plain"),
            &[0..2, 5..6],
            10,
        );
        assert_eq!(
            stretches,
            [
                text("--b\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n"),
                Stretch::File(0..2),
                text("\r\n--b\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-5/10\r\n\r\n"),
                Stretch::File(5..6),
                text("\r\n--b--\r\n"),
            ]
        );
        assert_ne!(boundary(), boundary());
    }
}

//! Text that can neither end its field nor its line.

use std::io::Write as _;
use std::time::Duration;

use crate::config::Mask;

/// Writes `target` without the values of hidden parameters.
pub(super) fn push_covered(text: &mut Vec<u8>, mask: &Mask, target: &[u8]) {
    mask.cover(target, |piece| push_escaped(text, piece));
}

/// Writes who has signed in. The field has no quotation marks, so that a space would end it.
pub(super) fn push_user(text: &mut Vec<u8>, user: Option<&str>) {
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        return text.push(b'-');
    };
    for (number, word) in user.as_bytes().split(|&byte| byte == b' ').enumerate() {
        if number > 0 {
            text.extend_from_slice(b"\\x20");
        }
        push_escaped(text, word);
    }
}

/// Writes `bytes` so that they can't end the field or the line.
pub(super) fn push_escaped(text: &mut Vec<u8>, mut bytes: &[u8]) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    while let Some(at) = bytes.iter().position(|&byte| !is_plain(byte)) {
        text.extend_from_slice(&bytes[..at]);
        let _ = write!(text, "\\x{:02X}", bytes[at]);
        bytes = &bytes[at + 1..];
    }
    text.extend_from_slice(bytes);
}

/// Writes seconds with their thousandths, rounded.
pub(super) fn push_seconds(text: &mut Vec<u8>, time: Duration) {
    let rounded = time + Duration::from_micros(500);
    push_number(text, rounded.as_secs());
    text.push(b'.');
    let _ = write!(text, "{:03}", rounded.subsec_millis());
}

/// Writes a number in decimal.
pub(super) fn push_number(text: &mut Vec<u8>, number: u64) {
    let _ = write!(text, "{number}");
}

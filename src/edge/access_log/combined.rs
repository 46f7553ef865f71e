//! nginx's `combined`, followed by the times its users add to it: `rt` for the whole request, and of an
//! upstream's servers, one after the other, `uct` to connect, `uhtt` to the response head, `urt` in
//! all, in seconds, and which they were; then the request id.

use std::io::Write as _;
use std::time::Duration;

use super::text::{push_covered, push_escaped, push_number, push_seconds, push_user};
use super::{Line, version};
use crate::config::Mask;
use crate::edge::clock;
use crate::edge::upstream::Try;

/// Writes `line`.
pub(super) fn push(line: &Line<'_>, mask: &Mask, text: &mut Vec<u8>) {
    // Nothing written to memory fails.
    let _ = write!(text, "{} - ", line.client);
    push_user(text, line.user);
    text.extend_from_slice(b" [");
    clock::with_second(|second| text.extend_from_slice(second.log.as_bytes()));
    text.extend_from_slice(b"] \"");
    if let Some(request) = &line.request {
        push_escaped(text, request.method.as_bytes());
        text.push(b' ');
        push_covered(text, mask, request.target.as_bytes());
        text.push(b' ');
        text.extend_from_slice(version(request.version).as_bytes());
    } else {
        text.push(b'-');
    }
    text.extend_from_slice(b"\" ");
    push_number(text, u64::from(line.status));
    text.push(b' ');
    push_number(text, line.body_bytes);
    text.extend_from_slice(b" \"");
    push_covered(text, mask, line.referer().as_bytes());
    text.extend_from_slice(b"\" \"");
    push_escaped(text, line.user_agent().as_bytes());
    text.extend_from_slice(b"\" rt=");
    push_seconds(text, line.took);
    if line.tries().next().is_none() {
        text.extend_from_slice(br#" uct="-" uhtt="-" urt="-" upstream="-""#);
    } else {
        push_tries(text, line);
    }
    if let Some(outcome) = line.cache {
        text.extend_from_slice(b" cache=");
        text.extend_from_slice(outcome.as_str().as_bytes());
    }
    text.extend_from_slice(b" id=");
    text.extend_from_slice(line.id.as_bytes());
    text.push(b'\n');
}

type Time = fn(&Try) -> Option<Duration>;

/// The times of a try, as nginx's users call them.
const TIMES: [(&str, Time); 3] = [
    ("uct", Try::connected),
    ("uhtt", Try::answered),
    ("urt", |each| Some(each.took())),
];

/// Writes the tries' times, and which servers they went to.
fn push_tries(text: &mut Vec<u8>, line: &Line<'_>) {
    for (name, time) in TIMES {
        let _ = write!(text, " {name}=\"");
        push_list(text, line.tries(), |text, each| match time(each) {
            Some(time) => push_seconds(text, time),
            None => text.push(b'-'),
        });
    }
    text.extend_from_slice(b" upstream=\"");
    push_list(text, line.tries(), |text, each| {
        push_escaped(text, each.server().as_bytes());
    });
}

/// Writes what `push` writes of each, and the closing quotation mark.
fn push_list<'a>(
    text: &mut Vec<u8>,
    tries: impl Iterator<Item = &'a Try>,
    push: impl Fn(&mut Vec<u8>, &Try),
) {
    for (number, each) in tries.enumerate() {
        if number > 0 {
            text.extend_from_slice(b", ");
        }
        push(text, each);
    }
    text.push(b'"');
}

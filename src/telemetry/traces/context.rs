//! Which trace a request belongs to: `traceparent` of W3C Trace Context.

use std::fmt;

use uuid::Uuid;

/// A trace, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

/// One span of a trace, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(u64);

/// What whoever asked has said of its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming {
    trace: TraceId,
    parent: SpanId,
    is_sampled: bool,
}

/// The trace of a request, and the request's own span in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The same for everybody who takes part.
    pub trace: TraceId,
    /// The request's.
    pub span: SpanId,
    /// Whose part of the trace the request is; `None` where the trace begins here.
    pub parent: Option<SpanId>,
    /// Whether spans are told to the collector.
    pub is_sampled: bool,
}

impl TraceId {
    fn random() -> Self {
        Self(u128::from(random()) << 64 | u128::from(random()))
    }

    /// The number in its last `bits` bits, of which there are at most 64.
    pub(super) fn random_part(self, bits: u32) -> u64 {
        let kept = u128::MAX >> (128 - bits);
        u64::try_from(self.0 & kept).unwrap_or(u64::MAX)
    }
}

impl SpanId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }
}

/// Of a random UUID a few bits are fixed, at different places of its halves: over each other all bits
/// are random.
fn random() -> u64 {
    let (first, second) = Uuid::new_v4().as_u64_pair();
    (first ^ second).max(1)
}

impl Incoming {
    /// Reads `traceparent` (W3C Trace Context, section 3.2); `None` where it breaks its rules.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let (version, rest) = header.split_at_checked(2)?;
        let version = hexadecimal(version)?;
        let (ids, more) = rest.split_at_checked(53)?;
        // What a later version adds stands behind another hyphen.
        if version == 0xff || (version == 0 && !more.is_empty()) {
            return None;
        }
        if !more.is_empty() && !more.starts_with('-') {
            return None;
        }
        let mut parts = ids.strip_prefix('-')?.split('-');
        let mut part = |length: usize| {
            let part = parts.next().filter(|part| part.len() == length)?;
            hexadecimal(part)
        };
        let (trace, parent, flags) = (part(32)?, part(16)?, part(2)?);
        if trace == 0 || parent == 0 {
            return None;
        }
        Some(Self {
            trace: TraceId(trace),
            parent: SpanId(u64::try_from(parent).ok()?),
            is_sampled: flags & 1 == 1,
        })
    }

    /// The part of the trace that begins here.
    pub(super) fn child(self) -> Context {
        Context {
            trace: self.trace,
            span: SpanId::random(),
            parent: Some(self.parent),
            is_sampled: self.is_sampled,
        }
    }
}

impl Context {
    /// A trace that begins here; `decide` says whether it is sampled.
    pub(super) fn root(decide: impl FnOnce(TraceId) -> bool) -> Self {
        let trace = TraceId::random();
        Self {
            trace,
            span: SpanId::random(),
            parent: None,
            is_sampled: decide(trace),
        }
    }

    /// `traceparent` for somebody that `span` asks.
    #[must_use]
    pub fn traceparent(&self, span: SpanId) -> String {
        let flags = u8::from(self.is_sampled);
        format!("00-{}-{span}-{flags:02x}", self.trace)
    }
}

/// A number in lower-case hexadecimal digits.
fn hexadecimal(digits: &str) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !digits.bytes().all(is_digit) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok()
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_has_one_reading() {
        let ids = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        for (header, sampled, why) in [
            (format!("00-{ids}-01"), Some(true), "the standard's"),
            (format!("00-{ids}-00"), Some(false), "not sampled"),
            (format!("00-{ids}-fe"), Some(false), "other flags"),
            (format!("cc-{ids}-01"), Some(true), "a later version"),
            (
                format!("cc-{ids}-01-what"),
                Some(true),
                "which adds something",
            ),
            (format!("cc-{ids}-01what"), None, "but not without a hyphen"),
            (
                format!("00-{ids}-01-what"),
                None,
                "this version adds nothing",
            ),
            (format!("ff-{ids}-01"), None, "no version"),
            (format!("00-{}-01", ids.to_uppercase()), None, "upper case"),
            (format!("00-{ids}-1"), None, "short"),
            (
                format!(
                    "00-{}-01",
                    ids.replace('b', "0").replace(char::is_alphanumeric, "0")
                ),
                None,
                "zero",
            ),
            (
                format!("00-{ids}-01").replace("c-b", "cb-"),
                None,
                "other lengths",
            ),
            ("00-\u{e9}".repeat(20), None, "no ASCII"),
            (String::new(), None, "nothing"),
        ] {
            let read = Incoming::parse(&header).map(|incoming| incoming.is_sampled);
            assert_eq!(read, sampled, "{why}: {header}");
        }
    }

    #[test]
    fn what_is_sent_on_is_read_again() {
        for sampled in [true, false] {
            let context = Context::root(|_| sampled);
            let incoming = Incoming::parse(&context.traceparent(context.span)).unwrap();
            assert_eq!(incoming.trace, context.trace);
            assert_eq!(incoming.parent, context.span);
            assert_eq!(incoming.is_sampled, sampled);
        }
    }
}

//! The head of an answer as HTTP/1.1 writes it.

use std::io::Write as _;

/// Lines without what belongs to one request.
#[derive(Debug)]
pub(super) struct Lines {
    head: Box<[u8]>,
    /// Where in `head` what is missing, in order.
    gaps: Vec<(usize, Gap)>,
    pub(super) status: u16,
}

/// What differs from one request to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Age,
    Date,
    Connection,
    RequestId,
}

/// What to fill the gaps with.
#[derive(Debug, Clone, Copy)]
pub(in crate::edge) struct Patches<'a> {
    pub(in crate::edge) date: &'a str,
    pub(in crate::edge) connection: &'a str,
    pub(in crate::edge) request_id: &'a str,
}

impl Lines {
    /// Finds the gaps in `written`, up to the empty line and with it. `ages` tells that its age is
    /// known.
    pub(super) fn read(written: &[u8], request_id: &str, ages: bool) -> Option<Self> {
        let status = std::str::from_utf8(written.get(9..12)?)
            .ok()?
            .parse()
            .ok()?;
        let mut head = Vec::with_capacity(written.len());
        let mut gaps = Vec::with_capacity(4);
        for line in written.split_inclusive(|&byte| byte == b'\n') {
            let colon = memchr::memchr(b':', line).unwrap_or(line.len());
            let (name, rest) = line.split_at(colon);
            let value = rest.get(1..).unwrap_or_default().trim_ascii();
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let gap = if is("date") {
                Gap::Date
            } else if is("age") && ages {
                Gap::Age
            } else if is("connection") && value.eq_ignore_ascii_case(b"keep-alive") {
                Gap::Connection
            } else if is("x-request-id") && value == request_id.as_bytes() {
                Gap::RequestId
            } else if is("connection")
                || is("age")
                || is("set-cookie")
                || is("vary") && !is_known(value)
            {
                return None;
            } else {
                head.extend_from_slice(line);
                continue;
            };
            head.extend_from_slice(name);
            head.extend_from_slice(b": ");
            gaps.push((head.len(), gap));
            head.extend_from_slice(b"\r\n");
        }
        let belongs_to_one = |gap| gaps.iter().filter(|(_, found)| *found == gap).count();
        let is_as_pingora_writes_it =
            belongs_to_one(Gap::Date) == 1 && belongs_to_one(Gap::Connection) == 1;
        is_as_pingora_writes_it.then(|| Self {
            head: head.into(),
            gaps,
            status,
        })
    }

    /// Appends the head of an answer that is `age` seconds old to `output`.
    pub(super) fn write(&self, patches: &Patches<'_>, age: Option<u64>, output: &mut Vec<u8>) {
        let mut written = 0;
        for &(at, gap) in &self.gaps {
            output.extend_from_slice(&self.head[written..at]);
            match gap {
                Gap::Date => output.extend_from_slice(patches.date.as_bytes()),
                Gap::Connection => output.extend_from_slice(patches.connection.as_bytes()),
                Gap::RequestId => output.extend_from_slice(patches.request_id.as_bytes()),
                // Nothing written to memory fails.
                Gap::Age => drop(write!(output, "{}", age.unwrap_or_default())),
            }
            written = at;
        }
        output.extend_from_slice(&self.head[written..]);
    }

    /// Bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.head.len()
    }
}

/// Whether `vary` names only what a question has.
pub(super) fn is_known(vary: &[u8]) -> bool {
    vary.split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .all(|name| name.is_empty() || name.eq_ignore_ascii_case(b"accept-encoding"))
}

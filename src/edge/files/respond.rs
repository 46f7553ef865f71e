//! The answer for one representation: status, headers, and which of its bytes.
//!
//! 1. The conditions are judged: 304 and 412 end here.
//! 2. The range is read: 416 ends here.
//! 3. The content is cut out: all of it, one part, or several as `multipart/byteranges`.
//!
//! Nothing here touches the disk: what is not in memory is left for [`FromDisk::read`].

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::body;
use super::budget::Budget;
use super::conditional::{Conditions, Verdict};
use super::multipart;
use super::path::RelativePath;
use super::range::{self, Wanted};
use super::reader::{Broken, Stretch};
use super::root::OpenFile;
use super::validators::{Identity, Validators};
use crate::config::Coding;
use crate::edge::compression::accept_encoding::Accepted;
use crate::edge::reply::{Answer, Body};

/// For pages, and for whatever stands in for something else.
pub(super) const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// What of a request matters to a file.
pub(super) struct Asked {
    pub(super) conditions: Conditions,
    /// The codings that the client takes and the route has, best first.
    pub(super) accepted: Accepted,
    head: bool,
    range: Option<String>,
}

/// One form of a resource that can be sent, with the headers that belong to it.
pub(super) struct Representation {
    content: Content,
    validators: Validators,
    /// The head of the answer that sends all of it.
    head: HeaderMap,
}

/// Where the bytes of a representation are.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Memory(Bytes),
    Disk(RelativePath, Identity),
}

/// An answer whose content may still lie on the disk.
pub(super) struct Decided {
    /// Complete if nothing is left to read.
    pub(super) answer: Answer,
    pub(super) from_disk: Option<FromDisk>,
}

/// Content that is still to be read.
pub(super) struct FromDisk {
    /// The file it is in.
    pub(super) path: RelativePath,
    /// The version of it that the head of the answer is about.
    identity: Identity,
    stretches: Vec<Stretch>,
}

impl Asked {
    /// Reads the request; of `codings` the earlier ones are preferred.
    pub(super) fn read(method: &Method, headers: &HeaderMap, codings: &[Coding]) -> Self {
        let mut ranges = headers.get_all(header::RANGE).iter();
        let range = ranges.next().filter(|_| ranges.next().is_none());
        Self {
            conditions: Conditions::read(headers),
            accepted: Accepted::of(headers, codings),
            head: method == Method::HEAD,
            // Only GET has ranges (RFC 9110, section 14.2).
            range: range
                .filter(|_| method == Method::GET)
                .and_then(|range| range.to_str().ok())
                .map(str::to_owned),
        }
    }

    /// Whether a part is asked for.
    pub(super) fn wants_a_part(&self) -> bool {
        self.range.is_some()
    }

    /// Which bytes of `representation` are asked for.
    fn wanted(&self, representation: &Representation) -> Wanted {
        match &self.range {
            Some(range) if self.conditions.allow_range(&representation.validators) => {
                range::parse(range, representation.content.length())
            }
            _ => Wanted::Whole,
        }
    }
}

impl Representation {
    /// `content` with the headers that are its own; `common` are those of every representation of
    /// the resource.
    pub(super) fn new(
        content: Content,
        validators: Validators,
        coding: Option<Coding>,
        common: &HeaderMap,
    ) -> Self {
        let mut head = common.clone();
        head.insert(header::CONTENT_LENGTH, content.length().into());
        head.insert(header::ETAG, validators.etag());
        if let Some(coding) = coding {
            let name = HeaderValue::from_static(coding.name());
            head.insert(header::CONTENT_ENCODING, name);
        }
        Self {
            content,
            validators,
            head,
        }
    }

    pub(super) fn validators(&self) -> &Validators {
        &self.validators
    }

    /// Bytes that it holds in memory.
    pub(super) fn in_memory(&self) -> u64 {
        match &self.content {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::Disk(..) => 0,
        }
    }

    /// Answers a GET or HEAD.
    pub(super) fn respond(&self, asked: &Asked) -> Decided {
        match asked.conditions.decide(&self.validators) {
            Verdict::NotModified => return self.not_modified(&self.validators).into(),
            Verdict::PreconditionFailed => return empty(StatusCode::PRECONDITION_FAILED).into(),
            Verdict::Proceed => {}
        }
        let length = self.content.length();
        match asked.wanted(self) {
            Wanted::Unsatisfiable => {
                let mut answer = empty(StatusCode::RANGE_NOT_SATISFIABLE);
                let range = format!("bytes */{length}");
                set(answer.headers_mut(), header::CONTENT_RANGE, range);
                answer.into()
            }
            Wanted::Whole => self.with_content(
                self.head.clone(),
                StatusCode::OK,
                vec![Stretch::File(0..length)],
                asked.head,
            ),
            Wanted::Parts(parts) => {
                let mut head = self.head.clone();
                let stretches = if let [part] = parts.as_slice() {
                    let range = range::content_range(part, length);
                    set(&mut head, header::CONTENT_RANGE, range);
                    vec![Stretch::File(part.clone())]
                } else {
                    let boundary = multipart::boundary();
                    let content_type = multipart::content_type(&boundary);
                    set(&mut head, header::CONTENT_TYPE, content_type);
                    let content_type = &self.head[header::CONTENT_TYPE];
                    multipart::stretches(&boundary, content_type, &parts, length)
                };
                let total: u64 = stretches.iter().map(Stretch::length).sum();
                head.insert(header::CONTENT_LENGTH, total.into());
                self.with_content(head, StatusCode::PARTIAL_CONTENT, stretches, asked.head)
            }
        }
    }

    /// The client has the representation that `validators` are of: this one, or another of the same
    /// resource.
    pub(super) fn not_modified(&self, validators: &Validators) -> Answer {
        let mut answer = empty(StatusCode::NOT_MODIFIED);
        let headers = answer.headers_mut();
        headers.insert(header::ETAG, validators.etag());
        // What a 304 repeats (RFC 9110, section 15.4.5).
        for name in [header::LAST_MODIFIED, header::CACHE_CONTROL, header::VARY] {
            if let Some(value) = self.head.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        answer
    }

    /// Answers with this in place of what is missing: conditions and ranges of the request were
    /// about something else. The body comes for HEAD as well, because an error without one would be
    /// given the server's own page.
    pub(super) fn respond_as_error(&self, status: StatusCode) -> Decided {
        let mut head = HeaderMap::new();
        for name in [
            header::CONTENT_TYPE,
            header::CACHE_CONTROL,
            header::CONTENT_LENGTH,
        ] {
            if let Some(value) = self.head.get(&name) {
                head.insert(name, value.clone());
            }
        }
        let all = vec![Stretch::File(0..self.content.length())];
        self.with_content(head, status, all, false)
    }

    fn with_content(
        &self,
        head: HeaderMap,
        status: StatusCode,
        stretches: Vec<Stretch>,
        is_head: bool,
    ) -> Decided {
        let mut answer = empty(status);
        *answer.headers_mut() = head;
        let mut from_disk = None;
        if !is_head {
            match &self.content {
                Content::Memory(bytes) => *answer.body_mut() = body::cut(bytes, stretches),
                Content::Disk(path, identity) => {
                    from_disk = Some(FromDisk {
                        path: path.clone(),
                        identity: *identity,
                        stretches,
                    });
                }
            }
        }
        Decided { answer, from_disk }
    }
}

impl Content {
    /// Bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Disk(_, identity) => identity.size(),
        }
    }
}

impl FromDisk {
    /// Begins to read from the file at [`Self::path`]. Blocks on the disk.
    ///
    /// # Errors
    /// [`Broken`] if it is no longer the same, or changes underneath; nothing is sent then.
    pub(super) fn read(self, open: OpenFile, budget: &Budget) -> Result<Body, Broken> {
        if Identity::of(&open.metadata) != self.identity {
            return Err(Broken::Rewritten);
        }
        body::read(open, self.stretches, budget)
    }
}

impl From<Answer> for Decided {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            from_disk: None,
        }
    }
}

/// An answer of nothing but a status. The writer makes a page of it from 400 on.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = status;
    answer
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    let value =
        HeaderValue::from_maybe_shared(Bytes::from(value)).expect("made of printable ASCII");
    headers.insert(name, value);
}

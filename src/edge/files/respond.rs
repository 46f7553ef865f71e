//! The answer for a file that was found: status, headers, and which of its bytes.
//!
//! 1. The conditions are judged: 304 and 412 end here.
//! 2. The range is read: 416 ends here.
//! 3. The content is begun: all of it, one part, or several as `multipart/byteranges`.

use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::body;
use super::budget::Budget;
use super::conditional::{Conditions, Verdict};
use super::range::{self, Wanted};
use super::reader::{Broken, Stretch};
use super::root::OpenFile;
use super::validators::Validators;
use super::{content_type, multipart};
use crate::edge::reply::{Answer, Body};

/// For pages, and for whatever stands in for something else.
pub(super) const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// For the rest: stored, and asked about every time. Without `public`, because then a shared cache
/// would keep what a password protects (RFC 9111, section 3.5).
const REVALIDATE: HeaderValue = HeaderValue::from_static("max-age=0, must-revalidate");

/// What of a request matters to a file.
pub(super) struct Asked {
    head: bool,
    conditions: Conditions,
    range: Option<String>,
}

/// One form of a resource that can be sent, with the headers that belong to it.
///
/// Compressed variants are to become further representations of the same file, with a tag, a
/// `Content-Encoding` and a `Vary` of their own.
pub(super) struct Representation {
    open: OpenFile,
    validators: Validators,
    content_type: HeaderValue,
    cache_control: HeaderValue,
}

impl Asked {
    /// Reads the request.
    pub(super) fn read(method: &Method, headers: &HeaderMap) -> Self {
        let mut ranges = headers.get_all(header::RANGE).iter();
        let range = ranges.next().filter(|_| ranges.next().is_none());
        Self {
            head: method == Method::HEAD,
            conditions: Conditions::read(headers),
            // Only GET has ranges (RFC 9110, section 14.2).
            range: range
                .filter(|_| method == Method::GET)
                .and_then(|range| range.to_str().ok())
                .map(str::to_owned),
        }
    }

    /// Which bytes of `representation` are asked for.
    fn wanted(&self, representation: &Representation) -> Wanted {
        match &self.range {
            Some(range) if self.conditions.allow_range(&representation.validators) => {
                range::parse(range, representation.open.length())
            }
            _ => Wanted::Whole,
        }
    }
}

impl Representation {
    /// The file as it is. `cache_control` of `None` chooses by type.
    pub(super) fn identity(
        open: OpenFile,
        name: &Path,
        cache_control: Option<&HeaderValue>,
    ) -> Self {
        let content_type = content_type::of(name);
        let by_type = || {
            if content_type::is_page(&content_type) {
                NO_CACHE
            } else {
                REVALIDATE
            }
        };
        Self {
            validators: Validators::of(&open.metadata, SystemTime::now()),
            cache_control: cache_control.cloned().unwrap_or_else(by_type),
            content_type,
            open,
        }
    }

    /// Answers a GET or HEAD. Blocks on the disk.
    ///
    /// # Errors
    /// [`Broken`] if the file changes underneath; nothing is sent then.
    pub(super) fn respond(self, asked: &Asked, budget: &Budget) -> Result<Answer, Broken> {
        match asked.conditions.decide(&self.validators) {
            Verdict::NotModified => return Ok(self.validated(StatusCode::NOT_MODIFIED)),
            Verdict::PreconditionFailed => return Ok(empty(StatusCode::PRECONDITION_FAILED)),
            Verdict::Proceed => {}
        }
        let length = self.open.length();
        match asked.wanted(&self) {
            Wanted::Unsatisfiable => {
                let mut answer = empty(StatusCode::RANGE_NOT_SATISFIABLE);
                set(
                    &mut answer,
                    header::CONTENT_RANGE,
                    format!("bytes */{length}"),
                );
                Ok(answer)
            }
            Wanted::Whole => {
                let mut answer = self.validated(StatusCode::OK);
                answer
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, self.content_type.clone());
                self.fill(answer, vec![Stretch::File(0..length)], asked.head, budget)
            }
            Wanted::Parts(parts) => {
                let mut answer = self.validated(StatusCode::PARTIAL_CONTENT);
                let stretches = if let [part] = parts.as_slice() {
                    answer
                        .headers_mut()
                        .insert(header::CONTENT_TYPE, self.content_type.clone());
                    set(
                        &mut answer,
                        header::CONTENT_RANGE,
                        range::content_range(part, length),
                    );
                    vec![Stretch::File(part.clone())]
                } else {
                    let boundary = multipart::boundary();
                    set(
                        &mut answer,
                        header::CONTENT_TYPE,
                        multipart::content_type(&boundary),
                    );
                    multipart::stretches(&boundary, &self.content_type, &parts, length)
                };
                self.fill(answer, stretches, asked.head, budget)
            }
        }
    }

    /// Answers with this file in place of what is missing: conditions and ranges of the request
    /// were about something else. The body comes for HEAD as well, because an error without one
    /// would be given the server's own page.
    ///
    /// # Errors
    /// As for [`Self::respond`].
    pub(super) fn respond_as_error(
        self,
        status: StatusCode,
        budget: &Budget,
    ) -> Result<Answer, Broken> {
        let mut answer = empty(status);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        headers.insert(header::CACHE_CONTROL, NO_CACHE);
        let length = self.open.length();
        self.fill(answer, vec![Stretch::File(0..length)], false, budget)
    }

    /// An empty answer with what 200, 206 and 304 have in common (RFC 9110, section 15.4.5).
    fn validated(&self, status: StatusCode) -> Answer {
        let mut answer = empty(status);
        let headers = answer.headers_mut();
        headers.insert(header::ETAG, self.validators.etag());
        if let Some(date) = self.validators.last_modified() {
            headers.insert(header::LAST_MODIFIED, date);
        }
        headers.insert(header::CACHE_CONTROL, self.cache_control.clone());
        if status != StatusCode::NOT_MODIFIED {
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        answer
    }

    fn fill(
        self,
        mut answer: Answer,
        stretches: Vec<Stretch>,
        head: bool,
        budget: &Budget,
    ) -> Result<Answer, Broken> {
        let total: u64 = stretches.iter().map(Stretch::length).sum();
        answer
            .headers_mut()
            .insert(header::CONTENT_LENGTH, total.into());
        if !head {
            *answer.body_mut() = body::read(self.open, stretches, budget)?;
        }
        Ok(answer)
    }
}

/// An answer of nothing but a status. The writer makes a page of it from 400 on.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = status;
    answer
}

fn set(answer: &mut Answer, name: HeaderName, value: String) {
    let value =
        HeaderValue::from_maybe_shared(Bytes::from(value)).expect("made of printable ASCII");
    answer.headers_mut().insert(name, value);
}

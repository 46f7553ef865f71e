//! What a path leads to, as it was at one moment: every representation of it that there is, with its
//! headers. It never changes; what changes on the disk makes it stale, and another takes its place.
//!
//! Which representation a request gets ([`Loaded::answer`]):
//!
//! 1. A part is asked for: the representation that `If-Range` names, else the plain one. Those that
//!    are compressed in the background come and go, and a client that asks for parts without
//!    saying of what must not be given parts of different ones.
//! 2. The client has one (`If-None-Match`) and could still take it: it is not sent another.
//! 3. The best of the codings that it takes: the owner's sidecars or, where there are none, ours.
//! 4. The plain one, for the compression of live answers to work on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::HeaderMap;

use super::budget::Share;
use super::conditional::Verdict;
use super::encodings::{Encodings, Progress};
use super::path::RelativePath;
use super::respond::{Asked, Content, Decided, Representation};
use super::root::Beneath;
use super::shelf::Held;
use super::validators::{Identity, Validators};
use crate::config::Coding;
use crate::edge::freshness::Freshness;

/// A path of a route and what it leads to.
pub(super) struct Loaded {
    pub(super) parts: Parts,
    forms: [Form; Coding::ALL.len()],
    /// When it was used last, as the shelf counts time.
    last_used: AtomicU32,
}

/// What it is made of.
pub(super) struct Parts {
    /// Where it was found.
    pub(super) beneath: Arc<Beneath>,
    pub(super) path: RelativePath,
    /// What was found at each path that matters, `None` for nothing.
    pub(super) seen: Vec<(RelativePath, Option<Identity>)>,
    /// Whether changes are told; otherwise it must be looked at again.
    pub(super) is_watched: bool,
    pub(super) freshness: Freshness,
    pub(super) plain: Representation,
    pub(super) sidecars: Vec<(Coding, Representation)>,
    pub(super) held: Arc<Held>,
    /// Those of the file; `None` if it is not worth compressing, or not allowed.
    pub(super) encodings: Option<Arc<Encodings>>,
    /// Headers of every representation.
    pub(super) common: HeaderMap,
    /// Of the memory for what is kept; `None` if it is not to be kept.
    pub(super) share: Option<Share>,
}

/// How a coding of a file comes about.
enum Form {
    /// Not at all.
    Absent,
    /// The owner has put it beside the file.
    Sidecar(Representation),
    /// We make it.
    Ours(Validators, OnceLock<Representation>),
}

/// The answer of choice, and what would have been better.
pub(super) struct Choice {
    pub(super) decided: Decided,
    /// An encoding that should be made for the next who asks.
    pub(super) wanted: Option<Coding>,
    /// Whether compressing it on the way would be in vain.
    pub(super) is_incompressible: bool,
}

impl Loaded {
    pub(super) fn new(mut parts: Parts) -> Self {
        let sidecars = std::mem::take(&mut parts.sidecars);
        let mut forms = Coding::ALL.map(|coding| match &parts.encodings {
            Some(_) => Form::Ours(
                parts.plain.validators().marked(coding.name()),
                OnceLock::new(),
            ),
            None => Form::Absent,
        });
        for (coding, representation) in sidecars {
            forms[coding as usize] = Form::Sidecar(representation);
        }
        Self {
            parts,
            forms,
            last_used: AtomicU32::new(u32::MAX),
        }
    }

    pub(super) fn freshness(&self) -> &Freshness {
        &self.parts.freshness
    }

    /// Whether others may get it as well: there is memory for it, and changes will be noticed.
    pub(super) fn is_to_be_kept(&self) -> bool {
        self.parts.share.is_some()
    }

    /// Answers a GET or HEAD from the representation that suits it best.
    pub(super) fn answer(&self, asked: &Asked) -> Choice {
        let plain = &self.parts.plain;
        if asked.wants_a_part() {
            let continued = self
                .at_hand(asked)
                .find(|form| asked.conditions.continues(form.validators()));
            return continued.unwrap_or(plain).respond(asked).into();
        }
        if asked.conditions.names_copies()
            && let Some(copy) = self.known_copy(asked)
        {
            return Decided::from(plain.not_modified(copy)).into();
        }
        if asked.conditions.insists() {
            let insisted = self.at_hand(asked).chain([plain]).find(|form| {
                asked.conditions.decide(form.validators()) != Verdict::PreconditionFailed
            });
            return insisted.unwrap_or(plain).respond(asked).into();
        }
        self.best(asked)
    }

    /// The best that there is. Where it is ours and still to be made, no other takes its place: the
    /// compression of live answers has what the client likes best.
    fn best(&self, asked: &Asked) -> Choice {
        let mut codings = asked.accepted.codings();
        let progress = codings.find_map(|coding| Some((coding, self.progress(coding)?)));
        match progress {
            Some((_, Ok(representation))) => representation.respond(asked).into(),
            Some((coding, Err(progress))) => Choice {
                decided: self.parts.plain.respond(asked),
                wanted: (progress == Progress::Awaited).then_some(coding),
                is_incompressible: progress == Progress::Useless,
            },
            None => self.parts.plain.respond(asked).into(),
        }
    }

    /// The validators of a representation that the client has and still takes.
    fn known_copy(&self, asked: &Asked) -> Option<&Validators> {
        let forms = asked.accepted.codings().map(|coding| self.form(coding));
        forms
            .filter_map(Form::validators)
            .chain([self.parts.plain.validators()])
            .find(|validators| asked.conditions.decide(validators) == Verdict::NotModified)
    }

    /// The representations that the client takes rather than the plain one, as far as they exist.
    fn at_hand(&self, asked: &Asked) -> impl Iterator<Item = &Representation> {
        let codings = asked.accepted.codings();
        codings.filter_map(|coding| self.progress(coding)?.ok())
    }

    /// The representation in a coding, or how far it is; `None` if there will be none.
    fn progress(&self, coding: Coding) -> Option<Result<&Representation, Progress>> {
        match self.form(coding) {
            Form::Absent => None,
            Form::Sidecar(representation) => Some(Ok(representation)),
            Form::Ours(validators, representation) => {
                if let Some(representation) = representation.get() {
                    return Some(Ok(representation));
                }
                let bytes = match self.parts.encodings.as_ref()?.progress(coding) {
                    Progress::Made(bytes) => bytes,
                    other => return Some(Err(other)),
                };
                Some(Ok(representation.get_or_init(|| {
                    let content = Content::Memory(bytes);
                    let validators = validators.clone();
                    Representation::new(content, validators, Some(coding), &self.parts.common)
                })))
            }
        }
    }

    fn form(&self, coding: Coding) -> &Form {
        &self.forms[coding as usize]
    }

    /// Bytes that are freed when nobody has it any more.
    pub(super) fn weight(&self) -> u64 {
        let length = |bytes: &Bytes| bytes.len() as u64;
        let plain = self.parts.held.bytes.as_ref().map_or(0, length);
        let sidecars = self.forms.iter().map(|form| match form {
            Form::Sidecar(representation) => representation.in_memory(),
            Form::Absent | Form::Ours(..) => 0,
        });
        plain + sidecars.sum::<u64>() + self.parts.held.encodings.weight()
    }

    /// Notes a use at `now`.
    pub(super) fn use_at(&self, now: u32) {
        self.last_used.store(now, Ordering::Relaxed);
    }

    /// When it was used last; the largest number if that was never noted.
    pub(super) fn last_used(&self) -> u32 {
        self.last_used.load(Ordering::Relaxed)
    }
}

impl Drop for Loaded {
    /// What was recorded of it must not outlive the memory that is counted for it.
    fn drop(&mut self) {
        self.parts.freshness.end();
    }
}

impl Form {
    fn validators(&self) -> Option<&Validators> {
        match self {
            Self::Absent => None,
            Self::Sidecar(representation) => Some(representation.validators()),
            Self::Ours(validators, _) => Some(validators),
        }
    }
}

impl From<Decided> for Choice {
    fn from(decided: Decided) -> Self {
        Self {
            decided,
            wanted: None,
            is_incompressible: false,
        }
    }
}

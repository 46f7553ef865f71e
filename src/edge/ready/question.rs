//! What selects an answer.

use http::Version;

use crate::edge::compression::accept_encoding::Accepted;

/// Longest question in bytes; longer ones go the normal way. Enough for a target and some tags.
const MAX_LENGTH: usize = 2 * 1024;

/// Everything of a simple request that the normal way heeds. `B` holds bytes, borrowed from the
/// request's head or owned.
///
/// All are taken as the client wrote them: two spellings of one thing are two questions, and nothing
/// has to be understood here as it is understood elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::edge) struct Question<B> {
    pub(in crate::edge) shape: Shape,
    pub(in crate::edge) accepted: Accepted,
    pub(in crate::edge) host: B,
    pub(in crate::edge) target: B,
    pub(in crate::edge) none_match: Option<B>,
    /// Browsers send it beside `If-None-Match`.
    pub(in crate::edge) modified_since: Option<B>,
}

/// What of a question is not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is told apart from the others"
)]
pub(in crate::edge) struct Shape {
    pub(in crate::edge) is_head: bool,
    /// Each has a form of its own.
    pub(in crate::edge) version: Version,
    /// Whether the client speaks HTTPS: to us, or to the trusted proxy before us.
    pub(in crate::edge) is_https: bool,
    /// Compression treats requests with cookies in another way.
    pub(in crate::edge) has_cookies: bool,
    /// Caches treat requests that say how fresh an answer has to be in another way.
    pub(in crate::edge) asks_for_fresh: bool,
}

impl<'a> Question<&'a [u8]> {
    fn parts(&self) -> impl Iterator<Item = &'a [u8]> {
        [
            Some(self.host),
            Some(self.target),
            self.none_match,
            self.modified_since,
        ]
        .into_iter()
        .flatten()
    }

    pub(super) fn is_short(&self) -> bool {
        self.parts().map(<[u8]>::len).sum::<usize>() <= MAX_LENGTH
    }

    pub(super) fn to_owned(&self) -> Question<Box<[u8]>> {
        Question {
            shape: self.shape,
            accepted: self.accepted,
            host: self.host.into(),
            target: self.target.into(),
            none_match: self.none_match.map(Into::into),
            modified_since: self.modified_since.map(Into::into),
        }
    }
}

impl Question<Box<[u8]>> {
    pub(super) fn borrowed(&self) -> Question<&[u8]> {
        Question {
            shape: self.shape,
            accepted: self.accepted,
            host: &self.host,
            target: &self.target,
            none_match: self.none_match.as_deref(),
            modified_since: self.modified_since.as_deref(),
        }
    }

    pub(super) fn length(&self) -> usize {
        self.borrowed().parts().map(<[u8]>::len).sum()
    }
}

//! What a handler of the edge answers with, whatever carries it to the client.
//!
//! Handlers speak [`http::Request`] and [`http::Response`] and never see Pingora's session, so that
//! another transport can be put beside it.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// Why a body broke in the middle.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A complete answer of a handler.
///
/// The handler sets what it knows (type, length, validators, caching). Compression, the security
/// headers, `Date`, `Server` and the connection's headers are added on the way out.
pub(crate) type Answer = http::Response<Body>;

/// The content of an [`Answer`].
///
/// To a HEAD request a handler answers just as to GET; the body is dropped unread on the way out.
pub(crate) enum Body {
    /// No content.
    Empty,
    /// All of it, in memory.
    Full(Bytes),
    /// Read piece by piece as the client takes it.
    Stream(UnsyncBoxBody<Bytes, BodyError>),
}

//! The fields of a request that the normal way heeds: some select the answer, others make a request
//! one that isn't simple.
//!
//! Everything that the normal way could treat in a way of its own makes a request not simple: it
//! takes the normal way, which needs no list of what is usual. Simple is GET or HEAD of a path,
//! without a body, credentials, ranges, and conditions other than whether things have changed.

/// What the fields of a simple request say. `B` is a value, or the place where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) struct Heeded<B> {
    /// What it says of the connection: whether it is to live on.
    pub(in crate::edge) keeps_alive: Option<bool>,
    pub(in crate::edge) has_cookies: bool,
    /// Whether it says how fresh an answer has to be.
    pub(in crate::edge) asks_for_fresh: bool,
    /// Whether there is something in the head that counts if it comes from a trusted proxy.
    pub(in crate::edge) is_forwarded: bool,
    pub(in crate::edge) host: Option<B>,
    pub(in crate::edge) accept_encoding: Option<B>,
    pub(in crate::edge) none_match: Option<B>,
    pub(in crate::edge) modified_since: Option<B>,
    pub(in crate::edge) referer: Option<B>,
    pub(in crate::edge) user_agent: Option<B>,
}

/// What a field means for a request's simplicity.
enum Kind {
    Host,
    AcceptEncoding,
    NoneMatch,
    ModifiedSince,
    Connection,
    Cookie,
    Freshness,
    Forwarding,
    Referer,
    UserAgent,
    /// The normal way knows what to do with it.
    Unusual,
    /// It changes nothing.
    Other,
}

impl<B> Heeded<B> {
    /// Of a request without fields.
    pub(in crate::edge) const NOTHING: Self = Self {
        keeps_alive: None,
        has_cookies: false,
        asks_for_fresh: false,
        is_forwarded: false,
        host: None,
        accept_encoding: None,
        none_match: None,
        modified_since: None,
        referer: None,
        user_agent: None,
    };

    /// Heeds one more field, whose value is to be kept as `kept`; `None` if the request is not
    /// simple.
    pub(in crate::edge) fn take(&mut self, name: &str, value: &[u8], kept: B) -> Option<()> {
        match kind(name) {
            Kind::Other => {}
            Kind::Unusual => return None,
            Kind::Host => only(&mut self.host, kept)?,
            Kind::AcceptEncoding => only(&mut self.accept_encoding, kept)?,
            Kind::NoneMatch => only(&mut self.none_match, kept)?,
            Kind::ModifiedSince => only(&mut self.modified_since, kept)?,
            Kind::Connection => {
                let keeps_alive = if value.eq_ignore_ascii_case(b"keep-alive") {
                    true
                } else if value.eq_ignore_ascii_case(b"close") {
                    false
                } else {
                    return None;
                };
                only(&mut self.keeps_alive, keeps_alive)?;
            }
            Kind::Cookie => self.has_cookies = true,
            Kind::Freshness => self.asks_for_fresh = true,
            Kind::Forwarding => self.is_forwarded = true,
            Kind::Referer => only(&mut self.referer, kept)?,
            Kind::UserAgent => only(&mut self.user_agent, kept)?,
        }
        Some(())
    }
}

/// Whether the field counts if it comes from a trusted proxy.
pub(in crate::edge) fn is_forwarding(name: &str) -> bool {
    matches!(kind(name), Kind::Forwarding)
}

/// Lets a second field of the same name go the normal way.
fn only<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn kind(name: &str) -> Kind {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    // The length tells most names apart without looking at them.
    match name.len() {
        2 if is("te") => Kind::Unusual,
        4 if is("host") => Kind::Host,
        5 if is("range") => Kind::Unusual,
        6 if is("cookie") => Kind::Cookie,
        6 if is("pragma") => Kind::Freshness,
        6 if is("expect") || is("origin") => Kind::Unusual,
        7 if is("referer") => Kind::Referer,
        7 if is("upgrade") || is("trailer") => Kind::Unusual,
        8 if is("if-match") || is("if-range") => Kind::Unusual,
        9 if is("forwarded") => Kind::Forwarding,
        10 if is("connection") => Kind::Connection,
        10 if is("user-agent") => Kind::UserAgent,
        11 if is("traceparent") => Kind::Forwarding,
        12 if is("x-request-id") => Kind::Forwarding,
        13 if is("cache-control") => Kind::Freshness,
        13 if is("if-none-match") => Kind::NoneMatch,
        13 if is("authorization") => Kind::Unusual,
        14 if is("content-length") => Kind::Unusual,
        15 if is("accept-encoding") => Kind::AcceptEncoding,
        15 if is("x-forwarded-for") => Kind::Forwarding,
        17 if is("if-modified-since") => Kind::ModifiedSince,
        17 if is("x-forwarded-proto") => Kind::Forwarding,
        17 if is("transfer-encoding") => Kind::Unusual,
        19 if is("if-unmodified-since") || is("proxy-authorization") => Kind::Unusual,
        _ => Kind::Other,
    }
}

//! Static files: the way of a request, downward.
//!
//! 1. The method: GET and HEAD, all else is 405.
//! 2. What was asked for before is on the [`shelf`]: its [`answer`] is put together from memory
//!    ([`loaded`] chooses among its representations, [`respond`] cuts out what is asked for). This is
//!    the way of nearly all requests, and it meets no disk and no other thread.
//! 3. For the rest one trip to a blocking thread does everything that touches the disk. [`path`]: the
//!    URL becomes a path below the root, or is refused. [`root`] opens what is there. [`target`]: a
//!    directory becomes its `index.html`, or a redirect to the trailing slash; what is missing becomes
//!    the `spa` file, `404.html`, or a plain 404. [`load`] reads it, and it goes on the shelf.
//! 4. [`body`]: what is small is in memory; what is large is read by [`reader`] while it is sent, in
//!    pieces as large as the [`budget`] allows.
//!
//! In the background [`watch`] and the shelf's thread notice what changes, and [`encodings`] are made
//! of what is often asked for.

mod answer;
mod body;
mod budget;
mod conditional;
mod content_type;
mod encodings;
mod hashed;
mod load;
mod loaded;
mod multipart;
mod names;
pub(crate) mod path;
pub(crate) mod range;
mod reader;
mod respond;
mod root;
pub(crate) mod shelf;
mod target;
mod validators;
mod walk;
#[cfg_attr(not(target_os = "linux"), path = "no_watch.rs")]
mod watch;

use std::sync::Arc;

use anyhow::Context;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};

use self::answer::Shared;
use self::names::Names;
use self::path::RelativePath;
use self::respond::Asked;
use self::root::Root;
use self::shelf::Shelf;
use self::target::{Role, find_spa};
use crate::config::{self, Coding, Files};
use crate::edge::freshness::Freshness;
use crate::edge::reply::Answer;

/// The files of one route. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StaticFiles {
    shared: Arc<Shared>,
}

/// An answer and how long it holds.
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    /// Whether it may be given again, as it is, to whoever asks the same in the same way: as long as
    /// this is fresh. `None` where it may not: it is about to get better, or nothing would tell that
    /// it no longer holds.
    pub(crate) freshness: Option<Freshness>,
    /// Whether compressing it was tried and gained nothing.
    pub(crate) is_incompressible: bool,
    /// Whether it was put together without asking the disk.
    pub(crate) is_from_memory: bool,
}

/// What the route says of its files.
struct Rules {
    spa: Option<RelativePath>,
    cache_control: Option<HeaderValue>,
    /// Whether names that carry a hash are for ever.
    immutable: bool,
    compress: Option<bool>,
    compression: Arc<config::Compression>,
}

impl StaticFiles {
    /// Opens the root of a files route. `compress` is the route's own setting.
    ///
    /// # Errors
    /// If the root is missing or no directory, or `spa` is no file in it.
    pub(crate) fn open(
        config: &Files,
        compress: Option<bool>,
        compression: &Arc<config::Compression>,
        shelf: &Arc<Shelf>,
    ) -> anyhow::Result<Self> {
        let root = Root::open(&config.root)?;
        let spa = config
            .spa
            .as_deref()
            .map(|spa| find_spa(&root, spa))
            .transpose()
            .with_context(|| {
                format!("cannot use `spa` of the files in {}", config.root.display())
            })?;
        let shared = Arc::new(Shared {
            root,
            rules: Rules {
                spa,
                cache_control: config.cache_control.clone(),
                immutable: config.immutable,
                compress,
                compression: Arc::clone(compression),
            },
            names: Names::new(),
            shelf: Arc::clone(shelf),
        });
        shelf.tend_to(&shared);
        Ok(Self { shared })
    }

    /// Answers a request for `rest`: the request's path, still percent-encoded, without the route's
    /// prefix and the slash that follows it.
    ///
    /// From status 400 on the body is empty, for the writer to fill, unless the root has a page of
    /// its own. A HEAD request for a file is answered with the `Content-Length` of the GET and an
    /// empty body.
    pub(crate) async fn answer(
        &self,
        method: &Method,
        headers: &HeaderMap,
        uri: &Uri,
        rest: &str,
    ) -> Answered {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut answer = respond::empty(StatusCode::METHOD_NOT_ALLOWED);
            answer
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Answered::once(answer).without_the_disk();
        }
        let shared = &self.shared;
        let asked = Asked::read(method, headers, shared.rules.codings(Role::Itself));
        if let Some(answered) = shared.answer_from_memory(rest, uri, &asked) {
            return answered.without_the_disk();
        }
        let path = RelativePath::parse(rest);
        let shared = Arc::clone(shared);
        let uri = uri.clone();
        let work = tokio::task::spawn_blocking(move || shared.answer(path.as_ref(), &asked, &uri));
        work.await.unwrap_or_else(|error| {
            tracing::error!(%error, "reading a static file was broken off");
            Answered::once(respond::empty(StatusCode::INTERNAL_SERVER_ERROR))
        })
    }
}

impl Answered {
    /// An answer to this request only.
    fn once(answer: Answer) -> Self {
        Self {
            answer,
            freshness: None,
            is_incompressible: false,
            is_from_memory: false,
        }
    }

    fn without_the_disk(mut self) -> Self {
        self.is_from_memory = true;
        self
    }
}

impl Rules {
    /// The codings that a file may be sent in, the server's favourite first.
    fn codings(&self, role: Role) -> &[Coding] {
        // Errors are small and rare: what compresses live answers will do.
        if role == Role::Missing || self.compress == Some(false) {
            &[]
        } else {
            &self.compression.algorithms
        }
    }
}

#[cfg(test)]
mod tests;

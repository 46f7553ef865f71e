//! Static files: the way of a request, downward.
//!
//! 1. The method: GET and HEAD, all else is 405.
//! 2. What was asked for before is on the [`shelf`]: its answer is put together from memory
//!    ([`loaded`] chooses among its representations, [`respond`] cuts out what is asked for). This is
//!    the way of nearly all requests, and it meets no disk and no other thread.
//! 3. For the rest one trip to a blocking thread does everything that touches the disk. [`path`]: the
//!    URL becomes a path below the root, or is refused. [`root`] opens what is there; a directory
//!    becomes its `index.html`, or a redirect to the trailing slash; what is missing becomes the
//!    `spa` file, `404.html`, or a plain 404. [`load`] reads it, and it goes on the shelf.
//! 4. [`body`]: what is small is in memory; what is large is read by [`reader`] while it is sent, in
//!    pieces as large as the [`budget`] allows.
//!
//! In the background [`watch`] and the shelf's thread notice what changes, and [`encodings`] are made
//! of what is often asked for.

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
mod validators;
mod walk;
#[cfg_attr(not(target_os = "linux"), path = "no_watch.rs")]
mod watch;

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Context, bail};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};

use self::loaded::{Choice, Loaded};
use self::names::Names;
use self::path::{PathError, RelativePath};
use self::reader::Broken;
use self::respond::{Asked, Decided, NO_CACHE};
use self::root::{Beneath, Found, OpenError, Root};
use self::shelf::Shelf;
use crate::config::{self, Coding, Files};
use crate::edge::freshness::Freshness;
use crate::edge::reply::Answer;
use crate::telemetry::Tally;

/// Whoever asks for such a file provokes another.
static FAILED: Tally = Tally::new("static files could not be served", 10);

/// The file that stands for its directory.
const INDEX: &str = "index.html";
/// The file in the root that answers for what is missing.
const NOT_FOUND_PAGE: &str = "404.html";
/// How often a file that changes while it is read is looked at again.
const ATTEMPTS: usize = 4;

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

/// What the blocking threads need.
struct Shared {
    root: Root,
    rules: Rules,
    names: Names,
    shelf: Arc<Shelf>,
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

/// What a file answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Its own path.
    Itself,
    /// The `spa` file, for a path it knows by itself.
    Fallback,
    /// `404.html`, for what is missing.
    Missing,
}

/// What answers a path.
enum Target {
    File(RelativePath, Role),
    /// The same with a slash at the end.
    Slash,
    /// Nothing.
    Nothing,
}

/// Why there is no answer from a file.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] Broken),
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

impl Shared {
    /// The answer, if it is all in memory and known to be true.
    fn answer_from_memory(
        self: &Arc<Self>,
        rest: &str,
        uri: &Uri,
        asked: &Asked,
    ) -> Option<Answered> {
        let key = if rest.contains('%') {
            Cow::Owned(RelativePath::parse(rest).ok()?.key())
        } else {
            // What needs no decoding is its own key, and what is no path has never been kept.
            Cow::Borrowed(rest)
        };
        if key.is_empty() && !has_slash(uri) {
            return None;
        }
        let loaded = self.names.get(&key)?;
        if !loaded.freshness().is_fresh() {
            return None;
        }
        let choice = loaded.answer(asked);
        if choice.decided.from_disk.is_some() {
            return None;
        }
        Some(self.finish(&loaded, choice))
    }

    /// Everything that touches the disk.
    fn answer(
        self: &Arc<Self>,
        path: Result<&RelativePath, &PathError>,
        asked: &Asked,
        uri: &Uri,
    ) -> Answered {
        let mut attempts = 1;
        loop {
            match self.attempt(path, asked, uri) {
                Ok(answered) => return answered,
                // The file was written to between its head and its body: look again.
                Err(Failure::Read(Broken::Shrank | Broken::Rewritten)) if attempts < ATTEMPTS => {
                    attempts += 1;
                }
                Err(failure) => return Answered::once(failure.answer(uri)),
            }
        }
    }

    fn attempt(
        self: &Arc<Self>,
        path: Result<&RelativePath, &PathError>,
        asked: &Asked,
        uri: &Uri,
    ) -> Result<Answered, Failure> {
        let beneath = self.root.current();
        let target = match path {
            Ok(path) => {
                let is_known = !path.key().is_empty() || has_slash(uri);
                if let Some(loaded) = self.kept(&path.key()).filter(|_| is_known) {
                    return self.serve(&loaded, asked);
                }
                self.target(&beneath, path, uri)?
            }
            Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => missing(&beneath),
            Err(refusal) => return Ok(Answered::once(respond::empty(refusal.status()))),
        };
        let (file, role) = match target {
            Target::File(file, role) => (file, role),
            Target::Slash => return Ok(Answered::once(redirect_to_slash(uri))),
            Target::Nothing => return Ok(Answered::once(respond::empty(StatusCode::NOT_FOUND))),
        };
        let key = match (role, path) {
            (Role::Itself, Ok(path)) => path.key(),
            // No path has a control character in it.
            _ => format!("\0{role:?}"),
        };
        match self.load(&beneath, &key, &file, role)? {
            Some(loaded) if role == Role::Missing => self.serve_as_error(&loaded),
            Some(loaded) => {
                let answered = self.serve(&loaded, asked)?;
                // That the path itself is missing may change, and nobody watches for it.
                let freshness = answered.freshness.filter(|_| role == Role::Itself);
                Ok(Answered {
                    freshness,
                    ..answered
                })
            }
            None if role == Role::Missing => {
                Ok(Answered::once(respond::empty(StatusCode::NOT_FOUND)))
            }
            // It was there a moment ago.
            None => Err(Failure::Read(Broken::Rewritten)),
        }
    }

    fn target(
        &self,
        beneath: &Beneath,
        path: &RelativePath,
        uri: &Uri,
    ) -> Result<Target, OpenError> {
        // For the route's own path both `/static` and `/static/` leave nothing.
        let has_slash = path.is_directory() && has_slash(uri);
        if !has_slash {
            match beneath.find(path)? {
                Found::File(_) => return Ok(Target::File(path.clone(), Role::Itself)),
                Found::Directory => {}
                Found::Nothing => return self.fallback(beneath),
            }
        }
        // A directory without a page is as good as missing: its name is not given away.
        let index = path.child(INDEX);
        match beneath.find(&index)? {
            Found::File(_) if has_slash => Ok(Target::File(index, Role::Itself)),
            Found::File(_) => Ok(Target::Slash),
            Found::Directory | Found::Nothing => self.fallback(beneath),
        }
    }

    fn fallback(&self, beneath: &Beneath) -> Result<Target, OpenError> {
        let Some(spa) = &self.rules.spa else {
            return Ok(missing(beneath));
        };
        Ok(match beneath.find(spa)? {
            Found::File(_) => Target::File(spa.clone(), Role::Fallback),
            Found::Directory | Found::Nothing => missing(beneath),
        })
    }

    /// What is kept under `key`, if it still holds. Blocks on the disk.
    fn kept(&self, key: &str) -> Option<Arc<Loaded>> {
        let loaded = self.names.get(key)?;
        let freshness = loaded.freshness();
        if !freshness.is_fresh() && !freshness.has_ended() {
            shelf::check(&loaded);
        }
        freshness.is_fresh().then(|| Arc::clone(&loaded))
    }

    /// What `file` is now; it is kept under `key`.
    fn load(
        &self,
        beneath: &Arc<Beneath>,
        key: &str,
        file: &RelativePath,
        role: Role,
    ) -> Result<Option<Arc<Loaded>>, Failure> {
        if let Some(loaded) = self.kept(key) {
            return Ok(Some(loaded));
        }
        let loaded = load::load(&self.shelf, &self.rules, beneath, file, role)?.map(Arc::new);
        if let Some(loaded) = loaded.as_ref().filter(|loaded| loaded.is_to_be_kept()) {
            self.names.insert(key, loaded);
        }
        Ok(loaded)
    }

    fn serve(&self, loaded: &Arc<Loaded>, asked: &Asked) -> Result<Answered, Failure> {
        let mut choice = loaded.answer(asked);
        choice.decided = self.complete(loaded, choice.decided)?;
        Ok(self.finish(loaded, choice))
    }

    fn serve_as_error(&self, loaded: &Arc<Loaded>) -> Result<Answered, Failure> {
        let page = loaded.parts.plain.respond_as_error(StatusCode::NOT_FOUND);
        Ok(Answered::once(self.complete(loaded, page)?.answer))
    }

    /// Begins to read what is still on the disk.
    fn complete(&self, loaded: &Loaded, mut decided: Decided) -> Result<Decided, Failure> {
        let Some(from_disk) = decided.from_disk.take() else {
            return Ok(decided);
        };
        let body = match loaded.parts.beneath.find(&from_disk.path)? {
            Found::File(open) => from_disk.read(open, &self.shelf.pieces),
            Found::Directory | Found::Nothing => Err(Broken::Rewritten),
        };
        // Whatever it was, the next look is at the file and not at what was thought of it.
        *decided.answer.body_mut() = body.inspect_err(|_| loaded.freshness().end())?;
        Ok(decided)
    }

    /// Makes an answer of a choice, and orders what would have been better.
    fn finish(&self, loaded: &Arc<Loaded>, choice: Choice) -> Answered {
        let is_kept = loaded.is_to_be_kept();
        if let Some(coding) = choice.wanted.filter(|_| is_kept) {
            self.order(loaded, coding);
        }
        let is_final = is_kept && choice.wanted.is_none();
        Answered {
            answer: choice.decided.answer,
            freshness: is_final.then(|| loaded.freshness().clone()),
            is_incompressible: choice.is_incompressible,
            is_from_memory: false,
        }
    }

    fn order(&self, loaded: &Arc<Loaded>, coding: Coding) {
        let Some(encodings) = &loaded.parts.encodings else {
            return;
        };
        let place = &self.shelf;
        place.workshop.order(encodings, coding, || {
            let (place, loaded) = (Arc::clone(place), Arc::clone(loaded));
            Box::new(move || place.encode(&loaded, coding))
        });
    }
}

impl Failure {
    /// Tells the log what happened and the client that it did.
    fn answer(&self, uri: &Uri) -> Answer {
        let status = match self {
            Self::Open(OpenError::Denied) => StatusCode::FORBIDDEN,
            Self::Open(OpenError::Exhausted(_))
            | Self::Read(Broken::Shrank | Broken::Rewritten) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Open(OpenError::Failed(_)) | Self::Read(Broken::Failed(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let path = uri.path();
        if FAILED.count(|| format!("{path}: {self}")) {
            tracing::warn!(path, error = %self, "cannot serve a static file");
        }
        let mut answer = respond::empty(status);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

fn has_slash(uri: &Uri) -> bool {
    uri.path().ends_with('/')
}

fn missing(beneath: &Beneath) -> Target {
    let page = RelativePath::parse(NOT_FOUND_PAGE).expect("a plain name");
    match beneath.find(&page) {
        Ok(Found::File(_)) => Target::File(page, Role::Missing),
        _ => Target::Nothing,
    }
}

fn find_spa(root: &Root, spa: &str) -> anyhow::Result<RelativePath> {
    let path =
        RelativePath::parse(spa).with_context(|| format!("{spa:?} is no path below the root"))?;
    match root.current().find(&path) {
        Ok(Found::File(_)) => Ok(path),
        Ok(_) => bail!("{spa:?} is no file: name one that exists, such as \"{INDEX}\""),
        Err(error) => Err(error).with_context(|| format!("{spa:?} cannot be read")),
    }
}

/// Sends the client from `/docs?q` to `/docs/?q`.
///
/// The target is relative to what the client asked for, as a proxy in front may have shortened the
/// path. SECURITY: it begins with a dot, so that no path makes it name another host or scheme.
fn redirect_to_slash(uri: &Uri) -> Answer {
    let last = uri.path().rsplit('/').next().unwrap_or_default();
    let query = uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let Ok(location) = HeaderValue::try_from(format!("./{last}/{query}")) else {
        return respond::empty(StatusCode::NOT_FOUND);
    };
    let mut answer = respond::empty(StatusCode::MOVED_PERMANENTLY);
    answer.headers_mut().insert(header::LOCATION, location);
    // A directory may become a file again; without this browsers never ask.
    answer.headers_mut().insert(header::CACHE_CONTROL, NO_CACHE);
    answer
}

#[cfg(test)]
mod tests;

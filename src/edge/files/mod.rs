//! Static files: the way of a request, downward.
//!
//! 1. The method: GET and HEAD, all else is 405.
//! 2. [`path`]: the URL becomes a path below the root, or is refused.
//! 3. One trip to a blocking thread does everything that touches the disk:
//!    [`root`] opens what is there; a directory becomes its `index.html`, or a redirect to the
//!    trailing slash; what is missing becomes the `spa` file, `404.html`, or a plain 404.
//! 4. [`respond`]: [`conditional`] and [`range`] say how much of the [`validators`]' representation
//!    is sent, and [`content_type`] as what.
//! 5. [`body`]: what is small is in memory by now; what is large is read by [`reader`] while it is
//!    sent, in pieces as large as the [`budget`] allows.

mod body;
mod budget;
mod conditional;
mod content_type;
mod multipart;
pub(crate) mod path;
pub(crate) mod range;
mod reader;
mod respond;
mod root;
mod validators;

use std::sync::Arc;

use anyhow::{Context, bail};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};

use self::budget::Budget;
use self::path::{PathError, RelativePath};
use self::reader::Broken;
use self::respond::{Asked, NO_CACHE, Representation};
use self::root::{Found, OpenError, OpenFile, Root};
use crate::config::Files;
use crate::edge::freshness::Freshness;
use crate::edge::reply::Answer;

/// The file that stands for its directory.
const INDEX: &str = "index.html";
/// The file in the root that answers for what is missing.
const NOT_FOUND_PAGE: &str = "404.html";
/// How often a file that changes while it is read is looked at again.
const ATTEMPTS: usize = 4;

/// The files of one route.
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
}

/// What the blocking threads need.
struct Shared {
    root: Root,
    spa: Option<RelativePath>,
    cache_control: Option<HeaderValue>,
    budget: Budget,
}

/// What answers a path.
enum Target {
    /// The file that was asked for.
    File(OpenFile, RelativePath),
    /// The `spa` file, in place of a path it knows by itself.
    Fallback(OpenFile, RelativePath),
    /// The same with a slash at the end.
    Slash,
    /// Nothing.
    Missing,
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
    /// Opens the root of a files route.
    ///
    /// # Errors
    /// If the root is missing or no directory, or `spa` is no file in it.
    pub(crate) fn open(config: &Files) -> anyhow::Result<Self> {
        let root = Root::open(&config.root)?;
        let spa = config
            .spa
            .as_deref()
            .map(|spa| find_spa(&root, spa))
            .transpose()
            .with_context(|| {
                format!("cannot use `spa` of the files in {}", config.root.display())
            })?;
        let cache_control = config.cache_control.clone();
        Ok(Self {
            shared: Arc::new(Shared {
                root,
                spa,
                cache_control,
                budget: Budget::new(),
            }),
        })
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
            return Answered::once(answer);
        }
        let path = RelativePath::parse(rest);
        let asked = Asked::read(method, headers);
        let shared = Arc::clone(&self.shared);
        let uri = uri.clone();
        let work = tokio::task::spawn_blocking(move || shared.answer(path.as_ref(), &asked, &uri));
        let answer = work.await.unwrap_or_else(|error| {
            tracing::error!(%error, "reading a static file was broken off");
            respond::empty(StatusCode::INTERNAL_SERVER_ERROR)
        });
        Answered::once(answer)
    }
}

impl Answered {
    /// An answer to this request only.
    fn once(answer: Answer) -> Self {
        Self {
            answer,
            freshness: None,
        }
    }
}

impl Shared {
    /// Everything that touches the disk.
    fn answer(&self, path: Result<&RelativePath, &PathError>, asked: &Asked, uri: &Uri) -> Answer {
        let mut attempts = 1;
        loop {
            match self.attempt(path, asked, uri) {
                Ok(answer) => return answer,
                // The file was written to between its head and its body: look again.
                Err(Failure::Read(Broken::Shrank | Broken::Rewritten)) if attempts < ATTEMPTS => {
                    attempts += 1;
                }
                Err(failure) => return failure.answer(uri),
            }
        }
    }

    fn attempt(
        &self,
        path: Result<&RelativePath, &PathError>,
        asked: &Asked,
        uri: &Uri,
    ) -> Result<Answer, Failure> {
        let target = match path {
            Ok(path) => self.target(path, uri)?,
            Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => Target::Missing,
            Err(refusal) => return Ok(respond::empty(refusal.status())),
        };
        match target {
            Target::File(file, name) => {
                let file =
                    Representation::identity(file, name.as_path(), self.cache_control.as_ref());
                Ok(file.respond(asked, &self.budget)?)
            }
            // Whatever the route says of caching, it cannot mean this path.
            Target::Fallback(file, name) => {
                let file = Representation::identity(file, name.as_path(), Some(&NO_CACHE));
                Ok(file.respond(asked, &self.budget)?)
            }
            Target::Slash => Ok(redirect_to_slash(uri)),
            Target::Missing => self.missing(),
        }
    }

    fn target(&self, path: &RelativePath, uri: &Uri) -> Result<Target, OpenError> {
        // For the route's own path both `/static` and `/static/` leave nothing.
        let has_slash = path.is_directory() && uri.path().ends_with('/');
        if !has_slash {
            match self.root.find(path)? {
                Found::File(file) => return Ok(Target::File(file, path.clone())),
                Found::Directory => {}
                Found::Nothing => return self.fallback(),
            }
        }
        // A directory without a page is as good as missing: its name is not given away.
        let index = path.child(INDEX);
        match self.root.find(&index)? {
            Found::File(file) if has_slash => Ok(Target::File(file, index)),
            Found::File(_) => Ok(Target::Slash),
            Found::Directory | Found::Nothing => self.fallback(),
        }
    }

    fn fallback(&self) -> Result<Target, OpenError> {
        let Some(spa) = &self.spa else {
            return Ok(Target::Missing);
        };
        Ok(match self.root.find(spa)? {
            Found::File(file) => Target::Fallback(file, spa.clone()),
            Found::Directory | Found::Nothing => Target::Missing,
        })
    }

    fn missing(&self) -> Result<Answer, Failure> {
        let page = RelativePath::parse(NOT_FOUND_PAGE).expect("a plain name");
        match self.root.find(&page) {
            Ok(Found::File(file)) => {
                let page = Representation::identity(file, page.as_path(), None);
                Ok(page.respond_as_error(StatusCode::NOT_FOUND, &self.budget)?)
            }
            _ => Ok(respond::empty(StatusCode::NOT_FOUND)),
        }
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
        tracing::warn!(path = uri.path(), error = %self, "cannot serve a static file");
        let mut answer = respond::empty(status);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

fn find_spa(root: &Root, spa: &str) -> anyhow::Result<RelativePath> {
    let path =
        RelativePath::parse(spa).with_context(|| format!("{spa:?} is no path below the root"))?;
    match root.find(&path) {
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

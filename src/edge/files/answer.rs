//! What a route answers: from memory where that is known to be true, else by looking at the disk.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{StatusCode, Uri};

use super::loaded::{Choice, Loaded};
use super::names::Names;
use super::path::{PathError, RelativePath};
use super::reader::Broken;
use super::respond::{self, Asked, Decided, NO_CACHE};
use super::root::{Beneath, Found, OpenError, Root};
use super::shelf::{self, Shelf};
use super::target::{Role, Target, has_slash};
use super::{Answered, Rules, load};
use crate::config::Coding;
use crate::edge::reply::Answer;
use crate::telemetry::Tally;

/// Whoever asks for such a file provokes another.
static FAILED: Tally = Tally::new("static files could not be served", 10);

/// How often a file that changes while it is read is looked at again.
const ATTEMPTS: usize = 4;

/// What the blocking threads need.
pub(super) struct Shared {
    pub(super) root: Root,
    pub(super) rules: Rules,
    pub(super) names: Names,
    pub(super) shelf: Arc<Shelf>,
}

/// Why there is no answer from a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] Broken),
}

impl Shared {
    /// The answer, if it is all in memory and known to be true.
    pub(super) fn answer_from_memory(
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
    pub(super) fn answer(
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
                Target::of(path, uri, &beneath, self.rules.spa.as_ref())?
            }
            Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => Target::missing(&beneath),
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
    pub(super) fn answer(&self, uri: &Uri) -> Answer {
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

//! From a path to all that is sent of it: one file, its sidecars, their headers.
//!
//! The order is what keeps it true. First every name on the way is watched, then the files are opened
//! and read, and what happens in between has ended the freshness by the time anybody asks.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header;
use http::{HeaderMap, HeaderValue};

use super::Rules;
use super::answer::Failure;
use super::budget::{Budget, Share};
use super::content_type;
use super::encodings::{self, Encodings};
use super::hashed::is_hashed;
use super::loaded::{Loaded, Parts};
use super::path::RelativePath;
use super::reader::{Broken, Reader, Stretch};
use super::respond::{Content, NO_CACHE, Representation};
use super::root::{Beneath, Found, OpenError, OpenFile};
use super::shelf::{BELIEVED, Held, OVERHEAD, Shelf, Watched};
use super::target::Role;
use super::validators::{Identity, Validators, has_settled};
use super::watch;
use crate::config::Coding;
use crate::edge::compression;
use crate::edge::freshness::Freshness;

/// Files of up to this many bytes are kept in memory.
pub(super) const IN_MEMORY: u64 = 1024 * 1024;

/// For files that are no pages: stored, and asked about every time. Without `public`, because then a
/// shared cache would keep what a password protects (RFC 9111, section 3.5).
const REVALIDATE: HeaderValue = HeaderValue::from_static("max-age=0, must-revalidate");

/// For files whose names change with their content: a year, and never asked about (RFC 8246).
const IMMUTABLE: HeaderValue = HeaderValue::from_static("max-age=31536000, immutable");

/// Loads `path`, or `None` if no file is there. Blocks on the disk.
///
/// # Errors
/// [`Failure`] if one is there and can't be read, or changes meanwhile.
pub(super) fn load(
    shelf: &Shelf,
    rules: &Rules,
    beneath: &Arc<Beneath>,
    path: &RelativePath,
    role: Role,
) -> Result<Option<Loaded>, Failure> {
    let mut loading = Loading {
        shelf,
        beneath,
        freshness: Freshness::until_ended(),
        is_watched: true,
        has_settled: true,
        seen: Vec::new(),
    };
    let Some(open) = loading.open(path)? else {
        return Ok(None);
    };
    let identity = Identity::of(&open.metadata);
    let validators = Validators::of(&open.metadata, SystemTime::now());
    let mut sidecars = Vec::new();
    for &coding in rules.codings(role) {
        let sidecar = path.with_ending(ending(coding));
        let found = loading.open(&sidecar)?.filter(|sidecar| {
            let sidecar = Identity::of(&sidecar.metadata);
            sidecar.size() > 0 && !sidecar.is_older_than(&identity)
        });
        if let Some(found) = found {
            sidecars.push((coding, sidecar, found));
        }
    }

    let mut common = headers(path, &validators, rules, role);
    let is_negotiable = {
        let mut head = common.clone();
        head.insert(header::CONTENT_LENGTH, identity.size().into());
        let compress = rules.compress;
        compression::is_negotiable(&rules.compression, compress, &head)
    };
    if is_negotiable || !sidecars.is_empty() {
        common.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }

    let sidecars = sidecars
        .into_iter()
        .map(|(coding, path, open)| {
            // The mark is the sidecar's own: it may be replaced without its file.
            let own = Validators::of(&open.metadata, SystemTime::now());
            let validators = validators.marked(own.tag());
            let content = loading.hold(&path, open)?.0;
            let representation = Representation::new(content, validators, Some(coding), &common);
            Ok((coding, representation))
        })
        .collect::<Result<Vec<_>, Broken>>()?;
    let (content, held) = loading.hold(path, open)?;
    let plain = Representation::new(content, validators, None, &common);
    // Who makes sidecars has chosen the codings.
    let encodings = is_negotiable
        && role != Role::Missing
        && sidecars.is_empty()
        && identity.size() <= encodings::LARGEST;

    if !loading.is_watched {
        loading.freshness.renew(BELIEVED);
    }
    let is_kept = loading.has_settled && !loading.freshness.has_ended();
    Ok(Some(Loaded::new(Parts {
        share: is_kept.then(|| shelf.room_for(OVERHEAD)).flatten(),
        beneath: Arc::clone(beneath),
        path: path.clone(),
        seen: loading.seen,
        is_watched: loading.is_watched,
        freshness: loading.freshness,
        plain,
        sidecars,
        encodings: encodings.then(|| Arc::clone(&held.encodings)),
        held,
        common,
    })))
}

/// Whether everything still is what it was when it was loaded. Blocks on the disk.
pub(super) fn still_holds(loaded: &Loaded) -> bool {
    loaded.parts.seen.iter().all(|(path, before)| {
        let now = match loaded.parts.beneath.find(path) {
            Ok(Found::File(open)) => Some(Identity::of(&open.metadata)),
            Ok(_) => None,
            Err(_) => return false,
        };
        now == *before
    })
}

/// The bytes of a file as it was loaded, for encoding it; `None` if it is not that any more.
pub(super) fn source(loaded: &Loaded) -> Option<Bytes> {
    if let Some(bytes) = &loaded.parts.held.bytes {
        return Some(bytes.clone());
    }
    let Ok(Found::File(open)) = loaded.parts.beneath.find(&loaded.parts.path) else {
        return None;
    };
    if Identity::of(&open.metadata) != loaded.parts.held.identity {
        return None;
    }
    read(open, None).ok()
}

/// One load.
struct Loading<'a> {
    shelf: &'a Shelf,
    beneath: &'a Beneath,
    freshness: Freshness,
    is_watched: bool,
    has_settled: bool,
    seen: Vec<(RelativePath, Option<Identity>)>,
}

impl Loading<'_> {
    /// Opens `path` and sees to it that changes there are noticed from now on.
    fn open(&mut self, path: &RelativePath) -> Result<Option<OpenFile>, OpenError> {
        let watched = self
            .shelf
            .watch(self.beneath, path.as_path(), &self.freshness);
        self.is_watched = self.is_watched && watched != Watched::InPart;
        let open = match self.beneath.find(path)? {
            Found::File(open) => open,
            Found::Directory | Found::Nothing => {
                self.seen.push((path.clone(), None));
                return Ok(None);
            }
        };
        let metadata = &open.metadata;
        self.is_watched = self.is_watched
            && watched == Watched::ToItsEnd
            && watch::is_watchable(open.file.as_fd(), metadata.nlink());
        self.has_settled = self.has_settled && has_settled(metadata, SystemTime::now());
        self.seen.push((path.clone(), Some(Identity::of(metadata))));
        Ok(Some(open))
    }

    /// Takes the content into memory, where it is small and there is room.
    fn hold(&self, path: &RelativePath, open: OpenFile) -> Result<(Content, Arc<Held>), Broken> {
        let identity = Identity::of(&open.metadata);
        let known = self.shelf.held(&identity).filter(|_| self.has_settled);
        let held = match known {
            Some(held) => held,
            None => self.take(identity, open)?,
        };
        let content = match &held.bytes {
            Some(bytes) => Content::Memory(bytes.clone()),
            None => Content::Disk(path.clone(), identity),
        };
        Ok((content, held))
    }

    fn take(&self, identity: Identity, open: OpenFile) -> Result<Arc<Held>, Broken> {
        let room = Some(identity.size())
            .filter(|size| *size <= IN_MEMORY)
            .and_then(|size| self.shelf.room_for(size));
        let bytes = match room {
            Some(share) => Some(read(open, Some(share))?),
            None => None,
        };
        let held = Arc::new(Held {
            identity,
            bytes,
            encodings: Arc::new(Encodings::default()),
        });
        if self.has_settled {
            self.shelf.hold(&held);
        }
        Ok(held)
    }
}

fn read(open: OpenFile, share: Option<Share>) -> Result<Bytes, Broken> {
    let all = vec![Stretch::File(0..open.length())];
    // Nothing is drawn from it: everything is read at once.
    Reader::new(open, all, &Budget::of(0)).whole(share)
}

/// The headers of every representation of `path`.
fn headers(path: &RelativePath, validators: &Validators, rules: &Rules, role: Role) -> HeaderMap {
    let content_type = content_type::of(path.as_path());
    let cache_control = match (role, &rules.cache_control) {
        // Whatever the route says of caching, it cannot mean this path.
        (Role::Fallback | Role::Missing, _) => NO_CACHE,
        (Role::Itself, _) if rules.immutable && has_hashed_name(path) => IMMUTABLE,
        (Role::Itself, Some(given)) => given.clone(),
        (Role::Itself, None) if content_type::is_page(&content_type) => NO_CACHE,
        (Role::Itself, None) => REVALIDATE,
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, cache_control);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(date) = validators.last_modified() {
        headers.insert(header::LAST_MODIFIED, date);
    }
    headers
}

fn has_hashed_name(path: &RelativePath) -> bool {
    let name = path.as_path().file_name();
    name.and_then(OsStr::to_str).is_some_and(is_hashed)
}

/// What the name of a sidecar has after that of its file.
fn ending(coding: Coding) -> &'static str {
    match coding {
        Coding::Zstd => ".zst",
        Coding::Br => ".br",
        Coding::Gzip => ".gz",
    }
}

//! What a path of a route means: a file, the same path with a slash behind it, or nothing.

use anyhow::{Context, bail};
use http::Uri;

use super::path::RelativePath;
use super::root::{Beneath, Found, OpenError, Root};

/// The file that stands for its directory.
const INDEX: &str = "index.html";
/// The file in the root that answers for what is missing.
const NOT_FOUND_PAGE: &str = "404.html";

/// What answers a path.
pub(super) enum Target {
    File(RelativePath, Role),
    /// The same with a slash at the end.
    Slash,
    /// Nothing.
    Nothing,
}

/// What a file answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Its own path.
    Itself,
    /// The `spa` file, for a path it knows by itself.
    Fallback,
    /// `404.html`, for what is missing.
    Missing,
}

impl Target {
    /// What answers `path` in the root `beneath`, whose requests end in a slash as `uri` does.
    pub(super) fn of(
        path: &RelativePath,
        uri: &Uri,
        beneath: &Beneath,
        spa: Option<&RelativePath>,
    ) -> Result<Self, OpenError> {
        // For the route's own path both `/static` and `/static/` leave nothing.
        let has_slash = path.is_directory() && has_slash(uri);
        if !has_slash {
            match beneath.find(path)? {
                Found::File(_) => return Ok(Self::File(path.clone(), Role::Itself)),
                Found::Directory => {}
                Found::Nothing => return Self::fallback(beneath, spa),
            }
        }
        // A directory without a page is as good as missing: its name is not given away.
        let index = path.child(INDEX);
        match beneath.find(&index)? {
            Found::File(_) if has_slash => Ok(Self::File(index, Role::Itself)),
            Found::File(_) => Ok(Self::Slash),
            Found::Directory | Found::Nothing => Self::fallback(beneath, spa),
        }
    }

    /// What answers for what is missing.
    pub(super) fn missing(beneath: &Beneath) -> Self {
        let page = RelativePath::parse(NOT_FOUND_PAGE).expect("a plain name");
        match beneath.find(&page) {
            Ok(Found::File(_)) => Self::File(page, Role::Missing),
            _ => Self::Nothing,
        }
    }

    fn fallback(beneath: &Beneath, spa: Option<&RelativePath>) -> Result<Self, OpenError> {
        let Some(spa) = spa else {
            return Ok(Self::missing(beneath));
        };
        Ok(match beneath.find(spa)? {
            Found::File(_) => Self::File(spa.clone(), Role::Fallback),
            Found::Directory | Found::Nothing => Self::missing(beneath),
        })
    }
}

/// Whether the request was for a directory, as far as it can tell.
pub(super) fn has_slash(uri: &Uri) -> bool {
    uri.path().ends_with('/')
}

/// The path that `spa` names: a file that exists.
pub(super) fn find_spa(root: &Root, spa: &str) -> anyhow::Result<RelativePath> {
    let path =
        RelativePath::parse(spa).with_context(|| format!("{spa:?} is no path below the root"))?;
    match root.current().find(&path) {
        Ok(Found::File(_)) => Ok(path),
        Ok(_) => bail!("{spa:?} is no file: name one that exists, such as \"{INDEX}\""),
        Err(error) => Err(error).with_context(|| format!("{spa:?} cannot be read")),
    }
}

//! Where the configuration comes from, and comes from again.

use std::path::{Path, PathBuf};

use crate::config::{Config, DEFAULT_FILE, Environment, Mistakes, load, load_or_default};

/// Where the configuration is read: the file that was there at the start, if there was one.
#[derive(Debug, Clone)]
pub(super) struct Source(Option<PathBuf>);

impl Source {
    /// The file that the user has named, or the default one if it is there.
    pub(super) fn new(named: Option<&Path>) -> Self {
        let default = Path::new(DEFAULT_FILE);
        let found = named.or_else(|| default.symlink_metadata().is_ok().then_some(default));
        Self(found.map(Path::to_owned))
    }

    /// Reads it. A file that was there at the start must still be there: without it everything would have
    /// its default, and nobody deletes a file to say that.
    ///
    /// # Errors
    /// Every mistake in it.
    pub(super) fn load(&self) -> Result<Config, Mistakes> {
        let environment = Environment::process();
        match &self.0 {
            Some(path) => load(path, &environment),
            None => load_or_default(None, &environment),
        }
    }

    /// Where the file is, or would be.
    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }
}

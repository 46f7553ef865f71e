//! Following a path link by link, to know every name that decides where it leads.
//!
//! This is for knowing what to watch, and for links with an absolute target that stays in the root,
//! which the kernel would refuse. It guards nothing: whatever it finds is opened through
//! [`super::root`], where the kernel does.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use cap_std::fs::Dir;

/// One name on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step<'a> {
    /// The directory it is looked up in, below the root and without links; empty for the root.
    pub(super) directory: &'a Path,
    pub(super) name: &'a OsStr,
}

/// How many links a path may lead through, as in Linux.
const MAX_LINKS: usize = 40;

/// Follows `path` from `root`, telling each step before it is taken; returns where it leads, or
/// `None` if that is nothing, or nothing in the root. `names` are the absolute paths of the root.
pub(super) fn follow(
    root: &Dir,
    names: &[PathBuf],
    path: &Path,
    mut step: impl FnMut(Step<'_>),
) -> Option<PathBuf> {
    let mut ahead = VecDeque::new();
    push_front(&mut ahead, path)?;
    let mut reached = PathBuf::new();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            if !reached.pop() {
                return None;
            }
            continue;
        }
        step(Step {
            directory: &reached,
            name: &name,
        });
        let here = reached.join(&name);
        let target = match root.read_link_contents(&here) {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                reached = here;
                continue;
            }
            Err(_) => return None,
        };
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        if target.is_absolute() {
            let inside = names
                .iter()
                .find_map(|name| target.strip_prefix(name).ok())?;
            reached = PathBuf::new();
            push_front(&mut ahead, inside)?;
        } else {
            push_front(&mut ahead, &target)?;
        }
    }
    if reached.as_os_str().is_empty() {
        reached.push(".");
    }
    Some(reached)
}

/// Puts the names of a relative path before what is still ahead.
fn push_front(ahead: &mut VecDeque<OsString>, path: &Path) -> Option<()> {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => ahead.push_front(name.to_owned()),
            Component::ParentDir => ahead.push_front(OsString::from("..")),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn every_name_on_the_way_is_told() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        fs::create_dir_all(root.join("releases/2/js")).unwrap();
        fs::write(root.join("releases/2/js/app.js"), "").unwrap();
        symlink("releases/2", root.join("current")).unwrap();
        symlink("../releases/2/js/app.js", root.join("releases/up")).unwrap();
        symlink(root.join("current/js"), root.join("js")).unwrap();
        let dir = Dir::open_ambient_dir(root, ambient_authority()).unwrap();
        for (path, leads_to, steps) in [
            (
                "releases/2/js/app.js",
                Some("releases/2/js/app.js"),
                &[
                    "releases",
                    "releases/2",
                    "releases/2/js",
                    "releases/2/js/app.js",
                ][..],
            ),
            (
                "current/js",
                Some("releases/2/js"),
                &["current", "releases", "releases/2", "releases/2/js"],
            ),
            (
                "js/app.js",
                Some("releases/2/js/app.js"),
                &[
                    "js",
                    "current",
                    "releases",
                    "releases/2",
                    "releases/2/js",
                    "releases/2/js/app.js",
                ],
            ),
            (
                "releases/up",
                Some("releases/2/js/app.js"),
                &[
                    "releases",
                    "releases/up",
                    "releases",
                    "releases/2",
                    "releases/2/js",
                    "releases/2/js/app.js",
                ],
            ),
            (
                "current/css/a.css",
                None,
                &["current", "releases", "releases/2", "releases/2/css"],
            ),
            (".", Some("."), &[]),
        ] {
            let mut told = Vec::new();
            let reached = follow(&dir, &[root.to_owned()], Path::new(path), |step| {
                told.push(step.directory.join(step.name));
            });
            assert_eq!(reached.as_deref(), leads_to.map(Path::new), "{path}");
            let steps: Vec<_> = steps.iter().map(PathBuf::from).collect();
            assert_eq!(told, steps, "{path}");
        }
    }
}

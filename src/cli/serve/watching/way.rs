//! The names that decide what a path leads to.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// Links on the way to a file; the system follows no more either.
const LINKS: usize = 40;

/// One name on the way to a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) directory: PathBuf,
    pub(super) name: OsString,
}

/// Every name that decides what `path`, an absolute one, leads to: each link on the way, and the last.
pub(super) fn way_to(path: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut reached = PathBuf::from("/");
    let mut ahead = reversed(path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            reached.pop();
            continue;
        }
        let next = reached.join(&name);
        let target = std::fs::read_link(&next).ok();
        if target.is_some() || ahead.is_empty() {
            steps.push(Step {
                directory: reached.clone(),
                name,
            });
        }
        match target {
            Some(target) => {
                links += 1;
                if links > LINKS {
                    break;
                }
                if target.is_absolute() {
                    reached = PathBuf::from("/");
                }
                ahead.extend(reversed(&target));
            }
            None => reached = next,
        }
    }
    steps
}

/// The names of `path`, the first one last.
fn reversed(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_way_to_a_file_has_every_link_and_the_last_name() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/b/file"), "").unwrap();
        symlink("a", top.join("to-a")).unwrap();
        symlink("../to-a/b/file", top.join("a/link")).unwrap();
        symlink(top.join("a"), top.join("absolute")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        let table: [(&str, &[(&str, &str)]); 5] = [
            ("a/b/file", &[("a/b", "file")]),
            ("to-a/b/file", &[("", "to-a"), ("a/b", "file")]),
            ("a/link", &[("a", "link"), ("", "to-a"), ("a/b", "file")]),
            ("absolute/b/none", &[("", "absolute"), ("a/b", "none")]),
            ("a/../a/b/file", &[("a/b", "file")]),
        ];
        for (path, expected) in table {
            let steps = way_to(&top.join(path));
            let expected: Vec<_> = expected
                .iter()
                .map(|(directory, name)| Step {
                    directory: top.join(directory).components().collect(),
                    name: name.into(),
                })
                .collect();
            assert_eq!(steps, expected, "{path}");
        }
        assert_eq!(
            way_to(&top.join("loop")).len(),
            LINKS + 1,
            "and no end is no hang"
        );
    }
}

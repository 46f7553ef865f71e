//! A small disk of its own that a test fills up.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::database::make_traversable;

/// A file system in memory; it is gone when dropped.
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts one of so many MiB at `at`, which is made; `None` where that is not allowed, which is told.
    pub fn mount(at: &Path, mib: usize) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let options = format!("size={mib}m,mode=755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .output();
        if !mounted.unwrap().status.success() {
            eprintln!("not tried: only root may mount a file system");
            return None;
        }
        make_traversable(at);
        Some(Self { at: at.to_owned() })
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut filler = File::create(self.at.join("filler")).unwrap();
        let piece = vec![0; 64 * 1024];
        while filler.write_all(&piece).is_ok() {}
        while filler.write_all(b"0").is_ok() {}
    }

    /// Gives it back.
    pub fn free(&self) {
        fs::remove_file(self.at.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: what still has a file open there goes on until it ends.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

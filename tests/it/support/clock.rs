//! A wall clock that a test sets, for one server process: a shim in front of the C library, made by the same
//! compiler that the build needs. Monotonic clocks are as ever.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::server::Setup;

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static const volatile int64_t *ahead;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("TEST_CLOCK"), O_RDONLY);
    ahead = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (ahead == MAP_FAILED) abort();
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = next(clock, now);
    if (!failed && clock == CLOCK_REALTIME && ahead) now->tv_sec += *ahead;
    return failed;
}
"#;

/// The clock; it runs as long as the test.
pub struct Clock {
    directory: TempDir,
    ahead: Duration,
}

impl Clock {
    /// One that is right.
    pub fn new() -> Self {
        let clock = Self {
            directory: tempfile::tempdir().unwrap(),
            ahead: Duration::ZERO,
        };
        std::fs::write(clock.path("shim.c"), SHIM).unwrap();
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(clock.path("shim.so"))
            .arg(clock.path("shim.c"))
            .arg("-ldl")
            .status();
        assert!(made.unwrap().success(), "cc");
        File::create(clock.path("ahead"))
            .unwrap()
            .set_len(8)
            .unwrap();
        clock
    }

    /// A server that goes by it.
    pub fn for_server(&self, setup: Setup) -> Setup {
        setup
            .environment("LD_PRELOAD", self.path("shim.so").to_str().unwrap())
            .environment("TEST_CLOCK", self.path("ahead").to_str().unwrap())
    }

    /// Sets it ahead of the true time, or behind.
    pub fn set(&mut self, ahead: Duration) {
        // In place: the server has the file in its memory.
        let mut file = OpenOptions::new()
            .write(true)
            .open(self.path("ahead"))
            .unwrap();
        file.write_all(&ahead.whole_seconds().to_ne_bytes())
            .unwrap();
        self.ahead = ahead;
    }

    /// What it shows.
    pub fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + self.ahead
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

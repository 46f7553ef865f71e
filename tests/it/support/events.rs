//! What the library says in this process, for tests that run parts of it without a server process.

use std::io::{self, Write};
use std::sync::{Mutex, OnceLock};

use tracing_subscriber::filter::LevelFilter;

static SAID: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static LISTENING: OnceLock<()> = OnceLock::new();

/// Begins to listen; what was said before is lost.
pub fn listen() {
    LISTENING.get_or_init(|| {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::WARN)
            .with_ansi(false)
            .with_writer(|| Ear)
            .init();
    });
}

/// The lines that contain `text`: of this test, if only this test can have caused them.
pub fn lines_with(text: &str) -> Vec<String> {
    let said = SAID.lock().unwrap();
    let said = String::from_utf8_lossy(&said);
    let lines = said.lines().filter(|line| line.contains(text));
    lines.map(str::to_owned).collect()
}

struct Ear;

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SAID.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

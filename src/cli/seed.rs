//! `unibody seed`: notes to look at.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use super::database::{self, Opened};
use super::{Failure, Outcome};
use crate::app;
use crate::database::migrations;

pub(super) const HELP: &str = "\
Example:
  unibody seed --count 200";

/// Where there is no terminal, a line is printed after this many notes.
const LINE_EVERY: u64 = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How many notes to insert
    #[arg(long, default_value_t = 10, value_name = "N")]
    count: u64,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let config = database::load(config)?;
    let count = arguments.count;
    super::small_runtime()?.block_on(async {
        let opened = Opened::open(&config).await?;
        let progress = Progress::new(count);
        let done = async {
            migrations::migrate(&opened.database).await?;
            app::seed(&opened.database, count, |inserted| progress.show(inserted)).await
        };
        let done = done.await;
        opened.close().await;
        done.map_err(Failure::Other)?;
        progress.finish();
        Ok(())
    })
}

/// A bar on a terminal, plain lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    count: u64,
}

impl Progress {
    fn new(count: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} notes, {eta} left");
            let bar = ProgressBar::new(count);
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, count }
    }

    fn show(&self, inserted: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(inserted),
            None if inserted.is_multiple_of(LINE_EVERY) && inserted < self.count => {
                println!("{inserted} of {} notes", self.count);
            }
            None => {}
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        println!("{} notes inserted", self.count);
    }
}

//! The configuration as its users meet it.

mod acme;
mod backup;
mod changes;
mod database;
mod defaults;
mod documentation;
mod effective;
mod loading;
mod mistakes;
mod planned;
mod policy;
mod reach;
mod routes;
mod telemetry;

use std::path::Path;

use super::{Config, Environment, Mistakes, parse};

/// A directory with the files that the tests' configurations name.
fn site() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("public")).unwrap();
    for file in ["public/index.html", "cert.pem", "key.pem"] {
        std::fs::write(dir.path().join(file), "").unwrap();
    }
    let root = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap();
    std::fs::write(dir.path().join("ca.pem"), root.cert.pem()).unwrap();
    dir
}

fn read(text: &str) -> Result<Config, Mistakes> {
    parse(text, site().path(), &Environment::empty())
}

#[track_caller]
fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

/// The mistakes of `text`, one line each.
#[track_caller]
fn bad(text: &str) -> String {
    read(text).map(|_| text).expect_err("accepted").to_string()
}

/// The top of the repository.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

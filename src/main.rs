//! The `unibody` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    unibody::cli::run()
}

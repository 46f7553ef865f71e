//! The `unibody` program.

fn main() {}

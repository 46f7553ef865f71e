//! Rebuilds when a migration is added: the macro that embeds them sees the files, cargo does not.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}

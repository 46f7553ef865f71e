//! What goes wrong beside the database and the network: who pays for it, and how it is over.

mod clock;
mod database;
mod disk;
mod open_files;
mod panics;

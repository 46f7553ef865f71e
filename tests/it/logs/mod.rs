//! What the server says while it runs, and what it never says.

mod level;
mod probes;
mod requests;
mod secrets;
mod words;

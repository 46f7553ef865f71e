//! What the downstream modules do to answers of every origin: compression and headers.

mod answers;
mod codings;
mod compression;

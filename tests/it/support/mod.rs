//! What the tests stand on: a real server process, a real PostgreSQL, real sockets.

pub mod database;
pub mod handshake;
pub mod http;
pub mod raw;
pub mod server;

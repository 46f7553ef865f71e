//! What the tests stand on: a real server process, a real PostgreSQL, real sockets.

pub mod browser;
pub mod database;
pub mod http;
pub mod raw;
pub mod server;
pub mod webdriver;

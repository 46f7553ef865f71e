//! What the tests stand on: a real server process, a real PostgreSQL, real sockets.

pub mod api;
pub mod breakable;
pub mod browser;
pub mod codings;
pub mod command;
pub mod database;
pub mod edge;
pub mod events;
pub mod exchange;
pub mod fault_proxy;
pub mod grpc;
pub mod handshake;
pub mod http;
pub mod http2;
pub mod metrics;
pub mod nginx;
pub mod pebble;
pub mod pgbouncer;
pub mod pieces;
pub mod process;
pub mod raw;
pub mod server;
pub mod tls_front;
pub mod told;
pub mod upstream;
pub mod webdriver;

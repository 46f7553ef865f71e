//! The assembled server, driven over its sockets.

mod browser;
mod door;
mod smoke;
mod support;

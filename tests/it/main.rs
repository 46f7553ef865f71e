//! The assembled server, driven over its sockets.

mod door;
mod smoke;
mod support;

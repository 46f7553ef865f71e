//! The assembled server, driven over its sockets.

mod smoke;
mod support;

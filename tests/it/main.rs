//! The assembled server, driven over its sockets.

mod support;

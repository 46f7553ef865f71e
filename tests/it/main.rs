//! The assembled server, driven over its sockets.

#![allow(unreachable_pub)] // one binary: nothing of it can be reached from outside

mod door;
mod http2;
mod signals;
mod smoke;
mod support;

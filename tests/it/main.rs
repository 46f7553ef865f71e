//! The assembled server, driven over its sockets.

mod door;
mod modules;
mod own_router;
mod routes;
mod smoke;
mod support;
mod tls;
mod upstream;

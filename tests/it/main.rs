//! The assembled server, driven over its sockets.

#![allow(
    unreachable_pub,
    reason = "nothing outside can reach into a test binary"
)]

mod access_log;
mod acme;
mod admin;
mod backup;
mod browser;
mod cache;
mod certs_commands;
mod check;
mod commands;
mod compared;
mod dashboard;
mod doctor;
mod door;
mod drain;
mod durability;
mod embedded;
mod faults;
mod files;
mod goodbye;
mod http2;
mod logs;
mod metrics;
mod modules;
mod no_database;
mod notes;
mod outage;
mod own_router;
mod packaging;
mod policy;
mod ready;
mod reload;
mod routes;
mod secrets;
mod signals;
mod smoke;
mod support;
mod tls;
mod traces;
mod two_instances;
mod upgrade;
mod upstream;

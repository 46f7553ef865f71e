//! One process in front of your app and around it: TLS and certificates, routing, files, proxying,
//! and the app itself on PostgreSQL.
//!
//! Modules in reading order: a request comes in through [`edge`], which hands it to the [`app`]
//! over the [`database`], of which [`backup`] keeps copies; [`config`] says how, [`certificates`] make
//! it HTTPS, [`admin`] tells how it is, [`cli`] starts it all.

pub mod admin;
pub mod app;
pub mod backup;
pub mod certificates;
pub mod cli;
pub mod config;
pub mod database;
pub mod edge;
pub mod handover;
pub mod measure;
pub(crate) mod supervised;
pub mod telemetry;

//! Any axum router in the app's place: what it may rely on.
//!
//! The edge is the real one, in this process; the router is this file's.

mod bodies;
mod broken;
mod leaving;
mod pressure;
mod requests;
mod streams;

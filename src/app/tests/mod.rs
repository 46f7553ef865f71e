//! The router as a client meets it, over a real PostgreSQL.

mod conditional;
mod listing;
mod outages;
mod reading;
mod refusals;
mod writing;

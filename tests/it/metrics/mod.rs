//! What Prometheus is told: that it is true, that it is valid, and that all who name it agree.

#![allow(
    clippy::float_cmp,
    clippy::cast_precision_loss,
    reason = "counts are whole numbers, and small ones"
)]

mod connections;
mod documents;
mod prometheus;
mod requests;
mod times;

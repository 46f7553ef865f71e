//! Static files, as clients of the assembled server get them.

mod fallback;
mod slow;
mod variants;

//! Static files, as clients of the assembled server get them.

mod slow;
mod variants;

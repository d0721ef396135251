//! The domain's words as types, and the states that their entities go through. No I/O.

pub mod glob;
pub mod quantity;
pub mod tree;

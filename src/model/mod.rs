//! The domain's words as types, and the states that their entities go through. No I/O.

pub mod chart;
pub mod deployment;
pub mod glob;
pub mod machine;
pub mod pod;
pub mod quantity;
pub mod release;
pub mod service;
pub mod tree;

pub use machine::{Machine, Tracker, Transition};

//! Code that the end-to-end tests share.

pub mod clips;
pub mod hiding;
pub mod lint;
pub mod schema;
pub mod terraform;
pub mod tracking;
pub mod workflow;

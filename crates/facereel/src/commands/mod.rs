//! One module for each command. Those that may start billed analyses share [`consent`].

pub mod backfill;
mod batch;
pub mod blur;
pub mod completions;
pub mod consent;
pub mod dead_letters;
pub mod export;
mod local;
pub mod logs;
pub mod man;
pub mod replay;
pub mod run;
pub mod status;
pub mod up;
pub mod upload;
pub mod verify;
pub mod view;

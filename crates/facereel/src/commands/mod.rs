//! One module for each command, and [`consent`], which the commands share that may start billed analyses.

pub mod backfill;
pub mod completions;
pub mod consent;
pub mod dead_letters;
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

//! A module a command.

pub mod backfill;
pub mod dead_letters;
pub mod replay;
pub mod run;
pub mod status;
pub mod view;

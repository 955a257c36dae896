//! The `facereel` command as a library: a module a command, [`local`] the whole workflow on one machine, and [`deployed`]
//! the way to a stack on AWS.

pub mod backfill;
pub mod dead_letters;
pub mod deployed;
pub mod local;
pub mod replay;
pub mod run;
pub mod status;
pub mod terminal;
pub mod view;

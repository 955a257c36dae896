//! The `facereel` command as a library: a module a command, [`local`] the whole workflow on one machine, and [`deployed`]
//! the way to a stack on AWS.

// They panic when the output is closed or its disk is full: `terminal` has what does not.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod backfill;
pub mod dead_letters;
pub mod deployed;
pub mod local;
pub mod replay;
pub mod run;
pub mod status;
pub mod terminal;
mod text;
pub mod view;

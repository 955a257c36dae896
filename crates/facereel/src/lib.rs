//! The `facereel` command as a library.
//!
//! [`commands`] has a module for each command. They share [`deployed`], the access to a stack on AWS, [`stored`], the reading of
//! results, [`terminal`], the input and output at the terminal, and [`documents`], the JSON documents of reports. The workflow on one machine is in the crate `local-stack`.

// These macros panic if the output is closed or its disk is full; `terminal` has functions that do not.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod commands;
pub mod deployed;
pub mod documents;
pub mod stored;
pub mod terminal;

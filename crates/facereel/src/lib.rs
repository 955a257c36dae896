//! The `facereel` command as a library.
//!
//! [`commands`] has a module for each command. They share [`deployed`], the access to a stack on AWS, and [`terminal`], what a
//! person sees. The workflow on one machine is in the crate `local-stack`.

// They panic when the output is closed or its disk is full: `terminal` has what does not.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod commands;
pub mod deployed;
pub mod terminal;
mod text;

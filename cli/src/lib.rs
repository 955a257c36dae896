//! The `facereel` command as a library: [`run`] is the command, [`local`] the whole workflow on one machine.

pub mod local;
pub mod run;
pub mod terminal;

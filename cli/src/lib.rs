//! The `facereel` command as a library: [`run`] and [`view`] are its subcommands, [`local`] the whole workflow on one
//! machine.

pub mod local;
pub mod run;
pub mod terminal;
pub mod view;

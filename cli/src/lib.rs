//! The `facereel` command as a library: the whole workflow on one machine.

pub mod local;

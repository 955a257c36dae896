//! The `facereel` command.

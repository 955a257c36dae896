//! The `facereel` command.
fn main() {}

//! Nothing: without a build script, Cargo passes over the build dependencies.

fn main() {}

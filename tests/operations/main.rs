//! What an operator does, on the real emulator and, for what it lacks, on mocked clients.

mod backfill;
mod cloud;
mod dead_letters;
mod replay;
mod status;

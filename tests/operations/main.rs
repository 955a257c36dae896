//! What an operator does, on the real engine and, for what it lacks, on mocked clients.

mod backfill;
mod cloud;
mod replay;
mod status;

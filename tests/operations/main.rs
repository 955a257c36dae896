//! What an operator does: replay, on the real engine and, for what it lacks, on mocked clients.

mod cloud;
mod replay;

//! Tests of the commands for operators, on the emulator and, for calls that the emulator lacks, with mocked clients.

mod aws_like;
mod backfill;
mod bad_day;
mod dead_letters;
mod logs;
mod replay;
mod status;
mod step_functions;
mod upload;
mod verify;
mod view;

//! The Lambda functions of the `analyze-video` state machine.
//!
//! A module a function, each one public entry point that takes its clients, its config and its event:
//!
//! | function | module |
//! |---|---|
//! | start-detection | [`start_detection`] |
//! | resume-execution | [`resume_execution`] |
//! | list-pages | [`list_pages`] |
//! | fetch-page | [`fetch_page`] |
//! | summarize | [`summarize`] |
//!
//! Between them lie the [`video`] (the object, looked at before anything is paid), the [`job`] (named by its content),
//! the [`callbacks`] (task tokens that wait for a job), the [`queue`] (entries that wait for one of the account's job
//! slots), the [`completion`] (a finished job told to its callbacks), the [`page`] (of faces, in Rekognition's own bytes), the
//! [`results`] (where everything lies in S3) and the [`report`] (the result as a page for people).

pub mod aws;
pub mod callbacks;
pub mod completed_job;
mod face;
pub mod fetch_page;
pub mod input;
pub mod job;
pub mod list_pages;
pub mod metrics;
pub mod page;
pub mod pending_callbacks;
pub mod queue;
pub mod report;
pub mod results;
pub mod resume_execution;
mod retry;
mod s3;
pub mod serve;
pub mod start_detection;
pub mod summarize;
pub mod video;

//! The Lambda functions of the `analyze-video` state machine.
//!
//! Each function is a module with one public entry point, which takes its clients, its configuration and its event:
//!
//! | function | module |
//! |---|---|
//! | inspect-video | [`inspect_video`] |
//! | start-detection | [`start_detection`] |
//! | resume-execution | [`resume_execution`] |
//! | start-waiting-jobs | [`start_waiting_jobs`] |
//! | list-pages | [`list_pages`] |
//! | fetch-page | [`fetch_page`] |
//! | summarize | [`summarize`] |
//!
//! They share these modules:
//!
//! - [`input`] reads an execution's input, [`video`] inspects the object before a job is paid for.
//! - [`job`] is a Rekognition job, identified by its parameters; [`page`] is a page of its faces, in Rekognition's own bytes.
//! - [`store`] is the results bucket, with [`pending_callbacks`], [`known_job`], [`completed_job`] and [`queue`] in it;
//!   [`layout`] has its keys.
//! - [`callbacks`] sends the end of a job to the executions that wait for it.
//! - [`results`] has the documents of a result, [`report`] the page for people, [`tracks`] joins faces through time.
//! - [`functions`] and [`errors`] are the catalogues that the other packages are tested against.

pub mod aws;
pub mod callbacks;
pub mod completed_job;
pub mod errors;
mod face;
pub mod fetch_page;
pub mod functions;
pub mod input;
pub mod inspect_video;
pub mod job;
pub mod known_job;
pub mod layout;
pub mod list_pages;
pub mod metrics;
pub mod page;
pub mod pending_callbacks;
pub mod queue;
pub mod report;
pub mod results;
pub mod resume_execution;
mod retry;
pub mod serve;
pub mod start_detection;
pub mod start_waiting_jobs;
pub mod store;
pub mod summarize;
pub mod tracks;
pub mod video;

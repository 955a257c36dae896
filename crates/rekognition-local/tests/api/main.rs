//! Tests of the server through the real Rekognition client, with stubs of S3 and SNS in the same process.

mod calls;
mod faults;
mod jobs;
mod pages;
mod support;

//! The stand-in as its callers see it: through the real Rekognition client, with an S3 and an SNS in this process.

mod calls;
mod faults;
mod jobs;
mod pages;
mod support;

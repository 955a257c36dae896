//! Stands in for the two Rekognition video calls that facereel makes, and really detects the faces.
//!
//! [`Server`] answers `StartFaceDetection` and `GetFaceDetection` over AWS JSON 1.1: it reads the video from S3, finds its
//! faces with a [`face_detection::Detector`], keeps the result and publishes the completion message to SNS. The service's rules
//! hold: idempotency tokens, the quota of concurrent jobs, page tokens and lifetimes. Tests order [`Fault`]s from it.

mod api;
mod clock;
mod faults;
mod jobs;
mod server;
mod worker;

pub use api::JobStatus;
pub use faults::{Call, Fault, Faults, Refusal};
pub use jobs::JobView;
pub use server::{Calls, Config, Server, StartError};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic elsewhere leaves nothing half done behind these locks, so it does not spread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A stand-in for the two Rekognition video calls that facereel makes. It really detects the faces.
//!
//! [`Server`] answers `StartFaceDetection` and `GetFaceDetection` over AWS JSON 1.1: it reads the video from S3, finds its
//! faces with a [`face_detection::Detector`], keeps the result and publishes the completion message to SNS. It applies the
//! service's rules: idempotency tokens, the quota of concurrent jobs, page tokens and lifetimes. Tests inject [`Fault`]s into it.

mod api;
mod clock;
mod config;
mod faults;
mod jobs;
mod server;
mod state;
mod worker;

pub use api::JobStatus;
pub use config::Config;
pub use faults::{Call, Fault, Faults, Refusal};
pub use jobs::JobView;
pub use server::{Calls, Server, StartError};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, and ignores that another thread panicked: no code here leaves the guarded data half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

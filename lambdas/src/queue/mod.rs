//! The queue: executions whose jobs wait for one of the account's job slots.
//!
//! Each execution that needs a job puts a queue entry into the results bucket. Three events start jobs: a new entry, a
//! completed job, which frees a slot, and a schedule, because other workloads of the account free slots as well and no
//! message reports that. Each of them starts the entries, oldest first, until Rekognition answers that the account's quota
//! of concurrent jobs is used up. One invocation at a time does this, under a lease. The lease keeps the order and the
//! distance between two Start calls, so that a thousand uploads in one second make no storm of calls.
//!
//! - [`QueueEntry`]: the entries
//! - `lease`: the right to start jobs
//! - `scheduler`: starts the entries in order
//! - `start`: starts the job of one entry
//! - `pace`: the distance between two Start calls

mod entries;
mod lease;
mod pace;
mod scheduler;
mod start;

pub use entries::QueueEntry;

/// The error names with which starting a job can fail.
#[cfg(test)]
pub(crate) const START_JOB_ERRORS: &[&str] = <start::StartJobError as strum::VariantNames>::VARIANTS;

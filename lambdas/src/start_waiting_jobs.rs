//! start-waiting-jobs: a schedule invokes it every five minutes to start the jobs that wait for a slot.
//!
//! New entries and completed jobs start jobs as well. The schedule is for what no message reports: a slot that another
//! workload of the account has freed, a notification that was lost, and an invocation that was killed while it started jobs.

use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    aws::{AwsError, Clients},
    store::Store,
};

/// The environment of the function.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `RESULTS_BUCKET`: the bucket of the queue.
    pub results_bucket: String,
}

/// Starts the jobs of the queue's entries, if there are any.
///
/// # Errors
/// [`AwsError`]; the next invocation tries again.
#[tracing::instrument(skip_all)]
pub async fn start_waiting_jobs(
    clients: &Clients,
    config: &Config,
    event: EventBridgeEvent<Value>,
) -> Result<(), AwsError> {
    let store = Store::new(clients, &config.results_bucket);
    if store.queue_is_empty().await? {
        return Ok(());
    }
    // EventBridge can deliver an event twice, with the same id.
    let owner = event.id.unwrap_or_else(|| "schedule".to_owned());
    store.start_waiting_jobs(&owner).await
}

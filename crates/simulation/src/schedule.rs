//! The EventBridge schedule that starts the jobs of waiting executions: slots are also freed by others, and wake-ups get
//! lost.

use lambdas::functions::Function;
use serde_json::json;

use crate::clock::{MINUTE, Ms, rfc3339, sleep};
use crate::identity::QUEUE_ENTRIES;
use crate::lambda::Functions;
use crate::world::{Cloud, RESULTS, World};

/// The rate of the schedule, as it is deployed.
pub(super) const PERIOD: Ms = 5 * MINUTE;

/// Invokes the scheduled function asynchronously in each period in which the queue has an entry. Without entries the
/// function would only list them and return, so that its invocation is left out.
pub(super) async fn run(cloud: Cloud, functions: Functions, phase: Ms) {
    let function = Function::StartWaitingJobs;
    loop {
        wait_for_entry(&cloud).await;
        let now = cloud.lock().now();
        sleep(PERIOD - (now + PERIOD - phase) % PERIOD).await;
        if !cloud.lock().has_queue_entry() {
            continue;
        }
        let (event, twice) = {
            let mut world = cloud.lock();
            let now = world.now();
            let event = json!({
                "version": "0", "id": format!("schedule-{}", now / PERIOD), "detail-type": "Scheduled Event",
                "source": "aws.events", "account": "123456789012", "time": rfc3339(now), "region": "us-east-1",
                "resources": ["arn:aws:events:us-east-1:123456789012:rule/start-waiting-jobs"], "detail": {},
            });
            let rates = world.fault_rates();
            (event, world.chance(rates.message_twice))
        };
        // EventBridge delivers an event at least once
        // (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-event-delivery.html>).
        for _ in 0..=u8::from(twice) {
            let (functions, event) = (functions.clone(), event.clone());
            tokio::task::spawn_local(async move { functions.invoke_asynchronously(function, event).await });
        }
    }
}

/// Returns when the queue has an entry.
pub(super) async fn wait_for_entry(cloud: &Cloud) {
    loop {
        let mut written = {
            let world = cloud.lock();
            if world.has_queue_entry() {
                return;
            }
            world.entry_written.subscribe()
        };
        written.changed().await.expect("the world exists");
    }
}

impl World {
    fn has_queue_entry(&self) -> bool {
        self.s3.keys(RESULTS, QUEUE_ENTRIES).next().is_some()
    }
}

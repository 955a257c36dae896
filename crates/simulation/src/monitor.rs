//! The monitor of idle slots: while an execution waits in the queue and a slot is free, the workflow calls Start within
//! minutes, on every day without a fault.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::clock::{MINUTE, Ms, readable, sleep};
use crate::identity::QUEUE_ENTRIES;
use crate::machine::Status;
use crate::schedule::wait_for_entry;
use crate::world::{Cloud, RESULTS, World};

/// The longest time in which a slot is free, an execution waits for it, and no Start call is made: the period of the
/// schedule, and the term of a lease whose holder has ended without releasing it.
const MAX_IDLE: Ms = 6 * MINUTE;

/// Looks every minute, as long as the queue has entries.
pub(super) async fn run(cloud: Cloud) {
    // The entries of executions that wait, with the time at which they were first seen.
    let mut waiting = BTreeMap::new();
    loop {
        wait_for_entry(&cloud).await;
        sleep(MINUTE).await;
        cloud.lock().look_for_idle_slot(&mut waiting);
    }
}

impl World {
    fn look_for_idle_slot(&mut self, waiting: &mut BTreeMap<String, Ms>) {
        let now = self.now();
        if self.s3.keys(RESULTS, QUEUE_ENTRIES).count() > 20 {
            self.cover("more than 20 queue entries");
        }
        let entries = self.s3.keys(RESULTS, QUEUE_ENTRIES);
        let seen: BTreeMap<_, _> = entries
            .filter(|(_, object)| self.waits_in_queue(&object.body))
            .map(|(key, _)| (key.to_owned(), waiting.get(key).copied().unwrap_or(now)))
            .collect();
        *waiting = seen;
        let Some((entry, since)) = waiting.iter().min_by_key(|(_, since)| **since) else { return };
        let Some(free_since) = self.rekognition.slots.free_since(now) else { return };
        let last_fault = self.fault_times.last().copied().unwrap_or_default();
        let idle_since = free_since.max(*since).max(last_fault).max(self.rekognition.last_start);
        if now > idle_since + MAX_IDLE {
            let violation = format!("a slot was free and {entry} waited since {}", readable(idle_since));
            self.add_violation(violation);
            waiting.clear();
        }
    }

    /// Whether the execution of a queue entry runs and waits for a callback.
    fn waits_in_queue(&self, entry: &[u8]) -> bool {
        let entry: Value = serde_json::from_slice(entry).unwrap_or_default();
        let mut executions = self.executions.iter().enumerate();
        executions.any(|(index, execution)| {
            entry["execution_name"] == execution.name
                && execution.status == Status::Running
                && self.tasks.has_open(index)
        })
    }
}

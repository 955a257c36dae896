//! The account's slots of concurrent Rekognition jobs: those of the workflow, and those that others take and free.

use std::collections::BTreeSet;

use crate::clock::{Ms, SECOND, sleep};
use crate::scenario::{OtherWorkload, Scenario, SecondStack};
use crate::world::Cloud;

/// The slots of the account.
#[derive(Debug)]
pub(super) struct Slots {
    quota: usize,
    /// The slots of jobs, ordered by the time at which they are free again.
    taken: BTreeSet<(Ms, String)>,
    workloads: Vec<OtherWorkload>,
    /// Since when a slot has been free, unless every slot is taken.
    free_since: Ms,
}

impl Slots {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            quota: scenario.slots,
            taken: BTreeSet::new(),
            free_since: 0,
            workloads: scenario.other_workloads.clone(),
        }
    }

    /// The slots that other workloads hold.
    fn held_at(&self, at: Ms) -> usize {
        self.workloads
            .iter()
            .filter(|workload| (workload.from..workload.until).contains(&at))
            .map(|held| held.slots)
            .sum()
    }

    /// Whether every slot is taken.
    pub(super) fn are_full(&mut self, now: Ms) -> bool {
        while let Some((free_at, _)) = self.taken.first()
            && *free_at <= now
        {
            let free_at = *free_at;
            if self.taken.len() + self.held_at(free_at) >= self.quota {
                self.free_since = free_at;
            }
            self.taken.pop_first();
        }
        let full = self.taken.len() + self.held_at(now) >= self.quota;
        let freed = self.workloads.iter().map(|workload| workload.until).filter(|until| *until <= now).max();
        self.free_since = if full { now } else { self.free_since.max(freed.unwrap_or_default()) };
        full
    }

    /// Since when a slot has been free; `None` if every slot is taken.
    pub(super) fn free_since(&mut self, now: Ms) -> Option<Ms> {
        (!self.are_full(now)).then_some(self.free_since)
    }

    /// Takes a slot until a time.
    pub(super) fn take(&mut self, id: String, until: Ms) {
        self.taken.insert((until, id));
    }
}

/// Runs a second stack: it starts a job whenever it finds a free slot. Neither stack notifies the other of a slot.
pub(super) async fn run_second_stack(cloud: Cloud, stack: SecondStack) {
    let SecondStack { from, jobs, job_ms } = stack;
    sleep(from).await;
    let mut started = 0;
    while started < jobs {
        let wait = {
            let mut world = cloud.lock();
            let now = world.now();
            if !world.rekognition.slots.are_full(now) && world.rekognition.starts.take(now) {
                started += 1;
                world.rekognition.slots.take(format!("job {started} of the second stack"), now + job_ms);
                world.cover("job of the second stack");
                world.log(|| "the second stack starts a job".to_owned());
                SECOND / 4
            } else {
                world.rng.u64(SECOND..20 * SECOND)
            }
        };
        sleep(wait).await;
    }
}

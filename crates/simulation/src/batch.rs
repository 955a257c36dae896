//! Many seeds, run on every core.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::scenario::Scenario;

/// The results of many seeds.
#[derive(Debug, Default)]
pub struct Batch {
    /// The number of seeds that were run to their end.
    pub seeds: u64,
    /// How often each fault, error, redrive and other notable event occurred, over all seeds.
    pub coverage: BTreeMap<String, u64>,
    /// The number of callbacks of closed tasks that only the bucket's lifecycle rule removes.
    pub left_to_expire: usize,
    /// The number of events in the longest history of an execution.
    pub most_events: u64,
    /// The seeds that broke a rule, each with its violations, in the order of the seeds.
    pub failures: BTreeMap<u64, Vec<String>>,
}

/// When a batch ends before its last seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// No seed is started from this time on.
    pub until: Option<Instant>,
    /// No seed is started after one has broken a rule.
    pub first_failure: bool,
}

impl Batch {
    /// Runs the seeds on every core until all are run or a limit is reached.
    #[must_use]
    pub fn run(seeds: impl IntoIterator<Item = u64, IntoIter: Send>, limits: Limits) -> Self {
        let (seeds, batch) = (Mutex::new(seeds.into_iter()), Mutex::new(Self::default()));
        let next = || {
            let late = limits.until.is_some_and(|until| Instant::now() >= until);
            let failed = limits.first_failure && !lock(&batch).failures.is_empty();
            if late || failed { None } else { lock(&seeds).next() }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while let Some(seed) = next() {
                        // A trace does not change a run, but costs time.
                        let run = crate::run(&Scenario { traced: false, ..Scenario::generate(seed) });
                        lock(&batch).add(seed, run);
                    }
                });
            }
        });
        batch.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&mut self, seed: u64, run: crate::Run) {
        self.seeds += 1;
        for (event, count) in run.coverage {
            *self.coverage.entry(event).or_default() += count;
        }
        self.left_to_expire += run.left_to_expire;
        self.most_events = self.most_events.max(run.most_events);
        if !run.violations.is_empty() {
            self.failures.insert(seed, run.violations);
        }
    }
}

/// Ignores poisoning: a thread that panics does so before it changes the value.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

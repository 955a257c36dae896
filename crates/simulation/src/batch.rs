//! Many seeds, played on every core.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::{Story, run};

/// The outcome of many seeds.
#[derive(Debug, Default)]
pub struct Batch {
    /// How many seeds were played to their end.
    pub played: u64,
    /// How often each fault, error and redrive was met, over all seeds.
    pub met: BTreeMap<String, u64>,
    /// Dead callbacks that are left to the bucket's lifecycle rule.
    pub left_to_expire: usize,
    /// The longest history of an execution, in events.
    pub most_events: u64,
    /// The seeds that broke a rule with what they broke, in the order of the seeds.
    pub failures: BTreeMap<u64, Vec<String>>,
}

/// When a batch ends before its seeds do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// No seed begins after this moment.
    pub until: Option<Instant>,
    /// No seed begins after one has broken a rule.
    pub first_failure: bool,
}

impl Batch {
    /// Plays the seeds on every core until they or the limits end.
    #[must_use]
    pub fn play(seeds: impl IntoIterator<Item = u64, IntoIter: Send>, limits: Limits) -> Self {
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
                        let run = run(&Story::generate(seed));
                        lock(&batch).add(seed, run);
                    }
                });
            }
        });
        batch.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&mut self, seed: u64, run: super::Run) {
        self.played += 1;
        for (what, count) in run.met {
            *self.met.entry(what).or_default() += count;
        }
        self.left_to_expire += run.left_to_expire;
        self.most_events = self.most_events.max(run.most_events);
        if !run.violations.is_empty() {
            self.failures.insert(seed, run.violations);
        }
    }
}

/// A thread that panicked has left the value as it was before its seed.
fn lock<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The state that all parts of a simulation share: the clock, the random number generator, the services and the trace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::clock::{Clock, HOUR, MINUTE, Ms, readable};
use crate::content::Content;
use crate::faults::{FaultRates, Outage, Service};
use crate::machine::Execution;
use crate::rekognition::Rekognition;
use crate::s3::{Object, S3};
use crate::scenario::{DeniedKey, InjectedBug, Scenario, UnspecifiedBehaviour};
use crate::tasks::Tasks;

/// The bucket of the videos.
pub(super) const UPLOADS: &str = "uploads";
/// The bucket of results, pending callbacks and queue entries.
pub(super) const RESULTS: &str = "results";

/// The ARN of the role that Rekognition assumes to publish.
pub(super) const PUBLISH_ROLE: &str = "arn:aws:iam::123456789012:role/publish";

/// A handle to the shared state. Everything runs on one thread, so taking the lock never blocks.
#[derive(Debug, Clone)]
pub(super) struct Cloud(Arc<Mutex<World>>);

impl Cloud {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// The guard must not be held across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

/// The shared state.
#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) rng: fastrand::Rng,
    pub(super) unspecified: UnspecifiedBehaviour,
    /// Whether the scenario has no faults.
    pub(super) fault_free: bool,
    pub(super) injected_bug: Option<InjectedBug>,
    pub(super) get_ms: Option<Ms>,
    pub(super) s3: S3,
    pub(super) rekognition: Rekognition,
    pub(super) tasks: Tasks,
    pub(super) executions: Vec<Execution>,
    /// The contents of the uploaded objects, by entity tag.
    pub(super) contents: BTreeMap<String, Content>,
    /// Every object that was uploaded, with its key and the time.
    pub(super) uploaded: Vec<(Ms, String, Object)>,
    /// The topic of new jobs; a deployment changes it.
    pub(super) topic: String,
    pub(super) denied_key: Option<DeniedKey>,
    /// By how much the clocks of the functions are early or late at most.
    pub(super) clock_skew: Ms,
    /// The number of functions that run now.
    pub(super) running: usize,
    /// The account's quota of functions that run at the same time.
    pub(super) concurrency: usize,
    /// When faults of services and functions occurred, in order.
    pub(super) fault_times: Vec<Ms>,
    /// When a function was killed last, or a call failed.
    pub(super) last_disturbance: Ms,
    /// The records of started and completed jobs: when each was written, its key, and the id of the job.
    pub(super) recorded_jobs: Vec<(Ms, String, String)>,
    /// Changes when a queue entry is written.
    pub(super) entry_written: watch::Sender<()>,
    /// Events for which resume-execution has failed three times.
    pub(super) dead_letters: Vec<serde_json::Value>,
    /// The rules that were broken.
    pub(super) violations: Vec<String>,
    /// How often each notable event occurred: shows which behaviour the seeds reach.
    pub(super) coverage: BTreeMap<String, u64>,
    /// Receives the id of each job that is started, for its completion message.
    pub(super) started_jobs: UnboundedSender<String>,
    /// The number of states that were entered, and of their retries.
    pub(super) transitions: u64,
    /// The number of calls and invocations, by operation or function.
    pub(super) calls: BTreeMap<String, u64>,
    fault_rates: FaultRates,
    outages: Vec<Outage>,
    faults_end: Ms,
    /// Time and text of each event; `None` unless the scenario is traced.
    events: Option<Vec<(Ms, String)>>,
}

impl World {
    pub(super) fn new(scenario: &Scenario, started_jobs: UnboundedSender<String>) -> Self {
        let clock = Clock::start();
        Self {
            clock,
            rng: fastrand::Rng::with_seed(scenario.seed),
            unspecified: scenario.unspecified,
            fault_free: scenario.is_fault_free(),
            injected_bug: scenario.injected_bug,
            get_ms: scenario.get_ms,
            s3: S3::new(scenario, clock),
            rekognition: Rekognition::new(scenario),
            tasks: Tasks::default(),
            executions: Vec::new(),
            contents: BTreeMap::new(),
            uploaded: Vec::new(),
            topic: "arn:aws:sns:us-east-1:123456789012:completions-1".to_owned(),
            denied_key: scenario.denied_key.clone(),
            clock_skew: scenario.clock_skew,
            running: 0,
            concurrency: scenario.concurrency,
            fault_times: Vec::new(),
            last_disturbance: 0,
            recorded_jobs: Vec::new(),
            entry_written: watch::Sender::new(()),
            dead_letters: Vec::new(),
            violations: Vec::new(),
            coverage: BTreeMap::new(),
            started_jobs,
            transitions: 0,
            calls: BTreeMap::new(),
            fault_rates: scenario.fault_rates,
            outages: scenario.outages.clone(),
            faults_end: scenario.faults_end,
            events: scenario.traced.then(Vec::new),
        }
    }

    pub(super) fn now(&self) -> Ms {
        self.clock.now()
    }

    /// The current probability of each fault.
    pub(super) fn fault_rates(&self) -> FaultRates {
        if self.now() < self.faults_end { self.fault_rates } else { FaultRates::default() }
    }

    /// Whether a service has an outage now.
    pub(super) fn is_unavailable(&self, service: Service) -> bool {
        self.outages.iter().any(|outage| outage.affects(service, self.now()))
    }

    /// Begins an outage of a random service with the probability of the scenario. Called when a state is entered,
    /// because an outage has the most effect there.
    pub(super) fn maybe_begin_outage(&mut self) {
        if self.chance(self.fault_rates().outage) {
            let (service, from) = (self.rng.choice(Service::ALL).expect("some"), self.now());
            let until = (from + self.rng.u64(MINUTE..HOUR)).min(self.faults_end);
            self.fault("outage");
            self.log(|| format!("{service:?} is unavailable until {}", readable(until)));
            self.outages.push(Outage { service, from, until });
        }
    }

    /// `true` with the given probability, from 0 to 1.
    pub(super) fn chance(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.rng.f64() < chance
    }

    /// Uploads an object.
    pub(super) fn upload(&mut self, key: &str, content: &Content) -> Object {
        self.log(|| format!("{key} is uploaded: {content:?}"));
        let object = self.s3.put(UPLOADS, key, &content.bytes(), content.size());
        self.contents.insert(object.etag.clone(), content.clone());
        self.uploaded.push((self.now(), key.to_owned(), object.clone()));
        object
    }

    /// Adds a line to the trace. Task tokens may appear in it: the simulation's tokens are not secret.
    pub(super) fn log(&mut self, line: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(events) = &mut self.events {
            events.push((now, line()));
        }
    }

    /// Records that a rule was broken that must hold in spite of every fault.
    pub(super) fn add_violation(&mut self, violation: String) {
        self.log(|| format!("VIOLATION: {violation}"));
        self.violations.push(violation);
    }

    /// Counts a notable event.
    pub(super) fn cover(&mut self, event: &str) {
        count(&mut self.coverage, event);
    }

    /// Counts a fault of a service or of a function.
    pub(super) fn fault(&mut self, fault: &str) {
        self.cover(&format!("fault: {fault}"));
        let now = self.now();
        if self.fault_times.last() != Some(&now) {
            self.fault_times.push(now);
        }
    }

    /// Counts a call of an operation, or an invocation of a function.
    pub(super) fn count_call(&mut self, name: &str) {
        count(&mut self.calls, name);
    }

    /// The trace: one line for each event.
    pub(super) fn trace(&self) -> String {
        let lines = self.events.iter().flatten().map(|(at, line)| format!("{} {line}", readable(*at)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => _ = counts.insert(name.to_owned(), 1),
    }
}

/// The hash of a trace, in hexadecimal.
pub(super) fn hash(trace: &str) -> String {
    hex::encode(Sha256::digest(trace))
}

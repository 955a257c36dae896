//! All that a story's actors share: the clock, the dice, the services' state and the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::{Clock, HOUR, MINUTE, Ms, readable};
use crate::content::Content;
use crate::machine::Execution;
use crate::rekognition::Rekognition;
use crate::s3::{Object, S3};
use crate::story::{Quirks, Sabotage, Story};
use crate::tasks::Tasks;
use crate::weather::{Outage, Service, Weather};

/// The bucket that videos land in.
pub(super) const UPLOADS: &str = "uploads";
/// The bucket of results, callbacks and entries.
pub(super) const RESULTS: &str = "results";

/// A handle to the one world. Everything runs on one thread: the lock is never waited for.
#[derive(Debug, Clone)]
pub(super) struct Cloud(Arc<Mutex<World>>);

impl Cloud {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// Never held across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("nobody panics while holding the world")
    }
}

/// What a story's actors share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) dice: fastrand::Rng,
    pub(super) quirks: Quirks,
    /// Whether nothing goes wrong in the whole story.
    pub(super) fair: bool,
    pub(super) sabotage: Option<Sabotage>,
    pub(super) get_ms: Option<Ms>,
    pub(super) s3: S3,
    pub(super) rekognition: Rekognition,
    pub(super) tasks: Tasks,
    pub(super) executions: Vec<Execution>,
    /// What is in an object, by its entity tag.
    pub(super) contents: BTreeMap<String, Content>,
    /// Every object that was uploaded, by its key.
    pub(super) uploaded: Vec<(String, Object)>,
    /// Where the completions of new jobs are published to: a deploy changes it.
    pub(super) topic: String,
    /// Functions that run now.
    pub(super) running: usize,
    /// Completions that resume-execution failed on three times.
    pub(super) dead_letters: Vec<serde_json::Value>,
    /// What should never have happened, as it happened.
    pub(super) wrongs: Vec<String>,
    /// How often what was met: shows that the seeds reach everything.
    pub(super) met: BTreeMap<String, u64>,
    /// Jobs that were started, for whoever publishes their completion.
    pub(super) started_jobs: UnboundedSender<String>,
    weather: Weather,
    outages: Vec<Outage>,
    calm_at: Ms,
    log: Option<Vec<(Ms, String)>>,
}

impl World {
    pub(super) fn new(story: &Story, started_jobs: UnboundedSender<String>) -> Self {
        let clock = Clock::start();
        Self {
            clock,
            dice: fastrand::Rng::with_seed(story.seed),
            quirks: story.quirks,
            fair: story.is_fair(),
            sabotage: story.sabotage,
            get_ms: story.get_ms,
            s3: S3::new(story),
            rekognition: Rekognition::new(story),
            tasks: Tasks::default(),
            executions: Vec::new(),
            contents: BTreeMap::new(),
            uploaded: Vec::new(),
            topic: "arn:aws:sns:us-east-1:123456789012:completions-1".to_owned(),
            running: 0,
            dead_letters: Vec::new(),
            wrongs: Vec::new(),
            met: BTreeMap::new(),
            started_jobs,
            weather: story.weather,
            outages: story.outages.clone(),
            calm_at: story.calm_at,
            log: story.logged.then(Vec::new),
        }
    }

    pub(super) fn now(&self) -> Ms {
        self.clock.now()
    }

    /// The chances of faults right now.
    pub(super) fn weather(&self) -> Weather {
        if self.now() < self.calm_at { self.weather } else { Weather::default() }
    }

    pub(super) fn is_out(&self, service: Service) -> bool {
        self.outages.iter().any(|outage| outage.hits(service, self.now()))
    }

    /// Perhaps an outage begins: just now, when it hurts.
    pub(super) fn ambush(&mut self) {
        if self.chance(self.weather().outage) {
            let (service, from) = (self.dice.choice(Service::ALL).expect("some"), self.now());
            let until = (from + self.dice.u64(MINUTE..HOUR)).min(self.calm_at);
            self.meet("fault: outage");
            self.log(|| format!("{service:?} is out of reach until {}", readable(until)));
            self.outages.push(Outage { service, from, until });
        }
    }

    pub(super) fn chance(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.dice.f64() < chance
    }

    /// Someone uploads an object.
    pub(super) fn upload(&mut self, key: &str, content: &Content) -> Object {
        self.log(|| format!("{key} is uploaded: {content:?}"));
        let object = self.s3.put(UPLOADS, key, &content.bytes(), content.size());
        self.contents.insert(object.etag.clone(), content.clone());
        self.uploaded.push((key.to_owned(), object.clone()));
        object
    }

    /// Writes a line of the story. Task tokens have names of their own and may be read by anyone here.
    pub(super) fn log(&mut self, line: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(log) = &mut self.log {
            log.push((now, line()));
        }
    }

    /// Something that no fault excuses.
    pub(super) fn wrong(&mut self, what: String) {
        self.log(|| format!("WRONG: {what}"));
        self.wrongs.push(what);
    }

    pub(super) fn meet(&mut self, what: &str) {
        match self.met.get_mut(what) {
            Some(count) => *count += 1,
            None => _ = self.met.insert(what.to_owned(), 1),
        }
    }

    /// The story as it went, a line an event.
    pub(super) fn told(&self) -> String {
        let lines = self.log.iter().flatten().map(|(at, line)| format!("{} {line}", readable(*at)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The hash of a story as it went: equal for equal runs.
pub(super) fn hash(told: &str) -> String {
    hex::encode(Sha256::digest(told))
}

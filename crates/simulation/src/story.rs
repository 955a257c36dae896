//! A story: what is uploaded when, what goes wrong, and how AWS behaves where nobody has said so.

use serde_json::{Value, json};

use crate::clock::{DAY, HOUR, MINUTE, Ms, SECOND};
use crate::content::{Content, Kind};
use crate::weather::{Outage, Service, Weather};
use crate::world::UPLOADS;

/// Everything that a run is made of: equal stories run equally.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// Rolls every delay and fault.
    pub seed: u64,
    /// In no order.
    pub uploads: Vec<Upload>,
    /// Objects that are deleted.
    pub deletions: Vec<(Ms, String)>,
    /// Executions that a person starts by hand, with what as input.
    pub manual: Vec<(Ms, Value)>,
    /// When someone stops an execution, if any runs.
    pub aborts: Vec<Ms>,
    /// Messages that someone else publishes in Rekognition's place; none is a lie about one of our jobs.
    pub forgeries: Vec<(Ms, Option<String>)>,
    /// Objects that someone else writes into the results bucket.
    pub litter: Vec<(String, String)>,
    /// When a deploy changes the topic.
    pub deploy: Option<Ms>,
    /// Until `calm_at`.
    pub weather: Weather,
    /// In no order.
    pub outages: Vec<Outage>,
    /// When faults end.
    pub calm_at: Ms,
    /// How long the operator waits before each look at what has failed; the last one again and again.
    pub patience: Vec<Ms>,
    /// Where AWS's behaviour is not known, this is what it is.
    pub quirks: Quirks,
    /// Whether the upload bucket keeps versions.
    pub versioning: Versioning,
    /// The account's concurrent Rekognition jobs.
    pub slots: usize,
    /// The account's rate of Start.
    pub starts_per_second: f64,
    /// The account's rate of Get.
    pub gets_per_second: f64,
    /// How long each Get takes, there and back; rolled like any other call where it is not given.
    pub get_ms: Option<Ms>,
    /// Rekognition puts no more faces on a page.
    pub faces_per_page: usize,
    /// S3 puts no more keys on a page of a listing.
    pub listing: usize,
    /// Whether the functions have their queue, or a Retry with backoff in its place.
    pub queue: bool,
    /// Whether the story is written down.
    pub logged: bool,
    /// A flaw in a service or a function that a check must find.
    pub sabotage: Option<Sabotage>,
}

/// An object that is put into the upload bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    /// When.
    pub at: Ms,
    /// Where.
    pub key: String,
    /// What.
    pub content: Content,
    /// How long after the upload `EventBridge` starts an execution: more than once where the event is delivered again.
    pub events: Vec<Ms>,
}

/// The versioning state of a bucket
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versioning {
    /// Objects have no version id, and an upload overwrites the object.
    #[default]
    Disabled,
    /// Each upload makes a version with an id of its own.
    Enabled,
    /// Objects have the version id `null` (the bucket never was `Enabled`), and an upload overwrites that version.
    Suspended,
}

/// Answers to questions that AWS's documentation leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an open question of its own")]
pub struct Quirks {
    /// With every slot taken, a repeated Start meets `LimitExceeded` and not its job.
    pub full_before_known: bool,
    /// A `ClientRequestToken` lives from the end of its job, not from its start.
    pub tokens_live_from_the_end: bool,
    /// A callback for a closed task meets `TaskDoesNotExist`, not `TaskTimedOut`.
    pub closed_tasks_do_not_exist: bool,
    /// A callback counts only once the function has returned; if it fails, the callback is lost.
    pub callback_waits_for_function: bool,
    /// The heartbeat's clock starts with the task, not when the function returns.
    pub heartbeat_counts_from_the_start: bool,
    /// After a deploy, the old topic is still subscribed to.
    pub old_topics_live_on: bool,
    /// A job is visible to `GetFaceDetection` only some seconds after `StartFaceDetection`.
    pub jobs_appear_late: bool,
    /// A missed heartbeat is reported as `States.Timeout`, not as `States.HeartbeatTimeout`.
    pub heartbeat_is_timeout: bool,
}

/// A flaw that a check must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Rekognition forgets its `ClientRequestToken`s.
    PaysTwice,
    /// Rekognition calls jobs finished that are not.
    ReportsTooEarly,
    /// Nobody learns that a job has ended.
    HidesTheEnd,
    /// Pages lie in S3 with half of their bytes.
    TruncatesPages,
    /// A page is written again, otherwise, once its manifest is there.
    RewritesPages,
    /// A page is not there yet when its manifest is written.
    DelaysPages,
    /// Callbacks are never removed.
    KeepsWaiters,
    /// Callbacks are stored a minute late: after their jobs have started.
    StoresWaitersLate,
    /// Rekognition's messages are lost on fair days.
    LosesMessages,
    /// A function fails with an error that nobody has heard of.
    FailsOddly,
}

impl Story {
    /// A calm day without any upload.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            uploads: Vec::new(),
            deletions: Vec::new(),
            manual: Vec::new(),
            aborts: Vec::new(),
            forgeries: Vec::new(),
            litter: Vec::new(),
            deploy: None,
            weather: Weather::default(),
            outages: Vec::new(),
            calm_at: 0,
            patience: vec![MINUTE],
            quirks: Quirks::default(),
            versioning: Versioning::Disabled,
            slots: 20,
            starts_per_second: 5.0,
            gets_per_second: 5.0,
            get_ms: None,
            faces_per_page: 1000,
            listing: 1000,
            queue: true,
            logged: true,
            sabotage: None,
        }
    }

    /// `count` videos that land at once on a calm day; `EventBridge` hands over as many a second as Step Functions takes
    /// (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>: 150 a second in most Regions).
    #[must_use]
    pub fn rush(seed: u64, count: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let uploads = (0..count).map(|id| Upload {
            at: 0,
            key: format!("rush/{id:05}.mp4"),
            content: Content {
                id,
                kind: Kind::Video,
                faces: dice.usize(0..20),
                job_ms: dice.u64(MINUTE..5 * MINUTE),
                failures: 0,
            },
            events: vec![id * SECOND / 150],
        });
        Self { uploads: uploads.collect(), logged: false, ..Self::calm(seed) }
    }

    /// A story out of a seed.
    #[must_use]
    pub fn generate(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let calm_at = dice.u64(HOUR..12 * HOUR);
        // Rolls that were added later have dice of their own: they change no other roll of the seed.
        let mut more_dice = fastrand::Rng::with_seed(!seed);
        let versioning = if dice.bool() {
            Versioning::Enabled
        } else if more_dice.bool() {
            Versioning::Suspended
        } else {
            Versioning::Disabled
        };
        let mut story = Self { seed, calm_at, versioning, ..Self::calm(seed) };
        story.weather = weather(&mut dice);
        story.outages = outages(&mut dice, calm_at);
        story.quirks = Quirks {
            full_before_known: dice.bool(),
            tokens_live_from_the_end: dice.bool(),
            closed_tasks_do_not_exist: dice.bool(),
            callback_waits_for_function: dice.bool(),
            heartbeat_counts_from_the_start: dice.bool(),
            old_topics_live_on: dice.bool(),
            heartbeat_is_timeout: more_dice.bool(),
            jobs_appear_late: more_dice.bool(),
        };
        story.slots = *dice.choice(&[1, 2, 3, 20]).expect("some");
        story.gets_per_second = *dice.choice(&[5.0, 20.0]).expect("some");
        story.faces_per_page = dice.usize(1..40);
        story.listing = *dice.choice(&[1, 2, 1000]).expect("some");
        for id in 0..dice.u64(1..10) {
            upload(&mut story, &mut dice, id, calm_at);
        }
        let keys: Vec<_> = story.uploads.iter().map(|upload| upload.key.clone()).collect();
        let sometime = |dice: &mut fastrand::Rng, most: usize| -> Vec<Ms> {
            let count = dice.usize(0..=most);
            (0..count).map(|_| dice.u64(0..calm_at)).collect()
        };
        let manual = sometime(&mut dice, 2).into_iter();
        let input = |key: &String| json!({ "bucket": UPLOADS, "key": key });
        story.manual = manual.map(|at| (at, input(dice.choice(&keys).expect("some")))).collect();
        if dice.u8(0..4) == 0 {
            let deletions = sometime(&mut dice, 2);
            story.deletions = deletions.into_iter().map(|at| (at, dice.choice(&keys).expect("some").clone())).collect();
        }
        if dice.u8(0..4) == 0 {
            story.aborts = sometime(&mut dice, 4);
        }
        let forgeries = sometime(&mut dice, 3).into_iter();
        story.forgeries = forgeries.map(|at| (at, forgery(&mut dice))).collect();
        story.deploy = (dice.u8(0..8) == 0).then(|| dice.u64(0..calm_at));
        let patience = [MINUTE, HOUR, 30 * HOUR, 8 * DAY];
        story.patience = (0..3).map(|_| patience[dice.usize(0..8).min(7) / 2]).chain([10 * MINUTE]).collect();
        story
    }

    /// Whether nothing goes wrong: everyone is resumed by the completion itself.
    #[must_use]
    pub fn is_fair(&self) -> bool {
        self.weather == Weather::default() && self.outages.is_empty() && self.deploy.is_none()
    }
}

fn upload(story: &mut Story, dice: &mut fastrand::Rng, id: u64, calm_at: Ms) {
    let earlier = dice.choice(&story.uploads).cloned();
    // Now and then the content of an earlier upload again, now and then the key.
    let content = match &earlier {
        Some(earlier) if dice.u8(0..5) == 0 => earlier.content.clone(),
        _ => content(dice, id),
    };
    let key = match earlier {
        Some(earlier) if dice.u8(0..5) == 0 => earlier.key,
        _ => format!("{}-{id}.mp4", dice.choice(&["video", "a b+c", "100%25", "\"q\"/é", "<&>"]).expect("some")),
    };
    // Many land at the same moment.
    let at = if dice.bool() { 0 } else { dice.u64(0..calm_at) };
    let mut events = vec![dice.u64(100..5 * SECOND)];
    while dice.u8(0..5) == 0 {
        events.push(dice.u64(100..HOUR));
    }
    story.uploads.push(Upload { at, key, content, events });
}

fn content(dice: &mut fastrand::Rng, id: u64) -> Content {
    let kind = match dice.u8(0..20) {
        0 => Kind::Text,
        1 => Kind::Empty,
        2 => Kind::TooLarge,
        3 => Kind::TooLong,
        4 => Kind::Forbidden,
        5 => Kind::UnknownCodec,
        _ => Kind::Video,
    };
    Content {
        id,
        kind,
        faces: if dice.u8(0..4) == 0 { 0 } else { dice.usize(1..200) },
        job_ms: dice.u64(SECOND..30 * MINUTE),
        failures: if dice.u8(0..6) == 0 { dice.u32(1..3) } else { 0 },
    }
}

fn forgery(dice: &mut fastrand::Rng) -> Option<String> {
    let messages = [
        None,
        None,
        Some("no JSON".to_owned()),
        Some(json!({ "JobId": 7 }).to_string()),
        Some(json!({ "JobId": "short", "Status": "SUCCEEDED" }).to_string()),
        Some(json!({ "JobId": "0".repeat(64), "Status": "SUCCEEDED" }).to_string()),
    ];
    dice.choice(messages).expect("some")
}

fn weather(dice: &mut fastrand::Rng) -> Weather {
    // Some days are fair, some have a single fault, some have all.
    let mood = dice.u8(0..4);
    let mut chance = |most: f64| match mood {
        0 => 0.0,
        1 if dice.u8(0..5) > 0 => 0.0,
        _ => dice.f64() * most,
    };
    Weather {
        outage: chance(0.1),
        refused: chance(0.2),
        throttled: chance(0.3),
        answer_lost: chance(0.2),
        slow: chance(0.02),
        killed: chance(0.3),
        not_invoked: chance(0.2),
        result_lost: chance(0.2),
        message_lost: chance(0.6),
        message_late: chance(0.5),
        message_early: chance(0.5),
        message_twice: chance(0.5),
    }
}

fn outages(dice: &mut fastrand::Rng, calm_at: Ms) -> Vec<Outage> {
    let count = if dice.bool() { 0 } else { dice.usize(1..4) };
    (0..count)
        .map(|_| {
            let from = dice.u64(0..calm_at);
            let until = (from + dice.u64(MINUTE..3 * HOUR)).min(calm_at);
            Outage { service: dice.choice(Service::ALL).expect("some"), from, until }
        })
        .collect()
}

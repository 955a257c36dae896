//! The scenario of a seed.

use serde_json::json;

use super::{Backfill, DeniedKey, OtherWorkload, Scenario, SecondStack, UnspecifiedBehaviour, Upload, Versioning};
use crate::clock::{DAY, HOUR, MINUTE, Ms, SECOND};
use crate::content::{Content, Kind};
use crate::faults::{FaultRates, Outage, Service};
use crate::s3::FAR_BUCKET;
use crate::world::UPLOADS;

impl Scenario {
    /// The scenario of a seed. The order of the random values is part of it: another order gives every seed another
    /// scenario.
    #[must_use]
    pub fn generate(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let faults_end = rng.u64(HOUR..12 * HOUR);
        // Values that were added later come from a second generator, so that the scenarios of older seeds stay the
        // same.
        let mut later_rng = fastrand::Rng::with_seed(!seed);
        let versioning = if rng.bool() {
            Versioning::Enabled
        } else if later_rng.bool() {
            Versioning::Suspended
        } else {
            Versioning::Disabled
        };
        let mut scenario = Self { seed, faults_end, versioning, ..Self::fault_free(seed) };
        scenario.fault_rates = fault_rates(&mut rng);
        scenario.outages = outages(&mut rng, faults_end);
        scenario.unspecified = UnspecifiedBehaviour {
            limit_before_idempotency: rng.bool(),
            token_expires_after_job_end: rng.bool(),
            closed_task_does_not_exist: rng.bool(),
            callback_waits_for_function: rng.bool(),
            heartbeat_from_task_start: rng.bool(),
            old_topic_stays_subscribed: rng.bool(),
            heartbeat_is_timeout: later_rng.bool(),
            jobs_visible_late: later_rng.bool(),
            ..UnspecifiedBehaviour::default()
        };
        scenario.slots = *rng.choice(&[1, 2, 3, 20]).expect("some");
        scenario.gets_per_second = *rng.choice(&[5.0, 20.0]).expect("some");
        scenario.faces_per_page = rng.usize(1..40);
        scenario.keys_per_listing = *rng.choice(&[1, 2, 1000]).expect("some");
        for id in 0..rng.u64(1..10) {
            upload(&mut scenario, &mut rng, id, faults_end);
        }
        scenario.generate_interventions(&mut rng);
        scenario.generate_environment(&mut later_rng);
        scenario
    }

    /// Adds what people and other publishers do besides the uploads.
    fn generate_interventions(&mut self, rng: &mut fastrand::Rng) {
        let keys: Vec<_> = self.uploads.iter().map(|upload| upload.key.clone()).collect();
        let faults_end = self.faults_end;
        let times = |rng: &mut fastrand::Rng, most: usize| -> Vec<Ms> {
            let count = rng.usize(0..=most);
            (0..count).map(|_| rng.u64(0..faults_end)).collect()
        };
        let manual = times(rng, 2).into_iter();
        let input = |key: &String| json!({ "bucket": UPLOADS, "key": key });
        self.manual = manual.map(|at| (at, input(rng.choice(&keys).expect("some")))).collect();
        if rng.u8(0..4) == 0 {
            let deletions = times(rng, 2);
            self.deletions = deletions.into_iter().map(|at| (at, rng.choice(&keys).expect("some").clone())).collect();
        }
        if rng.u8(0..4) == 0 {
            self.aborts = times(rng, 4);
        }
        let forged_messages = times(rng, 3).into_iter();
        self.forged_messages = forged_messages.map(|at| (at, forged_message(rng))).collect();
        self.deploy = (rng.u8(0..8) == 0).then(|| rng.u64(0..faults_end));
        let waits = [MINUTE, HOUR, 30 * HOUR, 8 * DAY];
        self.operator_waits = (0..3).map(|_| waits[rng.usize(0..8).min(7) / 2]).chain([10 * MINUTE]).collect();
    }

    /// Adds what else differs between accounts.
    fn generate_environment(&mut self, rng: &mut fastrand::Rng) {
        self.clock_skew = *rng.choice(&[0, SECOND, 3 * SECOND]).expect("some");
        self.schedule_phase = rng.u64(0..5 * MINUTE);
        if rng.u8(0..16) == 0 {
            // More than the functions list in one call.
            let at = rng.u64(0..self.faults_end);
            for number in 0..rng.u64(25..40) {
                let job_ms = rng.u64(SECOND..3 * MINUTE);
                let content = Content { id: 1000 + number, kind: Kind::Video, faces: 3, job_ms, failures: 0 };
                let events = vec![rng.u64(100..5 * SECOND)];
                self.uploads.push(Upload { at, key: format!("many/{number}.mp4"), content, events });
            }
        }
        self.given_up = if rng.u8(0..8) == 0 { 0.5 } else { 0.0 };
        self.concurrency = *rng.choice(&[1000, 1000, 1000, 10]).expect("some");
        self.unspecified.slots_free_late = rng.bool();
        self.unspecified.failed_tokens_forgotten = rng.bool();
        self.unspecified.object_before_idempotency = rng.bool();
        if rng.u8(0..8) == 0 {
            self.generate_backfill(rng);
        }
        if rng.u8(0..8) == 0 {
            let kind = *rng.choice(&[Kind::Denied, Kind::Archived]).expect("some");
            rng.choice(&mut self.uploads).expect("some").content.kind = kind;
        }
        if rng.u8(0..8) == 0 {
            let bucket = *rng.choice(&[FAR_BUCKET, "Malformed_Name"]).expect("some");
            self.manual.push((rng.u64(0..self.faults_end), json!({ "bucket": bucket, "key": "a.mp4" })));
        }
        if rng.u8(0..16) == 0 {
            // The results of Rekognition have expired, and perhaps the records of the workflow as well.
            let at = *rng.choice(&[8 * DAY, 20 * DAY]).expect("some");
            let key = rng.choice(&self.uploads).expect("some").key.clone();
            self.manual.push((at, json!({ "bucket": UPLOADS, "key": key })));
        }
        if rng.u8(0..8) == 0 {
            let execution = format!("event-{}_0", rng.usize(0..self.uploads.len()));
            let from = rng.u64(0..self.faults_end);
            self.denied_key = Some(DeniedKey { execution, from, until: rng.u64(from..=self.faults_end) });
        }
        if rng.u8(0..4) == 0 {
            let hold = |rng: &mut fastrand::Rng| {
                let from = rng.u64(0..self.faults_end);
                OtherWorkload { from, until: from + rng.u64(MINUTE..HOUR), slots: rng.usize(1..=self.slots) }
            };
            self.other_workloads = (0..rng.usize(1..4)).map(|_| hold(rng)).collect();
        }
        if rng.u8(0..8) == 0 {
            let (from, job_ms) = (rng.u64(0..self.faults_end), rng.u64(SECOND..20 * MINUTE));
            self.second_stack = Some(SecondStack { from, jobs: rng.u32(1..10), job_ms });
        }
    }

    /// Some objects were uploaded before the deployment, and a backfill analyses them.
    fn generate_backfill(&mut self, rng: &mut fastrand::Rng) {
        let at = rng.u64(0..self.faults_end);
        self.backfill = Some(Backfill { at, at_once: *rng.choice(&[1, 2, 40]).expect("some") });
        let keys: Vec<_> = self.uploads.iter().map(|upload| upload.key.clone()).collect();
        for upload in &mut self.uploads {
            // An object that is overwritten or deleted may be gone when the backfill begins.
            let only = keys.iter().filter(|key| **key == upload.key).count() == 1;
            let deleted = self.deletions.iter().any(|(_, key)| *key == upload.key);
            if only && !deleted && upload.at < at && rng.bool() {
                upload.events.clear();
            }
        }
    }
}

fn upload(scenario: &mut Scenario, rng: &mut fastrand::Rng, id: u64, faults_end: Ms) {
    let earlier = rng.choice(&scenario.uploads).cloned();
    // One upload in five has the content of an earlier one, and one in five has the key of an earlier one.
    let content = match &earlier {
        Some(earlier) if rng.u8(0..5) == 0 => earlier.content.clone(),
        _ => content(rng, id),
    };
    let key = match earlier {
        Some(earlier) if rng.u8(0..5) == 0 => earlier.key,
        _ => format!("{}-{id}.mp4", rng.choice(&["video", "a b+c", "100%25", "\"q\"/é", "<&>"]).expect("some")),
    };
    // About half of them are uploaded at the same time.
    let at = if rng.bool() { 0 } else { rng.u64(0..faults_end) };
    let mut events = vec![rng.u64(100..5 * SECOND)];
    while rng.u8(0..5) == 0 {
        events.push(rng.u64(100..HOUR));
    }
    scenario.uploads.push(Upload { at, key, content, events });
}

fn content(rng: &mut fastrand::Rng, id: u64) -> Content {
    let kind = match rng.u8(0..20) {
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
        faces: if rng.u8(0..4) == 0 { 0 } else { rng.usize(1..200) },
        job_ms: rng.u64(SECOND..30 * MINUTE),
        failures: if rng.u8(0..6) == 0 { rng.u32(1..3) } else { 0 },
    }
}

fn forged_message(rng: &mut fastrand::Rng) -> Option<String> {
    let messages = [
        None,
        None,
        Some("no JSON".to_owned()),
        Some(json!({ "JobId": 7 }).to_string()),
        Some(json!({ "JobId": "short", "Status": "SUCCEEDED" }).to_string()),
        Some(json!({ "JobId": "0".repeat(64), "Status": "SUCCEEDED" }).to_string()),
    ];
    rng.choice(messages).expect("some")
}

fn fault_rates(rng: &mut fastrand::Rng) -> FaultRates {
    // A quarter of the scenarios have no faults, a quarter have few kinds of fault, and half have all of them.
    let selection = rng.u8(0..4);
    let mut chance = |most: f64| match selection {
        0 => 0.0,
        1 if rng.u8(0..5) > 0 => 0.0,
        _ => rng.f64() * most,
    };
    FaultRates {
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

fn outages(rng: &mut fastrand::Rng, faults_end: Ms) -> Vec<Outage> {
    let count = if rng.bool() { 0 } else { rng.usize(1..4) };
    (0..count)
        .map(|_| {
            let from = rng.u64(0..faults_end);
            let until = (from + rng.u64(MINUTE..3 * HOUR)).min(faults_end);
            Outage { service: rng.choice(Service::ALL).expect("some"), from, until }
        })
        .collect()
}

//! The two calls of Rekognition, with its quotas, idempotency and expiry.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::ops::Range;

use serde_json::{Value, json};

use crate::clock::{DAY, HOUR, MINUTE, Ms, SECOND, epoch, readable};
use crate::content::{Content, Faces, Kind};
use crate::identity::NULL_VERSION;
use crate::machine::Status;
use crate::scenario::{InjectedBug, Scenario, UnspecifiedBehaviour};
use crate::slots::Slots;
use crate::wire::{Answer, Call};
use crate::world::World;

/// How long Rekognition knows a `ClientRequestToken`, and how long it keeps results.
pub(super) const RETENTION: Ms = 7 * DAY;

/// How long a page token is valid.
const PAGE_TOKEN_LIFETIME: Ms = 24 * HOUR;

/// How long after the end of its execution a job may still be started: the time between the check that the execution waits and the
/// Start call, with slow calls and throttling.
const STOP_NOTICED_WITHIN: Ms = 5 * MINUTE;

/// The upper bound of the delay after which a job is visible, with `UnspecifiedBehaviour::jobs_visible_late`.
const VISIBLE_WITHIN: Ms = 5 * SECOND;

/// The upper bound of the delay after which the slot of a job is free, with `UnspecifiedBehaviour::slots_free_late`.
const FREE_WITHIN: Ms = MINUTE;

/// Rekognition's state for the account.
#[derive(Debug)]
pub(super) struct Rekognition {
    /// By id.
    pub(super) jobs: BTreeMap<String, SimulatedJob>,
    /// The id of the last job of each `ClientRequestToken`.
    tokens: BTreeMap<String, String>,
    /// The number of jobs for each key and content.
    tried: BTreeMap<(String, u64), u32>,
    pub(super) slots: Slots,
    /// When Start was called last.
    pub(super) last_start: Ms,
    pub(super) starts: Rate,
    gets: Rate,
    /// The maximum number of faces on a page; Rekognition may return fewer than `MaxResults`.
    pub(super) faces_per_page: usize,
}

/// A face-detection job.
#[derive(Debug, Clone)]
pub(super) struct SimulatedJob {
    pub(super) id: String,
    pub(super) idempotency_key: String,
    request: Value,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) topic: String,
    pub(super) started: Ms,
    /// When `GetFaceDetection` first knows the job.
    visible: Ms,
    pub(super) ends: Ms,
    pub(super) outcome: JobOutcome,
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum JobOutcome {
    Succeeds(Faces),
    Fails(String),
}

impl fmt::Display for SimulatedJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, idempotency_key, started, ends, .. } = self;
        let (id, idempotency_key, started, ends) =
            (&id[..8], &idempotency_key[..8], readable(*started), readable(*ends));
        write!(f, "job {id}… with the idempotency key {idempotency_key}…, from {started} to {ends}")
    }
}

impl SimulatedJob {
    pub(super) fn runs(&self, now: Ms) -> bool {
        now < self.ends
    }

    /// The version of the object, if the request named one.
    pub(super) fn version(&self) -> Option<&str> {
        self.request.pointer("/Video/S3Object/Version").and_then(Value::as_str)
    }

    /// Whether the job has found the faces of a content.
    pub(super) fn has_analysed(&self, content: &Content) -> bool {
        matches!(&self.outcome, JobOutcome::Succeeds(faces) if faces.content == *content)
    }

    /// Whether Rekognition no longer has the job's results.
    pub(super) fn expired(&self, now: Ms) -> bool {
        now >= self.ends + RETENTION
    }
}

/// A quota of calls a second, as a token bucket that holds the calls of one second, or one call.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    left: f64,
    seen: Ms,
}

impl Rate {
    fn new(per_second: f64) -> Self {
        Self { per_second, left: per_second.max(1.0), seen: 0 }
    }

    #[expect(clippy::cast_precision_loss, reason = "a scenario has fewer than 2^52 milliseconds")]
    /// Takes a call from the quota; returns whether there was one left.
    pub(super) fn take(&mut self, now: Ms) -> bool {
        self.left = (self.left + (now - self.seen) as f64 / 1000.0 * self.per_second).min(self.per_second.max(1.0));
        self.seen = now;
        let taken = self.left >= 1.0;
        if taken {
            self.left -= 1.0;
        }
        taken
    }
}

impl Rekognition {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            jobs: BTreeMap::new(),
            tokens: BTreeMap::new(),
            tried: BTreeMap::new(),
            slots: Slots::new(scenario),
            last_start: 0,
            starts: Rate::new(scenario.starts_per_second),
            gets: Rate::new(scenario.gets_per_second),
            faces_per_page: scenario.faces_per_page,
        }
    }
}

impl World {
    /// Answers a call of Rekognition.
    pub(super) fn rekognition_answers(&mut self, call: &Call) -> Answer {
        let request: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let now = self.now();
        match call.operation.as_str() {
            "StartFaceDetection" => {
                self.rekognition.last_start = now;
                if !self.rekognition.starts.take(now) {
                    self.fault("Start throttled by its rate");
                    return Answer::json_error("ProvisionedThroughputExceededException", "the rate of Start");
                }
                self.start_face_detection(request)
            }
            "GetFaceDetection" => {
                if !self.rekognition.gets.take(now) {
                    self.fault("Get throttled by its rate");
                    return Answer::json_error("ProvisionedThroughputExceededException", "the rate of Get");
                }
                self.get_face_detection(&request)
            }
            _ => {
                self.add_violation(format!("{call} is not simulated"));
                Answer::json_error("UnknownOperationException", "")
            }
        }
    }

    fn start_face_detection(&mut self, request: Value) -> Answer {
        let now = self.now();
        let text = |pointer: &str| text(&request, pointer);
        let (token, idempotency_key) = (text("/ClientRequestToken"), text("/JobTag"));
        let (bucket, key) = (text("/Video/S3Object/Bucket"), text("/Video/S3Object/Name"));
        let topic = text("/NotificationChannel/SNSTopicArn");
        if token.len() != 64 || idempotency_key != token || bucket.is_empty() || topic.is_empty() {
            self.add_violation(format!("StartFaceDetection was called with {request}"));
            return Answer::json_error("InvalidParameterException", "");
        }
        let full = self.rekognition.slots.are_full(now);
        if full && self.unspecified.limit_before_idempotency {
            return self.limit_exceeded();
        }
        let known = self.answer_for_known_token(&token, &request);
        if !self.unspecified.object_before_idempotency
            && let Some(answer) = known
        {
            return answer;
        }
        let version = request.pointer("/Video/S3Object/Version").and_then(Value::as_str);
        if version == Some(NULL_VERSION) {
            self.add_violation(format!(
                "a job for {key} was started for the version null, which does not identify a content"
            ));
        }
        let object = self.s3.get(&bucket, &key, version);
        let content = match object.map(|object| self.contents[&object.etag].clone()) {
            None | Some(Content { kind: Kind::Forbidden | Kind::Denied | Kind::Archived, .. }) => {
                return Answer::json_error("InvalidS3ObjectException", "the object cannot be read");
            }
            Some(Content { kind: Kind::TooLong, .. }) => {
                return Answer::json_error("VideoTooLargeException", "longer than 6 hours");
            }
            Some(content) => content,
        };
        if let Some(answer) = known {
            return answer;
        }
        if full {
            return self.limit_exceeded();
        }
        if !self.an_execution_waits_for(&key) {
            self.add_violation(format!("a job for {key} was started and paid for, and no execution waited for it"));
        }
        let id = self.start_job(request, &content);
        Answer::json(&json!({ "JobId": id }))
    }

    /// Whether an execution for the key runs, or has ended so shortly before that a function could not know it.
    fn an_execution_waits_for(&self, key: &str) -> bool {
        let now = self.now();
        let mut executions =
            self.executions.iter().filter(|execution| execution.video().is_some_and(|video| video.key == key));
        executions.any(|execution| execution.status == Status::Running || now < execution.ended + STOP_NOTICED_WITHIN)
    }

    fn limit_exceeded(&mut self) -> Answer {
        self.cover("LimitExceeded");
        Answer::json_error("LimitExceededException", "the quota of concurrent jobs")
    }

    /// The answer to a Start whose `ClientRequestToken` belongs to a job; `None` if it is unknown or has expired.
    fn answer_for_known_token(&mut self, token: &str, request: &Value) -> Option<Answer> {
        let job = &self.rekognition.jobs[self.rekognition.tokens.get(token)?];
        let from = if self.unspecified.token_expires_after_job_end { job.ends } else { job.started };
        let failed = matches!(job.outcome, JobOutcome::Fails(_)) && !job.runs(self.now());
        if failed && self.unspecified.failed_tokens_forgotten {
            self.cover("token of a failed job forgotten");
            return None;
        }
        if self.now() >= from + RETENTION || self.injected_bug == Some(InjectedBug::IgnoresClientRequestToken) {
            return None;
        }
        if job.request == *request {
            return Some(Answer::json(&json!({ "JobId": job.id })));
        }
        self.add_violation(format!("the ClientRequestToken {token} was used with another request: {request}"));
        Some(Answer::json_error("IdempotentParameterMismatchException", ""))
    }

    /// Starts a job for a valid request; returns its id.
    fn start_job(&mut self, request: Value, content: &Content) -> String {
        let now = self.now();
        let key = text(&request, "/Video/S3Object/Name");
        let tried = self.rekognition.tried.entry((key.clone(), content.id)).or_default();
        *tried += 1;
        let tried = *tried;
        let id: String = (0..64).map(|_| char::from(self.rng.choice(*b"0123456789abcdef").expect("some"))).collect();
        let outcome = match (content.kind, tried.checked_sub(content.failures + 1)) {
            (Kind::Video, Some(earlier)) => JobOutcome::Succeeds(Faces::found_by(&id, content, earlier)),
            (Kind::Video, None) => JobOutcome::Fails("an internal error".to_owned()),
            (Kind::Verbose, _) => JobOutcome::Fails("for reasons. ".repeat(40_000 / 13)),
            _ => JobOutcome::Fails("unsupported codec/format".to_owned()),
        };
        // From the random id: another random value would change the runs of all seeds.
        let random = Ms::from_str_radix(&id[..8], 16).expect("hexadecimal digits");
        let (visible_after, free_after) = (random % VISIBLE_WITHIN, random % FREE_WITHIN);
        let UnspecifiedBehaviour { jobs_visible_late, slots_free_late, .. } = self.unspecified;
        let job = SimulatedJob {
            id: id.clone(),
            idempotency_key: text(&request, "/JobTag"),
            bucket: text(&request, "/Video/S3Object/Bucket"),
            key,
            topic: text(&request, "/NotificationChannel/SNSTopicArn"),
            request,
            started: now,
            visible: now + if jobs_visible_late { visible_after } else { 0 },
            ends: now + content.job_ms,
            outcome,
        };
        self.log(|| {
            let SimulatedJob { key, idempotency_key, outcome, .. } = &job;
            let (ends, id, idempotency_key) = (readable(job.ends), &id[..8], &idempotency_key[..8]);
            let outcome = match outcome {
                JobOutcome::Succeeds(faces) => format!("{} faces in the content {}", faces.count, faces.content.id),
                JobOutcome::Fails(reason) => format!("fails with {reason}"),
            };
            format!("job {id}… of {key} with the idempotency key {idempotency_key}… ends at {ends}: {outcome}")
        });
        self.cover("job");
        let free = job.ends + if slots_free_late { free_after } else { 0 };
        self.rekognition.slots.take(id.clone(), free);
        self.rekognition.tokens.insert(job.idempotency_key.clone(), id.clone());
        self.rekognition.jobs.insert(id.clone(), job);
        self.started_jobs.send(id.clone()).ok();
        id
    }

    fn get_face_detection(&mut self, request: &Value) -> Answer {
        let now = self.now();
        let id = request["JobId"].as_str().unwrap_or_default();
        if id.len() != 64 {
            return Answer::json_error("InvalidParameterException", "a JobId has 64 characters");
        }
        let Some(job) = self.rekognition.jobs.get(id).filter(|job| !job.expired(now)) else {
            self.cover("ResourceNotFound");
            return Answer::json_error("ResourceNotFoundException", "could not find the job");
        };
        if now < job.visible {
            self.cover("job not visible yet");
            return Answer::json_error("ResourceNotFoundException", "could not find the job");
        }
        let fields = json!({ "JobId": job.id, "JobTag": job.idempotency_key,
            "Video": { "S3Object": { "Bucket": job.bucket, "Name": job.key } } });
        let early = self.injected_bug == Some(InjectedBug::ReportsSuccessEarly);
        let hidden = self.injected_bug == Some(InjectedBug::NeverReportsCompletion);
        if (job.runs(now) && !early) || hidden {
            return Answer::json(&merged(fields, json!({ "JobStatus": "IN_PROGRESS" })));
        }
        let faces = match &job.outcome {
            JobOutcome::Fails(reason) => {
                let failed = json!({ "JobStatus": "FAILED", "StatusMessage": reason });
                return Answer::json(&merged(fields, failed));
            }
            JobOutcome::Succeeds(faces) => faces,
        };
        let token = request["NextToken"].as_str();
        let Some(from) = token.map_or(Some(0), |token| page_of(token, id, now)) else {
            self.cover("InvalidPaginationToken");
            return Answer::json_error("InvalidPaginationTokenException", "expired, or of another job");
        };
        let most = request["MaxResults"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(1000);
        let until = faces.count.min(from + most.min(self.rekognition.faces_per_page));
        let next = (until < faces.count).then(|| page_token(id, until, now));
        page(fields, faces, from..until, next.as_deref())
    }
}

/// The answer of `GetFaceDetection` with a page of faces.
fn page(fields: Value, faces: &Faces, indices: Range<usize>, next: Option<&str>) -> Answer {
    let from = indices.start;
    let mut elements = String::new();
    for index in indices {
        let comma = if index == from { "" } else { "," };
        write!(elements, "{comma}{}", faces.face(index)).expect("writing to a string succeeds");
    }
    let finished = json!({
        "JobStatus": "SUCCEEDED",
        "NextToken": next,
        "VideoMetadata": { "Codec": "h264", "DurationMillis": faces.duration_ms(), "Format": "QuickTime / MOV",
            "FrameRate": 30.0, "FrameHeight": 1080, "FrameWidth": 1920 },
    });
    // Added as text, because the results must have exactly these bytes.
    let body = merged(fields, finished).to_string();
    let body = format!("{},\"Faces\":[{elements}]}}", &body[..body.len() - 1]);
    Answer { status: 200, headers: Vec::new(), body: body.into_bytes() }
}

/// The text at a JSON pointer; empty if there is none.
fn text(request: &Value, pointer: &str) -> String {
    request.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn merged(mut one: Value, other: Value) -> Value {
    let (Value::Object(fields), Value::Object(more)) = (&mut one, other) else { unreachable!("both are objects") };
    fields.extend(more);
    one
}

/// A page token of the maximum length, 255 characters.
fn page_token(id: &str, from: usize, now: Ms) -> String {
    format!("{:=<255}", format!("{id}.{from}.{now}."))
}

/// The index of the first face on a page, unless the token has expired or belongs to another job.
fn page_of(token: &str, id: &str, now: Ms) -> Option<usize> {
    let mut parts = token.split('.');
    let (of, from, issued) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse::<Ms>().ok()?);
    (of == id && now < issued + PAGE_TOKEN_LIFETIME).then_some(from)
}

/// The completion message of a job.
pub(super) fn message(job: &SimulatedJob) -> Value {
    let status = match job.outcome {
        JobOutcome::Succeeds(_) => "SUCCEEDED",
        // Either status can be published; both occur.
        JobOutcome::Fails(_) if job.ends.is_multiple_of(2) => "FAILED",
        JobOutcome::Fails(_) => "ERROR",
    };
    json!({ "JobId": job.id, "Status": status, "API": "StartFaceDetection", "JobTag": job.idempotency_key,
        "Timestamp": epoch(job.ends), "Video": { "S3ObjectName": job.key, "S3Bucket": job.bucket } })
}

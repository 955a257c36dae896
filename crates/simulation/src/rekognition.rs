//! Rekognition's two calls, with its quota, rates, idempotency and expiry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::clock::{DAY, HOUR, Ms, SECOND, epoch};
use crate::content::{Content, Kind};
use crate::s3::NULL_VERSION;
use crate::story::{Sabotage, Story};
use crate::wire::{Answer, Call};
use crate::world::World;

/// A `ClientRequestToken` is remembered for 7 days, results are kept for as long, page tokens for one.
pub(super) const KEPT: Ms = 7 * DAY;
const PAGE_TOKEN_LIFE: Ms = 24 * HOUR;

/// Where jobs appear late, each is visible after less than this.
const APPEARS_WITHIN: Ms = 5 * SECOND;

/// The account's side of Rekognition.
#[derive(Debug)]
pub(super) struct Rekognition {
    pub(super) jobs: BTreeMap<String, Job>,
    tokens: BTreeMap<String, String>,
    /// How many jobs a content under a key has had.
    tried: BTreeMap<(String, u64), u32>,
    /// Jobs in progress, by the end of each.
    running: BTreeSet<(Ms, String)>,
    slots: usize,
    starts: Rate,
    gets: Rate,
    /// Faces on a page at most: fewer than asked for is as good an answer.
    page: usize,
}

/// A job: a paid analysis.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) idempotency_key: String,
    request: Value,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) topic: String,
    pub(super) started: Ms,
    /// When `GetFaceDetection` first finds it.
    visible: Ms,
    pub(super) ends: Ms,
    pub(super) outcome: Outcome,
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    Succeeds(Content),
    Fails(&'static str),
}

impl Job {
    pub(super) fn runs(&self, now: Ms) -> bool {
        now < self.ends
    }

    pub(super) fn forgotten(&self, now: Ms) -> bool {
        now >= self.ends + KEPT
    }
}

/// A rate of calls a second, with a second's worth of burst.
#[derive(Debug)]
struct Rate {
    per_second: f64,
    left: f64,
    seen: Ms,
}

impl Rate {
    fn new(per_second: f64) -> Self {
        Self { per_second, left: per_second, seen: 0 }
    }

    #[expect(clippy::cast_precision_loss, reason = "a story has fewer than 2^52 milliseconds")]
    fn take(&mut self, now: Ms) -> bool {
        self.left = (self.left + (now - self.seen) as f64 / 1000.0 * self.per_second).min(self.per_second);
        self.seen = now;
        let taken = self.left >= 1.0;
        if taken {
            self.left -= 1.0;
        }
        taken
    }
}

impl Rekognition {
    pub(super) fn new(story: &Story) -> Self {
        Self {
            jobs: BTreeMap::new(),
            tokens: BTreeMap::new(),
            tried: BTreeMap::new(),
            running: BTreeSet::new(),
            slots: story.slots,
            starts: Rate::new(story.starts_per_second),
            gets: Rate::new(story.gets_per_second),
            page: story.faces_per_page,
        }
    }

    fn slots_taken(&mut self, now: Ms) -> usize {
        while self.running.first().is_some_and(|(ends, _)| *ends <= now) {
            self.running.pop_first();
        }
        self.running.len()
    }
}

impl World {
    /// Answers a call of Rekognition.
    pub(super) fn rekognition_answers(&mut self, call: &Call) -> Answer {
        let request: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let now = self.now();
        match call.operation.as_str() {
            "StartFaceDetection" => {
                self.meet("call Start");
                if !self.rekognition.starts.take(now) {
                    self.meet("Start throttled by its rate");
                    return Answer::json_error("ProvisionedThroughputExceededException", "the rate of Start");
                }
                self.start(request)
            }
            "GetFaceDetection" => {
                self.meet("call Get");
                if !self.rekognition.gets.take(now) {
                    self.meet("Get throttled by its rate");
                    return Answer::json_error("ProvisionedThroughputExceededException", "the rate of Get");
                }
                self.report(&request)
            }
            _ => {
                self.wrong(format!("{call} is not known to the simulated Rekognition"));
                Answer::json_error("UnknownOperationException", "")
            }
        }
    }

    fn start(&mut self, request: Value) -> Answer {
        let now = self.now();
        let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (token, idempotency_key) = (text("/ClientRequestToken"), text("/JobTag"));
        let (bucket, key) = (text("/Video/S3Object/Bucket"), text("/Video/S3Object/Name"));
        if token.len() != 64 || idempotency_key != token || bucket.is_empty() || text("/NotificationChannel/SNSTopicArn").is_empty()
        {
            self.wrong(format!("StartFaceDetection was called with {request}"));
            return Answer::json_error("InvalidParameterException", "");
        }
        let full = self.rekognition.slots_taken(now) >= self.rekognition.slots;
        if full && self.quirks.full_before_known {
            self.meet("LimitExceeded");
            return Answer::json_error("LimitExceededException", "the quota of concurrent jobs");
        }
        let known = self.rekognition.tokens.get(&token).map(|id| &self.rekognition.jobs[id]);
        let life = |job: &Job| if self.quirks.tokens_live_from_the_end { job.ends } else { job.started } + KEPT;
        if let Some(job) = known.filter(|job| now < life(job))
            && self.sabotage != Some(Sabotage::PaysTwice)
        {
            if job.request == request {
                return Answer::json(&json!({ "JobId": job.id }));
            }
            self.wrong(format!("the token {token} came with another request: {request}"));
            return Answer::json_error("IdempotentParameterMismatchException", "");
        }
        let version = request.pointer("/Video/S3Object/Version").and_then(Value::as_str);
        if version == Some(NULL_VERSION) {
            self.wrong(format!("a job for {key} was started for the version null, which identifies no content"));
        }
        let content = self.s3.get(&bucket, &key, version).map(|object| self.contents[&object.etag].clone());
        match content.as_ref().map(|content| content.kind) {
            None | Some(Kind::Forbidden) => {
                return Answer::json_error("InvalidS3ObjectException", "the object cannot be read");
            }
            Some(Kind::TooLong) => return Answer::json_error("VideoTooLargeException", "longer than 6 hours"),
            Some(_) => {}
        }
        if full {
            self.meet("LimitExceeded");
            return Answer::json_error("LimitExceededException", "the quota of concurrent jobs");
        }
        let content = content.expect("looked at above");
        let tried = self.rekognition.tried.entry((key.clone(), content.id)).or_default();
        *tried += 1;
        let outcome = match content.kind {
            Kind::Video if *tried > content.failures => Outcome::Succeeds(content.clone()),
            Kind::Video => Outcome::Fails("an internal error"),
            _ => Outcome::Fails("unsupported codec/format"),
        };
        let id: String = (0..64).map(|_| char::from(self.dice.choice(*b"0123456789abcdef").expect("some"))).collect();
        // As random as the id, and no roll of its own.
        let late = Ms::from_str_radix(&id[..8], 16).expect("hexadecimal digits") % APPEARS_WITHIN;
        let job = Job {
            id: id.clone(),
            idempotency_key,
            bucket,
            key,
            topic: text("/NotificationChannel/SNSTopicArn"),
            request,
            started: now,
            visible: now + if self.quirks.jobs_appear_late { late } else { 0 },
            ends: now + content.job_ms,
            outcome,
        };
        self.log(|| {
            let (ends, outcome) = (crate::clock::readable(job.ends), &job.outcome);
            format!(
                "job {}… of {} for tag {}… ends at {ends}: {outcome:?}",
                &id[..8],
                job.key,
                &job.idempotency_key[..8]
            )
        });
        self.meet("job");
        self.rekognition.running.insert((job.ends, id.clone()));
        self.rekognition.tokens.insert(token, id.clone());
        self.rekognition.jobs.insert(id.clone(), job);
        self.started_jobs.send(id.clone()).ok();
        Answer::json(&json!({ "JobId": id }))
    }

    fn report(&mut self, request: &Value) -> Answer {
        let now = self.now();
        let id = request["JobId"].as_str().unwrap_or_default();
        if id.len() != 64 {
            return Answer::json_error("InvalidParameterException", "a JobId has 64 characters");
        }
        let Some(job) = self.rekognition.jobs.get(id).filter(|job| !job.forgotten(now)) else {
            self.meet("ResourceNotFound");
            return Answer::json_error("ResourceNotFoundException", "could not find the job");
        };
        if now < job.visible {
            self.meet("job not visible yet");
            return Answer::json_error("ResourceNotFoundException", "could not find the job");
        }
        let described = json!({ "JobId": job.id, "JobTag": job.idempotency_key,
            "Video": { "S3Object": { "Bucket": job.bucket, "Name": job.key } } });
        let believed = self.sabotage == Some(Sabotage::ReportsTooEarly);
        let hidden = self.sabotage == Some(Sabotage::HidesTheEnd) && request["MaxResults"] == 1;
        if (job.runs(now) && !believed) || hidden {
            return Answer::json(&merged(described, json!({ "JobStatus": "IN_PROGRESS" })));
        }
        let content = match &job.outcome {
            Outcome::Fails(reason) => {
                let failed = json!({ "JobStatus": "FAILED", "StatusMessage": reason });
                return Answer::json(&merged(described, failed));
            }
            Outcome::Succeeds(content) => content,
        };
        let token = request["NextToken"].as_str();
        let Some(from) = token.map_or(Some(0), |token| page_of(token, id, now)) else {
            self.meet("InvalidPaginationToken");
            return Answer::json_error("InvalidPaginationTokenException", "expired, or of another job");
        };
        let asked = request["MaxResults"].as_u64().and_then(|asked| usize::try_from(asked).ok()).unwrap_or(1000);
        let until = content.faces.min(from + asked.min(self.rekognition.page));
        let mut faces = String::new();
        for index in from..until {
            let comma = if index == from { "" } else { "," };
            write!(faces, "{comma}{}", content.face(index)).expect("a string takes everything");
        }
        let finished = json!({
            "JobStatus": "SUCCEEDED",
            "NextToken": (until < content.faces).then(|| page_token(id, until, now)),
            "VideoMetadata": { "Codec": "h264", "DurationMillis": content.faces * 500, "Format": "QuickTime / MOV",
                "FrameRate": 30.0, "FrameHeight": 1080, "FrameWidth": 1920 },
        });
        // The faces stand in the answer to the letter.
        let body = merged(described, finished).to_string();
        let body = format!("{},\"Faces\":[{faces}]}}", &body[..body.len() - 1]);
        Answer { status: 200, headers: Vec::new(), body: body.into_bytes() }
    }
}

fn merged(mut one: Value, other: Value) -> Value {
    let (Value::Object(fields), Value::Object(more)) = (&mut one, other) else { unreachable!("both are objects") };
    fields.extend(more);
    one
}

/// Tokens are as long as they can be: 255 characters.
fn page_token(id: &str, from: usize, now: Ms) -> String {
    format!("{:=<255}", format!("{id}.{from}.{now}."))
}

fn page_of(token: &str, id: &str, now: Ms) -> Option<usize> {
    let mut parts = token.split('.');
    let (of, from, issued) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse::<Ms>().ok()?);
    (of == id && now < issued + PAGE_TOKEN_LIFE).then_some(from)
}

/// The message that Rekognition publishes of a finished job.
pub(super) fn message(job: &Job) -> Value {
    let status = match job.outcome {
        Outcome::Succeeds(_) => "SUCCEEDED",
        // Both are seen.
        Outcome::Fails(_) if job.ends.is_multiple_of(2) => "FAILED",
        Outcome::Fails(_) => "ERROR",
    };
    json!({ "JobId": job.id, "Status": status, "API": "StartFaceDetection", "JobTag": job.idempotency_key,
        "Timestamp": epoch(job.ends), "Video": { "S3ObjectName": job.key, "S3Bucket": job.bucket } })
}

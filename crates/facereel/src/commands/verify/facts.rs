//! `--facts`: how AWS behaves where its documentation leaves an answer open.
//!
//! A fact is recorded, and judged only where the functions depend on the answer.

use std::time::Duration;

use aws_sdk_rekognition::{
    Client,
    error::ProvideErrorMetadata as _,
    operation::get_face_detection::GetFaceDetectionOutput,
    types::{S3Object, Video, VideoJobStatus},
};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{
    checks::{NotPassed, Outcome, Row},
    clips,
    executions::Observed,
    mailbox::Mailbox,
    score::{FoundFace, Picture, Score},
};
use crate::deployed::{Deployed, Error};
use crate::terminal::text::counted;
use lambdas::job::{Job, StartError};
use lambdas::results::Manifest;
use local_stack::Progress;

const START: &str = "rekognition:StartFaceDetection";
const GET: &str = "rekognition:GetFaceDetection";

/// The time between two requests for the status of a job.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long a second completion message is waited for. The first arrives within seconds of the end of the job.
const SECOND_MESSAGE: Duration = Duration::from_secs(20);

/// What was seen, and whether it is what the functions depend on; `None`, if they depend on no single answer.
type Observation = Result<(String, Option<bool>), NotPassed>;

/// What the facts are observed on: the sample clip's job, execution and bucket.
pub(super) struct Facts<'a> {
    pub deployed: &'a Deployed,
    pub progress: &'a dyn Progress,
    /// The limit for each fact.
    pub limit: Duration,
    /// The id of the run.
    pub run: &'a str,
    /// The bucket and the folder of the uploaded videos.
    pub bucket: &'a str,
    pub folder: &'a str,
    /// The execution that the upload of the sample clip has started, and the manifest of its result.
    pub execution: &'a Observed,
    pub manifest: &'a Manifest,
    /// The job of the sample clip, with the parameters with which the functions have started it.
    pub job: Result<Job, String>,
    /// A task token of an execution that has ended.
    pub ended_token: Option<&'a str>,
    /// Where the facts are recorded, so that they remain when the run is stopped.
    pub rows: &'a mut Vec<Row>,
}

impl Facts<'_> {
    /// Observes every fact. `mailbox` receives the completion messages, if it could be subscribed to their topic.
    pub(super) async fn observe(&mut self, mailbox: Result<&mut Mailbox, String>) {
        let execution = self.execution;
        self.record(
            "the name of an execution that an event starts",
            "<event id>_<uuid>",
            Ok((name_of(execution), None)),
        );
        self.record("the event of an upload", "its members", Ok((members_of(&execution.input), None)));
        let heartbeat = self.heartbeat_of_ended_task();
        let heartbeat = self.limited("Asking for an ended task", heartbeat).await;
        self.record("a heartbeat for an ended task", "TaskTimedOut or TaskDoesNotExist", heartbeat);

        let again = self.limited("Starting the same job again", self.start_again()).await;
        self.record("StartFaceDetection with the same token", "the same job", again);
        let (first, second) = match mailbox {
            Ok(mailbox) => self.messages(mailbox).await,
            Err(why) => (Err(NotPassed::failed(why.clone())), Err(NotPassed::failed(why))),
        };
        self.record("the completion message", "its members", first);
        self.record("a second completion message", "none for the second start", second);
        let changed = self.limited("Starting the job with another tag", self.start_with_another_tag()).await;
        self.record("the same token with another JobTag", "IdempotentParameterMismatchException", changed);

        let twice = self.limited("Reading a page twice", self.page_twice()).await;
        self.record("a page token that is used twice", "the same page", twice);
        let visible = self.limited("Starting a short job", self.visible_after_start()).await;
        self.record("GetFaceDetection immediately after the start", "in progress, or not found at first", visible);
        let turned = self.limited("Analysing a turned video", self.turned()).await;
        self.record("the boxes of a turned video", "in the picture as displayed", turned);
        let codec = self.limited("Analysing a video in HEVC", self.unsupported_codec()).await;
        self.record("a video in an unsupported codec", "a job that fails with a reason", codec);
    }

    fn record(&mut self, fact: &str, expected: &str, observation: Observation) {
        let (seen, result) = match observation {
            Ok((seen, None)) => (seen, Outcome::Recorded),
            Ok((seen, Some(true))) => (seen, Outcome::Passed),
            Ok((seen, Some(false))) => (seen, Outcome::Failed),
            Err(NotPassed::Failed(why)) => (format!("not observed: {why}"), Outcome::Skipped),
            Err(NotPassed::NotSupported(why)) => (why, Outcome::NotSupported),
        };
        self.rows.push(Row { check: fact.to_owned(), expected: expected.to_owned(), seen, result });
    }

    async fn limited(&self, step: &str, observe: impl Future<Output = Observation>) -> Observation {
        self.progress.step(step);
        let seconds = self.limit.as_secs();
        timeout(self.limit, observe)
            .await
            .unwrap_or_else(|_| Err(NotPassed::Failed(format!("nothing after {seconds} s"))))
    }

    /// The functions ask with a heartbeat whether an execution still waits, before they start its job.
    async fn heartbeat_of_ended_task(&self) -> Observation {
        let token = self.ended_token.ok_or_else(|| NotPassed::failed("the history has no task token"))?;
        match self.deployed.sfn.send_task_heartbeat().task_token(token).send().await {
            Ok(_) => Ok(("accepted".to_owned(), Some(false))),
            Err(error) => match error.code() {
                Some(code @ ("TaskTimedOut" | "TaskDoesNotExist")) => Ok((code.to_owned(), Some(true))),
                _ => Err(Error::aws("states:SendTaskHeartbeat")(error).into()),
            },
        }
    }

    /// The call that the functions make when they do not know whether a job was started.
    async fn start_again(&self) -> Observation {
        let job = self.job.as_ref().map_err(NotPassed::failed)?;
        match job.start(&self.deployed.rekognition).await {
            Ok(job_id) if job_id == self.manifest.job.job_id => Ok(("the same job".to_owned(), Some(true))),
            Ok(_) => Ok(("another job".to_owned(), Some(false))),
            Err(StartError::Aws(error)) => Err(NotPassed::Failed(error.to_string())),
            Err(error) => Ok((error.to_string(), Some(false))),
        }
    }

    /// The members of the first message, and whether a second one has arrived.
    async fn messages(&self, mailbox: &mut Mailbox) -> (Observation, Observation) {
        let job_id = self.manifest.job.job_id.as_str();
        let of_job = |message: &Value| message["JobId"] == job_id;
        let first = match mailbox.wait_for(self.deployed, self.limit.min(SECOND_MESSAGE), of_job).await {
            Ok(Some(message)) => {
                let status = message["Status"].as_str().unwrap_or("none");
                let api = message["API"].as_str().unwrap_or("none");
                let tag = if message["JobTag"] == self.manifest.job.idempotency_key.as_str() {
                    "JobTag"
                } else {
                    "no JobTag"
                };
                Ok((format!("Status {status}, API {api}, {tag}, members {}", members(message)), None))
            }
            Ok(None) => Err(NotPassed::failed("no message has arrived")),
            Err(error) => Err(error.into()),
        };
        if self.rows.last().is_none_or(|row| row.result != Outcome::Passed) {
            return (first, Err(NotPassed::failed("the second start did not return the same job")));
        }
        self.progress.step("Waiting for a second completion message");
        let never = mailbox.wait_for(self.deployed, self.limit.min(SECOND_MESSAGE), |_| false).await.map(drop);
        let second = match never {
            Ok(()) => Ok((counted(mailbox.received(of_job).len(), "message"), None)),
            Err(error) => Err(error.into()),
        };
        (first, second)
    }

    async fn start_with_another_tag(&self) -> Observation {
        let job = self.job.as_ref().map_err(NotPassed::failed)?;
        let token = job.idempotency_key();
        let start = self.deployed.rekognition.start_face_detection().client_request_token(token).job_tag(self.run);
        let video = &self.manifest.video;
        let object = S3Object::builder().bucket(&video.bucket).name(&video.key).set_version(video.version_id.clone());
        match start.video(Video::builder().s3_object(object.build()).build()).send().await {
            Ok(output) if output.job_id.as_deref() == Some(&self.manifest.job.job_id) => {
                Ok(("the same job".to_owned(), None))
            }
            Ok(_) => Ok(("another job".to_owned(), None)),
            Err(error) => match error.code() {
                Some(code @ "IdempotentParameterMismatchException") => Ok((code.to_owned(), None)),
                _ => Err(Error::aws(START)(error).into()),
            },
        }
    }

    /// A retry of the state `FetchPage` uses its page token again.
    async fn page_twice(&self) -> Observation {
        let rekognition = &self.deployed.rekognition;
        let job_id = &self.manifest.job.job_id;
        let first =
            rekognition.get_face_detection().job_id(job_id).max_results(5).send().await.map_err(Error::aws(GET))?;
        let token = first.next_token.ok_or_else(|| NotPassed::failed("the first page has no token"))?;
        let page = async || {
            let get = rekognition.get_face_detection().job_id(job_id).max_results(5).next_token(&token);
            get.send().await.map_err(Error::aws(GET))
        };
        let before = page().await?;
        let length = token.len();
        Ok(match page().await {
            Ok(after) if after.faces == before.faces && before.faces.is_some() => {
                (format!("the same page; the token has {length} characters"), Some(true))
            }
            Ok(_) => ("another page".to_owned(), Some(false)),
            Err(error) => (error.to_string(), Some(false)),
        })
    }

    async fn visible_after_start(&self) -> Observation {
        let job_id = self.start("short", clips::SHORT.bytes.to_vec()).await?;
        let started = Instant::now();
        let mut refused = None;
        loop {
            match self.deployed.rekognition.get_face_detection().job_id(&job_id).send().await {
                Ok(output) => {
                    let status = output.job_status.as_ref().map_or("no status", VideoJobStatus::as_str).to_owned();
                    let after = started.elapsed().as_secs_f32();
                    let before = refused.map(|code| format!("{code}, then ")).unwrap_or_default();
                    return Ok((format!("{before}{status} after {after:.1} s"), None));
                }
                Err(error) => match error.code() {
                    Some(code @ "ResourceNotFoundException") => refused = Some(code.to_owned()),
                    _ => return Err(Error::aws(GET)(error).into()),
                },
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn turned(&self) -> Observation {
        let job_id = self.start("turned", clips::turned_sample()).await?;
        let output = self.end_of(&job_id).await?;
        if output.job_status != Some(VideoJobStatus::Succeeded) {
            return Ok((ending(&output), None));
        }
        let faces: Vec<_> = output.faces.iter().flatten().filter_map(found_face).collect();
        let pixels = |pixels: Option<i64>| pixels.map_or("?".to_owned(), |pixels| pixels.to_string());
        let size = output.video_metadata.as_ref();
        let (width, height) = (size.and_then(|size| size.frame_width), size.and_then(|size| size.frame_height));
        let recall = |picture| Score::of(&faces, picture).recall() * 100.0;
        let (turned, stored) = (recall(Picture::Turned), recall(Picture::Stored));
        let (width, height, faces) = (pixels(width), pixels(height), counted(faces.len(), "face"));
        Ok((format!("{width} x {height}, {faces}: {turned:.0} % as displayed, {stored:.0} % as stored"), None))
    }

    async fn unsupported_codec(&self) -> Observation {
        match self.start("hevc", clips::HEVC.bytes.to_vec()).await {
            Ok(job_id) => Ok((ending(&self.end_of(&job_id).await?), None)),
            Err(NotPassed::Failed(why)) => Ok((why, None)),
            Err(other) => Err(other),
        }
    }

    /// Uploads a video under a key that starts no execution, and starts its job without the functions.
    async fn start(&self, name: &str, video: Vec<u8>) -> Result<String, NotPassed> {
        let key = format!("{}{name}.m4v", self.folder);
        let put = self.deployed.s3.put_object().bucket(self.bucket).key(&key).body(ByteStream::from(video));
        put.send().await.map_err(Error::aws("s3:PutObject"))?;
        let object = S3Object::builder().bucket(self.bucket).name(key).build();
        let start = self.deployed.rekognition.start_face_detection().video(Video::builder().s3_object(object).build());
        let started =
            start.client_request_token(format!("{}-{name}", self.run)).send().await.map_err(Error::aws(START))?;
        started.job_id.ok_or_else(|| Error::Incomplete { action: START, missing: "JobId" }.into())
    }

    /// Waits for the end of a job that was started here, and returns its first page.
    async fn end_of(&self, job_id: &str) -> Result<GetFaceDetectionOutput, NotPassed> {
        let client: &Client = &self.deployed.rekognition;
        loop {
            match client.get_face_detection().job_id(job_id).send().await {
                Ok(output) if output.job_status != Some(VideoJobStatus::InProgress) => return Ok(output),
                Ok(_) => {}
                // A new job may not be visible yet.
                Err(error) if error.code() == Some("ResourceNotFoundException") => {}
                Err(error) => return Err(Error::aws(GET)(error).into()),
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// The status of a job that has ended, with its reason.
fn ending(output: &GetFaceDetectionOutput) -> String {
    let status = output.job_status.as_ref().map_or("no status", VideoJobStatus::as_str);
    output.status_message.as_ref().map_or_else(|| status.to_owned(), |message| format!("{status}: {message}"))
}

fn found_face(face: &aws_sdk_rekognition::types::FaceDetection) -> Option<FoundFace> {
    let place = face.face.as_ref()?.bounding_box.as_ref()?;
    let bounding_box =
        face_detection::BoundingBox { left: place.left?, top: place.top?, width: place.width?, height: place.height? };
    Some(FoundFace { timestamp: face.timestamp, bounding_box })
}

/// How an execution is named that an event has started.
fn name_of(execution: &Observed) -> String {
    let id = execution.input["id"].as_str().unwrap_or_default();
    let derived = !id.is_empty() && execution.name.strip_prefix(id).is_some_and(|rest| rest.starts_with('_'));
    if derived { "<event id>_…".to_owned() } else { "another name".to_owned() }
}

/// The members of the event that describe the object.
fn members_of(event: &Value) -> String {
    let reason = event["detail"]["reason"].as_str().unwrap_or("no reason");
    format!("{reason}; object: {}", members(&event["detail"]["object"]))
}

/// The names of the members of an object.
fn members(value: &Value) -> String {
    let names: Vec<_> = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}

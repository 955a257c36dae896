//! The table of jobs: idempotency, quota, pages and lifetimes. This module does no I/O.

use std::collections::HashMap;
use std::time::Duration;

use crate::api::{
    ApiError, ErrorKind, GetCall, GetFaceDetectionResponse, JobStatus, ObjectRef, S3Object, StartCall, Video,
};
use crate::clock::Clock;
use face_detection::Analysis;

const DAY: Duration = Duration::from_hours(24);
const RESULT_LIFETIME: Duration = DAY.saturating_mul(7);
const CLIENT_TOKEN_LIFETIME: Duration = DAY.saturating_mul(7);
const PAGE_TOKEN_LIFETIME: Duration = DAY;

/// The public view of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// 64 hex characters.
    pub job_id: String,
    /// As given to the Start call.
    pub job_tag: Option<String>,
    /// Its status.
    pub status: JobStatus,
    /// From 0.0 to 1.0; 1.0 once it has succeeded.
    pub progress: f32,
    /// The number of faces; 0 while it is in progress.
    pub faces: usize,
    /// Why it failed.
    pub status_message: Option<String>,
}

/// The effect of a Start call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// A new job, to be analysed.
    New(String),
    /// The job that was started before with the same token.
    Known(String),
}

/// Every job of the account.
pub struct Jobs {
    clock: Clock,
    /// The maximum number of jobs in progress.
    quota: usize,
    /// The maximum number of faces on a page; a larger number in a call is reduced to it.
    page_limit: usize,
    started: u64,
    by_id: HashMap<String, Job>,
    client_tokens: HashMap<String, ClientToken>,
    page_tokens: HashMap<String, PageToken>,
}

struct Job {
    /// Jobs are numbered as they start.
    number: u64,
    object: ObjectRef,
    tag: Option<String>,
    state: JobState,
}

enum JobState {
    InProgress { progress: f32 },
    Succeeded { analysis: Analysis, ended: Duration },
    Failed { message: String, ended: Duration },
}

/// An idempotency token. It is kept apart from its job: its lifetime begins when the job starts, the lifetime of the results when
/// the job ends.
struct ClientToken {
    call: StartCall,
    job_id: String,
    issued: Duration,
}

struct PageToken {
    job_id: String,
    /// The page's first face.
    offset: usize,
    issued: Duration,
}

impl Jobs {
    pub fn new(clock: Clock, quota: usize, page_limit: usize) -> Self {
        Self {
            clock,
            quota,
            // A page without faces would be followed by the same page, without an end.
            page_limit: page_limit.max(1),
            started: 0,
            by_id: HashMap::new(),
            client_tokens: HashMap::new(),
            page_tokens: HashMap::new(),
        }
    }

    /// The number of jobs that were started, which AWS would bill.
    pub fn started(&self) -> u64 {
        self.started
    }

    /// The job that was started before with this call's token, if there is one.
    pub fn known(&mut self, call: &StartCall) -> Result<Option<String>, ApiError> {
        self.expire();
        let Some(token) = call.client_request_token.as_ref().and_then(|token| self.client_tokens.get(token)) else {
            return Ok(None);
        };
        if token.call != *call {
            let message = "The ClientRequestToken was used before with different input parameters";
            return Err(ApiError::new(ErrorKind::IdempotentParameterMismatch, message));
        }
        Ok(Some(token.job_id.clone()))
    }

    /// Starts a job, unless the call's token names one or the quota is reached.
    pub fn start(&mut self, call: StartCall) -> Result<Started, ApiError> {
        if let Some(job_id) = self.known(&call)? {
            return Ok(Started::Known(job_id));
        }
        let open = self.by_id.values().filter(|job| matches!(job.state, JobState::InProgress { .. })).count();
        if open >= self.quota {
            return Err(limit_exceeded(open, self.quota));
        }
        let job_id = random_id();
        self.started += 1;
        let job = Job {
            number: self.started,
            object: call.object.clone(),
            tag: call.job_tag.clone(),
            state: JobState::InProgress { progress: 0.0 },
        };
        self.by_id.insert(job_id.clone(), job);
        if let Some(token) = call.client_request_token.clone() {
            let issued = self.clock.now();
            self.client_tokens.insert(token, ClientToken { call, job_id: job_id.clone(), issued });
        }
        Ok(Started::New(job_id))
    }

    /// The error of a Start call when the quota is reached.
    pub fn limit_exceeded(&self) -> ApiError {
        limit_exceeded(self.quota, self.quota)
    }

    /// Records the progress of an analysis, from 0.0 to 1.0.
    pub fn progress(&mut self, job_id: &str, done: f32) {
        if let Some(Job { state: JobState::InProgress { progress }, .. }) = self.by_id.get_mut(job_id) {
            *progress = done.clamp(0.0, 1.0);
        }
    }

    /// Ends a job: with its faces, or with its status message.
    pub fn finish(&mut self, job_id: &str, outcome: Result<Analysis, String>) {
        let ended = self.clock.now();
        // The job may have been deleted in the meantime.
        if let Some(job) = self.by_id.get_mut(job_id) {
            job.state = match outcome {
                Ok(mut analysis) => {
                    analysis.faces.sort_by_key(|face| face.timestamp);
                    JobState::Succeeded { analysis, ended }
                }
                Err(message) => JobState::Failed { message, ended },
            };
        }
    }

    /// A page of a job's faces, or only its status if it has none.
    pub fn page(&mut self, call: &GetCall) -> Result<GetFaceDetectionResponse, ApiError> {
        self.expire();
        let Some(job) = self.by_id.get(&call.job_id) else {
            let message = format!("Could not find JobId {}", call.job_id);
            return Err(ApiError::new(ErrorKind::ResourceNotFound, message));
        };
        let offset = match &call.next_token {
            None => 0,
            Some(token) => match self.page_tokens.get(token) {
                Some(page) if page.job_id == call.job_id => page.offset,
                _ => {
                    return Err(ApiError::new(
                        ErrorKind::InvalidPaginationToken,
                        "Request has invalid Pagination Token",
                    ));
                }
            },
        };
        let object = S3Object {
            bucket: Some(job.object.bucket.clone()),
            name: Some(job.object.key.clone()),
            version: job.object.version.clone(),
        };
        let mut response = GetFaceDetectionResponse {
            job_status: job.state.status(),
            status_message: None,
            video_metadata: None,
            next_token: None,
            faces: Vec::new(),
            job_id: call.job_id.clone(),
            video: Video { s3_object: Some(object) },
            job_tag: job.tag.clone(),
        };
        match &job.state {
            JobState::InProgress { .. } => {}
            JobState::Failed { message, .. } => response.status_message = Some(message.clone()),
            JobState::Succeeded { analysis, .. } => {
                let end = analysis.faces.len().min(offset + call.max_results.min(self.page_limit));
                response.video_metadata = Some(analysis.metadata.clone());
                response.faces = analysis.faces[offset..end].to_vec();
                if end < analysis.faces.len() {
                    let page = PageToken { job_id: call.job_id.clone(), offset: end, issued: self.clock.now() };
                    let token = random_id();
                    self.page_tokens.insert(token.clone(), page);
                    response.next_token = Some(token);
                }
            }
        }
        Ok(response)
    }

    /// Every job, in the order of their start.
    pub fn views(&mut self) -> Vec<JobView> {
        self.expire();
        let mut jobs: Vec<_> = self.by_id.iter().collect();
        jobs.sort_by_key(|(_, job)| job.number);
        let view = |(job_id, job): (&String, &Job)| {
            let (progress, faces, status_message) = match &job.state {
                JobState::InProgress { progress } => (*progress, 0, None),
                JobState::Succeeded { analysis, .. } => (1.0, analysis.faces.len(), None),
                JobState::Failed { message, .. } => (0.0, 0, Some(message.clone())),
            };
            let (job_id, job_tag) = (job_id.clone(), job.tag.clone());
            JobView { job_id, job_tag, status: job.state.status(), progress, faces, status_message }
        };
        jobs.into_iter().map(view).collect()
    }

    /// Deletes a job's results before they expire.
    pub fn forget(&mut self, job_id: &str) {
        self.by_id.remove(job_id);
    }

    /// Deletes every page token before it expires.
    pub fn expire_page_tokens(&mut self) {
        self.page_tokens.clear();
    }

    fn expire(&mut self) {
        let now = self.clock.now();
        self.client_tokens.retain(|_, token| now < token.issued + CLIENT_TOKEN_LIFETIME);
        self.page_tokens.retain(|_, page| now < page.issued + PAGE_TOKEN_LIFETIME);
        self.by_id.retain(|_, job| match job.state {
            JobState::InProgress { .. } => true,
            JobState::Succeeded { ended, .. } | JobState::Failed { ended, .. } => now < ended + RESULT_LIFETIME,
        });
    }
}

impl JobState {
    fn status(&self) -> JobStatus {
        match self {
            Self::InProgress { .. } => JobStatus::InProgress,
            Self::Succeeded { .. } => JobStatus::Succeeded,
            Self::Failed { .. } => JobStatus::Failed,
        }
    }
}

fn limit_exceeded(open: usize, quota: usize) -> ApiError {
    let message = format!("{open} open Jobs for this account. Maximum limit: {quota}");
    ApiError::new(ErrorKind::LimitExceeded, message)
}

/// 64 hex characters.
fn random_id() -> String {
    format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..))
}

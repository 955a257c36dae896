//! list-pages: walks the chain of page tokens, a window at a time.

use aws_sdk_rekognition::{error::ProvideErrorMetadata, types::VideoJobStatus};
use serde::{Deserialize, Serialize};

use crate::{
    aws::{AwsError, Clients, named_by_variant},
    job::FinishedJob,
};

/// Faces on a page: Rekognition's own default and maximum
/// (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_GetFaceDetection.html>).
pub const FACES_PER_PAGE: i32 = 1000;

/// Pages in a window: 100 tokens of at most 255 characters are well under the 256 KiB of a state's payload, and a
/// window is walked in a minute even at half a second a page.
pub const PAGES_PER_WINDOW: usize = 100;

/// Pages that are fetched each in an iteration of its own: as many faces as an ordinary video ever has.
///
/// An iteration is 7 events of an execution's 25,000; the longest and busiest videos, with thousands of pages, have to
/// share iterations.
const SINGLE_PAGES: usize = 1000;

/// Pages in one iteration after that.
const PAGES_PER_LONG_RUN: usize = 50;

/// What the `ListPages` state sends.
#[derive(Debug, Deserialize)]
pub struct ListPages {
    /// The execution's name.
    pub execution: String,
    /// Whose pages.
    pub job: FinishedJob,
    /// The window's first page.
    pub from: Page,
}

/// The pages of one iteration: one, but for the largest results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRun {
    /// The first page.
    #[serde(flatten)]
    pub first: Page,
    /// How many pages, each named by the one before it.
    pub pages: usize,
}

/// A page of a job's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// From 0.
    pub index: usize,
    /// What `GetFaceDetection` takes as `NextToken`; the first page has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Pages that can be fetched side by side.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// In order.
    pub runs: Vec<PageRun>,
    /// How many pages were listed so far, those of earlier windows included.
    pub listed: usize,
    /// Where the next window begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Page>,
}

/// Why a page cannot be read. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum PageError {
    /// The token of the page is older than 24 hours, or not of this job.
    #[error(
        "page {index} of the job {job_id} cannot be read by its token any more (tokens live 24 hours); start a new execution with the same input: it lists the pages anew and pays nothing within 7 days"
    )]
    PageTokenExpired {
        /// The page.
        index: usize,
        /// Rekognition's name of the job.
        job_id: String,
    },
    /// Rekognition has forgotten the job.
    #[error(
        "Rekognition does not know the job {job_id} any more (results live 7 days); start a new execution with the same input: it analyses the video anew, and that is billed"
    )]
    JobGone {
        /// Rekognition's name of the job.
        job_id: String,
    },
    /// The job has no pages.
    #[error("the job {job_id} has no pages to read: its status is {status}")]
    JobNotSucceeded {
        /// Rekognition's name of the job.
        job_id: String,
        /// Rekognition's word.
        status: String,
    },
    /// Anything that every AWS call can meet.
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(PageError);

impl PageError {
    /// Sorts an error of `GetFaceDetection`.
    pub(crate) fn new(
        job_id: &str,
        index: usize,
        error: aws_sdk_rekognition::error::SdkError<
            aws_sdk_rekognition::operation::get_face_detection::GetFaceDetectionError,
            aws_sdk_rekognition::config::http::HttpResponse,
        >,
    ) -> Self {
        let job_id = job_id.to_owned();
        match error.code() {
            Some("InvalidPaginationTokenException") => Self::PageTokenExpired { index, job_id },
            Some("ResourceNotFoundException") => Self::JobGone { job_id },
            _ => AwsError::new("rekognition:GetFaceDetection", error).into(),
        }
    }
}

/// Walks the next window of pages and returns their tokens alone: the faces are far too large for a state's payload.
///
/// # Errors
/// [`PageError`].
#[tracing::instrument(skip_all, fields(execution = request.execution, key = request.job.video.key, tag = request.job.tag))]
pub async fn list_pages(clients: &Clients, request: ListPages) -> Result<Window, PageError> {
    let ListPages { job: FinishedJob { job_id, .. }, from: mut page, .. } = request;
    let from = page.index;
    let mut runs: Vec<PageRun> = Vec::new();
    loop {
        let output = clients
            .rekognition
            .get_face_detection()
            .job_id(&job_id)
            .max_results(FACES_PER_PAGE)
            .set_next_token(page.token.clone())
            .send()
            .await
            .map_err(|error| PageError::new(&job_id, page.index, error))?;
        if output.job_status() != Some(&VideoJobStatus::Succeeded) {
            let status = output.job_status().map_or("absent", VideoJobStatus::as_str).to_owned();
            return Err(PageError::JobNotSucceeded { job_id, status });
        }
        let next = output.next_token.map(|token| Page { index: page.index + 1, token: Some(token) });
        let listed = page.index + 1;
        match runs.last_mut() {
            Some(run) if page.index >= SINGLE_PAGES && run.pages < PAGES_PER_LONG_RUN => run.pages += 1,
            _ => runs.push(PageRun { first: page, pages: 1 }),
        }
        match next {
            Some(next) if listed - from < PAGES_PER_WINDOW => page = next,
            next => {
                tracing::info!(job_id, listed, more = next.is_some(), "listed pages");
                return Ok(Window { runs, listed, next });
            }
        }
    }
}

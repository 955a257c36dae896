//! fetch-page: a page of faces becomes an S3 object of JSON Lines.

use std::sync::{Arc, Mutex};

use aws_sdk_rekognition::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::AfterDeserializationInterceptorContextRef},
    error::BoxError,
    types::VideoJobStatus,
};
use aws_sdk_s3::primitives::ByteStream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    aws::{AwsError, Clients, named_by_variant},
    job::FinishedJob,
    list_pages::{FACES_PER_PAGE, PageError, PageRun},
};

/// The function's environment.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `RESULTS_BUCKET`: pages lie there.
    pub results_bucket: String,
}

/// What an iteration of the `FetchPages` state sends.
#[derive(Debug, Deserialize)]
pub struct FetchPage {
    /// The execution's name.
    pub execution: String,
    /// Whose pages.
    pub job: FinishedJob,
    /// Which pages: one, but for the largest results.
    pub run: PageRun,
}

/// What lies in S3 now.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct FetchedPages {
    /// The first page, from 0.
    pub index: usize,
    /// How many pages.
    pub pages: usize,
    /// Faces in them together.
    pub faces: usize,
}

/// Why a page is not in S3. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum FetchPageError {
    /// See [`PageError::PageTokenExpired`].
    #[error("{0}")]
    PageTokenExpired(PageError),
    /// See [`PageError::JobGone`].
    #[error("{0}")]
    JobGone(PageError),
    /// See [`PageError::JobNotSucceeded`].
    #[error("{0}")]
    JobNotSucceeded(PageError),
    /// Rekognition's answer was no page.
    #[error("Rekognition's answer for page {index} of the job {job_id} is no page of faces: {reason}")]
    PageUnreadable {
        /// The page.
        index: usize,
        /// Rekognition's name of the job.
        job_id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything that every AWS call can meet.
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(FetchPageError);

impl From<PageError> for FetchPageError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::PageTokenExpired { .. } => Self::PageTokenExpired(error),
            PageError::JobGone { .. } => Self::JobGone(error),
            PageError::JobNotSucceeded { .. } => Self::JobNotSucceeded(error),
            PageError::Aws(error) => Self::Aws(error),
        }
    }
}

/// The part of `GetFaceDetection`'s answer that becomes lines.
#[derive(Deserialize)]
struct Faces<'a> {
    #[serde(rename = "Faces", borrow, default)]
    faces: Vec<&'a RawValue>,
}

/// Fetches the pages of a run and writes each to its own place in S3, where a second fetch overwrites it with the same.
///
/// A line is an element of Rekognition's `Faces`, to the letter: `{"Timestamp": …, "Face": {…}}`.
///
/// # Errors
/// [`FetchPageError`].
#[tracing::instrument(skip_all, fields(execution = request.execution, key = request.job.video.key, tag = request.job.tag))]
pub async fn fetch_page(
    clients: &Clients,
    config: &Config,
    request: FetchPage,
) -> Result<FetchedPages, FetchPageError> {
    let FetchPage { job, run: PageRun { first, pages }, .. } = request;
    let mut fetched = FetchedPages { index: first.index, pages, faces: 0 };
    let mut token = first.token;
    for index in first.index..first.index + pages {
        let (faces, next) = fetch_one(clients, config, &job, index, token).await?;
        fetched.faces += faces;
        token = next;
    }
    Ok(fetched)
}

/// Fetches one page; returns how many faces it has and the token of the page after it.
async fn fetch_one(
    clients: &Clients,
    config: &Config,
    job: &FinishedJob,
    index: usize,
    token: Option<String>,
) -> Result<(usize, Option<String>), FetchPageError> {
    let answer = RawAnswer::default();
    let output = clients
        .rekognition
        .get_face_detection()
        .job_id(&job.job_id)
        .max_results(FACES_PER_PAGE)
        .set_next_token(token)
        .customize()
        .interceptor(answer.clone())
        .send()
        .await
        .map_err(|error| PageError::new(&job.job_id, index, error))?;
    if output.job_status() != Some(&VideoJobStatus::Succeeded) {
        let status = output.job_status().map_or("absent", VideoJobStatus::as_str).to_owned();
        return Err(PageError::JobNotSucceeded { job_id: job.job_id.clone(), status }.into());
    }
    let (lines, faces) = json_lines(&answer.take()).map_err(|error| FetchPageError::PageUnreadable {
        index,
        job_id: job.job_id.clone(),
        reason: error.to_string(),
    })?;
    let key = job.page_key(index);
    clients
        .s3
        .put_object()
        .bucket(&config.results_bucket)
        .key(&key)
        .content_type("application/jsonl")
        .body(ByteStream::from(lines))
        .send()
        .await
        .map_err(|error| AwsError::new("s3:PutObject", error))?;
    tracing::info!(page = index, faces, object = key, "wrote a page");
    Ok((faces, output.next_token))
}

fn json_lines(answer: &[u8]) -> Result<(Vec<u8>, usize), serde_json::Error> {
    let Faces { faces } = serde_json::from_slice(answer)?;
    let mut lines = Vec::with_capacity(answer.len());
    for face in &faces {
        // JSON has line breaks only between its tokens, where they mean nothing.
        face.get().lines().for_each(|part| lines.extend_from_slice(part.as_bytes()));
        lines.push(b'\n');
    }
    Ok((lines, faces.len()))
}

/// Keeps the answer's own bytes: every field that Rekognition sends reaches the results, in its own spelling and
/// precision, whether or not this SDK's types know it.
#[derive(Debug, Clone, Default)]
struct RawAnswer(Arc<Mutex<Vec<u8>>>);

impl RawAnswer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().expect("nobody panics while holding it"))
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for RawAnswer {
    fn name(&self) -> &'static str {
        "RawAnswer"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        *self.0.lock().expect("nobody panics while holding it") = body.to_vec();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_is_a_line_to_the_letter() {
        let answer =
            br#"{"JobStatus":"SUCCEEDED","Faces":[{"Timestamp":0,"Face":{"Confidence":99.987654321,"New":{"Field":1}}},
            {
              "Timestamp": 500,
              "Face": {"Text": "a\nb"}
            }],"NextToken":"t"}"#;
        let (lines, faces) = json_lines(answer).unwrap();
        assert_eq!(faces, 2);
        let lines = String::from_utf8(lines).unwrap();
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines[0], r#"{"Timestamp":0,"Face":{"Confidence":99.987654321,"New":{"Field":1}}}"#);
        assert_eq!(lines.len(), 2);
        let second: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(second["Face"]["Text"], "a\nb");
    }

    #[test]
    fn a_video_without_faces_is_an_empty_page() {
        assert_eq!(json_lines(br#"{"JobStatus":"SUCCEEDED","Faces":[]}"#).unwrap(), (Vec::new(), 0));
        assert_eq!(json_lines(br#"{"JobStatus":"SUCCEEDED"}"#).unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(json_lines(b"<html>").is_err());
        assert!(json_lines(br#"{"Faces":[{]}"#).is_err());
    }
}

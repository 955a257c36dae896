//! A page of a job's result, as Rekognition sends it.

use std::sync::{Arc, Mutex};

use aws_sdk_rekognition::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, http::HttpResponse,
        interceptors::BeforeDeserializationInterceptorContextMut,
    },
    error::{BoxError, ProvideErrorMetadata, SdkError},
    operation::get_face_detection::{GetFaceDetectionError, GetFaceDetectionOutput},
};
use aws_smithy_runtime_api::client::{
    interceptors::context::{Output, OutputOrError},
    orchestrator::OrchestratorError,
    ser_de::{DeserializeResponse, SharedResponseDeserializer},
};
use aws_smithy_types::body::SdkBody;
use serde::{Deserialize, Serialize};

use crate::{
    aws::{AwsError, Clients, named_by_variant},
    retry::while_throttled,
};

/// Faces on a page: the default and the maximum of Rekognition
/// (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_GetFaceDetection.html>).
const FACES_PER_PAGE: i32 = 1000;

/// Which page of a job's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The number of the page, from 0.
    pub index: usize,
    /// The `NextToken` of `GetFaceDetection`; the first page has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl Page {
    /// The first page of a result.
    pub(crate) fn first() -> Self {
        Self { index: 0, token: None }
    }

    /// The next page.
    pub(crate) fn next(&self, token: String) -> Self {
        Self { index: self.index + 1, token: Some(token) }
    }
}

/// Why a page cannot be read. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
pub enum PageError {
    /// The token of the page is older than 24 hours, or not of this job.
    #[error(
        "page {index} of the job {job_id} cannot be read, because its token has expired (tokens live 24 hours); start a new execution with the same input: it lists the pages again, and nothing is billed within 7 days"
    )]
    PageTokenExpired {
        /// The number of the page, from 0.
        index: usize,
        /// The `JobId` of Rekognition.
        job_id: String,
    },
    /// Rekognition has deleted the results of the job.
    #[error(
        "Rekognition no longer has the job {job_id} (results live 7 days); start a new execution with the same input: it starts a new job, which is billed"
    )]
    JobGone {
        /// The `JobId` of Rekognition.
        job_id: String,
    },
    /// The job has no pages.
    #[error("the job {job_id} has no pages to read: its status is {status}")]
    JobNotSucceeded {
        /// The `JobId` of Rekognition.
        job_id: String,
        /// The status that Rekognition reports.
        status: String,
    },
    /// The answer of Rekognition is not a page.
    #[error(
        "Rekognition's answer for page {index} of the job {job_id} is not a page of faces: {source}; start a new execution with the same input"
    )]
    PageUnreadable {
        /// The number of the page, from 0.
        index: usize,
        /// The `JobId` of Rekognition.
        job_id: String,
        /// The reason.
        source: serde_json::Error,
    },
    /// An error that any AWS call can return.
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(PageError);

/// The answer for a page. `Faces` is the type into which the reader wants its faces read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", bound(deserialize = "Faces: Deserialize<'de> + Default"))]
pub(crate) struct Answer<Faces> {
    #[serde(default = "absent")]
    job_status: String,
    /// The token of the next page, unless this is the last page.
    pub next_token: Option<String>,
    /// Absent in the answer for a video without faces.
    #[serde(default)]
    pub faces: Faces,
}

fn absent() -> String {
    "absent".to_owned()
}

/// Calls `GetFaceDetection` for the page of this token, or without one for the first page, and returns the bytes of the answer.
///
/// They are up to 3.3 MB. The SDK would parse them into thousands of values that are not needed, and would drop the members that it
/// does not know.
///
/// # Errors
/// The SDK's.
pub(crate) async fn get_face_detection(
    rekognition: &aws_sdk_rekognition::Client,
    job_id: &str,
    token: Option<&str>,
) -> Result<SdkBody, SdkError<GetFaceDetectionError, HttpResponse>> {
    let raw_body = RawBody::default();
    let call = rekognition.get_face_detection().job_id(job_id).max_results(FACES_PER_PAGE);
    call.set_next_token(token.map(str::to_owned)).customize().interceptor(raw_body.clone()).send().await?;
    Ok(raw_body.take())
}

/// The answer for a page, not parsed yet.
pub(crate) struct RawAnswer<'a> {
    job_id: &'a str,
    index: usize,
    body: SdkBody,
}

impl<'a> RawAnswer<'a> {
    /// Asks Rekognition for a page, again while the call is throttled.
    ///
    /// # Errors
    /// [`PageError`].
    pub async fn of(clients: &Clients, job_id: &'a str, page: &Page) -> Result<Self, PageError> {
        while_throttled(async || Self::ask(clients, job_id, page).await).await
    }

    async fn ask(clients: &Clients, job_id: &'a str, page: &Page) -> Result<Self, PageError> {
        let body =
            get_face_detection(&clients.rekognition, job_id, page.token.as_deref()).await.map_err(
                |error| match error.code() {
                    Some("InvalidPaginationTokenException") => {
                        PageError::PageTokenExpired { index: page.index, job_id: job_id.to_owned() }
                    }
                    Some("ResourceNotFoundException") => PageError::JobGone { job_id: job_id.to_owned() },
                    _ => AwsError::new("rekognition:GetFaceDetection", error).into(),
                },
            )?;
        Ok(Self { job_id, index: page.index, body })
    }

    /// Parses the answer.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn read<'de, Faces: Deserialize<'de> + Default>(&'de self) -> Result<Answer<Faces>, PageError> {
        let body = self.body.bytes().unwrap_or_default();
        let answer: Answer<Faces> = serde_json::from_slice(body).map_err(|source| PageError::PageUnreadable {
            index: self.index,
            job_id: self.job_id.to_owned(),
            source,
        })?;
        if answer.job_status == "SUCCEEDED" {
            Ok(answer)
        } else {
            Err(PageError::JobNotSucceeded { job_id: self.job_id.to_owned(), status: answer.job_status })
        }
    }
}

/// Replaces the SDK's deserializer for calls that succeed, and keeps the body.
#[derive(Debug, Clone, Default)]
struct RawBody(Arc<Mutex<Option<SdkBody>>>);

impl RawBody {
    fn take(&self) -> SdkBody {
        self.0.lock().expect("no code panics while it holds the lock").take().unwrap_or_else(SdkBody::empty)
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for RawBody {
    fn name(&self) -> &'static str {
        "RawBody"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The SDK parses the answers of refused calls.
        if context.response().status().is_success() {
            config.interceptor_state().store_put(SharedResponseDeserializer::new(self.clone()));
        }
        Ok(())
    }
}

impl DeserializeResponse for RawBody {
    fn deserialize_nonstreaming_with_config(&self, response: &HttpResponse, _config: &ConfigBag) -> OutputOrError {
        if !response.status().is_success() {
            // The body of the first attempt broke off and the next attempt was refused. The config keeps this deserializer.
            return Err(OrchestratorError::response("refused after an answer that broke off".into()));
        }
        *self.0.lock().expect("no code panics while it holds the lock") = response.body().try_clone();
        Ok(Output::erase(GetFaceDetectionOutput::builder().build()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::aws::ErrorName as _;

    fn answer(body: &'static str) -> RawAnswer<'static> {
        RawAnswer { job_id: "job", index: 0, body: SdkBody::from(body) }
    }

    #[test]
    fn a_page_has_its_faces_and_the_token_of_the_next_page() {
        let answer = answer(r#"{"JobStatus":"SUCCEEDED","Faces":[{"Timestamp":0},{"Timestamp":500}],"NextToken":"t"}"#);
        let page: Answer<Vec<&RawValue>> = answer.read().unwrap();
        assert_eq!(
            page.faces.iter().map(|face| face.get()).collect::<Vec<_>>(),
            [r#"{"Timestamp":0}"#, r#"{"Timestamp":500}"#]
        );
        assert_eq!(page.next_token.as_deref(), Some("t"));
    }

    #[test]
    fn a_video_without_faces_is_an_empty_page() {
        for body in [r#"{"JobStatus":"SUCCEEDED","Faces":[]}"#, r#"{"JobStatus":"SUCCEEDED"}"#] {
            let answer = answer(body);
            let page: Answer<Vec<&RawValue>> = answer.read().unwrap();
            assert!(page.faces.is_empty() && page.next_token.is_none());
        }
    }

    #[test]
    fn a_job_that_has_not_succeeded_has_no_pages() {
        for body in [r#"{"JobStatus":"FAILED","StatusMessage":"no"}"#, r#"{"JobStatus":"IN_PROGRESS"}"#, "{}"] {
            let error = answer(body).read::<Vec<&RawValue>>().unwrap_err();
            assert_eq!(error.error_name(), "JobNotSucceeded", "{body}");
        }
    }

    #[test]
    fn bytes_that_are_not_an_answer_are_an_error() {
        for body in ["", "<html>", r#"{"Faces":[{]}"#, r#"{"JobStatus":"SUCCEEDED","Faces":{}}"#] {
            let error = answer(body).read::<Vec<&RawValue>>().unwrap_err();
            assert_eq!(error.error_name(), "PageUnreadable", "{body}");
        }
    }

    #[test]
    fn a_refusal_after_an_answer_that_broke_off_is_an_error() {
        let refused = HttpResponse::new(400.try_into().unwrap(), SdkBody::from(r#"{"__type":"ThrottlingException"}"#));
        let raw_body = RawBody::default();
        assert!(raw_body.deserialize_nonstreaming_with_config(&refused, &ConfigBag::base()).is_err());
        assert!(raw_body.0.lock().unwrap().is_none());
    }
}

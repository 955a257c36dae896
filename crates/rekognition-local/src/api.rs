//! Rekognition's requests and responses, the constraints of its service model, and its errors.

use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use face_detection::{FaceDetection, VideoMetadata};

pub const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// A member is optional if the model says so, or if its absence is a separate validation error.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartFaceDetectionRequest {
    pub video: Option<Video>,
    pub client_request_token: Option<String>,
    pub notification_channel: Option<NotificationChannel>,
    pub face_attributes: Option<String>,
    pub job_tag: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Video {
    pub s3_object: Option<S3Object>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct S3Object {
    pub bucket: Option<String>,
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NotificationChannel {
    #[serde(rename = "SNSTopicArn")]
    pub sns_topic_arn: Option<String>,
    #[serde(rename = "RoleArn")]
    pub role_arn: Option<String>,
}

/// A valid Start call.
#[derive(Debug, Clone, PartialEq)]
pub struct StartCall {
    pub object: ObjectRef,
    pub client_request_token: Option<String>,
    /// The channel for the completion message, if there is one.
    pub notify: Option<Notify>,
    pub face_attributes: String,
    pub job_tag: Option<String>,
}

/// The location of a video.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectRef {
    pub bucket: String,
    pub key: String,
    pub version: Option<String>,
}

/// The topic of the completion message, and the role that may publish to it. The role is not used here, but a call with the same
/// token and another role is a mismatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Notify {
    pub topic_arn: String,
    pub role_arn: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartFaceDetectionResponse {
    pub job_id: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetFaceDetectionRequest {
    pub job_id: Option<String>,
    pub max_results: Option<i32>,
    pub next_token: Option<String>,
}

/// A valid Get call.
#[derive(Debug, Clone, PartialEq)]
pub struct GetCall {
    pub job_id: String,
    /// At least 1, at most [`MAX_RESULTS`].
    pub max_results: usize,
    pub next_token: Option<String>,
}

/// Rekognition's `VideoJobStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Waits for the detector, or is being analysed.
    InProgress,
    /// Has faces.
    Succeeded,
    /// Has a status message and no faces.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetFaceDetectionResponse {
    pub job_status: JobStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_metadata: Option<VideoMetadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub faces: Vec<FaceDetection>,
    pub job_id: String,
    pub video: Video,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_tag: Option<String>,
}

/// AWS's message for an object that does not exist or cannot be read.
pub const NO_OBJECT: &str =
    "Unable to get object metadata from S3. Check object key, region and/or access permissions.";

/// Rekognition's maximum page size, and its default.
pub const MAX_RESULTS: usize = 1000;

impl StartFaceDetectionRequest {
    /// Checks the call against the service model.
    pub fn validate(self) -> Result<StartCall, ApiError> {
        let mut model = Model::default();
        model.present("video", self.video.is_some());
        let object = self.video.and_then(|video| video.s3_object);
        if let Some(object) = &object {
            let bucket = model.text("video.s3Object.bucket", object.bucket.as_deref());
            bucket.length(3, 255).pattern("[0-9A-Za-z\\.\\-_]*", |text| each(text, ".-_"));
            model.text("video.s3Object.name", object.name.as_deref()).length(1, 1024);
            model.text("video.s3Object.version", object.version.as_deref()).length(1, 1024);
        }
        let token = model.text("clientRequestToken", self.client_request_token.as_deref());
        token.length(1, 64).pattern("^[a-zA-Z0-9-_]+$", |text| each(text, "-_"));
        let tag = model.text("jobTag", self.job_tag.as_deref());
        tag.length(1, 1024).pattern("[a-zA-Z0-9_.\\-:+=\\/]+", |text| each(text, "_.-:+=/"));
        let attributes = model.text("faceAttributes", self.face_attributes.as_deref());
        attributes.one_of(&["ALL", "DEFAULT"]);
        if let Some(channel) = &self.notification_channel {
            model.present("notificationChannel.sNSTopicArn", channel.sns_topic_arn.is_some());
            model.present("notificationChannel.roleArn", channel.role_arn.is_some());
            let topic = model.text("notificationChannel.sNSTopicArn", channel.sns_topic_arn.as_deref());
            topic.pattern("(^arn:aws:sns:.*:\\w{12}:.+$)", is_topic_arn);
            let role = model.text("notificationChannel.roleArn", channel.role_arn.as_deref());
            role.pattern("arn:aws:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+", is_role_arn);
        }
        model.finish()?;

        // The model allows a call without a bucket or a key; the service refuses it with another error than the model's.
        let Some(S3Object { bucket: Some(bucket), name: Some(key), version }) = object else {
            return Err(ApiError::new(ErrorKind::InvalidParameter, "Request has invalid parameters"));
        };
        let notify = self.notification_channel.and_then(|channel| {
            channel.sns_topic_arn.zip(channel.role_arn).map(|(topic_arn, role_arn)| Notify { topic_arn, role_arn })
        });
        Ok(StartCall {
            object: ObjectRef { bucket, key, version },
            client_request_token: self.client_request_token,
            notify,
            face_attributes: self.face_attributes.unwrap_or_else(|| "DEFAULT".to_owned()),
            job_tag: self.job_tag,
        })
    }
}

impl GetFaceDetectionRequest {
    /// Checks the call against the service model. A larger number of results than the maximum is not refused
    /// but reduced to the maximum.
    pub fn validate(self) -> Result<GetCall, ApiError> {
        let mut model = Model::default();
        model.present("jobId", self.job_id.is_some());
        let id = model.text("jobId", self.job_id.as_deref());
        id.length(1, 64).pattern("^[a-zA-Z0-9-_]+$", |text| each(text, "-_"));
        let max_results = self.max_results.map_or(Ok(MAX_RESULTS), usize::try_from);
        let max_results = max_results.ok().filter(|&max| max >= 1);
        if max_results.is_none() {
            let value = self.max_results.unwrap_or_default();
            model.violation("maxResults", &value.to_string(), "Member must have value greater than or equal to 1");
        }
        model.text("nextToken", self.next_token.as_deref()).length(0, 255);
        model.finish()?;
        Ok(GetCall {
            job_id: self.job_id.unwrap_or_default(),
            max_results: max_results.unwrap_or(MAX_RESULTS).min(MAX_RESULTS),
            next_token: self.next_token,
        })
    }
}

/// Collects violations of the service model: AWS reports all of them in one error.
#[derive(Default)]
struct Model {
    violations: Vec<String>,
}

impl Model {
    fn present(&mut self, member: &str, present: bool) {
        if !present {
            let null = format!("Value null at '{member}' failed to satisfy constraint: Member must not be null");
            self.violations.push(null);
        }
    }

    /// Checks the constraints of a text; an absent one satisfies them all.
    fn text<'a>(&'a mut self, member: &'a str, value: Option<&'a str>) -> Text<'a> {
        Text { model: self, member, value }
    }

    fn violation(&mut self, member: &str, value: &str, constraint: &str) {
        let violation = format!("Value '{value}' at '{member}' failed to satisfy constraint: {constraint}");
        self.violations.push(violation);
    }

    fn finish(self) -> Result<(), ApiError> {
        let count = self.violations.len();
        if count == 0 {
            return Ok(());
        }
        let errors = if count == 1 { "error" } else { "errors" };
        let message = format!("{count} validation {errors} detected: {}", self.violations.join("; "));
        Err(ApiError::new(ErrorKind::Validation, message))
    }
}

struct Text<'a> {
    model: &'a mut Model,
    member: &'a str,
    value: Option<&'a str>,
}

impl Text<'_> {
    /// The length in characters, as in the service model.
    fn length(self, min: usize, max: usize) -> Self {
        if let Some(value) = self.value {
            let length = value.chars().count();
            if length < min {
                let constraint = format!("Member must have length greater than or equal to {min}");
                self.model.violation(self.member, value, &constraint);
            } else if length > max {
                let constraint = format!("Member must have length less than or equal to {max}");
                self.model.violation(self.member, value, &constraint);
            }
        }
        self
    }

    /// Checks the text with `matches`; `pattern` is the text of the violation.
    fn pattern(self, pattern: &str, matches: impl Fn(&str) -> bool) {
        if let Some(value) = self.value.filter(|value| !matches(value)) {
            let constraint = format!("Member must satisfy regular expression pattern: {pattern}");
            self.model.violation(self.member, value, &constraint);
        }
    }

    fn one_of(self, allowed: &[&str]) {
        if let Some(value) = self.value.filter(|value| !allowed.contains(value)) {
            let constraint = format!("Member must satisfy enum value set: [{}]", allowed.join(", "));
            self.model.violation(self.member, value, &constraint);
        }
    }
}

/// Whether every character is an ASCII letter, a digit or one of `others`.
fn each(text: &str, others: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

fn is_topic_arn(arn: &str) -> bool {
    let Some(("", rest)) = arn.split_once("arn:aws:sns:") else { return false };
    let parts: Vec<&str> = rest.splitn(3, ':').collect();
    let &[_, account, topic] = parts.as_slice() else { return false };
    account.len() == 12 && each(account, "_") && !topic.is_empty()
}

fn is_role_arn(arn: &str) -> bool {
    let Some(("", rest)) = arn.split_once("arn:aws:iam::") else { return false };
    let Some((account, role)) = rest.split_once(":role") else { return false };
    let account_is_number = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    account_is_number && !role.is_empty() && each(role, "_+=,.@-/")
}

/// An error of the service, as its callers receive it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    pub kind: ErrorKind,
    pub message: String,
}

/// The errors of the two calls, by the service model and by the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A token was used again with other parameters.
    IdempotentParameterMismatch,
    /// S3 did not answer, or an injected fault.
    InternalServer,
    /// A page token is expired, malformed or of another job.
    InvalidPaginationToken,
    /// The call satisfies the model but names no video.
    InvalidParameter,
    /// The video does not exist, or cannot be read.
    InvalidS3Object,
    /// The account's quota of concurrent jobs is used up.
    LimitExceeded,
    /// Too many calls a second.
    ProvisionedThroughputExceeded,
    /// The job does not exist or has expired.
    ResourceNotFound,
    /// The body is not the JSON of this call.
    Serialization,
    /// The service is busy.
    Throttling,
    /// Not one of the two calls.
    UnknownOperation,
    /// The call violates the service model.
    Validation,
    /// More than 10 GB.
    VideoTooLarge,
}

impl ErrorKind {
    /// The name in the response.
    pub fn name(self) -> &'static str {
        match self {
            Self::IdempotentParameterMismatch => "IdempotentParameterMismatchException",
            Self::InternalServer => "InternalServerError",
            Self::InvalidPaginationToken => "InvalidPaginationTokenException",
            Self::InvalidParameter => "InvalidParameterException",
            Self::InvalidS3Object => "InvalidS3ObjectException",
            Self::LimitExceeded => "LimitExceededException",
            Self::ProvisionedThroughputExceeded => "ProvisionedThroughputExceededException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::Serialization => "SerializationException",
            Self::Throttling => "ThrottlingException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::Validation => "ValidationException",
            Self::VideoTooLarge => "VideoTooLargeException",
        }
    }

    /// The HTTP status. In the service model throttling is a server fault, so it is a 500 too.
    fn status(self) -> StatusCode {
        match self {
            Self::InternalServer | Self::Throttling => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl ApiError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let name = self.kind.name();
        let body = serde_json::json!({ "__type": name, "Code": name, "Message": self.message });
        (self.kind.status(), [(header::CONTENT_TYPE, CONTENT_TYPE)], Json(body)).into_response()
    }
}

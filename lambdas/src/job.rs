//! The job: a Rekognition face-detection job, identified by all of its parameters.

use std::time::Duration;

use aws_sdk_rekognition::{
    config::retry::RetryConfig,
    error::{BoxError, ProvideErrorMetadata},
    types::{NotificationChannel, S3Object, Video as RekognitionVideo},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{aws::AwsError, page::get_face_detection, video::Video};

/// The first pause before a job that was not found is asked for again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// The attributes that Rekognition returns for a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FaceAttributes {
    /// Box, confidence, landmarks, pose and quality: about 0.7 kB of JSON a face.
    #[default]
    Default,
    /// Age, emotions and the rest as well: about 3.3 kB of JSON a face.
    All,
}

impl FaceAttributes {
    /// The value of the `FaceAttributes` parameter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::All => "ALL",
        }
    }
}

/// The parameters of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobParameters {
    /// The video.
    pub video: Video,
    /// The attributes that Rekognition returns for a face.
    pub face_attributes: FaceAttributes,
    /// The ARN of the topic to which Rekognition publishes the completion.
    pub topic_arn: String,
    /// The ARN of the role that Rekognition assumes to publish.
    pub role_arn: String,
    /// 0 for the first job of this content; one more after each job that failed or expired.
    pub attempt: u32,
}

/// A job to be started. Equal parameters give the same idempotency key, and so the same job of Rekognition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "JobParameters", into = "JobParameters")]
pub struct Job {
    parameters: JobParameters,
    idempotency_key: String,
}

impl From<JobParameters> for Job {
    fn from(parameters: JobParameters) -> Self {
        let JobParameters { video, face_attributes, topic_arn, role_arn, attempt } = &parameters;
        let Video { bucket, key, version_id, etag, bytes: _ } = video;
        let content = version_id.as_ref().unwrap_or(etag);
        // As JSON, because two different lists of strings never have the same JSON.
        let identity =
            serde_json::json!([bucket, key, content, face_attributes.as_str(), topic_arn, role_arn, attempt]);
        let idempotency_key = hex::encode(Sha256::digest(identity.to_string()));
        Self { parameters, idempotency_key }
    }
}

impl From<Job> for JobParameters {
    fn from(job: Job) -> Self {
        job.parameters
    }
}

/// A job that has succeeded: an output of the state `StartDetection`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishedJob {
    /// The `JobId` of Rekognition.
    pub job_id: String,
    /// See [`Job::idempotency_key`].
    pub idempotency_key: String,
    /// See [`JobParameters::attempt`].
    pub attempt: u32,
    /// The attributes that Rekognition returns for a face.
    pub face_attributes: FaceAttributes,
    /// The video.
    pub video: Video,
    /// The metadata of the video, as Rekognition reports it.
    pub metadata: VideoMetadata,
}

/// The metadata of the video that is on every page of Rekognition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VideoMetadata {
    /// For example `h264`.
    pub codec: Option<String>,
    /// The length in milliseconds.
    pub duration_ms: Option<u64>,
    /// For example `QuickTime / MOV`.
    pub format: Option<String>,
    /// Frames a second.
    pub frame_rate: Option<f32>,
    /// Pixels.
    pub frame_width: Option<u64>,
    /// Pixels.
    pub frame_height: Option<u64>,
    /// `FULL` or `LIMITED`.
    pub color_range: Option<String>,
}

/// The status of a job, as Rekognition reports it.
#[derive(Debug, Clone, PartialEq)]
pub enum JobStatus {
    /// It is queued or runs.
    InProgress,
    /// Its pages can be read.
    Succeeded(FirstPage),
    /// It ended without a result.
    Failed {
        /// Rekognition's `StatusMessage`.
        reason: String,
    },
    /// Rekognition finds no job with this id: the job has just been started and is not visible yet, its results have
    /// expired (they live 7 days), or there never was one.
    NotFound,
    /// Rekognition refuses the id: it is not the id of a job.
    InvalidId,
}

/// What the first page of a result contains besides its faces.
///
/// The call that reads the status of a job asks for the first page, so that the page need not be listed in another call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FirstPage {
    /// The metadata of the video.
    pub metadata: VideoMetadata,
    /// The token of the second page, unless there is only one.
    pub next_token: Option<String>,
}

/// The answer of Rekognition about a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobReport {
    /// Its status.
    pub status: JobStatus,
    /// The `JobTag` with which it was started: the idempotency key, if the job was started here.
    pub job_tag: Option<String>,
    /// The bucket and the key of its video.
    pub video: Option<(String, String)>,
}

/// Why a job could not be started.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum StartError {
    /// The account's quota of concurrent jobs is used up.
    #[error(
        "the account's quota of concurrent Rekognition video jobs is used up; the job starts when another one ends"
    )]
    LimitExceeded,
    /// Rekognition cannot read the object.
    #[error(
        "Rekognition cannot read s3://{bucket}/{key}: the start-detection role needs s3:GetObject on it, the bucket must be in the same Region, and a customer-managed key must allow kms:Decrypt: {source}"
    )]
    VideoUnreadable {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The answer of Rekognition.
        source: BoxError,
    },
    /// The video is too large for Rekognition.
    #[error("s3://{bucket}/{key} is too large for Rekognition, which takes at most 10 GB and 6 hours; split the video")]
    VideoTooLarge {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// An error that any AWS call can return.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// Why an answer of Rekognition cannot be used yet: the source of an [`AwsError::ServiceUnavailable`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    /// The answer of Start has no id.
    #[error("the answer has no JobId; another attempt makes the same call again and starts no second job")]
    JobIdMissing,
    /// `GetFaceDetection` does not find the job.
    #[error(
        "the job {job_id} has been started but cannot be found yet; another attempt finds it and starts no second job"
    )]
    JobNotVisible {
        /// The `JobId` of Rekognition.
        job_id: String,
    },
}

impl Job {
    /// The SHA-256 over every parameter of the Start call, as 64 hexadecimal digits.
    ///
    /// It is the `ClientRequestToken` and the `JobTag` of the job. For 7 days, Rekognition answers a second Start with the
    /// same token with the first one's job
    /// (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_StartFaceDetection.html>).
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }

    /// The video.
    #[must_use]
    pub fn video(&self) -> &Video {
        &self.parameters.video
    }

    /// See [`JobParameters::attempt`].
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.parameters.attempt
    }

    /// The next job for the same content.
    #[must_use]
    pub fn next_attempt(&self) -> Self {
        JobParameters { attempt: self.attempt() + 1, ..self.parameters.clone() }.into()
    }

    /// This job after it has succeeded.
    #[must_use]
    pub fn finished(&self, job_id: &str, metadata: &VideoMetadata) -> FinishedJob {
        FinishedJob {
            job_id: job_id.to_owned(),
            idempotency_key: self.idempotency_key.clone(),
            attempt: self.attempt(),
            face_attributes: self.parameters.face_attributes,
            video: self.video().clone(),
            metadata: metadata.clone(),
        }
    }

    /// Starts the job, or finds the one that was started before, and returns its `JobId`.
    ///
    /// # Errors
    /// [`StartError`] says why the job does not run.
    pub async fn start(&self, rekognition: &aws_sdk_rekognition::Client) -> Result<String, StartError> {
        let JobParameters { video, face_attributes, topic_arn, role_arn, .. } = &self.parameters;
        let Video { bucket, key, version_id, .. } = video;
        let object = S3Object::builder().bucket(bucket).name(key).set_version(version_id.clone()).build();
        let channel = NotificationChannel::builder()
            .sns_topic_arn(topic_arn)
            .role_arn(role_arn)
            .build()
            .map_err(|error| AwsError::Refused { call: "rekognition:StartFaceDetection", source: error.into() })?;
        let started = rekognition
            .start_face_detection()
            .client_request_token(&self.idempotency_key)
            .job_tag(&self.idempotency_key)
            .video(RekognitionVideo::builder().s3_object(object).build())
            .face_attributes(face_attributes.as_str().into())
            .notification_channel(channel)
            .customize()
            // The SDK classifies LimitExceeded as throttling and would retry within a second.
            .config_override(aws_sdk_rekognition::config::Builder::new().retry_config(RetryConfig::disabled()))
            .send()
            .await;
        match started {
            Ok(output) => output.job_id.filter(|job_id| !job_id.is_empty()).ok_or_else(|| {
                let source = NotReady::JobIdMissing.into();
                AwsError::ServiceUnavailable { call: "rekognition:StartFaceDetection", source }.into()
            }),
            Err(error) => Err(match error.code() {
                Some("LimitExceededException") => StartError::LimitExceeded,
                Some("VideoTooLargeException") => {
                    StartError::VideoTooLarge { bucket: bucket.clone(), key: key.clone() }
                }
                Some("InvalidS3ObjectException") => {
                    StartError::VideoUnreadable { bucket: bucket.clone(), key: key.clone(), source: error.into() }
                }
                _ => AwsError::new("rekognition:StartFaceDetection", error).into(),
            }),
        }
    }
}

/// The members of an answer of `GetFaceDetection` that describe the job
/// (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_GetFaceDetection.html>).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    job_status: Option<String>,
    status_message: Option<String>,
    job_tag: Option<String>,
    video: Option<AnsweredVideo>,
    video_metadata: Option<AnsweredMetadata>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AnsweredVideo {
    #[serde(rename = "S3Object")]
    s3_object: Option<AnsweredObject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct AnsweredObject {
    bucket: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct AnsweredMetadata {
    codec: Option<String>,
    duration_millis: Option<i64>,
    format: Option<String>,
    frame_rate: Option<f32>,
    frame_width: Option<i64>,
    frame_height: Option<i64>,
    color_range: Option<String>,
}

impl From<AnsweredMetadata> for VideoMetadata {
    fn from(answered: AnsweredMetadata) -> Self {
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        Self {
            codec: answered.codec,
            duration_ms: count(answered.duration_millis),
            format: answered.format,
            frame_rate: answered.frame_rate,
            frame_width: count(answered.frame_width),
            frame_height: count(answered.frame_height),
            color_range: answered.color_range,
        }
    }
}

impl From<Answer> for JobReport {
    fn from(answer: Answer) -> Self {
        let Answer { job_status, status_message, job_tag, video, video_metadata, next_token } = answer;
        let status = match job_status.as_deref() {
            Some("SUCCEEDED") => {
                JobStatus::Succeeded(FirstPage { metadata: video_metadata.unwrap_or_default().into(), next_token })
            }
            Some("IN_PROGRESS") => JobStatus::InProgress,
            // FAILED, and any status that a later API may add: no page can be read.
            other => JobStatus::Failed {
                reason: status_message
                    .unwrap_or_else(|| format!("Rekognition gave no reason (status {})", other.unwrap_or("absent"))),
            },
        };
        let video = video.and_then(|video| video.s3_object).map(|object| (object.bucket, object.name));
        Self { status, job_tag, video }
    }
}

/// Asks Rekognition for the status of a job and, if it has succeeded, for what its first page says.
///
/// # Errors
/// [`AwsError`]; for a job that Rekognition does not know, the status is [`JobStatus::NotFound`] or
/// [`JobStatus::InvalidId`].
async fn report(rekognition: &aws_sdk_rekognition::Client, job_id: &str) -> Result<JobReport, AwsError> {
    const CALL: &str = "rekognition:GetFaceDetection";
    match get_face_detection(rekognition, job_id, None).await {
        Ok(body) => {
            let answer: Answer = serde_json::from_slice(body.bytes().unwrap_or_default())
                .map_err(|source| AwsError::ServiceUnavailable { call: CALL, source: source.into() })?;
            Ok(answer.into())
        }
        Err(error) => {
            let status = match error.code() {
                Some("ResourceNotFoundException") => JobStatus::NotFound,
                Some("InvalidParameterException") => JobStatus::InvalidId,
                _ => return Err(AwsError::new(CALL, error)),
            };
            Ok(JobReport { status, job_tag: None, video: None })
        }
    }
}

/// Asks Rekognition for the status of a job, again while the job is not found, for up to `patience`.
///
/// AWS does not document how soon after `StartFaceDetection` a job is visible to `GetFaceDetection`.
///
/// # Errors
/// [`AwsError`]; for a job that is still not found, the status is [`JobStatus::NotFound`].
pub async fn report_once_visible(
    rekognition: &aws_sdk_rekognition::Client,
    job_id: &str,
    patience: Duration,
) -> Result<JobReport, AwsError> {
    let (mut pause, mut waited) = (FIRST_PAUSE, Duration::ZERO);
    loop {
        let report = report(rekognition, job_id).await?;
        if report.status != JobStatus::NotFound || waited >= patience {
            return Ok(report);
        }
        tracing::info!(job_id, ?pause, "the job is not found yet");
        tokio::time::sleep(pause).await;
        waited += pause;
        pause = MAX_PAUSE.min(2 * pause);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn parameters() -> JobParameters {
        JobParameters {
            video: Video {
                bucket: "uploads".into(),
                key: "holiday.mp4".into(),
                version_id: None,
                etag: "9b2cf535f27731c974343645a3985328-3".into(),
                bytes: 1_000_000,
            },
            face_attributes: FaceAttributes::Default,
            topic_arn: "arn:aws:sns:us-east-1:123456789012:completions".into(),
            role_arn: "arn:aws:iam::123456789012:role/publish".into(),
            attempt: 0,
        }
    }

    pub(crate) fn job() -> Job {
        parameters().into()
    }

    #[test]
    fn an_idempotency_key_fits_client_request_token_and_job_tag() {
        let job = job();
        let idempotency_key = job.idempotency_key();
        assert_eq!(idempotency_key.len(), 64);
        assert!(idempotency_key.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn every_parameter_of_the_start_call_is_in_the_idempotency_key() {
        let job = parameters();
        let video = |change: fn(&mut Video)| {
            let mut job = job.clone();
            change(&mut job.video);
            job
        };
        let others = [
            video(|video| video.bucket = "other".into()),
            video(|video| video.key = "other.mp4".into()),
            video(|video| video.etag = "other".into()),
            video(|video| video.version_id = Some("1".into())),
            JobParameters { face_attributes: FaceAttributes::All, ..job.clone() },
            JobParameters { topic_arn: "other".into(), ..job.clone() },
            JobParameters { role_arn: "other".into(), ..job.clone() },
            JobParameters { attempt: 1, ..job.clone() },
        ];
        let mut keys: Vec<_> =
            others.iter().chain([&job]).map(|job| Job::from(job.clone()).idempotency_key().to_owned()).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), others.len() + 1);
    }

    #[test]
    fn the_idempotency_key_of_a_job_never_changes_between_releases() {
        // A release with another key would pay again for every video of the last 7 days.
        assert_eq!(job().idempotency_key(), "8e8e3edf0c89f19aaf7e87a36cc715026f5cab07b326d8e8a07e247c3e83036a");
    }
}

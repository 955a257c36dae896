//! The job: a Rekognition face-detection job, named by everything that went into it.

use std::time::Duration;

use aws_sdk_rekognition::{
    config::retry::RetryConfig,
    error::{BoxError, ProvideErrorMetadata},
    operation::get_face_detection::GetFaceDetectionOutput,
    types::{NotificationChannel, S3Object, Video as RekognitionVideo, VideoJobStatus},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{aws::AwsError, video::Video};

/// The first pause before a job that was not found is asked for again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// How much Rekognition tells of a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FaceAttributes {
    /// Box, confidence, landmarks, pose and quality: about 0.7 kB of JSON a face.
    Default,
    /// Age, emotions and the rest as well: about 3.3 kB of JSON a face.
    All,
}

impl FaceAttributes {
    /// Rekognition's own word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::All => "ALL",
        }
    }
}

/// A job as it is asked for. Equal jobs have equal keys, and so find each other again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What is analysed.
    pub video: Video,
    /// How much Rekognition tells of a face.
    pub face_attributes: FaceAttributes,
    /// Where Rekognition reports the completion to.
    pub topic_arn: String,
    /// The role in which Rekognition publishes there.
    pub role_arn: String,
    /// 0 for the first job of this content; counted up past each one that failed or is forgotten.
    pub attempt: u32,
}

/// A finished job: what `StartDetection` hands to the states after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishedJob {
    /// Rekognition's name of the job.
    pub job_id: String,
    /// Our name of the job.
    pub idempotency_key: String,
    /// See [`Job::attempt`].
    pub attempt: u32,
    /// How much Rekognition tells of a face.
    pub face_attributes: FaceAttributes,
    /// What was analysed.
    pub video: Video,
    /// What Rekognition knows of the video.
    pub metadata: VideoMetadata,
}

/// The facts of the video that Rekognition tells on every page.
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

/// How a job stands, as Rekognition itself says.
#[derive(Debug, Clone, PartialEq)]
pub enum JobStatus {
    /// It runs, or waits to.
    InProgress,
    /// Its pages can be read.
    Succeeded(VideoMetadata),
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

/// What Rekognition says of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobReport {
    /// How it stands.
    pub status: JobStatus,
    /// The tag it was started with.
    pub idempotency_key: Option<String>,
    /// Bucket and key of its video.
    pub video: Option<(String, String)>,
}

/// Why a job could not be started.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum StartError {
    /// The account's concurrent jobs are used up.
    #[error("every one of the account's Rekognition video jobs is taken; one more starts when one of them ends")]
    LimitExceeded,
    /// Rekognition cannot read the object.
    #[error(
        "Rekognition cannot read s3://{bucket}/{key}: the start-detection role needs s3:GetObject on it, the bucket must lie in the same Region, and an own key must allow kms:Decrypt: {source}"
    )]
    VideoUnreadable {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What Rekognition said.
        source: BoxError,
    },
    /// Rekognition finds the video too large.
    #[error("Rekognition finds s3://{bucket}/{key} too large: it takes at most 10 GB and 6 hours; split it")]
    VideoTooLarge {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// Anything that every AWS call can meet.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// Why an answer of Rekognition is of no use yet: the source of an [`AwsError::ServiceUnavailable`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    /// Start has answered without an id.
    #[error("the answer has no JobId; another attempt makes the same call again and starts no second job")]
    JobIdMissing,
    /// The job cannot be asked for.
    #[error(
        "the job {job_id} has been started but cannot be found yet; another attempt finds it and starts no second job"
    )]
    JobNotVisible {
        /// Rekognition's name of the job.
        job_id: String,
    },
}

impl Job {
    /// The job's name: 64 hex digits, a hash over every parameter of the Start call.
    ///
    /// It is `ClientRequestToken` and `JobTag` at once, so that Rekognition itself answers a second Start for 7 days
    /// with the first one's job (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_StartFaceDetection.html>).
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let Video { bucket, key, version_id, etag, bytes: _ } = &self.video;
        let content = version_id.as_ref().unwrap_or(etag);
        // As JSON, because no two different lists of strings have the same JSON.
        let identity = serde_json::json!([
            bucket,
            key,
            content,
            self.face_attributes.as_str(),
            self.topic_arn,
            self.role_arn,
            self.attempt
        ]);
        hex::encode(Sha256::digest(identity.to_string()))
    }

    /// The same content's next job.
    #[must_use]
    pub fn next_attempt(self) -> Self {
        Self { attempt: self.attempt + 1, ..self }
    }

    /// This job, finished.
    #[must_use]
    pub fn finished(self, job_id: &str, metadata: &VideoMetadata) -> FinishedJob {
        FinishedJob {
            job_id: job_id.to_owned(),
            idempotency_key: self.idempotency_key(),
            attempt: self.attempt,
            face_attributes: self.face_attributes,
            video: self.video,
            metadata: metadata.clone(),
        }
    }

    /// Starts the job, or finds the one that was started before, and returns its `JobId`.
    ///
    /// # Errors
    /// [`StartError`] says why no job runs now.
    pub async fn start(&self, rekognition: &aws_sdk_rekognition::Client) -> Result<String, StartError> {
        let Video { bucket, key, version_id, .. } = &self.video;
        let idempotency_key = self.idempotency_key();
        let object = S3Object::builder().bucket(bucket).name(key).set_version(version_id.clone()).build();
        let channel = NotificationChannel::builder()
            .sns_topic_arn(&self.topic_arn)
            .role_arn(&self.role_arn)
            .build()
            .map_err(|error| AwsError::Refused { call: "rekognition:StartFaceDetection", source: error.into() })?;
        let started = rekognition
            .start_face_detection()
            .client_request_token(&idempotency_key)
            .job_tag(&idempotency_key)
            .video(RekognitionVideo::builder().s3_object(object).build())
            .face_attributes(self.face_attributes.as_str().into())
            .notification_channel(channel)
            .customize()
            // The SDK takes LimitExceeded for throttling and would try again within the second.
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

/// Asks Rekognition how a job stands.
///
/// # Errors
/// [`AwsError`]; for a job that Rekognition does not know, the status is [`JobStatus::NotFound`] or
/// [`JobStatus::InvalidId`].
pub async fn report(rekognition: &aws_sdk_rekognition::Client, job_id: &str) -> Result<JobReport, AwsError> {
    match rekognition.get_face_detection().job_id(job_id).max_results(1).send().await {
        Ok(output) => Ok(JobReport {
            idempotency_key: output.job_tag.clone(),
            video: output.video.as_ref().and_then(|video| video.s3_object()).map(|object| {
                (object.bucket().unwrap_or_default().to_owned(), object.name().unwrap_or_default().to_owned())
            }),
            status: status(&output),
        }),
        Err(error) => {
            let status = match error.code() {
                Some("ResourceNotFoundException") => JobStatus::NotFound,
                Some("InvalidParameterException") => JobStatus::InvalidId,
                _ => return Err(AwsError::new("rekognition:GetFaceDetection", error)),
            };
            Ok(JobReport { status, idempotency_key: None, video: None })
        }
    }
}

/// As [`report`], for a job that should be there: while Rekognition does not find it, asks again for up to `patience`.
///
/// AWS does not document how soon after `StartFaceDetection` a job is visible to `GetFaceDetection`.
///
/// # Errors
/// As [`report`]; for a job that is still not found, the status is [`JobStatus::NotFound`].
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

fn status(output: &GetFaceDetectionOutput) -> JobStatus {
    match output.job_status() {
        Some(VideoJobStatus::Succeeded) => JobStatus::Succeeded(metadata(output)),
        Some(VideoJobStatus::InProgress) => JobStatus::InProgress,
        // FAILED, and whatever a later API may add: no page can be read.
        other => JobStatus::Failed {
            reason: output.status_message().map_or_else(
                || format!("Rekognition gave no reason (status {})", other.map_or("absent", VideoJobStatus::as_str)),
                str::to_owned,
            ),
        },
    }
}

fn metadata(output: &GetFaceDetectionOutput) -> VideoMetadata {
    let Some(video) = output.video_metadata() else { return VideoMetadata::default() };
    VideoMetadata {
        codec: video.codec().map(str::to_owned),
        duration_ms: video.duration_millis().and_then(|millis| u64::try_from(millis).ok()),
        format: video.format().map(str::to_owned),
        frame_rate: video.frame_rate(),
        frame_width: video.frame_width().and_then(|pixels| u64::try_from(pixels).ok()),
        frame_height: video.frame_height().and_then(|pixels| u64::try_from(pixels).ok()),
        color_range: video.color_range().map(|range| range.as_str().to_owned()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn job() -> Job {
        Job {
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

    #[test]
    fn an_idempotency_key_fits_client_request_token_and_job_tag() {
        let idempotency_key = job().idempotency_key();
        assert_eq!(idempotency_key.len(), 64);
        assert!(idempotency_key.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn every_parameter_of_the_start_call_is_in_the_idempotency_key() {
        let job = job();
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
            Job { face_attributes: FaceAttributes::All, ..job.clone() },
            Job { topic_arn: "other".into(), ..job.clone() },
            Job { role_arn: "other".into(), ..job.clone() },
            job.clone().next_attempt(),
        ];
        let mut keys: Vec<_> = others.iter().chain([&job]).map(Job::idempotency_key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), others.len() + 1);
    }

    #[test]
    fn the_idempotency_key_of_a_job_never_changes_between_releases() {
        // A release that named jobs otherwise would pay once more for every video of the last 7 days.
        assert_eq!(job().idempotency_key(), "8e8e3edf0c89f19aaf7e87a36cc715026f5cab07b326d8e8a07e247c3e83036a");
    }
}

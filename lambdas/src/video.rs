//! The video: an S3 object, inspected before a job is paid for.

use aws_sdk_s3::{error::ProvideErrorMetadata, operation::head_object::HeadObjectOutput};
use serde::{Deserialize, Serialize};

use crate::{
    aws::{AwsError, named_by_variant},
    input::InvalidInput,
    retry::while_throttled,
};

/// Rekognition accepts stored videos of at most 10 GB
/// (<https://docs.aws.amazon.com/rekognition/latest/dg/limits.html>).
pub const MAX_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// The location of a video, as the event or a person gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The bucket's name.
    pub bucket: String,
    /// The key, raw: neither decoded nor encoded.
    pub key: String,
    /// The version, in a versioned bucket: see [`immutable_version`].
    pub version_id: Option<String>,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)?;
        self.version_id.iter().try_for_each(|version| write!(f, " (version {version})"))
    }
}

/// One content of a video: an object at one version, or with one entity tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Video {
    /// The bucket's name.
    pub bucket: String,
    /// The key, raw: neither decoded nor encoded.
    pub key: String,
    /// The version, in a versioned bucket: see [`immutable_version`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// The entity tag, without quotes.
    pub etag: String,
    /// The size in bytes.
    pub bytes: u64,
}

/// Why no job is started for an object. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
pub enum InspectError {
    /// The execution's input does not name a video.
    #[error(transparent)]
    InvalidInput(#[from] InvalidInput),
    /// The object does not exist.
    #[error("there is no object at {0}; upload it again, or correct bucket and key")]
    VideoNotFound(Location),
    /// The object has no bytes.
    #[error("{0} is empty; upload it again")]
    VideoEmpty(Location),
    /// The object is larger than Rekognition accepts.
    #[error(
        "{location} has {bytes} bytes, but Rekognition accepts at most {MAX_BYTES}; split the video or encode it smaller"
    )]
    VideoTooLarge {
        /// The object.
        location: Location,
        /// Its size.
        bytes: u64,
    },
    /// The object does not begin like an MP4 or MOV file.
    #[error("{0} does not begin like an MP4 or MOV file; convert it: Rekognition accepts H.264 in MP4 or MOV")]
    NotAVideo(Location),
    /// The object is in an archive storage class and is not restored: HEAD answers, GET does not.
    #[error(
        "{0} is archived (S3 Glacier or Deep Archive); restore it with `aws s3api restore-object`, then replay the execution"
    )]
    VideoArchived(Location),
    /// S3 does not serve the object for the reason.
    #[error("{location} cannot be read: {reason}")]
    VideoUnreadable {
        /// The object.
        location: Location,
        /// The reason, with the remedy.
        reason: &'static str,
    },
    /// A call of S3 failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(InspectError);

impl Video {
    /// The location of this content.
    #[must_use]
    pub fn location(&self) -> Location {
        let Self { bucket, key, version_id, .. } = self.clone();
        Location { bucket, key, version_id }
    }

    /// Whether the object still has this content. A version never changes, so that no call is made for one.
    ///
    /// # Errors
    /// [`InspectError`] if the object is gone or cannot be read.
    pub async fn is_unchanged(&self, s3: &aws_sdk_s3::Client) -> Result<bool, InspectError> {
        if self.version_id.is_some() {
            return Ok(true);
        }
        let head = head(s3, &self.location()).await?;
        Ok(etag(&head) == self.etag)
    }

    /// Inspects the object: it exists, is neither empty nor too large, and begins like an MP4 or MOV file.
    ///
    /// # Errors
    /// [`InspectError`] says why the object cannot be analysed.
    pub async fn inspect(s3: &aws_sdk_s3::Client, location: &Location) -> Result<Self, InspectError> {
        let head = head(s3, location).await?;
        let bytes = head.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or_default();
        match bytes {
            0 => return Err(InspectError::VideoEmpty(location.clone())),
            1..=MAX_BYTES => {}
            _ => return Err(InspectError::VideoTooLarge { location: location.clone(), bytes }),
        }
        let start = s3
            .get_object()
            .bucket(&location.bucket)
            .key(&location.key)
            .set_version_id(location.version_id.clone())
            .range("bytes=0-11")
            .send()
            .await
            .map_err(|error| not_found_or(error, location))?
            .body
            .collect()
            .await
            .map_err(|error| AwsError::ServiceUnavailable { call: "s3:GetObject", source: error.into() })?;
        if !begins_like_a_video(&start.into_bytes()) {
            return Err(InspectError::NotAVideo(location.clone()));
        }
        Ok(Self {
            bucket: location.bucket.clone(),
            key: location.key.clone(),
            // Pinned even if the event did not name it: a later upload under the same key is another content.
            version_id: location.version_id.clone().or_else(|| immutable_version(head.version_id().map(str::to_owned))),
            etag: etag(&head).to_owned(),
            bytes,
        })
    }
}

async fn head(s3: &aws_sdk_s3::Client, location: &Location) -> Result<HeadObjectOutput, InspectError> {
    let Location { bucket, key, version_id } = location;
    while_throttled(async || {
        let head = s3.head_object().bucket(bucket).key(key).set_version_id(version_id.clone());
        head.send().await.map_err(|error| not_found_or(error, location))
    })
    .await
}

fn etag(head: &HeadObjectOutput) -> &str {
    head.e_tag().unwrap_or_default().trim_matches('"')
}

/// The version id, if it identifies one content for good: `null` does not.
///
/// S3 stores every upload into a bucket with suspended versioning under the version id `null`, and the next upload under
/// the same key overwrites that version
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/AddingObjectstoVersionSuspendedBuckets.html>).
/// The entity tag identifies the content of such an object, as in a bucket without versions.
#[must_use]
pub fn immutable_version(version_id: Option<String>) -> Option<String> {
    version_id.filter(|version_id| version_id != "null")
}

/// Whether an ISO media file, or a `QuickTime` file from the time before `ftyp`, begins with these bytes.
#[must_use]
pub fn begins_like_a_video(start: &[u8]) -> bool {
    matches!(start.get(4..8), Some(b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot"))
}

fn not_found_or<E>(
    error: aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
    location: &Location,
) -> InspectError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let unreadable = |reason| InspectError::VideoUnreadable { location: location.clone(), reason };
    // HeadObject answers without a body, so that only the status says what happened
    // (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>).
    match (error.raw_response().map(|response| response.status().as_u16()), error.code()) {
        (Some(404), _) => InspectError::VideoNotFound(location.clone()),
        (Some(301), _) => unreadable("the bucket is in another Region; deploy facereel in the Region of the bucket"),
        (Some(400), None) => unreadable("the name of the bucket or the version id is malformed; correct the input"),
        // <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>
        (_, Some("InvalidObjectState")) => InspectError::VideoArchived(location.clone()),
        _ => AwsError::new("s3:GetObject", error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mp4_and_mov_begin_like_a_video() {
        assert!(begins_like_a_video(b"\0\0\0\x20ftypisom"));
        assert!(begins_like_a_video(b"\0\0\0\x14ftypqt  "));
        assert!(begins_like_a_video(b"\0\0\0\x08wide\0\0\0\0"));
    }

    #[test]
    fn only_the_version_id_null_identifies_no_content() {
        assert_eq!(immutable_version(Some("null".into())), None);
        assert_eq!(immutable_version(None), None);
        for version_id in ["IYV3p45BT0ac8hjHg1houSdS1a.Mro8e", "NULL", "null.", "nullnull"] {
            assert_eq!(immutable_version(Some(version_id.into())).as_deref(), Some(version_id));
        }
    }

    #[test]
    fn other_bytes_do_not() {
        for bytes in [&b""[..], b"ftyp", b"hello world, this is text", b"\x1aE\xdf\xa3\x01\0\0\0\0\0\0\0"] {
            assert!(!begins_like_a_video(bytes), "{bytes:?}");
        }
    }
}

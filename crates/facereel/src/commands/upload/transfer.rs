//! The transfer of one file to S3.
//!
//! Every part has a SHA-256, which S3 checks and lists. So S3 knows which parts of an unfinished upload are stored, and the next
//! run continues it without any state on this machine: a part is sent unless the part in S3 has the checksum of the file's part.
//! The upload is completed with the checksums of the file's parts, so the object never has parts of another content.

use std::{collections::BTreeMap, time::SystemTime};

use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::head_object::HeadObjectOutput,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, Part as StoredPart},
};
use aws_sdk_sfn::config::http::HttpResponse;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use local_stack::Progress;

use super::{error::UploadError, local_file::LocalFile};
use crate::deployed::{Error, S3Uri};

/// The number of parts that are sent at the same time, and so are in memory.
const CONCURRENT_PARTS: usize = 4;

/// The condition of a write: there is no object with this key.
const NO_OBJECT: &str = "*";

/// An object with the content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    /// Its entity tag, without quotes.
    pub(super) etag: Option<String>,
    /// Its version, in a versioned bucket.
    pub(super) version_id: Option<String>,
    /// No event of this object is earlier.
    pub(super) since: SystemTime,
    /// How much of the file this run has sent, in bytes.
    pub(super) sent_bytes: u64,
}

/// What is stored under a key.
#[derive(Debug)]
pub(super) enum Found {
    /// No object.
    Nothing,
    /// The content of the file.
    Same(Stored),
    /// Another content, or one that cannot be compared.
    Other,
}

/// A file, and the object that it becomes.
pub(super) struct Transfer<'a> {
    pub(super) s3: &'a Client,
    pub(super) file: &'a LocalFile,
    pub(super) object: &'a S3Uri,
    /// Whether an object with another content is replaced.
    pub(super) replace: bool,
}

/// An upload in parts that is not completed, and its stored parts by their index.
struct Unfinished {
    id: String,
    parts: BTreeMap<u64, StoredPart>,
}

impl Transfer<'_> {
    /// Compares the object under the key with the file.
    pub(super) async fn find(&self) -> Result<Found, UploadError> {
        let S3Uri { bucket, key } = self.object;
        let request = self.s3.head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        let object = match request.send().await {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(|reason| reason.is_not_found()) => {
                return Ok(Found::Nothing);
            }
            Err(error) => return Err(Error::aws("s3:GetObject")(error).into()),
        };
        let bytes = object.content_length().and_then(|bytes| u64::try_from(bytes).ok());
        // An upload by another tool has another checksum, or none.
        let Some(checksum) = object.checksum_sha256().filter(|_| bytes == Some(self.file.bytes)) else {
            return Ok(Found::Other);
        };
        let same = self.file.checksum().await? == checksum;
        Ok(if same { Found::Same(Stored::found(&object)) } else { Found::Other })
    }

    /// Uploads the file. An earlier upload of it that was not completed is continued.
    ///
    /// The object can appear under the key meanwhile: another process uploads the same file, or the SDK repeats the last call
    /// because its response was lost. If it has the content of the file, the upload is done.
    pub(super) async fn upload(&self, progress: &dyn Progress) -> Result<Stored, UploadError> {
        let uploaded = if self.file.is_large() { self.upload_in_parts(progress).await } else { self.put().await };
        match uploaded {
            Err(error @ (UploadError::Exists(_) | UploadError::UploadGone(_))) => match self.find().await? {
                Found::Same(stored) => Ok(Stored { sent_bytes: self.file.bytes, ..stored }),
                Found::Nothing | Found::Other => Err(error),
            },
            uploaded => uploaded,
        }
    }

    /// Uploads a small file with one call.
    async fn put(&self) -> Result<Stored, UploadError> {
        let part = self.file.read_part(0).await?;
        let since = SystemTime::now();
        let put = self
            .s3
            .put_object()
            .bucket(&self.object.bucket)
            .key(&self.object.key)
            .content_type(self.content_type())
            .set_if_none_match(self.condition())
            .checksum_sha256(part.checksum())
            .body(ByteStream::from(part.content))
            .send()
            .await
            .map_err(|error| self.error("s3:PutObject", error))?;
        let (etag, version_id) = (without_quotes(put.e_tag), put.version_id);
        Ok(Stored { etag, version_id, since, sent_bytes: self.file.bytes })
    }

    async fn upload_in_parts(&self, progress: &dyn Progress) -> Result<Stored, UploadError> {
        let Unfinished { id, parts: stored } = match self.unfinished().await? {
            Some(unfinished) => unfinished,
            None => Unfinished { id: self.create().await?, parts: BTreeMap::new() },
        };
        let mut sent = stream::iter(0..self.file.parts())
            .map(|index| self.complete_part(&id, index, stored.get(&index)))
            .buffered(CONCURRENT_PARTS);
        let (mut parts, mut done, mut sent_bytes) = (Vec::new(), 0, 0);
        while let Some((part, sent)) = sent.try_next().await? {
            done += self.file.part_bytes(done_index(&parts));
            sent_bytes += sent;
            parts.push(part);
            #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
            progress.ratio(done as f32 / self.file.bytes as f32);
        }
        self.file.check_unchanged()?;
        let completed = self.complete(&id, parts, sent_bytes).await;
        if matches!(completed, Err(UploadError::Exists(_))) {
            // It can not be completed any more. If this fails, a lifecycle rule of the stack's bucket removes it.
            let S3Uri { bucket, key } = self.object;
            let _ = self.s3.abort_multipart_upload().bucket(bucket).key(key).upload_id(&id).send().await;
        }
        completed
    }

    async fn complete(&self, id: &str, parts: Vec<CompletedPart>, sent_bytes: u64) -> Result<Stored, UploadError> {
        let since = SystemTime::now();
        let completed = self
            .s3
            .complete_multipart_upload()
            .bucket(&self.object.bucket)
            .key(&self.object.key)
            .upload_id(id)
            .set_if_none_match(self.condition())
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .send()
            .await
            .map_err(|error| self.error("s3:PutObject", error))?;
        let (etag, version_id) = (without_quotes(completed.e_tag), completed.version_id);
        Ok(Stored { etag, version_id, since, sent_bytes })
    }

    async fn create(&self) -> Result<String, UploadError> {
        let created = self
            .s3
            .create_multipart_upload()
            .bucket(&self.object.bucket)
            .key(&self.object.key)
            .content_type(self.content_type())
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .send()
            .await
            .map_err(|error| self.error("s3:PutObject", error))?;
        created.upload_id.ok_or(Error::Incomplete { action: "s3:PutObject", missing: "UploadId" }.into())
    }

    /// The newest unfinished upload of this file to the key. An upload of another content, which may be one that another person
    /// makes, is not touched.
    async fn unfinished(&self) -> Result<Option<Unfinished>, UploadError> {
        let S3Uri { bucket, key } = self.object;
        let listing = self.s3.list_multipart_uploads().bucket(bucket).prefix(key).send().await;
        let listing = listing.map_err(Error::aws("s3:ListBucketMultipartUploads"))?;
        let mut uploads: Vec<_> = listing.uploads().iter().filter(|upload| upload.key() == Some(key)).collect();
        uploads.sort_by_key(|upload| std::cmp::Reverse(upload.initiated().map(|at| (at.secs(), at.subsec_nanos()))));
        for id in uploads.into_iter().filter_map(|upload| upload.upload_id()) {
            let Some(parts) = self.stored_parts(id).await? else { continue };
            let Some((&index, first)) = parts.first_key_value() else { continue };
            if self.is_stored(&self.file.read_part(index).await?.checksum(), index, Some(first)) {
                return Ok(Some(Unfinished { id: id.to_owned(), parts }));
            }
        }
        Ok(None)
    }

    /// The stored parts of an unfinished upload. `None`, if it has been completed or removed, or has parts that the file has not.
    async fn stored_parts(&self, id: &str) -> Result<Option<BTreeMap<u64, StoredPart>>, UploadError> {
        let request = self.s3.list_parts().bucket(&self.object.bucket).key(&self.object.key).upload_id(id);
        let mut listing = request.into_paginator().items().send();
        let mut parts = BTreeMap::new();
        while let Some(part) = listing.next().await {
            match part {
                Ok(part) => {
                    let number = part.part_number().and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
                    match number.checked_sub(1).filter(|index| *index < self.file.parts()) {
                        Some(index) => parts.insert(index, part),
                        None => return Ok(None),
                    };
                }
                Err(error) if error.code() == Some(NO_SUCH_UPLOAD) => return Ok(None),
                Err(error) => return Err(Error::aws("s3:ListMultipartUploadParts")(error).into()),
            }
        }
        Ok(Some(parts))
    }

    /// Whether the stored part is the file's part with this checksum.
    fn is_stored(&self, checksum: &str, index: u64, stored: Option<&StoredPart>) -> bool {
        let bytes = Some(self.file.part_bytes(index));
        stored.is_some_and(|part| {
            part.checksum_sha256() == Some(checksum) && part.size().and_then(|size| u64::try_from(size).ok()) == bytes
        })
    }

    /// Sends a part, unless it is stored. Returns it, and how many bytes were sent.
    async fn complete_part(
        &self,
        id: &str,
        index: u64,
        stored: Option<&StoredPart>,
    ) -> Result<(CompletedPart, u64), UploadError> {
        let part = self.file.read_part(index).await?;
        let checksum = part.checksum();
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        let completed = CompletedPart::builder().part_number(number).checksum_sha256(&checksum);
        if let Some(stored) = stored.filter(|stored| self.is_stored(&checksum, index, Some(stored))) {
            return Ok((completed.set_e_tag(stored.e_tag.clone()).build(), 0));
        }
        let sent = self
            .s3
            .upload_part()
            .bucket(&self.object.bucket)
            .key(&self.object.key)
            .upload_id(id)
            .part_number(number)
            .checksum_sha256(&checksum)
            .body(ByteStream::from(part.content))
            .send()
            .await
            .map_err(|error| self.error("s3:PutObject", error))?;
        Ok((completed.set_e_tag(sent.e_tag).build(), self.file.part_bytes(index)))
    }

    /// A write with this condition fails if another upload has written the key meanwhile.
    fn condition(&self) -> Option<String> {
        (!self.replace).then(|| NO_OBJECT.to_owned())
    }

    fn content_type(&self) -> &'static str {
        if self.object.key.to_ascii_lowercase().ends_with(".mov") { "video/quicktime" } else { "video/mp4" }
    }

    fn error<E>(&self, action: &'static str, error: SdkError<E, HttpResponse>) -> UploadError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match error.code() {
            // 412 and 409: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
            Some("PreconditionFailed" | "ConditionalRequestConflict") => UploadError::Exists(self.object.clone()),
            Some(NO_SUCH_UPLOAD) => UploadError::UploadGone(self.object.clone()),
            Some("NoSuchBucket") => Error::NoBucket(self.object.bucket.clone()).into(),
            _ if self.file.is_large() => {
                UploadError::Incomplete { path: self.file.path.clone(), source: Error::aws(action)(error) }
            }
            _ => Error::aws(action)(error).into(),
        }
    }
}

/// The error code of S3 for an upload in parts that was completed or removed.
const NO_SUCH_UPLOAD: &str = "NoSuchUpload";

/// The index of the next part.
fn done_index(parts: &[CompletedPart]) -> u64 {
    u64::try_from(parts.len()).unwrap_or(u64::MAX)
}

fn without_quotes(etag: Option<String>) -> Option<String> {
    etag.map(|etag| etag.trim_matches('"').to_owned())
}

impl Stored {
    /// The object of a HEAD request. Its event is not earlier than its creation, which for an object of parts is the start of
    /// the upload.
    fn found(object: &HeadObjectOutput) -> Self {
        let since = object.last_modified().and_then(|at| SystemTime::try_from(*at).ok());
        Self {
            etag: without_quotes(object.e_tag.clone()),
            version_id: object.version_id.clone(),
            since: since.unwrap_or(SystemTime::UNIX_EPOCH),
            sent_bytes: 0,
        }
    }
}

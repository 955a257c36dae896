//! The objects of one bucket.

use std::path::{Component, Path, PathBuf};

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    primitives::{ByteStream, Length},
    types::{CompletedMultipartUpload, CompletedPart},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::fs;

use crate::{Error, Progress};

/// The size of a part in bytes. A file that is larger is uploaded in parts.
pub const PART_BYTES: u64 = 8 * 1024 * 1024;

/// How many parts are uploaded at the same time.
const CONCURRENT_PARTS: usize = 4;

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key, raw.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The objects of one bucket. All keys are raw, not URL-encoded.
#[derive(Debug, Clone)]
pub struct Objects {
    s3: Client,
    bucket: String,
}

impl Objects {
    /// The objects of the bucket with this name.
    #[must_use]
    pub fn of(aws: &SdkConfig, bucket: impl Into<String>) -> Self {
        Self { s3: Client::new(aws), bucket: bucket.into() }
    }

    /// Puts one object from memory.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put(&self, key: &str, body: impl Into<Vec<u8>>) -> Result<(), Error> {
        let body = ByteStream::from(body.into());
        self.s3
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .body(body)
            .send()
            .await
            .map_err(Error::aws("s3:PutObject"))?;
        Ok(())
    }

    /// Uploads a file, in parts if it is larger than [`PART_BYTES`].
    ///
    /// # Errors
    /// [`Error::File`], if the file cannot be read; [`Error::Aws`].
    pub async fn upload(&self, key: &str, file: &Path, progress: &dyn Progress) -> Result<(), Error> {
        let bytes = fs::metadata(file).await.map_err(Error::file("read", file))?.len();
        if bytes > PART_BYTES {
            return self.upload_in_parts(key, file, progress).await;
        }
        self.put(key, fs::read(file).await.map_err(Error::file("read", file))?).await
    }

    /// Uploads a file in parts of [`PART_BYTES`], several at the same time. A small file is uploaded as one part.
    ///
    /// # Errors
    /// [`Error::File`], if the file cannot be read; [`Error::Aws`].
    pub async fn upload_in_parts(&self, key: &str, file: &Path, progress: &dyn Progress) -> Result<(), Error> {
        let bytes = fs::metadata(file).await.map_err(Error::file("read", file))?.len();
        let upload = self
            .s3
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .map_err(Error::aws("s3:CreateMultipartUpload"))?;
        let id = upload.upload_id.ok_or(Error::Incomplete { call: "s3:CreateMultipartUpload", missing: "UploadId" })?;

        let count = bytes.div_ceil(PART_BYTES).max(1);
        let mut parts = stream::iter(0..count)
            .map(|index| self.upload_part(key, &id, file, index, bytes))
            .buffered(CONCURRENT_PARTS);
        let mut done = Vec::new();
        while let Some(part) = parts.try_next().await? {
            done.push(part);
            #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
            progress.ratio(done.len() as f32 / count as f32);
        }
        self.s3
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(&id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(done)).build())
            .send()
            .await
            .map_err(Error::aws("s3:CompleteMultipartUpload"))?;
        Ok(())
    }

    async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        file: &Path,
        index: u64,
        file_bytes: u64,
    ) -> Result<CompletedPart, Error> {
        let offset = index * PART_BYTES;
        let body = ByteStream::read_from()
            .path(file)
            .offset(offset)
            .length(Length::Exact(PART_BYTES.min(file_bytes - offset)))
            .build()
            .await
            .map_err(Error::aws("s3:UploadPart"))?;
        let number = i32::try_from(index + 1).map_err(Error::aws("s3:UploadPart"))?;
        let part = self
            .s3
            .upload_part()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload_id)
            .part_number(number)
            .body(body)
            .send()
            .await
            .map_err(Error::aws("s3:UploadPart"))?;
        // The list of parts must repeat the checksum with which each part was sent.
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(part.e_tag)
            .set_checksum_crc32(part.checksum_crc32)
            .set_checksum_crc64_nvme(part.checksum_crc64_nvme)
            .build())
    }

    /// Every object with this prefix, ordered by key.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        let mut pages = self.s3.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        let mut objects = Vec::new();
        while let Some(page) = pages.try_next().await.map_err(Error::aws("s3:ListBucket"))? {
            objects.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| {
                let bytes = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                object.key.map(|key| Object { key, bytes })
            }));
        }
        Ok(objects)
    }

    /// The content of an object.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn read(&self, key: &str) -> Result<Vec<u8>, Error> {
        let object =
            self.s3.get_object().bucket(&self.bucket).key(key).send().await.map_err(Error::aws("s3:GetObject"))?;
        Ok(object.body.collect().await.map_err(Error::aws("s3:GetObject"))?.to_vec())
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.s3.delete_object().bucket(&self.bucket).key(key).send().await.map_err(Error::aws("s3:DeleteObject"))?;
        Ok(())
    }

    /// Downloads every object with this prefix into `dir`, each to the path that is its key without the prefix. Returns the
    /// objects.
    ///
    /// # Errors
    /// [`Error::Aws`]; [`Error::File`], if a file in `dir` cannot be written.
    pub async fn download(&self, prefix: &str, dir: &Path) -> Result<Vec<Object>, Error> {
        let objects = self.list(prefix).await?;
        for object in &objects {
            let Some(file) = path_below(dir, object.key.strip_prefix(prefix).unwrap_or(&object.key)) else { continue };
            let parent = file.parent().unwrap_or(dir);
            fs::create_dir_all(parent).await.map_err(Error::file("create", parent))?;
            let content = self.read(&object.key).await?;
            fs::write(&file, content).await.map_err(Error::file("write", file))?;
        }
        Ok(objects)
    }
}

/// The path below `dir` for a key. `None`, if the key is empty or leads outside of `dir`.
fn path_below(dir: &Path, key: &str) -> Option<PathBuf> {
    let key = Path::new(key.trim_start_matches('/'));
    let inside = key.components().all(|component| matches!(component, Component::Normal(_)));
    (inside && key.components().next().is_some()).then(|| dir.join(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_leads_outside_of_the_directory_has_no_path() {
        let dir = Path::new("/results");
        assert_eq!(path_below(dir, "faces/00000.jsonl"), Some("/results/faces/00000.jsonl".into()));
        assert_eq!(path_below(dir, "/summary.json"), Some("/results/summary.json".into()));
        assert_eq!(path_below(dir, "../../etc/passwd"), None);
        assert_eq!(path_below(dir, ""), None);
    }
}

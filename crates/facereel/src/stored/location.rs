//! The locations of results and videos, on this machine or in S3.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    operation::get_object::{GetObjectError, GetObjectOutput},
};
use lambdas::layout;
use tokio::{io::AsyncReadExt as _, sync::OnceCell};

use super::StoredError;
use crate::deployed::{Account, Error, S3Uri, client};

/// A file or a directory, or an object or a folder of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On this machine.
    Local(PathBuf),
    /// In S3. Keys are raw, not URL-encoded. The key of a folder ends with `/`.
    S3 {
        /// The name of the bucket.
        bucket: String,
        /// The raw key.
        key: String,
        /// The version of the object; the current one if it is `None`.
        version_id: Option<String>,
    },
}

impl Location {
    /// Parses a path, or `s3://BUCKET/KEY` with a raw key.
    ///
    /// # Errors
    /// [`StoredError::Address`]; [`StoredError::NoKey`].
    pub fn parse(text: &str) -> Result<Self, StoredError> {
        if !S3Uri::is_meant(text) {
            return Ok(Self::Local(text.into()));
        }
        let S3Uri { bucket, key } = text.parse()?;
        if key.is_empty() {
            Err(StoredError::NoKey(text.to_owned()))
        } else {
            Ok(Self::S3 { bucket, key, version_id: None })
        }
    }

    /// Parses a path, or `s3://BUCKET/PREFIX` with a raw prefix, which may be empty.
    ///
    /// # Errors
    /// [`StoredError::Address`].
    pub fn parse_root(text: &str) -> Result<Self, StoredError> {
        if !S3Uri::is_meant(text) {
            return Ok(Self::Local(text.into()));
        }
        let S3Uri { bucket, key } = text.parse()?;
        Ok(Self::S3 { bucket, key, version_id: None })
    }

    /// The folder of results, which may be given as the location of its manifest.
    #[must_use]
    pub fn folder(self) -> Self {
        match self {
            Self::Local(path) if path.ends_with(layout::MANIFEST) => {
                Self::Local(path.parent().unwrap_or(Path::new("")).to_owned())
            }
            Self::S3 { bucket, key, version_id } => {
                let folder = key.strip_suffix(layout::MANIFEST).unwrap_or(&key).trim_end_matches('/');
                Self::S3 { bucket, key: format!("{folder}/"), version_id }
            }
            path @ Self::Local(_) => path,
        }
    }

    /// A file or an object of this folder.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Local(dir) => Self::Local(dir.join(name)),
            Self::S3 { bucket, key, .. } => {
                Self::S3 { bucket: bucket.clone(), key: format!("{key}{name}"), version_id: None }
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) if path.as_os_str().is_empty() => f.write_str("this directory"),
            Self::Local(path) => path.display().fmt(f),
            Self::S3 { bucket, key, .. } => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

/// Reads files and objects. The AWS configuration is loaded only for the first object, because loading it takes time.
#[derive(Debug, Clone)]
pub struct LocationReader {
    account: Account,
    s3: OnceCell<Client>,
}

impl LocationReader {
    /// A reader with the configuration `aws`, or, if there is none, that of the account.
    #[must_use]
    pub fn new(account: &Account, aws: Option<&SdkConfig>) -> Self {
        let s3 = aws.map(s3_client).map_or_else(OnceCell::new, |client| OnceCell::new_with(Some(client)));
        Self { account: account.clone(), s3 }
    }

    /// The content of a file or object. `None`, if it does not exist.
    ///
    /// # Errors
    /// [`StoredError::NoResult`] for a file, [`StoredError::Aws`] for an object that cannot be read.
    pub async fn read(&self, location: &Location) -> Result<Option<Vec<u8>>, StoredError> {
        match location {
            Location::Local(path) => existing(tokio::fs::read(path).await, location),
            Location::S3 { .. } => self.content(location, None).await,
        }
    }

    /// The first bytes of a file or object, at most this number. `None`, if it does not exist.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_start(&self, location: &Location, bytes: u64) -> Result<Option<Vec<u8>>, StoredError> {
        match location {
            Location::Local(path) => {
                let mut start = Vec::new();
                let read = match tokio::fs::File::open(path).await {
                    Ok(file) => file.take(bytes).read_to_end(&mut start).await,
                    Err(error) => Err(error),
                };
                existing(read.map(|_| start), location)
            }
            Location::S3 { .. } => {
                let range = format!("bytes=0-{}", bytes.saturating_sub(1));
                self.content(location, Some(&range)).await
            }
        }
    }

    /// The client for S3.
    pub(super) async fn client(&self) -> Result<&Client, Error> {
        self.s3.get_or_try_init(async || Ok(s3_client(&self.account.connect(None).await?))).await
    }

    /// The content of an object, or of a range of it. `None`, if it does not exist.
    async fn content(&self, location: &Location, range: Option<&str>) -> Result<Option<Vec<u8>>, StoredError> {
        let Some(object) = self.get(location, range).await? else { return Ok(None) };
        let body = object.body.collect().await.map_err(|error| {
            let source = Error::Call { action: "s3:GetObject", source: error.into() };
            StoredError::Aws { location: location.to_string(), source }
        })?;
        Ok(Some(body.to_vec()))
    }

    /// An object, or the range of it that an HTTP `Range` header requests. `None`, if it does not exist.
    ///
    /// # Errors
    /// [`StoredError::Aws`].
    pub async fn get(&self, location: &Location, range: Option<&str>) -> Result<Option<GetObjectOutput>, StoredError> {
        let Location::S3 { bucket, key, version_id } = location else { return Ok(None) };
        let read_error = |source| StoredError::Aws { location: location.to_string(), source };
        let request = self.client().await.map_err(read_error)?.get_object().bucket(bucket).key(key);
        match request.set_version_id(version_id.clone()).set_range(range.map(str::to_owned)).send().await {
            Ok(object) => Ok(Some(object)),
            Err(error) if matches!(error.as_service_error(), Some(GetObjectError::NoSuchKey(_))) => Ok(None),
            Err(error) => Err(read_error(Error::s3("s3:GetObject", bucket)(error))),
        }
    }
}

/// The content of a file that was read. `None`, if the file does not exist.
fn existing(read: io::Result<Vec<u8>>, location: &Location) -> Result<Option<Vec<u8>>, StoredError> {
    match read {
        Ok(content) => Ok(Some(content)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(StoredError::NoResult { location: location.to_string(), reason: error.to_string() }),
    }
}

/// The client, whose calls are written to standard error with `--verbose`.
fn s3_client(aws: &SdkConfig) -> Client {
    client!(aws_sdk_s3, aws)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_has_a_raw_key_and_ends_with_the_folder() {
        let s3 = |key: &str| Location::S3 { bucket: "bucket".to_owned(), key: key.to_owned(), version_id: None };
        for (text, folder) in [
            ("s3://bucket/results/a b%20c/🎬.mp4/idempotency-key", s3("results/a b%20c/🎬.mp4/idempotency-key/")),
            ("s3://bucket/results/k/idempotency-key/", s3("results/k/idempotency-key/")),
            ("s3://bucket/results/k/idempotency-key/manifest.json", s3("results/k/idempotency-key/")),
            ("out/sample", Location::Local("out/sample".into())),
            ("out/sample/manifest.json", Location::Local("out/sample".into())),
        ] {
            assert_eq!(Location::parse(text).unwrap().folder(), folder, "{text}");
        }
        for text in ["s3://", "s3:///k", "S3://bucket/k", "s3:/bucket/k", "https://bucket.s3.amazonaws.com/k"] {
            assert!(matches!(Location::parse(text), Err(StoredError::Address(_))), "{text}");
        }
        for text in ["s3://bucket", "s3://bucket/"] {
            assert!(matches!(Location::parse(text), Err(StoredError::NoKey(_))), "{text}");
        }
    }
}

//! A file on this machine, and its parts.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::SystemTime,
};

use aws_smithy_types::base64;
use lambdas::video::MAX_BYTES;
use local_stack::PART_BYTES;
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use super::error::UploadError;

/// A video to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalFile {
    /// Its path, as given on the command line.
    pub(super) path: PathBuf,
    /// Its name, which is the last part of its key.
    pub(super) name: String,
    /// Its size in bytes.
    pub(super) bytes: u64,
    modified: Option<SystemTime>,
}

/// The content of a part.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) content: Vec<u8>,
    pub(super) sha256: [u8; 32],
}

impl Part {
    /// The checksum in the form of S3.
    pub(super) fn checksum(&self) -> String {
        base64::encode(self.sha256)
    }
}

impl LocalFile {
    /// Inspects a file. An error is the reason why it is not uploaded.
    pub(super) fn inspect(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(format!("there is no file {shown}")),
            Err(error) => return Err(format!("{shown} cannot be read: {error}")),
        };
        if !metadata.is_file() {
            return Err(format!("{shown} is not a file; name an .mp4 or .mov"));
        }
        // Opened here, so that a missing permission is reported before the first upload.
        if let Err(error) = File::open(path) {
            return Err(format!("{shown} cannot be read: {error}"));
        }
        let bytes = metadata.len();
        if bytes == 0 {
            return Err(format!(
                "{shown} is empty, and the upload of an empty file starts no execution; name a complete video"
            ));
        }
        if bytes > MAX_BYTES {
            return Err(format!(
                "{shown} has {bytes} bytes, and Rekognition accepts at most {MAX_BYTES}; split it, or encode it smaller"
            ));
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(format!("the name of {shown} is not valid UTF-8, as a key in S3 must be; rename the file"));
        };
        Ok(Self { path: path.to_owned(), name: name.to_owned(), bytes, modified: metadata.modified().ok() })
    }

    /// Whether the file is uploaded in parts, and not with one call.
    pub(super) fn is_large(&self) -> bool {
        self.bytes > PART_BYTES
    }

    /// The number of parts. With 8 MiB a part, the largest video has 1,280, and S3 accepts 10,000 of at least 5 MiB
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
    pub(super) fn parts(&self) -> u64 {
        self.bytes.div_ceil(PART_BYTES)
    }

    /// The size of a part in bytes. `index` counts from 0.
    pub(super) fn part_bytes(&self, index: u64) -> u64 {
        PART_BYTES.min(self.bytes.saturating_sub(index * PART_BYTES))
    }

    /// Reads a part. `index` counts from 0.
    pub(super) async fn read_part(&self, index: u64) -> Result<Part, UploadError> {
        let (path, bytes) = (self.path.clone(), self.part_bytes(index));
        let read = spawn_blocking(move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(index * PART_BYTES))?;
            let mut content = Vec::new();
            file.take(bytes).read_to_end(&mut content)?;
            let sha256 = Sha256::digest(&content).into();
            Ok::<_, io::Error>(Part { content, sha256 })
        });
        let part = read.await.unwrap_or_else(|panic| Err(panic.into())).map_err(|source| self.error(source))?;
        // A shorter part means that the file was cut meanwhile.
        if u64::try_from(part.content.len()).is_ok_and(|read| read == bytes) { Ok(part) } else { Err(self.changed()) }
    }

    /// Returns an error if the file is not the one that was inspected any more.
    pub(super) fn check_unchanged(&self) -> Result<(), UploadError> {
        let metadata = fs::metadata(&self.path).map_err(|source| self.error(source))?;
        let same = metadata.len() == self.bytes && metadata.modified().ok() == self.modified;
        if same { Ok(()) } else { Err(self.changed()) }
    }

    /// The checksum that S3 computes for an object with the content of this file: for an object of parts, it is the checksum of
    /// their checksums, and the number of parts
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>).
    pub(super) async fn checksum(&self) -> Result<String, UploadError> {
        if !self.is_large() {
            return Ok(self.read_part(0).await?.checksum());
        }
        let mut all = Sha256::new();
        for index in 0..self.parts() {
            all.update(self.read_part(index).await?.sha256);
        }
        Ok(format!("{}-{}", base64::encode(all.finalize()), self.parts()))
    }

    fn error(&self, source: io::Error) -> UploadError {
        UploadError::File { path: self.path.clone(), source }
    }

    fn changed(&self) -> UploadError {
        UploadError::Changed(self.path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_starts_no_execution_or_that_rekognition_refuses_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.mp4");
        fs::write(&empty, "").unwrap();
        let large = dir.path().join("large.mp4");
        // A sparse file.
        File::create(&large).unwrap().set_len(MAX_BYTES + 1).unwrap();
        for (path, says) in [
            (empty, "is empty"),
            (large, "at most 10737418240; split it"),
            (dir.path().join("gone.mp4"), "there is no file"),
            (dir.path().to_owned(), "is not a file"),
        ] {
            let reason = LocalFile::inspect(&path).unwrap_err();
            assert!(reason.contains(says) && reason.contains(&path.display().to_string()), "{reason}");
        }
    }

    #[tokio::test]
    async fn the_parts_are_the_content_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip.mp4");
        let mut content = vec![1; usize::try_from(PART_BYTES).unwrap()];
        content.extend([2; 3]);
        fs::write(&path, &content).unwrap();
        let file = LocalFile::inspect(&path).unwrap();
        assert!(file.is_large());
        assert_eq!((file.parts(), file.part_bytes(0), file.part_bytes(1)), (2, PART_BYTES, 3));
        let last = file.read_part(1).await.unwrap();
        assert_eq!(last.content, [2, 2, 2]);
        assert_eq!(last.sha256, <[u8; 32]>::from(Sha256::digest([2, 2, 2])));
        assert!(file.checksum().await.unwrap().ends_with("-2"));

        fs::write(&path, &content[1..]).unwrap();
        assert!(file.check_unchanged().unwrap_err().to_string().contains("changed"));
        assert!(file.read_part(1).await.unwrap_err().to_string().contains("changed"));
    }
}

//! Addresses of objects and prefixes in S3, as the AWS CLI writes them.

use std::{fmt, str::FromStr};

/// `s3://BUCKET/KEY`. The key is raw, not URL-encoded. It is empty for a whole bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Uri {
    /// The name of the bucket.
    pub bucket: String,
    /// The key of an object, or a prefix of keys.
    pub key: String,
}

/// Why a text is not the address of an object or prefix in S3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnS3Uri {
    /// The scheme has the wrong case, or not two slashes.
    #[error("{text} does not start with s3://; write {corrected}")]
    Misspelled {
        /// The text.
        text: String,
        /// What was probably meant.
        corrected: String,
    },
    /// It is a URL for a browser.
    #[error("{0} is a URL for a browser; name the object as s3://BUCKET/KEY")]
    Url(String),
    /// It has another scheme or none.
    #[error("{0} is not an address in S3; the format is s3://BUCKET/KEY")]
    OtherScheme(String),
    /// It has no bucket.
    #[error("{0} has no bucket; the format is s3://BUCKET/KEY")]
    NoBucket(String),
    /// S3 does not allow the name of the bucket.
    #[error(
        "{bucket} in {text} is not the name of a bucket: it has 3 to 63 lower-case letters, digits, dots and hyphens"
    )]
    NotABucket {
        /// The text.
        text: String,
        /// The part where a bucket is expected.
        bucket: String,
    },
}

impl S3Uri {
    /// Whether a text is meant to be an address in S3, and not a path on this machine. A misspelled scheme counts.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        scheme(text)
            .is_some_and(|(scheme, _)| ["s3", "http", "https"].iter().any(|one| scheme.eq_ignore_ascii_case(one)))
    }
}

/// Divides a text into its scheme and the rest, which starts with a slash. A Windows path is not a scheme of two or more letters.
fn scheme(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(scheme, rest)| scheme.len() > 1 && rest.starts_with('/') && !scheme.contains('/'))
}

impl FromStr for S3Uri {
    type Err = NotAnS3Uri;

    fn from_str(text: &str) -> Result<Self, NotAnS3Uri> {
        let Some(address) = text.strip_prefix("s3://") else {
            return Err(match scheme(text) {
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case("s3") => NotAnS3Uri::Misspelled {
                    text: text.to_owned(),
                    corrected: format!("s3://{}", rest.trim_start_matches('/')),
                },
                Some((scheme, _)) if scheme.to_ascii_lowercase().starts_with("http") => {
                    NotAnS3Uri::Url(text.to_owned())
                }
                _ => NotAnS3Uri::OtherScheme(text.to_owned()),
            });
        };
        let (bucket, key) = address.split_once('/').unwrap_or((address, ""));
        if bucket.is_empty() {
            return Err(NotAnS3Uri::NoBucket(text.to_owned()));
        }
        if !is_bucket_name(bucket) {
            return Err(NotAnS3Uri::NotABucket { text: text.to_owned(), bucket: bucket.to_owned() });
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

/// The characters and the length of a bucket's name
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
fn is_bucket_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte))
}

impl fmt::Display for S3Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_bucket_and_a_raw_key() {
        let uri = |text: &str| text.parse::<S3Uri>().map(|uri| (uri.bucket, uri.key));
        assert_eq!(uri("s3://uploads"), Ok(("uploads".into(), String::new())));
        assert_eq!(uri("s3://uploads/a b+c%2F/"), Ok(("uploads".into(), "a b+c%2F/".into())));
        assert_eq!(uri("s3://uploads//a"), Ok(("uploads".into(), "/a".into())));
    }

    #[test]
    fn an_error_names_the_fault_and_the_format() {
        for (text, message) in [
            ("S3://uploads/a.mp4", "S3://uploads/a.mp4 does not start with s3://; write s3://uploads/a.mp4"),
            ("s3:/uploads/a.mp4", "s3:/uploads/a.mp4 does not start with s3://; write s3://uploads/a.mp4"),
            ("https://uploads.s3.amazonaws.com/a.mp4", "is a URL for a browser; name the object as s3://BUCKET/KEY"),
            ("uploads/a.mp4", "uploads/a.mp4 is not an address in S3; the format is s3://BUCKET/KEY"),
            ("gs://uploads/a.mp4", "gs://uploads/a.mp4 is not an address in S3"),
            ("s3:///a.mp4", "s3:///a.mp4 has no bucket"),
            ("s3://", "s3:// has no bucket"),
            ("s3://My_Videos/a.mp4", "My_Videos in s3://My_Videos/a.mp4 is not the name of a bucket"),
        ] {
            let error = text.parse::<S3Uri>().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_path_is_not_meant_to_be_an_address() {
        for text in ["s3://b/k", "S3://b/k", "s3:/b/k", "https://b.s3.amazonaws.com/k"] {
            assert!(S3Uri::is_meant(text), "{text}");
        }
        for text in ["facereel-results/sample", "/a:/b", "C:/videos", "a:b.mp4", "s3"] {
            assert!(!S3Uri::is_meant(text), "{text}");
        }
    }
}

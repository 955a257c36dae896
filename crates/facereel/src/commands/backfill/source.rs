//! The bucket and prefix of a backfill.

use std::{fmt, str::FromStr};

/// A bucket, or a prefix in it. The prefix is raw, not URL-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub(super) bucket: String,
    pub(super) prefix: String,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("s3://").ok_or("it must start with s3://")?;
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        if bucket.is_empty() {
            return Err("it has no bucket; the format is s3://BUCKET/PREFIX".to_owned());
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_bucket_and_a_raw_prefix() {
        let source = |text: &str| text.parse::<Source>().map(|source| (source.bucket, source.prefix));
        assert_eq!(source("s3://uploads"), Ok(("uploads".into(), String::new())));
        assert_eq!(source("s3://uploads/a b+c%2F/"), Ok(("uploads".into(), "a b+c%2F/".into())));
        assert!(source("uploads/in").unwrap_err().contains("s3://"));
        assert!(source("s3:///in").unwrap_err().contains("no bucket"));
    }
}

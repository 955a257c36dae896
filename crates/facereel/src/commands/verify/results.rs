//! Reads a result from the results bucket.

use super::{checks::NotPassed, contract::Files};
use crate::deployed::{Deployed, Error};

/// Every object below `prefix`, by its name without the prefix.
pub(super) async fn read(deployed: &Deployed, bucket: &str, prefix: &str) -> Result<Files, NotPassed> {
    let mut objects = deployed.s3.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
    let mut files = Files::new();
    while let Some(page) = objects.try_next().await.map_err(Error::aws("s3:ListBucket"))? {
        for key in page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key) {
            let content = object(deployed, bucket, &key).await?;
            files.insert(key[prefix.len()..].to_owned(), content);
        }
    }
    Ok(files)
}

/// The content of an object.
pub(super) async fn object(deployed: &Deployed, bucket: &str, key: &str) -> Result<Vec<u8>, NotPassed> {
    let object = deployed.s3.get_object().bucket(bucket).key(key).send().await;
    let body = object.map_err(Error::aws("s3:GetObject"))?.body.collect().await;
    let body =
        body.map_err(|error| NotPassed::Failed(format!("s3://{bucket}/{key} was not read to its end: {error}")))?;
    Ok(body.to_vec())
}

//! The few things that the functions do with objects in the work bucket.

use aws_sdk_s3::{operation::put_object::builders::PutObjectFluentBuilder, primitives::ByteStream};
use serde::Serialize;

use crate::aws::{AwsError, Clients};

/// Writes a document.
pub(crate) async fn put_json<T: Serialize>(
    clients: &Clients,
    bucket: &str,
    key: &str,
    document: &T,
) -> Result<(), AwsError> {
    let request = put_json_request(clients, bucket, key, document);
    request.send().await.map_err(|error| AwsError::new("s3:PutObject", error))?;
    Ok(())
}

/// A request to write a document, for conditions to be added.
pub(crate) fn put_json_request<T: Serialize>(
    clients: &Clients,
    bucket: &str,
    key: &str,
    document: &T,
) -> PutObjectFluentBuilder {
    let body = serde_json::to_vec(document).expect("our documents are plain data");
    clients.s3.put_object().bucket(bucket).key(key).content_type("application/json").body(ByteStream::from(body))
}

/// Reads an object; `None` when there is none.
pub(crate) async fn get(clients: &Clients, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, AwsError> {
    let object = match clients.s3.get_object().bucket(bucket).key(key).send().await {
        Ok(object) => object,
        Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => return Ok(None),
        Err(error) => return Err(AwsError::new("s3:GetObject", error)),
    };
    let body = object.body.collect().await;
    let body = body.map_err(|error| AwsError::ServiceUnavailable { call: "s3:GetObject", source: error.into() })?;
    Ok(Some(body.to_vec()))
}

/// The keys under a prefix, in order.
pub(crate) async fn list(clients: &Clients, bucket: &str, prefix: &str) -> Result<Vec<String>, AwsError> {
    let mut keys = Vec::new();
    let mut pages = clients.s3.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| AwsError::new("s3:ListBucket", error))?;
        keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
    }
    Ok(keys)
}

/// Removes an object; one that is already gone is no error.
pub(crate) async fn delete(clients: &Clients, bucket: &str, key: &str) -> Result<(), AwsError> {
    let deleted = clients.s3.delete_object().bucket(bucket).key(key).send().await;
    deleted.map_err(|error| AwsError::new("s3:DeleteObject", error))?;
    Ok(())
}

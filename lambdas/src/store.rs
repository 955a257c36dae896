//! The results bucket as the functions use it: the clients and the bucket's name in one receiver.
//!
//! Other modules add methods for their objects: pending callbacks, completed jobs, queue entries and the lease.

use aws_sdk_s3::{operation::put_object::builders::PutObjectFluentBuilder, primitives::ByteStream};
use serde::Serialize;

use crate::aws::{AwsError, Clients};

/// Access to the results bucket.
#[derive(Debug, Clone, Copy)]
pub struct Store<'a> {
    pub(crate) clients: &'a Clients,
    bucket: &'a str,
}

impl<'a> Store<'a> {
    /// The results bucket of this name.
    #[must_use]
    pub fn new(clients: &'a Clients, bucket: &'a str) -> Self {
        Self { clients, bucket }
    }

    /// Writes a document.
    pub(crate) async fn put_json<T: Serialize>(self, key: &str, document: &T) -> Result<(), AwsError> {
        let request = self.put_json_request(key, document);
        request.send().await.map_err(|error| AwsError::new("s3:PutObject", error))?;
        Ok(())
    }

    /// A request to write a document, to which the caller adds conditions.
    pub(crate) fn put_json_request<T: Serialize>(self, key: &str, document: &T) -> PutObjectFluentBuilder {
        let body = serde_json::to_vec(document).expect("the documents are plain data");
        let request = self.clients.s3.put_object().bucket(self.bucket).key(key);
        request.content_type("application/json").body(ByteStream::from(body))
    }

    /// Writes an object of a result.
    pub(crate) async fn put(self, key: &str, content_type: &str, body: Vec<u8>) -> Result<(), AwsError> {
        let request = self.clients.s3.put_object().bucket(self.bucket).key(key);
        let request = request.content_type(content_type).body(ByteStream::from(body));
        request.send().await.map_err(|error| AwsError::new("s3:PutObject", error))?;
        Ok(())
    }

    /// Reads an object; `None` if it does not exist.
    pub(crate) async fn get(self, key: &str) -> Result<Option<Vec<u8>>, AwsError> {
        Ok(self.get_with_etag(key).await?.map(|(body, _)| body))
    }

    /// Reads an object and its entity tag; `None` if it does not exist.
    pub(crate) async fn get_with_etag(self, key: &str) -> Result<Option<(Vec<u8>, String)>, AwsError> {
        let object = match self.clients.s3.get_object().bucket(self.bucket).key(key).send().await {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => return Ok(None),
            Err(error) => return Err(AwsError::new("s3:GetObject", error)),
        };
        let etag = object.e_tag.unwrap_or_default();
        let body = object.body.collect().await;
        let body = body.map_err(|error| AwsError::ServiceUnavailable { call: "s3:GetObject", source: error.into() })?;
        Ok(Some((body.to_vec(), etag)))
    }

    /// Lists the keys under a prefix, in order.
    pub(crate) async fn list(self, prefix: &str) -> Result<Vec<String>, AwsError> {
        let mut keys = Vec::new();
        let mut pages = self.clients.s3.list_objects_v2().bucket(self.bucket).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| AwsError::new("s3:ListBucket", error))?;
            keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
        }
        Ok(keys)
    }

    /// Lists the first keys under a prefix, in order: `limit` at most.
    pub(crate) async fn list_first(self, prefix: &str, limit: i32) -> Result<Vec<String>, AwsError> {
        let listing = self.clients.s3.list_objects_v2().bucket(self.bucket).prefix(prefix).max_keys(limit);
        let listing = listing.send().await.map_err(|error| AwsError::new("s3:ListBucket", error))?;
        Ok(listing.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect())
    }

    /// Deletes an object; an object that does not exist is not an error.
    pub(crate) async fn delete(self, key: &str) -> Result<(), AwsError> {
        let deleted = self.clients.s3.delete_object().bucket(self.bucket).key(key).send().await;
        deleted.map_err(|error| AwsError::new("s3:DeleteObject", error))?;
        Ok(())
    }
}

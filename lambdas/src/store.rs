//! The results bucket as the functions use it: the clients and the bucket's name in one receiver.
//!
//! Other modules add methods for their objects: pending callbacks, known jobs, queue entries and the lease. A call that is
//! throttled is made again for up to two minutes.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::{get_object::GetObjectError, put_object::builders::PutObjectFluentBuilder},
    primitives::{ByteStream, SdkBody},
};
use serde::Serialize;

use crate::{
    aws::{AwsError, Clients},
    retry::while_throttled,
};

/// The content type of objects with a JSON document on each line.
pub(crate) const JSON_LINES: &str = "application/jsonl";

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
        call("s3:PutObject", async || self.put_json_request(key, document).send().await).await?;
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
        // Its clones share the bytes.
        let body = SdkBody::from(body);
        call("s3:PutObject", async || {
            let body = body.try_clone().expect("bytes in memory can be cloned");
            let request = self.clients.s3.put_object().bucket(self.bucket).key(key).content_type(content_type);
            request.body(ByteStream::new(body)).send().await
        })
        .await?;
        Ok(())
    }

    /// Reads an object; `None` if it does not exist.
    pub(crate) async fn get(self, key: &str) -> Result<Option<Vec<u8>>, AwsError> {
        Ok(self.get_with_etag(key).await?.map(|(body, _)| body))
    }

    /// Reads an object and its entity tag; `None` if it does not exist.
    pub(crate) async fn get_with_etag(self, key: &str) -> Result<Option<(Vec<u8>, String)>, AwsError> {
        let object = call("s3:GetObject", async || {
            match self.clients.s3.get_object().bucket(self.bucket).key(key).send().await {
                Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => Ok(None),
                object => object.map(Some),
            }
        });
        let Some(object) = object.await? else { return Ok(None) };
        let etag = object.e_tag.unwrap_or_default();
        let body = object.body.collect().await;
        let body = body.map_err(|error| AwsError::ServiceUnavailable { call: "s3:GetObject", source: error.into() })?;
        Ok(Some((body.to_vec(), etag)))
    }

    /// Lists the keys under a prefix, in order.
    pub(crate) async fn list(self, prefix: &str) -> Result<Vec<String>, AwsError> {
        let (mut keys, mut continuation) = (Vec::new(), None);
        loop {
            let page = call("s3:ListBucket", async || {
                let request = self.clients.s3.list_objects_v2().bucket(self.bucket).prefix(prefix);
                request.set_continuation_token(continuation.clone()).send().await
            })
            .await?;
            keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
            match page.next_continuation_token {
                None => return Ok(keys),
                next => continuation = next,
            }
        }
    }

    /// Lists the first keys under a prefix, in order: `limit` at most.
    pub(crate) async fn list_first(self, prefix: &str, limit: i32) -> Result<Vec<String>, AwsError> {
        let listing = call("s3:ListBucket", async || {
            self.clients.s3.list_objects_v2().bucket(self.bucket).prefix(prefix).max_keys(limit).send().await
        })
        .await?;
        Ok(listing.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect())
    }

    /// Deletes an object; an object that does not exist is not an error.
    pub(crate) async fn delete(self, key: &str) -> Result<(), AwsError> {
        call("s3:DeleteObject", async || self.clients.s3.delete_object().bucket(self.bucket).key(key).send().await)
            .await?;
        Ok(())
    }
}

/// Makes a call, again while it is throttled. `name` is the action as IAM names it.
async fn call<T, E>(
    name: &'static str,
    mut send: impl AsyncFnMut() -> Result<T, SdkError<E, HttpResponse>>,
) -> Result<T, AwsError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    while_throttled(async || send().await.map_err(|error| AwsError::new(name, error))).await
}

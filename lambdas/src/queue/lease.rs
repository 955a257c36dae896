//! The lease: the right to start jobs, held by one invocation at a time.

use std::time::Duration;

use aws_sdk_s3::{error::ProvideErrorMetadata, operation::put_object::builders::PutObjectFluentBuilder};
use serde::{Deserialize, Serialize};

use crate::{aws::AwsError, layout, store::Store};

/// How long a lease lasts that is not renewed, in milliseconds.
///
/// Starting one job takes seconds. Throttling, or a job that is not visible yet, can make it longer than the lease. Then
/// another invocation may start jobs as well, which costs the order and the distance between calls, and nothing else.
const LEASE_MS: i64 = 60_000;

/// The pause after S3 answers that two conditional writes met.
const CONFLICT_PAUSE: Duration = Duration::from_millis(250);

/// A lease that this invocation holds.
pub(super) struct Lease<'a> {
    store: Store<'a>,
    owner: String,
    etag: String,
    until_ms: i64,
}

/// The object of the lease.
#[derive(Serialize, Deserialize)]
struct LeaseObject {
    owner: String,
    until_ms: i64,
}

impl<'a> Lease<'a> {
    /// Takes the lease if it is free, has expired, or was held by the same owner; else returns `None`.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:PutObject` or `s3:GetObject`.
    pub(super) async fn take(store: Store<'a>, owner: &str) -> Result<Option<Self>, AwsError> {
        loop {
            let until_ms = store.clients.now_ms() + LEASE_MS;
            let mut lease = Self { store, owner: owner.to_owned(), etag: String::new(), until_ms };
            match lease.put_request().if_none_match("*").send().await {
                Ok(put) => {
                    lease.etag = put.e_tag.unwrap_or_default();
                    return Ok(Some(lease));
                }
                Err(error) => match error.code() {
                    Some("PreconditionFailed") => {}
                    // Two invocations wrote at the same moment, and S3 asks both to try again.
                    Some("ConditionalRequestConflict") => {
                        tokio::time::sleep(CONFLICT_PAUSE).await;
                        continue;
                    }
                    _ => return Err(AwsError::new("s3:PutObject", error)),
                },
            }
            // `None`: the holder has released it since.
            let Some((body, etag)) = store.get_with_etag(layout::LEASE).await? else { continue };
            lease.etag = etag;
            let held = serde_json::from_slice::<LeaseObject>(&body).ok();
            // A lease ends within its term, or within two terms where clocks differ. Any other end is not valid.
            let now_ms = store.clients.now_ms();
            let valid = now_ms..now_ms + 2 * LEASE_MS;
            if held.is_some_and(|held| held.owner != owner && valid.contains(&held.until_ms)) {
                return Ok(None);
            }
            return Ok(lease.overwrite().await?.then_some(lease));
        }
    }

    /// Extends the lease once half of its term is over; `false` when another invocation has taken it.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:PutObject`.
    pub(super) async fn renew(&mut self) -> Result<bool, AwsError> {
        let until_ms = self.store.clients.now_ms() + LEASE_MS;
        if until_ms < self.until_ms + LEASE_MS / 2 {
            return Ok(true);
        }
        self.until_ms = until_ms;
        self.overwrite().await
    }

    /// Releases the lease.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:DeleteObject`.
    pub(super) async fn release(self) -> Result<(), AwsError> {
        self.store.delete(layout::LEASE).await
    }

    /// Replaces the lease that has the known entity tag; `false` when that lease is no longer stored.
    async fn overwrite(&mut self) -> Result<bool, AwsError> {
        match self.put_request().if_match(&self.etag).send().await {
            Ok(put) => {
                self.etag = put.e_tag.unwrap_or_default();
                Ok(true)
            }
            Err(error) => match error.code() {
                Some("PreconditionFailed" | "NoSuchKey" | "ConditionalRequestConflict") => self.adopt_own_write().await,
                _ => Err(AwsError::new("s3:PutObject", error)),
            },
        }
    }

    /// Whether the stored lease is this one after all, with its entity tag.
    ///
    /// If the answer to a write is lost, the SDK repeats the write, which then fails because of the first one.
    async fn adopt_own_write(&mut self) -> Result<bool, AwsError> {
        let Some((body, etag)) = self.store.get_with_etag(layout::LEASE).await? else { return Ok(false) };
        let stored = serde_json::from_slice::<LeaseObject>(&body).ok();
        let own = stored.is_some_and(|stored| stored.owner == self.owner && stored.until_ms == self.until_ms);
        if own {
            self.etag = etag;
        }
        Ok(own)
    }

    fn put_request(&self) -> PutObjectFluentBuilder {
        let lease = LeaseObject { owner: self.owner.clone(), until_ms: self.until_ms };
        self.store.put_json_request(layout::LEASE, &lease)
    }
}

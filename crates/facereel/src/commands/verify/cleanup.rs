//! Removes everything that a run has made, after its end and after Ctrl-C.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use tokio::time::{sleep, timeout};

use super::executions::{self, Search};
use crate::deployed::{Deployed, Error};
use lambdas::layout;

/// How long the removal of one thing may take.
const LIMIT: Duration = Duration::from_mins(1);

/// How long the event of an upload may take to start its execution, when nothing else is waited for.
const EVENT_LIMIT: Duration = Duration::from_secs(15);

/// How long a function of an execution that was stopped may still write results.
const AFTER_STOP: Duration = Duration::from_secs(3);

/// What a run has made. Each thing is registered before it is made.
#[derive(Debug, Default)]
pub(super) struct Cleanup {
    /// The bucket of the uploaded videos.
    pub upload_bucket: String,
    /// The bucket of the results.
    pub results_bucket: String,
    /// The folder of the uploaded videos, which is unique to this run.
    pub folder: String,
    /// The keys of the uploaded videos, and whether the execution that the event of the upload starts has been seen.
    pub uploads: BTreeMap<String, Upload>,
    /// The idempotency keys of the jobs.
    pub jobs: BTreeSet<String>,
    /// The executions.
    pub executions: BTreeSet<String>,
    /// The temporary rule.
    pub rule: Option<String>,
    /// The temporary queue.
    pub queue: Option<String>,
    /// The topic, and the queue that is subscribed to it.
    pub subscription: Option<(String, String)>,
}

/// An uploaded video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upload {
    /// Its event starts an execution, which has not been seen yet.
    StartsExecution(SystemTime),
    /// Its execution has been seen.
    Started,
}

impl Cleanup {
    /// Removes everything. Returns what could not be removed, with the reason.
    pub(super) async fn run(&mut self, deployed: &Deployed) -> Vec<String> {
        let mut left = Vec::new();
        let mut removed = async |what: String, work: &mut (dyn Future<Output = Result<(), Error>> + Unpin)| {
            match timeout(LIMIT, work).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => left.push(format!("{what}: {error}")),
                Err(_) => left.push(format!("{what}: nothing after {} s", LIMIT.as_secs())),
            }
        };
        self.find_executions(deployed).await;
        let mut stopped = false;
        for arn in &self.executions {
            let mut stop = Box::pin(async {
                stopped |= stop(deployed, arn).await?;
                Ok(())
            });
            removed(format!("the running execution {arn}"), &mut stop).await;
        }
        if stopped {
            sleep(AFTER_STOP).await;
        }
        if let Some((topic, queue)) = &self.subscription {
            removed(
                format!("the subscription of {queue} to {topic}"),
                &mut Box::pin(unsubscribe(deployed, topic, queue)),
            )
            .await;
        }
        if let Some(rule) = &self.rule {
            removed(format!("the EventBridge rule {rule}"), &mut Box::pin(delete_rule(deployed, rule))).await;
        }
        if let Some(queue) = &self.queue {
            removed(format!("the queue {queue}"), &mut Box::pin(delete_queue(deployed, queue))).await;
        }
        let mut folders = vec![(self.upload_bucket.clone(), self.folder.clone())];
        let results = self.uploads.keys().map(|key| (self.results_bucket.clone(), layout::results_of_video(key)));
        folders.extend(results);
        if stopped {
            let entries = &mut folders;
            removed(
                "the queue entries of the executions".to_owned(),
                &mut Box::pin(find_waiting(deployed, self, entries)),
            )
            .await;
        }
        for key in &self.jobs {
            for record in [layout::started_job(key), layout::completed_job(key), layout::callbacks(key, None)] {
                folders.push((self.results_bucket.clone(), record));
            }
        }
        if self.uploads.is_empty() {
            return left;
        }
        for (bucket, prefix) in folders {
            let delete = delete_below(deployed, &bucket, &prefix);
            removed(format!("s3://{bucket}/{prefix}"), &mut Box::pin(delete)).await;
        }
        left
    }

    /// Adds the executions of uploads whose events may still be on the way. Without their video, they would fail.
    async fn find_executions(&mut self, deployed: &Deployed) {
        for (key, upload) in &self.uploads {
            let Upload::StartsExecution(since) = *upload else { continue };
            let mut search = Search::since(since);
            if let Ok(Ok(execution)) = timeout(EVENT_LIMIT, search.wait_for_start(deployed, key)).await {
                self.executions.insert(execution.arn);
            }
        }
    }
}

/// Adds what the stopped executions wait with: the queue entries to `folders`, and the jobs of the callbacks to the jobs.
async fn find_waiting(
    deployed: &Deployed,
    cleanup: &mut Cleanup,
    folders: &mut Vec<(String, String)>,
) -> Result<(), Error> {
    let names: Vec<_> = cleanup.executions.iter().filter_map(|arn| arn.rsplit(':').next()).collect();
    let bucket = &cleanup.results_bucket;
    for prefix in [layout::CALLBACKS, layout::QUEUE_ENTRIES] {
        let mut objects = deployed.s3.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        while let Some(page) = objects.try_next().await.map_err(Error::s3("s3:ListBucket", bucket))? {
            for key in page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key) {
                if let Some(entry) = layout::read_queue_entry(&key) {
                    if names.contains(&entry.execution_name) {
                        folders.push((bucket.clone(), key));
                    }
                } else if let [_, job, execution, _] = key.split('/').collect::<Vec<_>>()[..]
                    && names.contains(&execution)
                {
                    cleanup.jobs.insert(job.to_owned());
                }
            }
        }
    }
    Ok(())
}

/// Stops an execution if it runs, and returns whether it ran.
async fn stop(deployed: &Deployed, arn: &str) -> Result<bool, Error> {
    if executions::describe(deployed, arn).await?.status != aws_sdk_sfn::types::ExecutionStatus::Running {
        return Ok(false);
    }
    let stop = deployed.sfn.stop_execution().execution_arn(arn).cause("facereel verify has ended").send().await;
    stop.map_err(Error::aws("states:StopExecution"))?;
    Ok(true)
}

async fn unsubscribe(deployed: &Deployed, topic: &str, queue_arn: &str) -> Result<(), Error> {
    let list = deployed.sns.list_subscriptions_by_topic().topic_arn(topic);
    let mut subscriptions = list.into_paginator().items().send();
    while let Some(one) = subscriptions.try_next().await.map_err(Error::aws("sns:ListSubscriptionsByTopic"))? {
        if let (Some(arn), Some(endpoint)) = (one.subscription_arn, one.endpoint)
            && endpoint == queue_arn
        {
            let unsubscribe = deployed.sns.unsubscribe().subscription_arn(arn).send().await;
            unsubscribe.map_err(Error::aws("sns:Unsubscribe"))?;
        }
    }
    Ok(())
}

/// Deletes a rule and its target. A rule that does not exist is not an error.
async fn delete_rule(deployed: &Deployed, rule: &str) -> Result<(), Error> {
    match deployed.eventbridge.remove_targets().rule(rule).ids("verify").send().await {
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => {
            return Ok(());
        }
        removed => removed.map_err(Error::aws("events:RemoveTargets"))?,
    };
    deployed.eventbridge.delete_rule().name(rule).send().await.map_err(Error::aws("events:DeleteRule"))?;
    Ok(())
}

/// Deletes a queue. A queue that does not exist is not an error.
async fn delete_queue(deployed: &Deployed, queue: &str) -> Result<(), Error> {
    const ACTION: &str = "sqs:GetQueueUrl";
    let url = match deployed.sqs.get_queue_url().queue_name(queue).send().await {
        Err(error) if error.as_service_error().is_some_and(|error| error.is_queue_does_not_exist()) => return Ok(()),
        found => found.map_err(Error::aws(ACTION))?.queue_url,
    };
    let url = url.ok_or(Error::Incomplete { action: ACTION, missing: "QueueUrl" })?;
    deployed.sqs.delete_queue().queue_url(url).send().await.map_err(Error::aws("sqs:DeleteQueue"))?;
    Ok(())
}

/// Deletes every version of every object below a prefix, and the delete markers.
///
/// A bucket without versions lists each object with the version `null`
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html>).
async fn delete_below(deployed: &Deployed, bucket: &str, prefix: &str) -> Result<(), Error> {
    loop {
        let list = deployed.s3.list_object_versions().bucket(bucket).prefix(prefix).send().await;
        let page = list.map_err(Error::aws("s3:ListBucketVersions"))?;
        let versions = page.versions.unwrap_or_default().into_iter().map(|one| (one.key, one.version_id));
        let markers = page.delete_markers.unwrap_or_default().into_iter().map(|one| (one.key, one.version_id));
        let objects = versions
            .chain(markers)
            .filter_map(|(key, version)| ObjectIdentifier::builder().key(key?).set_version_id(version).build().ok());
        let objects: Vec<_> = objects.collect();
        if objects.is_empty() {
            return Ok(());
        }
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build().expect("it has objects");
        let deleted = deployed.s3.delete_objects().bucket(bucket).delete(delete).send().await;
        let deleted = deleted.map_err(Error::aws("s3:DeleteObjectVersion"))?;
        if let Some(error) = deleted.errors.unwrap_or_default().into_iter().next() {
            let text = |text: Option<String>| text.unwrap_or_default();
            let source = format!("{}: {}", text(error.code), text(error.message)).into();
            return Err(Error::Call { action: "s3:DeleteObjectVersion", source });
        }
    }
}

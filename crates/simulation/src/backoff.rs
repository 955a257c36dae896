//! What the queue is measured against: the same workflow with a Retry in the place of the queue.

use aws_lambda_events::event::sns::SnsEvent;
use lambdas::aws::Clients;
use lambdas::callbacks::{self, Outcome};
use lambdas::job::{self, Job, JobStatus, StartError};
use lambdas::pending_callbacks::{self, PendingCallback};
use lambdas::start_detection::{Config, StartDetection, StartDetectionError};
use lambdas::video::Video;
use lambdas::{input, resume_execution::ResumeExecutionError};
use serde_json::{Value, json};

use crate::world::RESULTS;

/// Puts the Retry into the definition.
pub(super) fn with_retry(mut definition: Value) -> Value {
    let retry = &mut definition["States"]["StartDetection"]["Retry"];
    retry.as_array_mut().expect("Retry").insert(
        0,
        json!({
            "ErrorEquals": ["LimitExceeded", "Throttled"],
            "IntervalSeconds": 30,
            "BackoffRate": 2,
            "MaxDelaySeconds": 600,
            "MaxAttempts": 100_000,
            "JitterStrategy": "FULL"
        }),
    );
    definition
}

/// start-detection without a queue: a job that finds no slot is a failed attempt.
pub(super) async fn start_detection(
    clients: &Clients,
    config: &Config,
    request: StartDetection,
) -> Result<(), StartDetectionError> {
    let StartDetection { task_token, execution, input } = request;
    let location = input::location(input).expect("an input of the story");
    let video = Video::inspect(&clients.s3, &location).await?;
    let job = Job {
        video,
        face_attributes: config.face_attributes,
        topic_arn: config.completion_topic_arn.clone(),
        role_arn: config.publish_role_arn.clone(),
        attempt: 0,
    };
    let callback = PendingCallback { execution: execution.name, entered_ms: 0, task_token, job };
    pending_callbacks::put(clients, RESULTS, &callback).await?;
    let error = match callback.job.start(&clients.rekognition).await {
        Ok(_) => return Ok(()),
        Err(StartError::LimitExceeded) => "LimitExceeded",
        Err(StartError::Aws(error)) => (&error).into(),
        Err(other) => panic!("{other}"),
    };
    pending_callbacks::remove(clients, RESULTS, &callback).await?;
    callbacks::send_failure(clients, &callback.task_token, error, "").await?;
    Ok(())
}

/// resume-execution without a queue.
pub(super) async fn resume_execution(
    clients: &Clients,
    _config: &lambdas::resume_execution::Config,
    event: SnsEvent,
) -> Result<(), ResumeExecutionError> {
    for record in event.records {
        let message: Value = serde_json::from_str(&record.sns.message).expect("nobody forges here");
        let job_id = message["JobId"].as_str().expect("a job");
        let report = job::report(&clients.rekognition, job_id).await?;
        let JobStatus::Succeeded(metadata) = report.status else { panic!("no job fails here") };
        let waiting = pending_callbacks::list(clients, RESULTS, &report.idempotency_key.expect("ours"), None).await?;
        callbacks::notify_all(clients, RESULTS, job_id, &Outcome::Succeeded(metadata), waiting).await?;
    }
    Ok(())
}

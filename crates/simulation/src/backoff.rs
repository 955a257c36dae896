//! What the queue is measured against: the same workflow with a Retry in the place of the queue.

use aws_lambda_events::event::sns::SnsEvent;
use lambdas::aws::Clients;
use lambdas::completion::{self, Outcome};
use lambdas::job::{self, Job, JobStatus, StartError};
use lambdas::start_detection::{Config, StartDetection, StartDetectionError};
use lambdas::video::Video;
use lambdas::waiters::{self, Waiter};
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
    let video = Video::look(&clients.s3, &location).await?;
    let job = Job {
        video,
        face_attributes: config.face_attributes,
        topic_arn: config.completion_topic_arn.clone(),
        role_arn: config.publish_role_arn.clone(),
        generation: 0,
    };
    let waiter = Waiter { execution: execution.name, entered_ms: 0, task_token, job };
    waiters::put(clients, RESULTS, &waiter).await?;
    let error = match waiter.job.start(&clients.rekognition).await {
        Ok(_) => return Ok(()),
        Err(StartError::LimitExceeded) => "LimitExceeded",
        Err(StartError::Aws(error)) => (&error).into(),
        Err(other) => panic!("{other}"),
    };
    waiters::remove(clients, RESULTS, &waiter).await?;
    completion::send_failure(clients, &waiter.task_token, error, "").await?;
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
        let waiting = waiters::list(clients, RESULTS, &report.tag.expect("ours"), None).await?;
        completion::tell_all(clients, RESULTS, job_id, &Outcome::Succeeded(metadata), waiting).await?;
    }
    Ok(())
}

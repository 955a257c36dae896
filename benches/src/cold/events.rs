//! The first event of each function, what is stored before it, and how its result is checked.

use lambdas::{
    job::{FaceAttributes, FinishedJob, JobParameters},
    pending_callbacks::{PendingCallback, TaskToken},
    video::Video,
};
use serde_json::{Value, json};

use super::aws::{Aws, World};
use crate::{
    BenchError, page,
    services::{Attributes, job_id},
};

/// A video that has just been uploaded, as EventBridge reports it.
const UPLOAD: &str = include_str!("../../../tests/fixtures/events/put-object-versioned.json");

/// The message about a job that has succeeded.
const COMPLETION: &str = include_str!("../../../tests/fixtures/sns/succeeded.json");

/// The event of the schedule.
const SCHEDULE: &str = include_str!("../../../tests/fixtures/events/schedule.json");

/// Stores what the function reads, and returns its event.
pub fn prepare(function: &str, aws: &Aws) -> Result<Value, BenchError> {
    aws.reset();
    let mut world = aws.world();
    let event = match function {
        "inspect-video" => {
            let input: Value = parse(UPLOAD)?;
            world.objects.insert("amzn-s3-demo-bucket/holiday/day 1.mp4".to_owned(), video_bytes().into());
            json!({ "execution_name": "e", "input": input })
        }
        "start-detection" => json!({
            "task_token": task_token(), "execution_name": "e", "task_attempt": 0,
            "started": "2026-11-22T17:38:00.123Z", "entered": "2026-11-22T17:38:00.123Z", "video": video(),
        }),
        "resume-execution" => {
            let callback = callback();
            callback.job.idempotency_key().clone_into(&mut world.job_tag);
            world.objects.insert(format!("results/{}", callback.object_key()), json!(callback).to_string().into());
            let mut event: Value = parse(COMPLETION)?;
            let message = json!({ "JobId": job_id(Attributes::Default, 1), "Status": "SUCCEEDED" });
            event["Records"][0]["Sns"]["Message"] = message.to_string().into();
            event
        }
        "start-waiting-jobs" => parse(SCHEDULE)?,
        "list-pages" => json!({ "execution_name": "e", "job": page::job(&list_job()), "from": { "index": 0 } }),
        "fetch-page" => {
            let batch = json!({ "index": 0, "pages": 1 });
            json!({ "execution_name": "e", "job": page::job(&one_page_job()), "batch": batch })
        }
        "summarize" => {
            let job = page::job(&one_page_job());
            world.put_page(format!("results/{}", finished(job.clone())?.page_key(0)));
            json!({ "job": job, "pages": 1, "execution_arn": "arn" })
        }
        _ => json!({ "job_id": one_page_job(), "bucket": "results", "key": "faces.json" }),
    };
    Ok(event)
}

/// Checks that the function has done its work.
pub fn check(function: &str, answer: &Value, aws: &Aws) -> Result<(), BenchError> {
    let (world, requests) = (aws.world(), aws.counts().requests);
    let stored = |part: &str| world.objects.keys().any(|name| name.contains(part));
    let done = match function {
        "inspect-video" => answer["bytes"] == video_bytes().len(),
        "start-detection" => {
            world.effect.is_some()
                && stored("queue/started-jobs/")
                && !stored("queue/entries/")
                && !stored("queue/lease")
        }
        "resume-execution" => world.effect.is_some() && stored("queue/completed-jobs/") && !stored("callbacks/"),
        "start-waiting-jobs" => answer.is_null() && requests == 1,
        "list-pages" => answer["listed"] == 2,
        "fetch-page" => answer["faces"] == 1000 && stored("faces/00000.jsonl"),
        "summarize" => answer["faces"] == 1000 && stored("/manifest.json"),
        _ => answer["faces"] == 1000 && stored("results/faces.json"),
    };
    if done {
        Ok(())
    } else {
        let stored = stored_by(&world);
        Err(BenchError::Failed(format!("{function} has answered {answer} after {requests} requests; {stored}")))
    }
}

fn stored_by(world: &World) -> String {
    format!("stored: {:?}", world.objects.keys())
}

fn one_page_job() -> String {
    job_id(Attributes::Default, 1)
}

fn list_job() -> String {
    job_id(Attributes::Default, 2)
}

fn parse(fixture: &str) -> Result<Value, BenchError> {
    serde_json::from_str(fixture).map_err(|error| BenchError::Failed(error.to_string()))
}

fn finished(job: Value) -> Result<FinishedJob, BenchError> {
    serde_json::from_value(job).map_err(|error| BenchError::Failed(error.to_string()))
}

/// As long as a token of Step Functions.
fn task_token() -> String {
    "AAAAKgAAAAIAAAAAAAAAA".repeat(36)
}

/// The start of an MP4 file; the functions read no more.
fn video_bytes() -> Vec<u8> {
    [&b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41"[..], &[0; 4096]].concat()
}

/// A video in a bucket with versions, as terraform makes it.
fn video() -> Video {
    Video {
        bucket: "uploads".to_owned(),
        key: "holiday.mp4".to_owned(),
        version_id: Some("IYV3p45BT0ac8hjHg1houSdS1a.Mro8e".to_owned()),
        etag: "b1946ac92492d2347c6235b4d2611184".to_owned(),
        bytes: 5_242_880,
    }
}

/// An execution that waits for the job.
fn callback() -> PendingCallback {
    let parameters = JobParameters {
        video: video(),
        face_attributes: FaceAttributes::Default,
        topic_arn: "arn:aws:sns:us-east-1:123456789012:completions".to_owned(),
        role_arn: "arn:aws:iam::123456789012:role/publish".to_owned(),
        attempt: 0,
    };
    PendingCallback {
        execution_name: "e".to_owned(),
        entered_ms: 0,
        task_attempt: 0,
        task_token: TaskToken(task_token()),
        job: parameters.into(),
    }
}

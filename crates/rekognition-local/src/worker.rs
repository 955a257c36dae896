//! The work of a job after its Start call: the download, the analysis, the completion message.

use std::sync::Arc;

use aws_sdk_s3::error::DisplayErrorContext;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncWriteExt};

use crate::api::{NO_OBJECT, ObjectRef, StartCall};
use crate::faults::{Delivery, Plan};
use crate::lock;
use crate::state::ServerState;
use face_detection::{Analysis, AnalyzeError, Continue};

/// Why a job failed: its text is the job's `StatusMessage`.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("{NO_OBJECT}")]
    Object(#[source] aws_sdk_s3::Error),
    #[error("the download of the video failed: {0}")]
    Download(#[source] std::io::Error),
    #[error("the video cannot be written to the directory of temporary files: {0}")]
    TempFile(#[source] std::io::Error),
    #[error(transparent)]
    Analysis(#[from] AnalyzeError),
    #[error("the detector panicked: {0}")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Runs a job until it has ended or the server stops.
pub async fn run(state: Arc<ServerState>, job_id: String, call: StartCall, plan: Plan) {
    tokio::select! {
        () = state.stopped() => {}
        () = process(&state, &job_id, &call, plan) => {}
    }
}

async fn process(state: &Arc<ServerState>, job_id: &str, call: &StartCall, plan: Plan) {
    let outcome = match plan.failure {
        Some(message) => Err(message),
        None => match analyze(state, job_id, &call.object).await {
            // The server stops: nothing is published.
            Err(JobError::Analysis(AnalyzeError::Cancelled)) => return,
            Err(error) => {
                tracing::warn!(job_id, error = %DisplayErrorContext(&error), "the job failed");
                Err(error.to_string())
            }
            Ok(analysis) => Ok(analysis),
        },
    };
    let status = match outcome {
        Ok(_) => "SUCCEEDED",
        Err(_) if plan.says_error => "ERROR",
        Err(_) => "FAILED",
    };
    // The status changes before the message is published, so that its receiver finds the job ended.
    lock(&state.jobs).finish(job_id, outcome);
    notify(state, job_id, call, status, &plan.delivery).await;
}

async fn analyze(state: &Arc<ServerState>, job_id: &str, object: &ObjectRef) -> Result<Analysis, JobError> {
    // The semaphore is never closed. The analysis owns the permit and the file, because it may run a little longer than this task.
    let permit = Arc::clone(&state.analyses).acquire_owned().await.expect("the semaphore is open");
    let video = download(state, object).await?;
    let (state, job_id) = (Arc::clone(state), job_id.to_owned());
    let analysis = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let progress = |done| {
            lock(&state.jobs).progress(&job_id, done);
            if state.is_stopping() { Continue::No } else { Continue::Yes }
        };
        state.detector.analyze(video.path(), &progress)
    });
    Ok(analysis.await.map_err(JobError::Panicked)??)
}

async fn download(state: &ServerState, object: &ObjectRef) -> Result<NamedTempFile, JobError> {
    let get = state.s3.get_object().bucket(&object.bucket).key(&object.key);
    let got = get.set_version_id(object.version.clone()).send().await;
    let body = got.map_err(|error| JobError::Object(error.into()))?.body.into_async_read();
    let file = NamedTempFile::with_suffix(".video").map_err(JobError::TempFile)?;
    let writer = tokio::fs::File::from_std(file.reopen().map_err(JobError::TempFile)?);
    copy(body, writer).await?;
    Ok(file)
}

/// Copies in chunks of 1 MiB, so that an error says whether reading or writing failed.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: tokio::fs::File) -> Result<(), JobError> {
    use tokio::io::AsyncReadExt;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer).await.map_err(JobError::Download)? {
            0 => return to.flush().await.map_err(JobError::TempFile),
            read => to.write_all(&buffer[..read]).await.map_err(JobError::TempFile)?,
        }
    }
}

async fn notify(state: &ServerState, job_id: &str, call: &StartCall, status: &str, delivery: &Delivery) {
    let Some(channel) = &call.notify else { return };
    let ended = state.clock.now();
    let mut message = json!({
        "JobId": job_id,
        "Status": status,
        "API": "StartFaceDetection",
        "Timestamp": u64::try_from(ended.as_millis()).unwrap_or(u64::MAX),
        "Video": { "S3ObjectName": call.object.key, "S3Bucket": call.object.bucket },
    });
    if let Some(tag) = &call.job_tag {
        message["JobTag"] = json!(tag);
    }
    let times = match delivery {
        Delivery::Never => 0,
        Delivery::Twice => 2,
        Delivery::Once | Delivery::Early => 1,
        Delivery::Late(by) => {
            state.clock.sleep_until(ended + *by).await;
            1
        }
    };
    for _ in 0..times {
        let publish = state.sns.publish().topic_arn(&channel.topic_arn).message(message.to_string());
        // The client has already retried, as often as it is configured to.
        if let Err(error) = publish.send().await {
            let error = DisplayErrorContext(&error);
            tracing::error!(job_id, topic = channel.topic_arn, %error, "the completion message was not published");
        }
    }
}

//! What happens to a job after its Start call: the download, the analysis, the completion message.

use std::sync::Arc;

use aws_sdk_s3::error::DisplayErrorContext;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncWriteExt};

use crate::api::{NO_OBJECT, ObjectRef, StartCall};
use crate::faults::{Delivery, Plan};
use crate::lock;
use crate::server::Shared;
use face_detection::{Analysis, AnalyzeError, Continue};

/// Why a job failed: its text is the job's `StatusMessage`.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("{NO_OBJECT}")]
    Object(#[source] aws_sdk_s3::Error),
    #[error("the video's download broke off: {0}")]
    Download(#[source] std::io::Error),
    #[error("no room for the video in the directory of temporary files: {0}")]
    TempFile(#[source] std::io::Error),
    #[error(transparent)]
    Analysis(#[from] AnalyzeError),
    #[error("the detector panicked: {0}")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Carries a job to its end, or to the server's.
pub async fn run(shared: Arc<Shared>, job_id: String, call: StartCall, plan: Plan) {
    tokio::select! {
        () = shared.stopped() => {}
        () = carry_out(&shared, &job_id, &call, plan) => {}
    }
}

async fn carry_out(shared: &Arc<Shared>, job_id: &str, call: &StartCall, plan: Plan) {
    let outcome = match plan.failure {
        Some(message) => Err(message),
        None => match analyze(shared, job_id, &call.object).await {
            // Nobody is left to be told.
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
    // Who is told of the end must find it: the status changes before the message goes out.
    lock(&shared.jobs).finish(job_id, outcome);
    notify(shared, job_id, call, status, &plan.delivery).await;
}

async fn analyze(shared: &Arc<Shared>, job_id: &str, object: &ObjectRef) -> Result<Analysis, JobError> {
    // The semaphore is never closed. The permit and the file go with the analysis, which may outlive this task by a moment.
    let permit = Arc::clone(&shared.analyses).acquire_owned().await.expect("the semaphore is open");
    let video = download(shared, object).await?;
    let (shared, job_id) = (Arc::clone(shared), job_id.to_owned());
    let analysis = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let go_on = |done| {
            lock(&shared.jobs).progress(&job_id, done);
            if shared.stopping() { Continue::No } else { Continue::Yes }
        };
        shared.detector.analyze(video.path(), &go_on)
    });
    Ok(analysis.await.map_err(JobError::Panicked)??)
}

async fn download(shared: &Shared, object: &ObjectRef) -> Result<NamedTempFile, JobError> {
    let get = shared.s3.get_object().bucket(&object.bucket).key(&object.key);
    let got = get.set_version_id(object.version.clone()).send().await;
    let body = got.map_err(|error| JobError::Object(error.into()))?.body.into_async_read();
    let file = NamedTempFile::with_suffix(".video").map_err(JobError::TempFile)?;
    let writer = tokio::fs::File::from_std(file.reopen().map_err(JobError::TempFile)?);
    copy(body, writer).await?;
    Ok(file)
}

/// Copies piece by piece, so that a failure says which side it came from.
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

async fn notify(shared: &Shared, job_id: &str, call: &StartCall, status: &str, delivery: &Delivery) {
    let Some(channel) = &call.notify else { return };
    let ended = shared.clock.now();
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
            shared.clock.sleep_until(ended + *by).await;
            1
        }
    };
    for _ in 0..times {
        let publish = shared.sns.publish().topic_arn(&channel.topic_arn).message(message.to_string());
        // The client has retried already, as often as its configuration says.
        if let Err(error) = publish.send().await {
            let error = DisplayErrorContext(&error);
            tracing::error!(job_id, topic = channel.topic_arn, %error, "the completion message was not published");
        }
    }
}

//! The server: two calls over AWS JSON 1.1, and a route that injects faults.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_sdk_s3::error::DisplayErrorContext;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api::{
    ApiError, CONTENT_TYPE, ErrorKind, GetFaceDetectionRequest, GetFaceDetectionResponse, NO_OBJECT, ObjectRef,
    REQUEST_ID, StartFaceDetectionRequest, StartFaceDetectionResponse,
};
use crate::config::Config;
use crate::faults::{Call, Delivery, Fault, Faults};
use crate::jobs::{JobView, Started};
use crate::state::{ServerState, parallel_analyses};
use crate::{lock, worker};

/// Rekognition's limit for a stored video.
const MAX_VIDEO_BYTES: i64 = 10 * 1024 * 1024 * 1024;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The server checks no credentials, so it must not be reachable from elsewhere.
    #[error("{0} can be reached from other machines: listen on 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: choose another port, or 0 for any free one")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The numbers of calls since the server's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// `StartFaceDetection`, refused ones included.
    pub start: u64,
    /// `GetFaceDetection`, refused ones included.
    pub get: u64,
    /// Jobs started: the number that AWS would bill.
    pub jobs: u64,
}

/// A running server. Dropping it stops it: it answers no further calls and cancels its analyses.
pub struct Server {
    state: Arc<ServerState>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Server {
    /// Starts to listen. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] when the address is not a loopback address or cannot be bound.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let address = config.listen;
        if !address.ip().is_loopback() {
            return Err(StartError::NotLoopback(address));
        }
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let state = Arc::new(ServerState::new(config));
        let router = Router::new().route("/", post(answer)).route("/_faults", post(inject));
        let router = router.with_state(Arc::clone(&state));
        let stopped = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            let serve = axum::serve(listener, router).with_graceful_shutdown(async move { stopped.stopped().await });
            if let Err(error) = serve.await {
                tracing::error!(%error, "the server ended");
            }
        });
        Ok(Self { state, address, serving })
    }

    /// The URL of the server, for example `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every job that has not expired, in the order of their start.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobView> {
        lock(&self.state.jobs).views()
    }

    /// The faults to inject.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// The numbers of calls since the server's start.
    #[must_use]
    pub fn calls(&self) -> Calls {
        Calls {
            start: self.state.start_calls.load(Ordering::Relaxed),
            get: self.state.get_calls.load(Ordering::Relaxed),
            jobs: lock(&self.state.jobs).started(),
        }
    }

    /// Stops the server, and returns when the current calls are answered and the analyses are cancelled.
    pub async fn stop(mut self) {
        self.state.stop.send_replace(true);
        // The task does not panic and is not aborted.
        let _ = (&mut self.serving).await;
        // An error would mean a closed semaphore; it is never closed.
        let _ = self.state.analyses.acquire_many(parallel_analyses()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.send_replace(true);
    }
}

/// The two calls.
impl ServerState {
    /// Waits as long as an injected fault says.
    async fn delay(&self, call: Call) {
        if let Some(delay) = self.faults.delay(call) {
            tokio::time::sleep(delay).await;
        }
    }

    async fn start(self: &Arc<Self>, body: &[u8]) -> Result<StartFaceDetectionResponse, ApiError> {
        self.delay(Call::Start).await;
        self.start_calls.fetch_add(1, Ordering::Relaxed);
        let call = parse::<StartFaceDetectionRequest>(body)?.validate()?;
        if let Some(refusal) = self.faults.refusal(Call::Start) {
            return Err(refusal.into());
        }
        if let Some(job_id) = lock(&self.jobs).known(&call)? {
            return Ok(StartFaceDetectionResponse { job_id });
        }
        self.inspect(&call.object).await?;
        if self.faults.quota_used_up() {
            return Err(lock(&self.jobs).limit_exceeded());
        }
        let job_id = match lock(&self.jobs).start(call.clone())? {
            Started::Known(job_id) => return Ok(StartFaceDetectionResponse { job_id }),
            Started::New(job_id) => job_id,
        };
        let plan = self.faults.plan();
        let early = plan.delivery == Delivery::Early;
        let (done, end) = oneshot::channel();
        let job = worker::run(Arc::clone(self), job_id.clone(), call, plan);
        tokio::spawn(async move {
            job.await;
            // The receiver was dropped, unless the message is to be early.
            let _ = done.send(());
        });
        if early {
            let _ = end.await;
        }
        Ok(StartFaceDetectionResponse { job_id })
    }

    /// Refuses an object that does not exist, cannot be read, or is too large.
    async fn inspect(&self, object: &ObjectRef) -> Result<(), ApiError> {
        let head = self.s3.head_object().bucket(&object.bucket).key(&object.key);
        match head.set_version_id(object.version.clone()).send().await {
            Ok(head) if head.content_length().unwrap_or(0) > MAX_VIDEO_BYTES => {
                Err(ApiError::new(ErrorKind::VideoTooLarge, "Video size limit exceeded. Maximum: 10 GB"))
            }
            Ok(_) => Ok(()),
            // S3 has answered that the object does not exist or cannot be read.
            Err(error) if error.raw_response().is_some_and(|response| response.status().is_client_error()) => {
                Err(ApiError::new(ErrorKind::InvalidS3Object, NO_OBJECT))
            }
            Err(error) => {
                let error = DisplayErrorContext(&error);
                tracing::error!(bucket = object.bucket, key = object.key, %error, "S3 does not answer");
                Err(ApiError::new(ErrorKind::InternalServer, format!("S3 does not answer: {error}")))
            }
        }
    }

    async fn get(&self, body: &[u8]) -> Result<GetFaceDetectionResponse, ApiError> {
        self.delay(Call::Get).await;
        self.get_calls.fetch_add(1, Ordering::Relaxed);
        let call = parse::<GetFaceDetectionRequest>(body)?.validate()?;
        if let Some(refusal) = self.faults.refusal(Call::Get) {
            return Err(refusal.into());
        }
        lock(&self.jobs).page(&call)
    }
}

async fn answer(State(state): State<Arc<ServerState>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let mut response = match target {
        "RekognitionService.StartFaceDetection" => respond(state.start(&body).await),
        "RekognitionService.GetFaceDetection" => respond(state.get(&body).await),
        _ => {
            let message = format!("{target:?} is not served here: only StartFaceDetection and GetFaceDetection are");
            ApiError::new(ErrorKind::UnknownOperation, message).into_response()
        }
    };
    if let Ok(id) = HeaderValue::from_str(&format!("{:032x}", fastrand::u128(..))) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn inject(State(state): State<Arc<ServerState>>, Json(fault): Json<Fault>) -> StatusCode {
    state.faults.inject(fault);
    StatusCode::NO_CONTENT
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::new(ErrorKind::Serialization, error.to_string()))
}

fn respond(result: Result<impl Serialize, ApiError>) -> Response {
    match result {
        Ok(response) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], Json(response)).into_response(),
        Err(error) => error.into_response(),
    }
}

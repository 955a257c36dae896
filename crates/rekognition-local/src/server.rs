//! The server: two calls over AWS JSON 1.1, and an entrance for ordered faults.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
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
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;

use crate::api::{
    ApiError, CONTENT_TYPE, ErrorKind, GetFaceDetectionRequest, GetFaceDetectionResponse, MAX_RESULTS, NO_OBJECT,
    ObjectRef, REQUEST_ID, StartFaceDetectionRequest, StartFaceDetectionResponse,
};
use crate::clock::Clock;
use crate::faults::{Call, Delivery, Fault, Faults};
use crate::jobs::{JobView, Jobs, Started};
use crate::{lock, worker};
use face_detection::Detector;

/// Rekognition's limit for a stored video.
const MAX_VIDEO_BYTES: i64 = 10 * 1024 * 1024 * 1024;

/// How a [`Server`] is to run.
#[derive(Clone)]
pub struct Config {
    /// A loopback address; port 0 means any free port.
    pub listen: SocketAddr,
    /// The URL under which S3 and SNS answer.
    pub aws_endpoint: String,
    /// The region that calls to S3 and SNS are signed for.
    pub region: String,
    /// What finds the faces.
    pub detector: Arc<dyn Detector>,
    /// How many jobs may be in progress at once.
    pub max_jobs: usize,
    /// The most faces on a page, whatever `MaxResults` says.
    pub page_limit: usize,
}

impl Config {
    /// Rekognition's quota and page size, `us-east-1`, and any free port of 127.0.0.1.
    pub fn new(aws_endpoint: impl Into<String>, detector: Arc<dyn Detector>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            aws_endpoint: aws_endpoint.into(),
            region: "us-east-1".to_owned(),
            detector,
            max_jobs: 20,
            page_limit: MAX_RESULTS,
        }
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The server checks no credentials, so it must not be reachable from elsewhere.
    #[error("{0} can be reached from other machines: listen on 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: choose another port, or 0 for any free one")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// How often the server was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// `StartFaceDetection`, refused ones included.
    pub start: u64,
    /// `GetFaceDetection`, refused ones included.
    pub get: u64,
    /// Jobs started: each of them would have been paid for.
    pub jobs: u64,
}

/// A running stand-in. Dropping it stops it: it answers no more, and its analyses give up.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Server {
    /// Starts to listen. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] when the address is not a loopback address or cannot be had.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let address = config.listen;
        if !address.ip().is_loopback() {
            return Err(StartError::NotLoopback(address));
        }
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Arc::new(Shared::new(config));
        let router = Router::new().route("/", post(answer)).route("/_faults", post(order));
        let router = router.with_state(Arc::clone(&shared));
        let stopped = Arc::clone(&shared);
        let serving = tokio::spawn(async move {
            let serve = axum::serve(listener, router).with_graceful_shutdown(async move { stopped.stopped().await });
            if let Err(error) = serve.await {
                tracing::error!(%error, "the server ended");
            }
        });
        Ok(Self { shared, address, serving })
    }

    /// Where the server answers, for example `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every job that is not forgotten, in the order of their start.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobView> {
        lock(&self.shared.jobs).views()
    }

    /// Where faults are ordered.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// How often the server was called since its start.
    #[must_use]
    pub fn calls(&self) -> Calls {
        Calls {
            start: self.shared.start_calls.load(Ordering::Relaxed),
            get: self.shared.get_calls.load(Ordering::Relaxed),
            jobs: lock(&self.shared.jobs).started(),
        }
    }

    /// Stops, and returns when calls under way are answered and analyses have given up.
    pub async fn stop(mut self) {
        self.shared.stop.send_replace(true);
        // It neither panics nor is it aborted.
        let _ = (&mut self.serving).await;
        // An error would mean a closed semaphore: nothing closes it.
        let _ = self.shared.analyses.acquire_many(analyses_at_once()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
    }
}

/// An analysis keeps more than one core busy by itself.
fn analyses_at_once() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores >= 4 { 2 } else { 1 }
}

/// What calls and jobs share.
pub struct Shared {
    pub jobs: Arc<Mutex<Jobs>>,
    pub faults: Faults,
    pub clock: Clock,
    pub detector: Arc<dyn Detector>,
    /// Bounds the analyses that really run; all other accepted jobs wait here.
    pub analyses: Arc<Semaphore>,
    pub s3: aws_sdk_s3::Client,
    pub sns: aws_sdk_sns::Client,
    start_calls: AtomicU64,
    get_calls: AtomicU64,
    stop: watch::Sender<bool>,
}

impl Shared {
    fn new(config: Config) -> Self {
        let clock = Clock::new();
        let jobs = Arc::new(Mutex::new(Jobs::new(clock.clone(), config.max_jobs, config.page_limit)));
        let credentials = Credentials::new("test", "test", None, None, "rekognition-local");
        let region = Region::new(config.region);
        let s3 = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(&config.aws_endpoint)
            .region(region.clone())
            .credentials_provider(credentials.clone())
            .force_path_style(true)
            .build();
        let sns = aws_sdk_sns::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(config.aws_endpoint)
            .region(region)
            .credentials_provider(credentials)
            // A message that is lost is not published again, so it is tried longer than S3, whose caller waits.
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .build();
        Self {
            faults: Faults::new(Arc::clone(&jobs), clock.clone()),
            jobs,
            clock,
            detector: config.detector,
            analyses: Arc::new(Semaphore::new(analyses_at_once() as usize)),
            s3: aws_sdk_s3::Client::from_conf(s3),
            sns: aws_sdk_sns::Client::from_conf(sns),
            start_calls: AtomicU64::new(0),
            get_calls: AtomicU64::new(0),
            stop: watch::Sender::new(false),
        }
    }

    pub fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns when the server is to stop.
    pub async fn stopped(&self) {
        // An error would mean that the sender is gone, but `self` holds it.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Takes as long as was ordered.
    async fn take_time(&self, call: Call) {
        if let Some(delay) = self.faults.delay(call) {
            tokio::time::sleep(delay).await;
        }
    }

    async fn start(self: &Arc<Self>, body: &[u8]) -> Result<StartFaceDetectionResponse, ApiError> {
        self.take_time(Call::Start).await;
        self.start_calls.fetch_add(1, Ordering::Relaxed);
        let call = parse::<StartFaceDetectionRequest>(body)?.validate()?;
        if let Some(refusal) = self.faults.refusal(Call::Start) {
            return Err(refusal.into());
        }
        if let Some(job_id) = lock(&self.jobs).known(&call)? {
            return Ok(StartFaceDetectionResponse { job_id });
        }
        self.look_at(&call.object).await?;
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
            // Nobody waits, unless the message is to be early.
            let _ = done.send(());
        });
        if early {
            let _ = end.await;
        }
        Ok(StartFaceDetectionResponse { job_id })
    }

    /// Refuses an object that is not there, must not be read, or is too large.
    async fn look_at(&self, object: &ObjectRef) -> Result<(), ApiError> {
        let head = self.s3.head_object().bucket(&object.bucket).key(&object.key);
        match head.set_version_id(object.version.clone()).send().await {
            Ok(head) if head.content_length().unwrap_or(0) > MAX_VIDEO_BYTES => {
                Err(ApiError::new(ErrorKind::VideoTooLarge, "Video size limit exceeded. Maximum: 10 GB"))
            }
            Ok(_) => Ok(()),
            // S3 has answered, but not with the object.
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
        self.take_time(Call::Get).await;
        self.get_calls.fetch_add(1, Ordering::Relaxed);
        let call = parse::<GetFaceDetectionRequest>(body)?.validate()?;
        if let Some(refusal) = self.faults.refusal(Call::Get) {
            return Err(refusal.into());
        }
        lock(&self.jobs).page(&call)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let mut response = match target {
        "RekognitionService.StartFaceDetection" => respond(shared.start(&body).await),
        "RekognitionService.GetFaceDetection" => respond(shared.get(&body).await),
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

async fn order(State(shared): State<Arc<Shared>>, Json(fault): Json<Fault>) -> StatusCode {
    shared.faults.order(fault);
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

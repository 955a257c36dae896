//! The state that the server and its jobs share.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use face_detection::Detector;
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::config::Config;
use crate::faults::Faults;
use crate::jobs::Jobs;

/// The number of analyses that run in parallel. One analysis already keeps more than one core busy.
pub fn parallel_analyses() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores >= 4 { 2 } else { 1 }
}

/// The state that calls and jobs share.
pub struct ServerState {
    pub jobs: Arc<Mutex<Jobs>>,
    pub faults: Faults,
    pub clock: Clock,
    pub detector: Arc<dyn Detector>,
    /// Limits the analyses that run; all other accepted jobs wait for a permit.
    pub analyses: Arc<Semaphore>,
    pub s3: aws_sdk_s3::Client,
    pub sns: aws_sdk_sns::Client,
    /// `StartFaceDetection` calls, refused ones included.
    pub start_calls: AtomicU64,
    /// `GetFaceDetection` calls, refused ones included.
    pub get_calls: AtomicU64,
    /// True when the server is to stop.
    pub stop: watch::Sender<bool>,
}

impl ServerState {
    pub fn new(config: Config) -> Self {
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
            // More attempts than for S3: a failed S3 call fails the Start call, which its caller can retry, but a message that
            // is lost is not published again.
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .build();
        Self {
            faults: Faults::new(Arc::clone(&jobs), clock.clone()),
            jobs,
            clock,
            detector: config.detector,
            analyses: Arc::new(Semaphore::new(parallel_analyses() as usize)),
            s3: aws_sdk_s3::Client::from_conf(s3),
            sns: aws_sdk_sns::Client::from_conf(sns),
            start_calls: AtomicU64::new(0),
            get_calls: AtomicU64::new(0),
            stop: watch::Sender::new(false),
        }
    }

    /// Whether the server is stopping.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns when the server is to stop.
    pub async fn stopped(&self) {
        // An error would mean that the sender is gone, but `self` holds it.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

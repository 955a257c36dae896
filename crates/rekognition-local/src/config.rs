//! How a server is configured.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use face_detection::Detector;

use crate::api::MAX_RESULTS;

/// The configuration of a [`Server`](crate::Server).
#[derive(Clone)]
pub struct Config {
    /// A loopback address; port 0 means any free port.
    pub listen: SocketAddr,
    /// The endpoint of S3 and SNS.
    pub aws_endpoint: String,
    /// The region that calls to S3 and SNS are signed for.
    pub region: String,
    /// Finds the faces.
    pub detector: Arc<dyn Detector>,
    /// The quota of jobs in progress.
    pub max_jobs: usize,
    /// The maximum number of faces on a page; a larger `MaxResults` is reduced to it.
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

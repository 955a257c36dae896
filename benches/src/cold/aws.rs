//! S3, Rekognition and Step Functions for one invocation, each on its own TLS server, as each has its own host on AWS.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Instant,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::tls::{ADDRESSES, Certificates, Listener, Traffic};
use crate::{
    BenchError,
    services::{Attributes, Faces, faces, page_of},
};

/// The id of a job that is started.
pub const STARTED_JOB: &str = "8f14e45fceea167a5a36dedd4bea2543b6f4b7f0ad3ce8b1d7d4b2a1e5c6f7a8";

/// The three services.
pub struct Aws {
    /// The environment of a function that calls them.
    pub variables: Vec<(&'static str, String)>,
    servers: Vec<Arc<Server>>,
    world: Arc<Mutex<World>>,
}

/// What the services know.
pub struct World {
    /// The objects of all buckets by `bucket/key`.
    pub objects: BTreeMap<String, Bytes>,
    /// The `JobTag` that Rekognition reports for every job.
    pub job_tag: String,
    /// When the call arrived that an execution or a person waits for: Start, or the callback.
    pub effect: Option<Instant>,
    faces: Faces,
}

/// What the servers have done since the last [`Aws::reset`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handshakes with a certificate.
    pub full_handshakes: usize,
    /// Handshakes that resumed a session.
    pub resumed_handshakes: usize,
    /// Requests.
    pub requests: usize,
}

#[derive(Debug, Clone, Copy)]
enum Service {
    S3,
    Rekognition,
    StepFunctions,
}

struct Server {
    service: Service,
    traffic: Arc<Traffic>,
    world: Arc<Mutex<World>>,
}

impl Aws {
    /// Starts the servers; they end with the runtime.
    pub async fn start(certificates: &Certificates) -> Result<Self, BenchError> {
        let world = Arc::new(Mutex::new(World {
            objects: BTreeMap::new(),
            job_tag: String::new(),
            effect: None,
            faces: faces(Attributes::Default),
        }));
        let (mut variables, mut servers) = (Vec::new(), Vec::new());
        let services = [
            (Service::S3, "AWS_ENDPOINT_URL_S3"),
            (Service::Rekognition, "AWS_ENDPOINT_URL_REKOGNITION"),
            (Service::StepFunctions, "AWS_ENDPOINT_URL_SFN"),
        ];
        for ((service, variable), address) in services.into_iter().zip(ADDRESSES) {
            let server = Arc::new(Server { service, traffic: Arc::default(), world: world.clone() });
            let listener = Listener::bind(address, certificates, server.traffic.clone()).await?;
            variables.push((variable, listener.url()));
            let router = Router::new().fallback(answer).with_state(server.clone());
            tokio::spawn(async move { axum::serve(listener, router).await });
            servers.push(server);
        }
        Ok(Self { variables, servers, world })
    }

    /// Deletes all objects and sets the counts to zero.
    pub fn reset(&self) {
        for Server { traffic, .. } in self.servers.iter().map(AsRef::as_ref) {
            for count in [&traffic.full_handshakes, &traffic.resumed_handshakes, &traffic.requests] {
                count.store(0, Relaxed);
            }
        }
        let mut world = self.world();
        world.objects.clear();
        world.job_tag = "0".repeat(64);
        world.effect = None;
    }

    /// What the services know.
    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// What all servers have done since the last reset.
    pub fn counts(&self) -> Counts {
        let sum = |count: fn(&Traffic) -> usize| self.servers.iter().map(|server| count(&server.traffic)).sum();
        Counts {
            full_handshakes: sum(|traffic| traffic.full_handshakes.load(Relaxed)),
            resumed_handshakes: sum(|traffic| traffic.resumed_handshakes.load(Relaxed)),
            requests: sum(|traffic| traffic.requests.load(Relaxed)),
        }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let arrived = Instant::now();
    server.traffic.requests.fetch_add(1, Relaxed);
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let mut world = lock(&server.world);
    match server.service {
        Service::S3 => world.s3(&parts, body),
        Service::Rekognition | Service::StepFunctions => {
            let operation = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
            let operation = operation.and_then(|target| target.split('.').nth(1)).unwrap_or_default();
            let request = serde_json::from_slice(&body).unwrap_or_default();
            world.json(operation, &request, arrived).unwrap_or_else(|| StatusCode::BAD_REQUEST.into_response())
        }
    }
}

impl World {
    fn json(&mut self, operation: &str, request: &Value, arrived: Instant) -> Option<Response> {
        let body = match operation {
            "GetFaceDetection" => {
                let job_id = request["JobId"].as_str()?;
                let video = json!({ "S3Object": { "Bucket": "uploads", "Name": "holiday.mp4" } });
                let members = format!(r#""JobId":"{job_id}","JobTag":"{}","Video":{video},"#, self.job_tag);
                page_of(job_id, request["NextToken"].as_str(), &members, &self.faces.json)?
            }
            "StartFaceDetection" => {
                self.effect = Some(arrived);
                json!({ "JobId": STARTED_JOB }).to_string()
            }
            "SendTaskSuccess" => {
                self.effect = Some(arrived);
                "{}".to_owned()
            }
            "SendTaskHeartbeat" => "{}".to_owned(),
            _ => return None,
        };
        Some(([(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body).into_response())
    }

    /// Answers a request whose path is `/bucket/key`: the SDK names the bucket in the path if the endpoint is an address.
    fn s3(&mut self, request: &Parts, body: Bytes) -> Response {
        let name = decoded(request.uri.path().trim_start_matches('/'));
        match request.method {
            Method::GET if parameter(&request.uri, "list-type").is_some() => self.list(&name, &request.uri),
            Method::GET | Method::HEAD => {
                let Some(object) = self.objects.get(&name) else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
                let headers = [(header::ETAG, etag(object)), (header::CONTENT_LENGTH, object.len().to_string())];
                match (&request.method, range(&request.headers)) {
                    (&Method::HEAD, _) => (headers, Body::empty()).into_response(),
                    (_, Some(end)) => {
                        let part = object.slice(..object.len().min(end + 1));
                        (StatusCode::PARTIAL_CONTENT, [(header::ETAG, etag(object))], part).into_response()
                    }
                    _ => (headers, object.clone()).into_response(),
                }
            }
            Method::PUT => {
                let stored = self.objects.get(&name).map(etag);
                let condition = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
                let refused = condition(header::IF_NONE_MATCH).is_some() && stored.is_some()
                    || condition(header::IF_MATCH).is_some_and(|expected| stored.as_deref() != Some(expected));
                if refused {
                    return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
                }
                let headers = [(header::ETAG, etag(&body))];
                self.objects.insert(name, body);
                headers.into_response()
            }
            Method::DELETE => {
                self.objects.remove(&name);
                StatusCode::NO_CONTENT.into_response()
            }
            _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        }
    }

    fn list(&self, bucket: &str, uri: &Uri) -> Response {
        let bucket = format!("{}/", bucket.trim_end_matches('/'));
        let prefix = format!("{bucket}{}", parameter(uri, "prefix").unwrap_or_default());
        let most = parameter(uri, "max-keys").and_then(|keys| keys.parse().ok()).unwrap_or(1000);
        let mut contents = String::new();
        for (name, object) in self.objects.iter().filter(|(name, _)| name.starts_with(&prefix)).take(most) {
            let (key, size) = (&name[bucket.len()..], object.len());
            write!(contents, "<Contents><Key>{key}</Key><Size>{size}</Size></Contents>")
                .expect("writing to a string does not fail");
        }
        let body = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>");
        ([(header::CONTENT_TYPE, "application/xml")], body).into_response()
    }

    /// Stores the first page of a result.
    pub fn put_page(&mut self, name: String) {
        self.objects.insert(name, self.faces.lines.clone());
    }
}

fn etag(object: &Bytes) -> String {
    format!("\"{:032x}\"", object.iter().fold(0_u128, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into())))
}

/// The last byte of `bytes=0-11`.
fn range(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=0-")?.parse().ok()
}

fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|pair| pair.0 == name).map(|(_, value)| decoded(value))
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, format!("<Error><Code>{code}</Code><Message>canned</Message></Error>")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let faces = Faces { json: "[]".to_owned(), lines: Bytes::new() };
        World { objects: BTreeMap::new(), job_tag: "tag".to_owned(), effect: None, faces }
    }

    fn request(method: Method, uri: &str, header: Option<(header::HeaderName, &str)>) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        request.body(Body::empty()).unwrap().into_parts().0
    }

    #[test]
    fn a_conditional_write_is_refused_if_the_object_exists() {
        let mut world = world();
        let put = || request(Method::PUT, "/results/queue/lease", Some((header::IF_NONE_MATCH, "*")));
        assert_eq!(world.s3(&put(), Bytes::from("one")).status(), StatusCode::OK);
        assert_eq!(world.s3(&put(), Bytes::from("two")).status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(world.objects["results/queue/lease"], "one");
    }

    #[tokio::test]
    async fn a_listing_has_the_keys_under_the_prefix() {
        let mut world = world();
        for key in ["a/1", "a/2", "b/1"] {
            world.s3(&request(Method::PUT, &format!("/results/{key}"), None), Bytes::new());
        }
        let listing = request(Method::GET, "/results/?list-type=2&prefix=a%2F&max-keys=1", None);
        let body = to_bytes(world.s3(&listing, Bytes::new()).into_body(), usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("<Key>a/1</Key>") && !body.contains("a/2") && !body.contains("b/1"), "{body}");
    }

    #[test]
    fn an_unknown_operation_is_refused() {
        assert!(world().json("DeleteFaces", &json!({}), Instant::now()).is_none());
    }
}

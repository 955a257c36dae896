//! A proxy between one Lambda function and AWS that records the IAM actions of each call.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::iam::Use;

/// Larger than any body in these tests.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// The services that calls are forwarded to.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The emulator's URL.
    pub emulator: String,
    /// The Rekognition stand-in's URL.
    pub rekognition: String,
    /// The state machine that all task tokens belong to; a token does not name it.
    pub state_machine_arn: String,
}

/// The recorder of one function. It listens until it is dropped.
pub struct Recorder {
    shared: Arc<Shared>,
    url: String,
    serving: JoinHandle<()>,
}

struct Shared {
    upstream: Upstream,
    client: Client<HttpConnector, Body>,
    uses: Mutex<BTreeSet<Use>>,
}

impl Recorder {
    /// Starts a recorder on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port is available.
    pub async fn start(upstream: Upstream) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let client = Client::builder(TokioExecutor::new()).build_http();
        let shared = Arc::new(Shared { upstream, client, uses: Mutex::default() });
        let router = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            // It runs until it is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { shared, url, serving })
    }

    /// The endpoint that the function uses for AWS.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The actions of the function so far.
    #[must_use]
    pub fn uses(&self) -> BTreeSet<Use> {
        self.shared.uses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Calls a service with the AWS JSON protocol, for services that the tests call too rarely for an SDK client.
///
/// # Panics
/// When there is no response, or the response is not JSON.
pub async fn call(emulator: &str, target: &str, input: &Value) -> Value {
    let service = target.split('.').next().unwrap_or_default();
    // The emulator reads the service and the Region in it and does not check the signature.
    let credential = format!("AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request");
    let request = Request::post(emulator)
        .header("x-amz-target", target)
        .header(header::CONTENT_TYPE, "application/x-amz-json-1.0")
        .header(header::AUTHORIZATION, credential)
        .body(Body::from(input.to_string()))
        .expect("a well-formed request");
    let client: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.unwrap_or_else(|error| panic!("{target}: {error}"));
    let body = to_bytes(Body::new(answer.into_body()), MAX_BODY).await.unwrap_or_default();
    serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{target}: {}", String::from_utf8_lossy(&body)))
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else { return StatusCode::BAD_REQUEST.into_response() };
    let target = target(&parts).to_owned();
    let to = if target.starts_with("Rekognition") { &shared.upstream.rekognition } else { &shared.upstream.emulator };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let uses = uses(&shared.upstream, &parts, &target, &body);
    match format!("{to}{path}").parse::<Uri>() {
        Ok(uri) => parts.uri = uri,
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
    }
    parts.headers.remove(header::HOST);
    let answer = shared.client.request(Request::from_parts(parts, Body::from(body))).await;
    match answer {
        Ok(answer) => {
            let missing = answer.status() == StatusCode::NOT_FOUND;
            let mut recorded = shared.uses.lock().unwrap_or_else(PoisonError::into_inner);
            for used in uses {
                // S3 answers 404 only to a caller that may list the bucket, otherwise 403.
                if missing && used.action.starts_with("s3:GetObject") {
                    let bucket = used.resource.split('/').next().unwrap_or_default();
                    recorded.insert(Use::of("s3:ListBucket", bucket));
                }
                recorded.insert(used);
            }
            answer.map(Body::new)
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

fn target(parts: &Parts) -> &str {
    parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default()
}

/// The IAM actions of a call.
fn uses(upstream: &Upstream, parts: &Parts, target: &str, body: &Bytes) -> Vec<Use> {
    match target.split_once('.') {
        Some(("RekognitionService", action)) => {
            let mut uses = vec![Use::of(format!("rekognition:{action}"), "*")];
            if action == "StartFaceDetection" {
                uses.extend(with_the_callers_permissions(body));
            }
            uses
        }
        Some(("AWSStepFunctions", action)) => vec![Use::of(format!("states:{action}"), &upstream.state_machine_arn)],
        Some((service, action)) => vec![Use::of(format!("{service}:{action}"), "*")],
        None => vec![s3(parts)],
    }
}

/// The actions that Rekognition performs with the permissions of the caller that starts a job.
fn with_the_callers_permissions(body: &Bytes) -> Vec<Use> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let object = format!("arn:aws:s3:::{}/{}", text("/Video/S3Object/Bucket"), text("/Video/S3Object/Name"));
    let versioned = body.pointer("/Video/S3Object/Version").is_some();
    vec![
        Use::of(if versioned { "s3:GetObjectVersion" } else { "s3:GetObject" }, object),
        Use::of("iam:PassRole", text("/NotificationChannel/RoleArn"))
            .with("iam:PassedToService", "rekognition.amazonaws.com"),
    ]
}

/// The IAM action of an S3 call, by its method, path and query.
fn s3(parts: &Parts) -> Use {
    let path = percent_decode_str(&parts.uri.path()[1..]).decode_utf8_lossy().into_owned();
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    let query: Vec<(String, String)> = parts.uri.query().unwrap_or_default().split('&').map(parameter).collect();
    let parameter = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if key.is_empty() {
        let arn = format!("arn:aws:s3:::{bucket}");
        return match (&parts.method, parameter("list-type"), parameter("prefix")) {
            (&Method::GET, Some(_), Some(prefix)) => Use::of("s3:ListBucket", arn).with("s3:prefix", prefix),
            (&Method::GET, Some(_), None) => Use::of("s3:ListBucket", arn),
            _ => Use::of(format!("s3:{} {}", parts.method, parts.uri), arn),
        };
    }
    let action = match (&parts.method, parameter("versionId"), parameter("x-id").as_deref()) {
        (&Method::HEAD, Some(_), _) | (&Method::GET, Some(_), Some("GetObject")) => "s3:GetObjectVersion".to_owned(),
        (&Method::HEAD, None, _) | (&Method::GET, None, Some("GetObject")) => "s3:GetObject".to_owned(),
        (&Method::PUT, None, Some("PutObject")) => "s3:PutObject".to_owned(),
        (&Method::DELETE, None, Some("DeleteObject")) => "s3:DeleteObject".to_owned(),
        // Not an action of a policy, so it is reported as not granted.
        _ => format!("s3:{} {}", parts.method, parts.uri),
    };
    Use::of(action, format!("arn:aws:s3:::{bucket}/{key}"))
}

fn parameter(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), percent_decode_str(value).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, uri: &str) -> Use {
        s3(&Request::builder().method(method).uri(uri).body(Body::empty()).unwrap().into_parts().0)
    }

    #[test]
    fn a_listing_is_recognised_with_and_without_a_slash_after_the_bucket() {
        let listing = Use::of("s3:ListBucket", "arn:aws:s3:::b");
        for path in ["/b", "/b/"] {
            assert_eq!(asked(Method::GET, &format!("{path}?list-type=2")), listing);
            let within = asked(Method::GET, &format!("{path}?list-type=2&max-keys=20&prefix=queue%2Fentries%2F"));
            assert_eq!(within, listing.clone().with("s3:prefix", "queue/entries/"));
        }
    }

    #[test]
    fn object_keys_are_decoded() {
        let object = "arn:aws:s3:::b/a b+c%2F/🎬.mp4";
        let path = "/b/a%20b%2Bc%252F/%F0%9F%8E%AC.mp4";
        assert_eq!(asked(Method::PUT, &format!("{path}?x-id=PutObject")), Use::of("s3:PutObject", object));
        assert_eq!(asked(Method::DELETE, &format!("{path}?x-id=DeleteObject")), Use::of("s3:DeleteObject", object));
        assert_eq!(asked(Method::HEAD, path), Use::of("s3:GetObject", object));
        assert_eq!(asked(Method::HEAD, &format!("{path}?versionId=1")), Use::of("s3:GetObjectVersion", object));
    }

    #[test]
    fn an_unknown_call_is_recorded_with_its_method_and_path() {
        for (method, uri) in [(Method::PUT, "/b"), (Method::GET, "/b?acl"), (Method::GET, "/b/key?tagging")] {
            assert_eq!(asked(method.clone(), uri).action, format!("s3:{method} {uri}"));
        }
    }
}

//! Stubs of S3 and SNS, a detector with a canned result, and a server that uses them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use aws_sdk_rekognition::Client;
use aws_sdk_rekognition::config::retry::RetryConfig;
use aws_sdk_rekognition::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_rekognition::operation::get_face_detection::GetFaceDetectionOutput;
use aws_sdk_rekognition::operation::start_face_detection::builders::StartFaceDetectionFluentBuilder;
use aws_sdk_rekognition::types::{NotificationChannel, S3Object, Video, VideoJobStatus};
use axum::body::{Body, Bytes};
use axum::extract::{Form, Path as UrlPath, Query, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use face_detection::{
    Analysis, AnalyzeError, BoundingBox, Continue, Detector, FaceDetail, FaceDetection, Landmark, VideoMetadata,
};
use rekognition_local::{Config, Server};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub const BUCKET: &str = "videos";
pub const KEY: &str = "clip.mp4";
pub const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:finished";
pub const ROLE: &str = "arn:aws:iam::000000000000:role/publisher";

/// The timeout of every wait. Only a test that hangs reaches it.
const TIMEOUT: Duration = Duration::from_mins(1);

/// S3 and SNS.
#[derive(Default)]
pub struct Aws {
    /// By bucket and key.
    objects: Mutex<HashMap<(String, String), Object>>,
    published: watch::Sender<Vec<Published>>,
    /// The number of publications that are still to be answered with a 500.
    pub refuse_publications: AtomicUsize,
    pub publications_tried: AtomicUsize,
    observer: OnceLock<Client>,
}

#[derive(Clone)]
pub enum Object {
    Bytes(Bytes),
    Version(String, Bytes),
    /// Only its size is known.
    Sized(u64),
    Forbidden,
    /// HEAD finds it, GET does not.
    Deleted,
}

/// A message, and the status of the job when it was published.
#[derive(Clone, Debug)]
pub struct Published {
    pub topic: String,
    pub message: Value,
    pub status: Option<VideoJobStatus>,
}

impl Aws {
    async fn start() -> (Arc<Self>, String) {
        let aws = Arc::new(Self::default());
        let router = axum::Router::new()
            .route("/", post(publish))
            .route("/{bucket}/{*key}", get(object))
            .with_state(Arc::clone(&aws));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (aws, url)
    }

    pub fn put(&self, key: &str, object: Object) {
        self.objects.lock().unwrap().insert((BUCKET.into(), key.into()), object);
    }

    /// Waits for this number of messages and returns all that were published.
    pub async fn messages(&self, count: usize) -> Vec<Published> {
        let mut published = self.published.subscribe();
        let waiting = published.wait_for(|published| published.len() >= count);
        tokio::time::timeout(TIMEOUT, waiting).await.expect("the messages are published in time").unwrap().clone()
    }

    /// The number of messages so far.
    pub fn messages_so_far(&self) -> usize {
        self.published.borrow().len()
    }
}

type Params = HashMap<String, String>;

async fn object(
    State(aws): State<Arc<Aws>>,
    method: axum::http::Method,
    UrlPath(path): UrlPath<(String, String)>,
    Query(query): Query<Params>,
) -> Response<Body> {
    let head = method == axum::http::Method::HEAD;
    let found = aws.objects.lock().unwrap().get(&path).cloned();
    let status = |status| Response::builder().status(status).body(Body::empty()).unwrap();
    match found {
        Some(Object::Forbidden) => status(StatusCode::FORBIDDEN),
        Some(Object::Deleted) if head => status(StatusCode::OK),
        None | Some(Object::Deleted) => status(StatusCode::NOT_FOUND),
        Some(Object::Sized(bytes)) => Response::builder().header("content-length", bytes).body(Body::empty()).unwrap(),
        Some(Object::Version(version, _)) if query.get("versionId") != Some(&version) => status(StatusCode::NOT_FOUND),
        Some(Object::Bytes(bytes) | Object::Version(_, bytes)) => Response::new(Body::from(bytes)),
    }
}

async fn publish(State(aws): State<Arc<Aws>>, Form(mut form): Form<Params>) -> (StatusCode, String) {
    aws.publications_tried.fetch_add(1, Ordering::SeqCst);
    let refuse = |left: usize| left.checked_sub(1);
    if aws.refuse_publications.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse).is_ok() {
        return (StatusCode::INTERNAL_SERVER_ERROR, String::new());
    }
    assert_eq!(form.remove("Action").as_deref(), Some("Publish"));
    let message: Value = serde_json::from_str(&form["Message"]).unwrap();
    let status = match aws.observer.get() {
        None => None,
        Some(client) => {
            let got = client.get_face_detection().job_id(message["JobId"].as_str().unwrap()).send().await;
            got.ok().and_then(|got| got.job_status)
        }
    };
    let topic = form.remove("TopicArn").unwrap();
    aws.published.send_modify(|published| published.push(Published { topic, message, status }));
    let answer = "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>";
    (StatusCode::OK, answer.to_owned())
}

/// A detector with a canned result, which can be held back.
pub struct Canned {
    outcome: Box<dyn Fn() -> Result<Analysis, AnalyzeError> + Send + Sync>,
    gate: Mutex<Gate>,
    opened: Condvar,
    pub seen: Mutex<Vec<(PathBuf, Vec<u8>)>>,
    running: AtomicUsize,
    pub most_running: AtomicUsize,
    pub cancelled: AtomicUsize,
}

#[derive(PartialEq)]
enum Gate {
    Open,
    Shut,
}

impl Canned {
    pub fn new(outcome: impl Fn() -> Result<Analysis, AnalyzeError> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            outcome: Box::new(outcome),
            gate: Mutex::new(Gate::Open),
            opened: Condvar::new(),
            seen: Mutex::default(),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
        })
    }

    /// Finds `count` faces, not in the order of time.
    pub fn faces(count: usize) -> Arc<Self> {
        Self::new(move || Ok(analysis(count)))
    }

    /// Lets analyses start, but not end.
    pub fn shut(self: Arc<Self>) -> Arc<Self> {
        *self.gate.lock().unwrap() = Gate::Shut;
        self
    }

    pub fn open(&self) {
        *self.gate.lock().unwrap() = Gate::Open;
        self.opened.notify_all();
    }

    pub fn analyses(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Detector for Canned {
    fn analyze(&self, video: &Path, progress: &dyn Fn(f32) -> Continue) -> Result<Analysis, AnalyzeError> {
        let bytes = std::fs::read(video).unwrap();
        self.most_running.fetch_max(self.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        self.seen.lock().unwrap().push((video.to_owned(), bytes));
        let mut gate = self.gate.lock().unwrap();
        let mut proceed = progress(0.25);
        while *gate == Gate::Shut && proceed == Continue::Yes {
            gate = self.opened.wait_timeout(gate, Duration::from_millis(5)).unwrap().0;
            proceed = progress(0.5);
        }
        drop(gate);
        self.running.fetch_sub(1, Ordering::SeqCst);
        if proceed == Continue::No {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
            return Err(AnalyzeError::Cancelled);
        }
        (self.outcome)()
    }
}

/// `count` faces, two per timestamp, the last timestamp first.
pub fn analysis(count: usize) -> Analysis {
    let mut faces: Vec<_> = (0..count).map(face).collect();
    faces.reverse();
    let metadata = VideoMetadata {
        codec: "h264".into(),
        duration_millis: 61_500,
        format: "QuickTime / MOV".into(),
        frame_rate: 29.97,
        frame_height: 720,
        frame_width: 1280,
        color_range: "LIMITED".into(),
    };
    Analysis { metadata, faces }
}

fn face(number: usize) -> FaceDetection {
    let bounding_box = BoundingBox { width: 0.125, height: 0.25, left: 0.5, top: 0.0625 };
    let landmarks = vec![Landmark { kind: "mouthRight".into(), x: 0.5625, y: 0.75 }];
    let face = FaceDetail { bounding_box, confidence: 99.5, landmarks, pose: None, quality: None };
    FaceDetection { timestamp: i64::try_from(number / 2 * 500).unwrap(), face }
}

/// A server, the services that it calls, and a client.
pub struct Setup {
    pub aws: Arc<Aws>,
    pub server: Server,
    pub client: Client,
}

impl Setup {
    /// A server, and an S3 with one video.
    pub async fn new(detector: &Arc<Canned>) -> Self {
        Self::with(detector, |_| {}).await
    }

    pub async fn with(detector: &Arc<Canned>, configure: impl FnOnce(&mut Config)) -> Self {
        let (aws, aws_url) = Aws::start().await;
        aws.put(KEY, Object::Bytes(Bytes::from_static(b"a video")));
        let mut config = Config::new(aws_url, Arc::clone(detector) as Arc<dyn Detector>);
        configure(&mut config);
        let server = Server::start(config).await.unwrap();
        let client = client(&server.url());
        aws.observer.set(client.clone()).unwrap();
        Self { aws, server, client }
    }

    /// A call that names the video and asks for a message.
    pub fn start(&self) -> StartFaceDetectionFluentBuilder {
        let call = self.client.start_face_detection().video(video(KEY));
        call.notification_channel(channel(TOPIC))
    }

    /// Starts one job and waits for its message.
    pub async fn finished(&self) -> String {
        let awaited = self.aws.messages_so_far() + 1;
        let job_id = self.start().send().await.unwrap().job_id.unwrap();
        self.aws.messages(awaited).await;
        job_id
    }

    pub async fn get(&self, job_id: &str) -> GetFaceDetectionOutput {
        self.client.get_face_detection().job_id(job_id).send().await.unwrap()
    }

    /// Waits for a job without a message.
    pub async fn ended(&self, job_id: &str) -> GetFaceDetectionOutput {
        until(|| {
            let job = self.server.jobs().into_iter().find(|job| job.job_id == job_id);
            job.is_some_and(|job| job.status != rekognition_local::JobStatus::InProgress)
        })
        .await;
        self.get(job_id).await
    }

    /// Advances the server's clock.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.server.faults().inject(rekognition_local::Fault::TimePasses { millis });
    }

    /// Sends a request that the SDK would not send; returns the status and the body.
    pub async fn raw(&self, path: &str, target: &str, body: &str) -> (u16, String) {
        let address = self.server.url().replace("http://", "");
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             x-amz-target: {target}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Sends a Start call as JSON; returns the error's name and message.
    pub async fn refused_start(&self, body: &str) -> (String, String) {
        self.refused("RekognitionService.StartFaceDetection", body).await
    }

    pub async fn refused(&self, target: &str, body: &str) -> (String, String) {
        let (status, answer) = self.raw("/", target, body).await;
        assert_eq!(status, 400, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["__type"], answer["Code"]);
        (answer["__type"].as_str().unwrap().to_owned(), answer["Message"].as_str().unwrap().to_owned())
    }
}

/// Waits until the condition holds.
pub async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waiting).await.expect("the condition holds in time");
}

/// A client that does not retry.
pub fn client(url: &str) -> Client {
    let config = aws_sdk_rekognition::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(url)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

pub fn video(key: &str) -> Video {
    Video::builder().s3_object(S3Object::builder().bucket(BUCKET).name(key).build()).build()
}

pub fn channel(topic: &str) -> NotificationChannel {
    NotificationChannel::builder().sns_topic_arn(topic).role_arn(ROLE).build().unwrap()
}

//! Tests of the catalogue of `facereel view` on the emulator: a bucket of results, and the executions of its stack.

use facereel::commands::view::View;
use lambdas::layout;
use serde_json::{Value, json};
use tests::workflow::{ANY_VIDEO, Canned, Gated, Rig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The body of the answer of a page's server.
async fn get(url: &str, path: &str) -> Vec<u8> {
    let host = url.trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    answer[end..].to_vec()
}

async fn get_json(url: &str, path: &str) -> Value {
    let body = get(url, path).await;
    serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)))
}

/// Writes a small result.
async fn put_result(rig: &Rig, key: &str, digit: &str, duration_ms: u64) {
    let folder = layout::result(key, &digit.repeat(64));
    let video = json!({ "bucket": "uploads", "key": key, "etag": "e", "bytes": 1 });
    let job = json!({ "job_id": "j", "idempotency_key": "k", "attempt": 0, "face_attributes": "DEFAULT" });
    let object = json!({ "key": "k", "bytes": 1 });
    let manifest = json!({ "video": video, "job": job, "execution_arn": "arn", "faces": 9, "summary": object,
        "report": object, "pages": [], "tracks": [] });
    let summary = json!({ "video": video, "metadata": { "duration_ms": duration_ms }, "job": job, "faces": 9, "tracks": 2,
        "frames_with_faces": 4, "most_faces": { "faces": 3, "timestamp_ms": 500 }, "timeline": [] });
    for (name, body) in [
        ("faces/00000.jsonl", String::new()),
        ("summary.json", summary.to_string()),
        ("manifest.json", manifest.to_string()),
    ] {
        rig.workflow.results.put(&format!("{folder}{name}"), body).await.unwrap();
    }
}

#[tokio::test]
async fn on_the_emulator_a_bucket_is_listed_with_running_and_failed_executions() {
    let (gate, detector) = Gated::before(Canned::faces(2));
    let rig = Rig::start(detector).await;
    let aws = rig.workflow.emulator.aws();
    let bucket = rig.workflow.stack.results_bucket.clone();

    let empty = View::of(format!("s3://{bucket}"), None).prepare(Some(aws)).await.err().expect("an error").to_string();
    assert!(empty.contains(&format!("s3://{bucket}/results/ contains no result; name the results bucket")), "{empty}");
    let unknown =
        View::of("s3://no-such-bucket-here", None).prepare(Some(aws)).await.err().expect("an error").to_string();
    assert!(unknown.contains("there is no bucket no-such-bucket-here; check its name"), "{unknown}");

    // One result opens without the catalogue, although its executions are not looked for.
    put_result(&rig, "footage/faces/a b+c%2F🎬.mp4", "a", 1000).await;
    let one = View::of(format!("s3://{bucket}"), None).prepare(Some(aws)).await.unwrap();
    let url = one.url();
    let task = tokio::spawn(one.serve());
    assert_eq!(get_json(&url, "/results/0/summary.json").await["metadata"]["duration_ms"], 1000);
    assert_eq!(get(&url, "/catalogue.json").await, b"");
    task.abort();

    let missing = json!({ "bucket": rig.workflow.stack.upload_bucket, "key": "missing.mp4" });
    rig.failure_of(&rig.workflow.executions.start(&missing).await.unwrap()).await;
    let running = rig.upload("running.mp4", ANY_VIDEO).await;
    rig.until("its job runs", async || rig.billed() == 1).await;
    // The dates of S3 have whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    put_result(&rig, "footage/faces/a b+c%2F🎬.mp4", "b", 2000).await;
    let half = format!("{}faces/00000.jsonl", layout::result("half.mp4", &"c".repeat(64)));
    rig.workflow.results.put(&half, "").await.unwrap();

    let viewer = View::of(format!("s3://{bucket}/results/"), None).prepare(Some(aws)).await.unwrap();
    let url = viewer.url();
    let task = tokio::spawn(viewer.serve());
    let rows = get_json(&url, "/catalogue.json").await;
    let states = |rows: &Value| -> Vec<(String, Vec<String>)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let row = |row: &Value| {
            let states = row["entries"].as_array().unwrap().iter().map(|entry| text(&entry["state"]));
            (text(&row["title"]), states.collect())
        };
        rows["rows"].as_array().unwrap().iter().map(row).collect()
    };
    let row =
        |title: &str, states: &[&str]| (title.to_owned(), states.iter().map(|state| (*state).to_owned()).collect());
    let expected = [
        row("footage/faces/a b+c%2F🎬.mp4", &["complete", "complete"]),
        row("half.mp4", &["incomplete"]),
        row("missing.mp4", &["failed"]),
        row("running.mp4", &["running"]),
    ];
    assert_eq!(states(&rows), expected, "{rows:#}");
    assert_eq!((&rows["notes"], &rows["shows_executions"]), (&json!([]), &json!(true)));
    assert_eq!(rows["rows"][2]["entries"][0]["error"], "VideoNotFound");

    // The newest result is the first one, and both can be read.
    let ids: Vec<_> = (0..2).map(|index| rows["rows"][0]["entries"][index]["id"].as_u64().unwrap()).collect();
    let facts = get_json(&url, &format!("/facts?of={},{}", ids[0], ids[1])).await;
    assert_eq!(facts[ids[0].to_string()]["duration_ms"], 2000);
    assert_eq!(
        facts[ids[1].to_string()],
        json!({ "name": "a b+c%2F🎬.mp4", "duration_ms": 1000,
        "codec": null, "faces": 9, "most_faces": 3, "most_faces_ms": 500, "tracks": 2, "has_video": true })
    );

    gate.open();
    rig.results_of(&running.arn).await;
    let refreshed = {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host).await.unwrap();
        let request = format!(
            "POST /refresh HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(refreshed.starts_with("HTTP/1.1 204"), "{refreshed}");
    let rows = get_json(&url, "/catalogue.json").await;
    assert_eq!(states(&rows)[3], row("running.mp4", &["complete"]), "{rows:#}");
    assert_eq!(rows["rows"][0]["entries"][0]["id"], ids[0]);
    task.abort();

    // The folder of a video opens its newest result.
    let of_video = View::of(format!("s3://{bucket}/results/footage/faces/a b+c%2F🎬.mp4/"), None);
    let viewer = of_video.prepare(Some(aws)).await.unwrap();
    let url = viewer.url();
    let task = tokio::spawn(viewer.serve());
    let page = url.split_once("/results/").map(|(_, page)| format!("/results/{page}")).expect("the page of a result");
    assert_eq!(get_json(&url, &format!("{page}summary.json")).await["metadata"]["duration_ms"], 2000);
    task.abort();
}

//! list-pages, fetch-page and summarize: the pages of a job become a result in the bucket.

mod common;

use aws_sdk_rekognition::{
    Client as Rekognition,
    config::http::HttpResponse,
    error::ErrorMetadata,
    operation::get_face_detection::{GetFaceDetectionError, GetFaceDetectionOutput},
    types::error::InvalidPaginationTokenException,
};
use aws_smithy_mocks::{MockResponse, Rule, mock};
use aws_smithy_types::body::SdkBody;
use common::{Store, clients};
use lambdas::{
    aws::ErrorName,
    fetch_page::{self, fetch_page},
    list_pages::{Window, list_pages},
    summarize::{self, summarize},
};
use serde_json::{Value, json};

fn job() -> Value {
    json!({
        "job_id": "job", "idempotency_key": "0f", "attempt": 0, "face_attributes": "DEFAULT",
        "video": {"bucket": "uploads", "key": "holiday.mp4", "etag": "e", "bytes": 1000},
        "metadata": {"duration_ms": 12000},
    })
}

/// The answer of Rekognition as an HTTP response.
fn wire<Error>(answer: &Value) -> MockResponse<GetFaceDetectionOutput, Error> {
    MockResponse::Http(HttpResponse::new(200.try_into().unwrap(), SdkBody::from(answer.to_string())))
}

/// A job with this number of pages. The token of a page is its index.
fn chain(pages: usize) -> Vec<Rule> {
    vec![mock!(Rekognition::get_face_detection).then_compute_response(move |request| {
        let index = request.next_token().map_or(0, |token| token.parse::<usize>().unwrap());
        let mut answer = json!({"JobStatus": "SUCCEEDED", "Faces": [{"Timestamp": index, "Face": {}}]});
        if index + 1 < pages {
            answer["NextToken"] = (index + 1).to_string().into();
        }
        wire(&answer)
    })]
}

/// The windows in which a result is listed. The first is the first page alone.
async fn windows(pages: usize) -> Vec<Window> {
    let clients = clients(&Store::default(), &chain(pages), &[]);
    let mut windows = vec![Window::first((pages > 1).then(|| "1".to_owned()))];
    while let Some(next) = &windows.last().unwrap().next {
        let request = serde_json::from_value(json!({"execution_name": "one", "job": job(), "from": next})).unwrap();
        windows.push(list_pages(&clients, request).await.unwrap());
    }
    windows
}

#[tokio::test]
async fn one_page_is_one_window_without_a_token() {
    let window = serde_json::to_value(&windows(1).await).unwrap();
    assert_eq!(window, json!([{"batches": [{"index": 0, "pages": 1}], "listed": 1}]));
}

#[tokio::test]
async fn a_window_has_ten_pages_and_later_a_tenth_of_the_listed_ones() {
    let windows = windows(250).await;
    let listed: Vec<_> = windows.iter().map(|window| window.listed).collect();
    assert_eq!(listed[..12], [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 101, 111]);
    assert_eq!(listed[12..], [122, 134, 147, 161, 177, 194, 213, 234, 250]);
    let batches: Vec<_> = windows.iter().flat_map(|window| &window.batches).collect();
    assert!(batches.iter().enumerate().all(|(index, run)| run.first.index == index && run.pages == 1));
    assert_eq!(batches[249].first.token.as_deref(), Some("249"));
}

#[tokio::test]
async fn a_result_that_ends_with_its_window_has_no_empty_one() {
    assert_eq!(windows(11).await.len(), 2);
}

#[tokio::test]
async fn past_a_thousand_pages_an_iteration_takes_fifty() {
    let windows = windows(1120).await;
    let batches: Vec<_> = windows.iter().flat_map(|window| &window.batches).collect();
    let (single, long) = batches.split_at(1000);
    assert!(single.iter().all(|batch| batch.pages == 1));
    // A window may end within a batch.
    assert!(long.len() <= 5 && long.iter().all(|batch| batch.pages <= 50), "{long:?}");
    assert_eq!(long.iter().map(|batch| batch.pages).sum::<usize>(), 120);
}

#[tokio::test]
async fn the_largest_window_fits_a_states_payload() {
    let token = "t".repeat(255);
    let long = mock!(Rekognition::get_face_detection)
        .then_compute_response(move |_| wire(&json!({"JobStatus": "SUCCEEDED", "NextToken": token})));
    let request =
        serde_json::from_value(json!({"execution_name": "one", "job": job(), "from": {"index": 4000}})).unwrap();
    let window = list_pages(&clients(&Store::default(), &[long], &[]), request).await.unwrap();
    assert_eq!(window.listed, 4100);
    assert!(serde_json::to_vec(&window).unwrap().len() < 262_144 / 4);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_is_throttled_keeps_the_pages_that_it_has() {
    let throttled = |from: usize| {
        let [listed] = chain(250).try_into().unwrap();
        let throttled = mock!(Rekognition::get_face_detection)
            .match_requests(move |request| request.next_token().map_or(0, |token| token.parse().unwrap()) >= from)
            .then_error(|| {
                let meta = ErrorMetadata::builder().code("ProvisionedThroughputExceededException").build();
                GetFaceDetectionError::generic(meta)
            });
        vec![throttled, listed]
    };
    let list = async |from| {
        let request = json!({"execution_name": "one", "job": job(), "from": {"index": 0}});
        list_pages(&clients(&Store::default(), &throttled(from), &[]), serde_json::from_value(request).unwrap()).await
    };
    let window = list(7).await.unwrap();
    assert_eq!((window.batches.len(), window.listed), (7, 7));
    assert_eq!(window.next.unwrap().token.as_deref(), Some("7"));
    assert_eq!(list(0).await.unwrap_err().error_name(), "Throttled", "no page was listed before");
}

#[tokio::test]
async fn an_expired_token_is_named() {
    let expired = || {
        vec![mock!(Rekognition::get_face_detection).then_error(|| {
            let meta = ErrorMetadata::builder().code("InvalidPaginationTokenException").build();
            let error = InvalidPaginationTokenException::builder().meta(meta).build();
            GetFaceDetectionError::InvalidPaginationTokenException(error)
        })]
    };
    let clients = clients(&Store::default(), &expired(), &[]);
    let request = json!({"execution_name": "one", "job": job(), "from": {"index": 100, "token": "old"}});
    let error = list_pages(&clients, serde_json::from_value(request).unwrap()).await.unwrap_err();
    assert_eq!(error.error_name(), "PageTokenExpired");
    let request = json!({"execution_name": "one", "job": job(), "batch": {"index": 100, "token": "old", "pages": 1}});
    let config = fetch_page::Config { results_bucket: "results".into() };
    let error = fetch_page(&clients, &config, serde_json::from_value(request).unwrap()).await.unwrap_err();
    assert_eq!(error.error_name(), "PageTokenExpired");
    assert!(error.to_string().starts_with("page 100 of the job job cannot be read"), "{error}");
}

/// Two pages.
fn two_pages() -> Vec<Rule> {
    vec![mock!(Rekognition::get_face_detection).then_compute_response(|request| {
        wire(&match request.next_token() {
            None => json!({"JobStatus": "SUCCEEDED", "NextToken": "1", "Faces": [
                {"Timestamp": 0, "Face": {"Confidence": 99.5, "FieldOfTomorrow": {"a": 1}}},
                {"Timestamp": 500, "Face": {"Confidence": 98.5}},
            ]}),
            Some(_) => json!({"JobStatus": "SUCCEEDED", "Faces": [{"Timestamp": 500, "Face": {"Confidence": 97.5}}]}),
        })
    })]
}

#[tokio::test]
async fn a_batch_of_pages_becomes_lines_a_summary_and_last_a_manifest() {
    let store = Store::default();
    let clients = clients(&store, &two_pages(), &[]);
    let config = fetch_page::Config { results_bucket: "results".into() };
    let request = json!({"execution_name": "one", "job": job(), "batch": {"index": 0, "pages": 2}});
    let fetched = fetch_page(&clients, &config, serde_json::from_value(request).unwrap()).await.unwrap();
    assert_eq!((fetched.pages, fetched.faces), (2, 3));
    let first = store.text("results/holiday.mp4/0f/faces/00000.jsonl");
    assert_eq!(first.lines().count(), 2);
    assert!(first.contains("FieldOfTomorrow"), "a field that the SDK does not know was lost: {first}");

    let config = summarize::Config { results_bucket: "results".into() };
    let request =
        |pages: usize| serde_json::from_value(json!({"job": job(), "pages": pages, "execution_arn": "arn"})).unwrap();
    let error = summarize(&clients, &config, request(3)).await.unwrap_err();
    assert_eq!(error.error_name(), "PageMissing");
    assert!(!store.keys().iter().any(|key| key.ends_with("manifest.json")));

    let output = summarize(&clients, &config, request(2)).await.unwrap();
    assert_eq!((output.pages, output.faces), (2, 3));
    let manifest: Value = serde_json::from_str(&store.text(&output.manifest)).unwrap();
    assert_eq!(manifest["faces"], 3);
    for page in manifest["pages"].as_array().unwrap() {
        let body = store.text(page["key"].as_str().unwrap());
        assert_eq!(page["bytes"], body.len());
        assert_eq!(page["faces"], body.lines().count());
    }
    assert_eq!(manifest["pages"][1]["first_ms"], 500);
    let summary: Value = serde_json::from_str(&store.text("results/holiday.mp4/0f/summary.json")).unwrap();
    assert_eq!(summary["most_faces"], json!({"faces": 2, "timestamp_ms": 500}));
}

/// A page of faces, two a moment, whose left edge depends on the moment.
fn page_of_faces(moments: std::ops::Range<u32>, left: impl Fn(u32) -> f64) -> String {
    let line = |moment: u32, lane: u8| {
        let top = 0.1 + 0.5 * f64::from(lane);
        let face = json!({
            "BoundingBox": {"Left": left(moment), "Top": top, "Width": 0.03, "Height": 0.06},
            "Confidence": 90.0 + f64::from(lane), "Quality": {"Brightness": 50.0, "Sharpness": 80.0},
        });
        json!({"Timestamp": moment * 500, "Face": face}).to_string() + "\n"
    };
    moments.flat_map(|moment| [line(moment, 0), line(moment, 1)]).collect()
}

async fn tracks_of(store: &Store, pages: u32) -> (Value, Vec<Value>) {
    let clients = clients(store, &[], &[]);
    let config = summarize::Config { results_bucket: "results".into() };
    let request = json!({"job": job(), "pages": pages, "execution_arn": "arn"});
    let output = summarize(&clients, &config, serde_json::from_value(request).unwrap()).await.unwrap();
    let manifest: Value = serde_json::from_str(&store.text(&output.manifest)).unwrap();
    let mut tracks = Vec::new();
    for object in manifest["tracks"].as_array().unwrap() {
        let body = store.text(object["key"].as_str().unwrap());
        assert_eq!(object["bytes"], body.len());
        assert_eq!(object["lines"], body.lines().count());
        tracks.extend(body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    (manifest, tracks)
}

#[tokio::test]
async fn a_track_continues_on_the_next_page() {
    let store = Store::default();
    let lines: Vec<_> =
        page_of_faces(0..6, |moment| f64::from(moment) / 100.0).lines().map(|line| format!("{line}\n")).collect();
    // The faces of one moment are on two pages.
    store.put("results/holiday.mp4/0f/faces/00000.jsonl", lines[..5].concat());
    store.put("results/holiday.mp4/0f/faces/00001.jsonl", lines[5..].concat());
    let (manifest, tracks) = tracks_of(&store, 2).await;
    assert_eq!(manifest["tracks"][0]["key"], "results/holiday.mp4/0f/tracks/00000.jsonl");
    assert_eq!((&manifest["tracks"][0]["first_ms"], &manifest["tracks"][0]["last_ms"]), (&json!(0), &json!(2500)));
    let faces: Vec<_> = tracks.iter().map(|track| (&track["id"], &track["faces"])).collect();
    let (first, second) = (json!([0, 2, 4, 6, 8, 10]), json!([1, 3, 5, 7, 9, 11]));
    assert_eq!(faces, [(&json!(0), &first), (&json!(1), &second)]);
    assert_eq!(tracks[0]["boxes"][1], json!([0.01, 0.1, 0.03, 0.06]));
    assert_eq!(tracks[1]["mean_confidence"], 91.0);
    let summary: Value = serde_json::from_str(&store.text("results/holiday.mp4/0f/summary.json")).unwrap();
    assert_eq!(summary["tracks"], 2);
}

#[tokio::test]
async fn a_video_without_faces_has_no_object_with_tracks() {
    let store = Store::default();
    store.put("results/holiday.mp4/0f/faces/00000.jsonl", "");
    let (manifest, _) = tracks_of(&store, 1).await;
    assert_eq!(manifest["tracks"], json!([]));
    assert!(!store.keys().iter().any(|key| key.contains("/tracks/")));
}

#[tokio::test]
async fn many_tracks_are_in_several_objects() {
    let store = Store::default();
    // A face returns to a place after two seconds, so that every face is a track.
    let (pages, moments) = (9, 1000);
    for page in 0..pages {
        let body = page_of_faces(page * moments..(page + 1) * moments, |moment| f64::from(moment % 4) / 4.0);
        store.put(&format!("results/holiday.mp4/0f/faces/{page:05}.jsonl"), body);
    }
    let (manifest, tracks) = tracks_of(&store, pages).await;
    let objects = manifest["tracks"].as_array().unwrap();
    assert!(objects.len() >= 2, "{} object", objects.len());
    let bytes = |object: &Value| object["bytes"].as_u64().unwrap();
    assert!(objects.iter().all(|object| bytes(object) < 5 << 20), "{objects:?}");
    assert_eq!(tracks.len(), 18_000);
    assert_eq!(objects[1]["key"], "results/holiday.mp4/0f/tracks/00001.jsonl");
}

//! What parses foreign bytes takes any: nothing panics, and nothing false is believed.
//!
//! Each target mutates recorded inputs, from the same seed on every time: `ROUNDS=1000000 cargo test --workspace
//! --test fuzz` goes on for long. A failure prints its round; no instrumented build, and so no nightly compiler, is needed.

use std::{env, fs};

use aws_lambda_events::event::sns::SnsEvent;
use lambdas::fetch_page::FetchPage;
use lambdas::job::{FaceAttributes, Job};
use lambdas::list_pages::{ListPages, Window};
use lambdas::pending_callbacks::{PendingCallback, TaskToken};
use lambdas::queue::QueueEntry;
use lambdas::start_detection::StartDetection;
use lambdas::video::{Location, Video, begins_like_a_video};
use lambdas::{input, results};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use simulation::{Content, Kind, MINUTE, SECOND, Story, Upload, run};

/// Rounds of each target when nobody asks for more.
const ROUNDS: u64 = 20_000;
/// A round that plays a whole story takes a thousand times as long.
const ROUNDS_A_STORY: u64 = 500;

/// Bytes that mean something to one parser or another.
const MEANINGFUL: &[&[u8]] = &[
    b"",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"-1",
    b"0.5",
    b"1e999",
    b"18446744073709551616",
    b"\xff",
    b"\xc3",
    b"\0",
    b"\r\n",
    b"ftyp",
    b"moov",
    b"../",
    b"%2F",
    b"\xf0\x9f\x8e\xac",
    b"{%",
    b"%}",
    b"\"detail\":",
    b"\"key\":",
    b"\"Records\":",
    b"\"JobId\":",
    b"\"Message\":",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

/// Runs `target` on mutations of `inputs`.
fn fuzz(inputs: &[Vec<u8>], target: impl Fn(&[u8])) {
    let rounds = env::var("ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("ROUNDS is a number"));
    for round in 0..rounds {
        let mutated = mutated(inputs, round);
        let mutated_again = mutated.clone();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&mutated)));
        assert!(outcome.is_ok(), "round {round}: {:?}", String::from_utf8_lossy(&mutated_again));
    }
}

/// A mutation of one of `inputs`; equal for equal rounds.
fn mutated(inputs: &[Vec<u8>], round: u64) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(round);
    let mut bytes = dice.choice(inputs).expect("an input").clone();
    for _ in 0..dice.u8(0..6) {
        let at = dice.usize(0..=bytes.len());
        let until = (at + dice.usize(0..20)).min(bytes.len());
        match dice.u8(0..5) {
            0 => bytes.truncate(at),
            1 => _ = bytes.splice(at..until, dice.choice(MEANINGFUL).expect("some").iter().copied()),
            2 => _ = bytes.splice(at..at, dice.choice(MEANINGFUL).expect("some").iter().copied()),
            3 if at < bytes.len() => bytes[at] = dice.u8(..),
            _ => {
                let other = dice.choice(inputs).expect("an input");
                let from = dice.usize(0..=other.len());
                bytes.splice(at..until, other[from..].iter().copied().take(200));
            }
        }
    }
    bytes
}

/// The fixtures in a folder.
fn fixtures(folder: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("one").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a fixture")).collect()
}

fn document(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data")
}

fn job() -> Job {
    Job {
        video: Video { bucket: "uploads".into(), key: "good.mp4".into(), version_id: None, etag: "e".into(), bytes: 5 },
        face_attributes: FaceAttributes::Default,
        topic_arn: "topic".into(),
        role_arn: "role".into(),
        attempt: 0,
    }
}

/// What is read is written again, and read as the same.
fn assert_round_trip<T: DeserializeOwned + serde::Serialize + PartialEq>(bytes: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<T>(bytes) {
        assert!(serde_json::from_slice::<T>(&document(&read)).is_ok_and(|again| again == read));
    }
}

#[test]
fn inputs_of_executions() {
    let mut inputs = fixtures("events");
    inputs.push(br#"{"bucket": "uploads", "key": "a b+c%2F.mp4", "version_id": "1"}"#.to_vec());
    fuzz(&inputs, |bytes| {
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
        if let Ok(Location { bucket, key, .. }) = input::location(value.clone()) {
            // Raw, and out of the very place that names it.
            let object = value.pointer("/detail/object").unwrap_or(&value);
            let named = value.pointer("/detail/bucket/name").or(value.get("bucket"));
            assert_eq!((object["key"].as_str(), named.and_then(Value::as_str)), (Some(&*key), Some(&*bucket)));
            assert!(!bucket.is_empty() && !key.is_empty());
        }
        let request = json!({ "task_token": "t", "input": value,
            "execution": { "arn": "a", "name": "n", "started": "2027-01-04T09:00:00Z", "entered": "2027-01-04T09:00:00Z" } });
        serde_json::from_value::<StartDetection>(request).expect("the input is not read before its time");
    });
}

#[test]
fn events_of_sns() {
    fuzz(&fixtures("sns"), |bytes| drop(serde_json::from_slice::<SnsEvent>(bytes)));
}

#[test]
fn callbacks_and_entries() {
    let callback =
        PendingCallback { execution: "e".into(), entered_ms: 0, task_token: TaskToken("t".into()), job: job() };
    let entry =
        QueueEntry { execution: "e".into(), started_ms: 1_799_053_200_000, entered_ms: 1_799_053_200_000, job: job() };
    fuzz(&[document(&callback), document(&entry)], |bytes| {
        assert_round_trip::<PendingCallback>(bytes);
        assert_round_trip::<QueueEntry>(bytes);
        if let Ok(callback) = serde_json::from_slice::<PendingCallback>(bytes) {
            assert!(callback.object_key().starts_with(&format!("callbacks/{}/", callback.job.idempotency_key())));
            assert!(
                !format!("{callback:?}").contains(&format!("{:?}", callback.task_token.0)),
                "a token is never shown"
            );
        }
    });
}

#[test]
fn windows_and_page_tokens() {
    let finished = json!({ "job_id": "j", "idempotency_key": "t", "attempt": 0, "face_attributes": "DEFAULT", "metadata": {},
        "video": { "bucket": "b", "key": "k", "etag": "e", "bytes": 1 } });
    let run = json!({ "index": 1000, "token": "t", "pages": 50 });
    let inputs = [
        json!({ "execution": "e", "job": finished, "from": { "index": 7, "token": "t" } }),
        json!({ "execution": "e", "job": finished, "run": run }),
        json!({ "runs": [run], "listed": 1050, "next": { "index": 1050, "token": "u" } }),
    ];
    fuzz(&inputs.map(|input| document(&input)), |bytes| {
        drop(serde_json::from_slice::<ListPages>(bytes));
        drop(serde_json::from_slice::<FetchPage>(bytes));
        assert_round_trip::<Window>(bytes);
    });
}

#[test]
fn beginnings_of_videos() {
    let inputs =
        [&b"\0\0\0\x20ftypisom\0\0\x02\0"[..], b"\0\0\0\x08wide\0\0\0\0mdat", b"\x1aE\xdf\xa3", b"text, not a video"];
    fuzz(&inputs.map(<[u8]>::to_vec), |bytes| {
        let name = bytes.get(4..8).unwrap_or_default();
        assert!(!begins_like_a_video(bytes) || name.is_ascii(), "an atom's name is text");
        assert_eq!(begins_like_a_video(bytes), begins_like_a_video(&bytes[..bytes.len().min(8)]), "8 bytes are enough");
    });
}

#[test]
fn keys_of_results() {
    let inputs = ["holiday.mp4".to_owned(), "🎬".repeat(256), "é".repeat(512), "../".repeat(341)];
    fuzz(&inputs.map(String::into_bytes), |bytes| {
        let Ok(key) = std::str::from_utf8(bytes) else { return };
        let prefix = results::prefix(key, &"f".repeat(64));
        assert!(prefix.len() + "faces/00000.jsonl".len() <= 1024, "{} bytes", prefix.len());
        assert!(prefix.starts_with("results/") && prefix.ends_with('/'));
    });
}

/// Nonsense everywhere at once: on the topic, and among the callbacks and entries. The good video comes through, once.
#[test]
fn nonsense_around_a_good_video() {
    let callback = PendingCallback {
        execution: "nobody".into(),
        entered_ms: 0,
        task_token: TaskToken("token-0-of-nobody".into()),
        job: job(),
    };
    let entry = QueueEntry { execution: "nobody".into(), started_ms: 0, entered_ms: 0, job: job() };
    let documents = [document(&callback), document(&entry)];
    let messages = fixtures("sns").into_iter().flat_map(|event| {
        let event: Value = serde_json::from_slice(&event).expect("JSON");
        let records = event["Records"].as_array().expect("records").clone();
        records.into_iter().map(|record| record["Sns"]["Message"].as_str().unwrap_or_default().as_bytes().to_vec())
    });
    let messages: Vec<_> = messages.collect();
    let text = |inputs: &[Vec<u8>], round| String::from_utf8_lossy(&mutated(inputs, round)).into_owned();
    let content = Content { id: 1, kind: Kind::Video, faces: 20, job_ms: MINUTE, failures: 0 };
    let upload = Upload { at: 0, key: "good.mp4".to_owned(), content, events: vec![SECOND] };
    let rounds = env::var("ROUNDS").map_or(ROUNDS_A_STORY, |rounds| rounds.parse::<u64>().expect("a number") / 100);
    for round in 0..rounds {
        let story = Story {
            uploads: vec![upload.clone()],
            forgeries: vec![(20 * SECOND, Some(text(&messages, round)))],
            litter: vec![
                ("queue/lease".to_owned(), text(&documents, round)),
                ("queue/slot-freed".to_owned(), text(&documents, round + 1)),
                ("queue/entries/0000000000000-nobody".to_owned(), text(&documents, round + 2)),
            ],
            ..Story::calm(round)
        };
        let run = run(&story);
        assert!(run.violations.is_empty(), "round {round}: {:#?}\n{}", run.violations, run.told);
        assert_eq!(run.jobs.len(), 2, "round {round}: the good one and the story's last\n{}", run.told);
    }
}

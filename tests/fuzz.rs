//! Fuzzes the parsers of foreign bytes: no input causes a panic, and no false input is accepted.
//!
//! Each target mutates recorded inputs, with the same seeds in every run. A failure prints its round. No instrumented
//! build, and so no nightly compiler, is needed. `ROUNDS=1000000 cargo test --workspace --test fuzz` runs for longer.

use std::{env, fs};

use aws_lambda_events::event::sns::SnsEvent;
use lambdas::fetch_page::FetchPage;
use lambdas::inspect_video::InspectVideo;
use lambdas::job::{FaceAttributes, Job, JobParameters};
use lambdas::list_pages::{ListPages, Window};
use lambdas::pending_callbacks::{PendingCallback, TaskToken};
use lambdas::queue::QueueEntry;
use lambdas::video::{Location, Video, begins_like_a_video};
use lambdas::{input, layout};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use simulation::{Content, Kind, MINUTE, SECOND, Scenario, Upload, run};

/// The number of rounds of each target, unless the variable `ROUNDS` is set.
const ROUNDS: u64 = 20_000;
/// The number of rounds that run a whole scenario: such a round takes a thousand times as long.
const SCENARIO_ROUNDS: u64 = 500;

/// Bytes that have a meaning for one of the parsers.
const TOKENS: &[&[u8]] = &[
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

/// A mutation of one of `inputs`: the same one for the same round.
fn mutated(inputs: &[Vec<u8>], round: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(round);
    let mut bytes = rng.choice(inputs).expect("an input").clone();
    for _ in 0..rng.u8(0..6) {
        let at = rng.usize(0..=bytes.len());
        let until = (at + rng.usize(0..20)).min(bytes.len());
        match rng.u8(0..5) {
            0 => bytes.truncate(at),
            1 => _ = bytes.splice(at..until, rng.choice(TOKENS).expect("some").iter().copied()),
            2 => _ = bytes.splice(at..at, rng.choice(TOKENS).expect("some").iter().copied()),
            3 if at < bytes.len() => bytes[at] = rng.u8(..),
            _ => {
                let other = rng.choice(inputs).expect("an input");
                let from = rng.usize(0..=other.len());
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
    JobParameters {
        video: Video { bucket: "uploads".into(), key: "good.mp4".into(), version_id: None, etag: "e".into(), bytes: 5 },
        face_attributes: FaceAttributes::Default,
        topic_arn: "topic".into(),
        role_arn: "role".into(),
        attempt: 0,
    }
    .into()
}

/// If the bytes are valid, the value is equal after it is written and read again.
fn assert_round_trip<T: DeserializeOwned + serde::Serialize + PartialEq>(bytes: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<T>(bytes) {
        assert!(serde_json::from_slice::<T>(&document(&read)).is_ok_and(|again| again == read));
    }
}

#[test]
fn the_location_in_an_input_is_taken_unchanged() {
    let mut inputs = fixtures("events");
    inputs.push(br#"{"bucket": "uploads", "key": "a b+c%2F.mp4", "version_id": "1"}"#.to_vec());
    fuzz(&inputs, |bytes| {
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
        if let Ok(Location { bucket, key, .. }) = input::location(value.clone()) {
            // Unchanged, and from the member that holds it.
            let object = value.pointer("/detail/object").unwrap_or(&value);
            let named = value.pointer("/detail/bucket/name").or(value.get("bucket"));
            assert_eq!((object["key"].as_str(), named.and_then(Value::as_str)), (Some(&*key), Some(&*bucket)));
            assert!(!bucket.is_empty() && !key.is_empty());
        }
        let request = json!({ "execution_name": "n", "input": value });
        serde_json::from_value::<InspectVideo>(request).expect("the input is parsed later");
    });
}

#[test]
fn an_event_of_sns_causes_no_panic() {
    fuzz(&fixtures("sns"), |bytes| drop(serde_json::from_slice::<SnsEvent>(bytes)));
}

#[test]
fn callbacks_and_entries_are_equal_after_a_round_trip() {
    let callback = PendingCallback {
        execution_name: "e".into(),
        entered_ms: 0,
        task_attempt: 0,
        task_token: TaskToken("t".into()),
        job: job(),
    };
    let entry = QueueEntry {
        execution_name: "e".into(),
        task_attempt: 0,
        started_ms: 1_799_053_200_000,
        entered_ms: 1_799_053_200_000,
        job: job(),
    };
    fuzz(&[document(&callback), document(&entry)], |bytes| {
        assert_round_trip::<PendingCallback>(bytes);
        assert_round_trip::<QueueEntry>(bytes);
        if let Ok(callback) = serde_json::from_slice::<PendingCallback>(bytes) {
            assert!(callback.object_key().starts_with(&format!("callbacks/{}/", callback.job.idempotency_key())));
            assert!(
                !format!("{callback:?}").contains(&format!("{:?}", callback.task_token.0)),
                "the debug output must not show the token"
            );
        }
    });
}

#[test]
fn windows_and_page_batches_are_equal_after_a_round_trip() {
    let finished = json!({ "job_id": "j", "idempotency_key": "t", "attempt": 0, "face_attributes": "DEFAULT", "metadata": {},
        "video": { "bucket": "b", "key": "k", "etag": "e", "bytes": 1 } });
    let batch = json!({ "index": 1000, "token": "t", "pages": 50 });
    let inputs = [
        json!({ "execution_name": "e", "job": finished, "from": { "index": 7, "token": "t" } }),
        json!({ "execution_name": "e", "job": finished, "batch": batch }),
        json!({ "batches": [batch], "listed": 1050, "next": { "index": 1050, "token": "u" } }),
    ];
    fuzz(&inputs.map(|input| document(&input)), |bytes| {
        drop(serde_json::from_slice::<ListPages>(bytes));
        drop(serde_json::from_slice::<FetchPage>(bytes));
        assert_round_trip::<Window>(bytes);
    });
}

#[test]
fn the_type_of_a_video_is_found_from_its_first_8_bytes() {
    let inputs =
        [&b"\0\0\0\x20ftypisom\0\0\x02\0"[..], b"\0\0\0\x08wide\0\0\0\0mdat", b"\x1aE\xdf\xa3", b"text, not a video"];
    fuzz(&inputs.map(<[u8]>::to_vec), |bytes| {
        let name = bytes.get(4..8).unwrap_or_default();
        assert!(!begins_like_a_video(bytes) || name.is_ascii(), "the name of an atom is ASCII");
        assert_eq!(begins_like_a_video(bytes), begins_like_a_video(&bytes[..bytes.len().min(8)]), "8 bytes are enough");
    });
}

#[test]
fn keys_of_results_are_within_the_limit_of_s3() {
    let inputs = ["holiday.mp4".to_owned(), "🎬".repeat(256), "é".repeat(512), "../".repeat(341)];
    fuzz(&inputs.map(String::into_bytes), |bytes| {
        let Ok(key) = std::str::from_utf8(bytes) else { return };
        let prefix = layout::result(key, &"f".repeat(64));
        assert!(prefix.len() + "faces/00000.jsonl".len() <= 1024, "{} bytes", prefix.len());
        assert!(prefix.starts_with("results/") && prefix.ends_with('/'));
    });
}

/// Invalid messages on the topic and invalid objects in the queue at the same time: the good video is analysed, exactly
/// once.
#[test]
fn invalid_messages_and_objects_do_not_affect_a_good_video() {
    let callback = PendingCallback {
        execution_name: "unknown".into(),
        entered_ms: 0,
        task_attempt: 0,
        task_token: TaskToken("token-0-of-unknown".into()),
        job: job(),
    };
    let entry =
        QueueEntry { execution_name: "unknown".into(), task_attempt: 0, started_ms: 0, entered_ms: 0, job: job() };
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
    let rounds = env::var("ROUNDS").map_or(SCENARIO_ROUNDS, |rounds| rounds.parse::<u64>().expect("a number") / 100);
    for round in 0..rounds {
        let scenario = Scenario {
            uploads: vec![upload.clone()],
            forged_messages: vec![(20 * SECOND, Some(text(&messages, round)))],
            foreign_objects: vec![
                ("queue/lease".to_owned(), text(&documents, round)),
                ("queue/slot-freed".to_owned(), text(&documents, round + 1)),
                ("queue/entries/0000000000000-unknown".to_owned(), text(&documents, round + 2)),
            ],
            ..Scenario::fault_free(round)
        };
        let run = run(&scenario);
        assert!(run.violations.is_empty(), "round {round}: {:#?}\n{}", run.violations, run.trace);
        assert_eq!(run.jobs.len(), 2, "round {round}: the good video and the last one of the scenario\n{}", run.trace);
    }
}

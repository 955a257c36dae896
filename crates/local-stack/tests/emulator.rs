//! Tests of the emulator: it starts, it implements what the workflow needs, and its processes and files are removed when its
//! owner ends.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use aws_sdk_lambda::{
    primitives::Blob,
    types::{Environment, FunctionCode, Runtime},
};
use local_stack::{
    Dependencies, Emulator, Executions, Installation, LambdaPackages, Objects, PART_BYTES, Silent, Stack, StackOptions,
};
use serde_json::{Value, json};

/// A custom runtime as a shell script that handles no event and waits, so that its process keeps running.
const WAITING_BOOTSTRAP: &str = "#!/bin/sh\nexec sleep 1000\n";

async fn dependencies() -> Dependencies {
    Dependencies::prepare(&Installation::find().unwrap().dependencies_dir().unwrap(), &Silent).await.unwrap()
}

/// The ids of the processes in a process group.
fn group_members(group: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-A", "-o", "pgid=,pid=,stat="]).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (group_id, pid, state) = (fields.next()?, fields.next()?, fields.next()?);
            (group_id.parse() == Ok(group) && !state.starts_with('Z')).then(|| pid.parse().unwrap())
        })
        .collect()
}

/// Polls until `condition` is true; panics after 30 s.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Deploys a function whose process keeps running, and calls it without waiting for the response.
async fn start_waiting_function(emulator: &Emulator) {
    let lambda = aws_sdk_lambda::Client::new(emulator.aws());
    lambda
        .create_function()
        .function_name("waiting")
        .runtime(Runtime::Providedal2023)
        .handler("bootstrap")
        .role("arn:aws:iam::000000000000:role/any")
        .code(FunctionCode::builder().zip_file(Blob::new(zipped(WAITING_BOOTSTRAP))).build())
        .environment(Environment::builder().build())
        .send()
        .await
        .unwrap();
    lambda
        .invoke()
        .function_name("waiting")
        .invocation_type(aws_sdk_lambda::types::InvocationType::Event)
        .send()
        .await
        .unwrap();
    let group = emulator.process_group();
    wait_until("the function's process runs in the emulator's process group", || group_members(group).len() >= 2);
}

fn zipped(bootstrap: &str) -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    zip.start_file("bootstrap", options).unwrap();
    zip.write_all(bootstrap.as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}

#[tokio::test]
async fn all_processes_end_when_the_emulator_is_dropped() {
    let emulator = Emulator::start(&dependencies().await).await.unwrap();
    start_waiting_function(&emulator).await;
    let (group, log) = (emulator.process_group(), emulator.log());
    drop(emulator);
    wait_until("all processes have ended", || group_members(group).is_empty());
    assert!(!log.exists(), "{} was not removed", log.display());
}

#[tokio::test]
async fn the_emulator_listens_on_the_chosen_port_of_loopback_only_if_it_is_free() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dependencies = dependencies().await;
    let error = Emulator::start_at(&dependencies, port).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")) && error.contains("--port"), "{error}");

    drop(taken);
    let emulator = Emulator::start_at(&dependencies, port).await.unwrap();
    assert_eq!(emulator.url(), format!("http://127.0.0.1:{port}"));
}

/// Not a test: the process that the next test kills.
#[tokio::test]
#[ignore = "holds an emulator until it is killed"]
async fn hold_an_emulator() {
    let emulator = Emulator::start(&dependencies().await).await.unwrap();
    start_waiting_function(&emulator).await;
    println!("\nholding {} {}", emulator.process_group(), emulator.log().display());
    std::future::pending::<()>().await;
}

#[test]
fn all_processes_end_when_the_owner_is_killed() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hold_an_emulator", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let held = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("holding ").map(str::to_owned))
        .expect("the owner ended before it held an emulator");
    let (group, log) = held.split_once(' ').unwrap();
    let (group, log) = (group.parse().unwrap(), Path::new(log));
    assert!(group_members(group).len() >= 2);

    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("all processes have ended", || group_members(group).is_empty());
    assert!(!log.exists(), "{} was not removed", log.display());
}

#[tokio::test]
async fn two_emulators_run_at_the_same_time_and_share_nothing() {
    let dependencies = dependencies().await;
    let (one, other) = tokio::try_join!(Emulator::start(&dependencies), Emulator::start(&dependencies)).unwrap();
    assert_ne!(one.url(), other.url());
    assert!(one.url().starts_with("http://127.0.0.1:"));
    let create =
        |emulator: &Emulator| aws_sdk_s3::Client::new(emulator.aws()).create_bucket().bucket("only-here").send();
    create(&one).await.unwrap();
    let buckets = aws_sdk_s3::Client::new(other.aws()).list_buckets().send().await.unwrap();
    assert!(buckets.buckets().is_empty());
}

/// An emulator on which uploads start executions of a state machine that returns its input.
struct Uploads {
    _emulator: Emulator,
    objects: Objects,
    executions: Executions,
}

async fn uploads() -> Uploads {
    let emulator = Emulator::start(&dependencies().await).await.unwrap();
    let machine = json!({ "StartAt": "Echo", "States": { "Echo": { "Type": "Pass", "End": true } } });
    let definition = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(definition.path(), machine.to_string()).unwrap();
    let mut options = StackOptions::new("http://127.0.0.1:1").unwrap();
    options.definition = definition.path().to_owned();
    let stack = Stack::deploy(&emulator, &LambdaPackages::default(), &options).await.unwrap();
    Uploads {
        objects: Objects::of(emulator.aws(), stack.upload_bucket),
        executions: Executions::of(emulator.aws(), stack.state_machine_arn),
        _emulator: emulator,
    }
}

impl Uploads {
    /// The only event of the upload of this key.
    async fn event_of(&self, key: &str) -> Value {
        let find = async {
            loop {
                if let Some(execution) = self.executions.about(key).await.unwrap().pop() {
                    break self.executions.wait(&execution.arn).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let execution = tokio::time::timeout(Duration::from_secs(30), find)
            .await
            .unwrap_or_else(|_| panic!("no execution started for {key:?}"));
        assert_eq!(self.executions.about(key).await.unwrap().len(), 1, "{key:?} started more than one execution");
        assert_eq!(execution.output.as_ref(), Some(&execution.input), "the input is the whole event");
        execution.input
    }
}

/// Content in which a part that is lost or in the wrong position is noticed.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| u8::try_from((index * 31 + index / 251) % 256).unwrap()).collect()
}

#[tokio::test]
async fn a_large_file_is_uploaded_in_parts_and_causes_one_event() {
    let uploads = uploads().await;
    let content = bytes(usize::try_from(PART_BYTES).unwrap() * 2 + 12_345);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &content).unwrap();

    uploads.objects.upload("big.MP4", file.path(), &Silent).await.unwrap();
    let event = uploads.event_of("big.MP4").await;
    assert_eq!(event["source"], "aws.s3");
    assert_eq!(event["detail-type"], "Object Created");
    assert_eq!(event["detail"]["reason"], "CompleteMultipartUpload");
    assert_eq!(event["detail"]["object"]["size"], content.len());
    assert!(uploads.objects.read("big.MP4").await.unwrap() == content, "the object differs from the file");
}

#[tokio::test]
async fn events_contain_raw_keys_for_every_type_of_upload() {
    let uploads = uploads().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes(1000)).unwrap();
    let long = format!("{}.mov", "k".repeat(1020));
    let keys = [
        "with space.mp4",
        "a+b.mp4",
        "100%2F.mp4",
        "folder/in folder/x.mov",
        "\"quoted\" and 'quoted'.mp4",
        "\u{1f3ac} \u{00e9}t\u{00e9}.mp4",
        "{% $not.jsonata %}.mp4",
        "back\\slash.mp4",
        &long,
    ];
    for key in keys {
        uploads.objects.put(key, bytes(10)).await.unwrap();
        let event = uploads.event_of(key).await;
        assert_eq!((&event["detail"]["object"]["key"], &event["detail"]["reason"]), (&json!(key), &json!("PutObject")));

        // Another key, because `event_of` expects one execution for a key.
        let key = &format!("p{}", &key[usize::from(key == long)..]);
        uploads.objects.upload_in_parts(key, file.path(), &Silent).await.unwrap();
        let event = uploads.event_of(key).await;
        assert_eq!(event["detail"]["object"]["key"], json!(key));
        assert_eq!(event["detail"]["reason"], "CompleteMultipartUpload");
    }
}

#[tokio::test]
async fn an_upload_without_a_video_suffix_starts_no_execution() {
    let uploads = uploads().await;
    uploads.objects.put("notes.txt", bytes(10)).await.unwrap();
    uploads.objects.put("clip.mp4.part", bytes(10)).await.unwrap();
    // When the execution of this upload exists, executions of the earlier uploads would exist too.
    uploads.objects.put("clip.MoV", bytes(10)).await.unwrap();
    uploads.event_of("clip.MoV").await;
    assert!(uploads.executions.about("notes.txt").await.unwrap().is_empty());
    assert!(uploads.executions.about("clip.mp4.part").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_history_has_the_fields_of_the_service() {
    let uploads = uploads().await;
    let arn = uploads.executions.start(&json!({ "bucket": "b", "key": "manual.mp4" })).await.unwrap();
    assert!(uploads.executions.wait(&arn).await.unwrap().has_succeeded());
    let history = uploads.executions.history(&arn).await.unwrap();
    let types: Vec<&str> = history.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(types.first(), Some(&"ExecutionStarted"));
    assert_eq!(types.last(), Some(&"ExecutionSucceeded"));
    assert_eq!(history[0]["id"], 1);
}

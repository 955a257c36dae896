//! Tests of `facereel upload`. The interruption of its process is tested with the binary, in `crates/facereel/tests/local.rs`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use clap::Parser as _;
use face_detection::Detector;
use facereel::commands::upload::{Phase, Upload, UploadError, UploadReport};
use facereel::deployed::Deployed;
use facereel::terminal::exit::Report as _;
use local_stack::{Objects, PART_BYTES, Progress, Silent};
use serde_json::{Value, json};
use tests::{
    schema::assert_report,
    workflow::{ANY_VIDEO, Canned, Gate, Gated, Rig},
};
use tokio::sync::Notify;

/// Parses the command line.
#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    upload: Upload,
}

/// A workflow, and a directory for files.
struct Uploads {
    rig: Rig,
    deployed: Deployed,
    dir: tempfile::TempDir,
}

impl Uploads {
    async fn start() -> Self {
        Self::with(Canned::faces(3)).await
    }

    async fn with(detector: impl Detector + 'static) -> Self {
        let rig = Rig::start(detector).await;
        let deployed =
            Deployed::new(rig.workflow.emulator.aws(), rig.workflow.stack.state_machine_arn.parse().unwrap());
        Self { rig, deployed, dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    async fn upload(&self, file: &Path, options: &[&str]) -> Result<UploadReport, UploadError> {
        let upload = command(file, options);
        upload.run(&self.deployed, &Silent, &Phase::default()).await
    }

    /// Uploads a file of more parts than are sent at the same time until the first part is stored, as if the process was ended
    /// then.
    async fn upload_and_stop(&self, file: &Path) {
        let (upload, progress, phase) = (command(file, &[]), FirstPart::default(), Phase::default());
        tokio::select! {
            report = upload.run(&self.deployed, &progress, &phase) => panic!("it has ended: {}", report.unwrap()),
            () = progress.0.notified() => {}
        }
        assert_eq!(phase.hint().as_deref(), Some("what is uploaded is kept; run the same command again to continue"));
    }

    async fn content(&self, key: &str) -> Vec<u8> {
        self.rig.workflow.uploads.read(key).await.unwrap()
    }

    /// The number of unfinished uploads in parts.
    async fn unfinished(&self) -> usize {
        let bucket = &self.rig.workflow.stack.upload_bucket;
        self.deployed.s3.list_multipart_uploads().bucket(bucket).send().await.unwrap().uploads().len()
    }
}

/// Notifies when a part of the upload is stored.
#[derive(Default)]
struct FirstPart(Notify);

impl Progress for FirstPart {
    fn step(&self, _what: &str) {}
    fn detail(&self, _text: &str) {}
    fn ratio(&self, _done: f32) {
        self.0.notify_one();
    }
}

fn command(file: &Path, options: &[&str]) -> Upload {
    let words = ["upload", file.to_str().unwrap()].into_iter().chain(options.iter().copied());
    Command::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).upload
}

/// The only video of a report, as JSON.
fn video(report: &UploadReport) -> Value {
    let document = report.json();
    assert_report("upload-report", &document);
    let videos = document["videos"].as_array().unwrap();
    assert_eq!(videos.len(), 1);
    videos[0].clone()
}

/// The content of a large video: each part is different.
fn large(parts: u8) -> Vec<u8> {
    let part = usize::try_from(PART_BYTES).unwrap();
    let mut content: Vec<u8> = (0..parts).flat_map(|index| vec![index; part]).collect();
    content[..ANY_VIDEO.len()].copy_from_slice(ANY_VIDEO);
    // The last part is shorter.
    content.truncate(content.len() - part / 2);
    content
}

#[tokio::test]
async fn an_upload_is_followed_to_the_faces_of_its_result() {
    let uploads = Uploads::start().await;
    let file = uploads.file("my holiday \"1\".mp4", ANY_VIDEO);
    let report = uploads.upload(&file, &["--wait"]).await.unwrap();
    let video = video(&report);
    assert_eq!((&video["status"], &video["faces"]), (&json!("succeeded"), &json!(3)));
    assert_eq!((&video["bucket"], &video["key"]), (&json!("facereel-uploads"), &json!("my holiday \"1\".mp4")));
    assert_eq!(report.exit_status(), 0);
    let results = video["results"].as_str().unwrap();
    assert!(results.starts_with("s3://facereel-results/results/my holiday \"1\".mp4/"), "{results}");
    let text = report.to_string();
    assert!(text.contains("\n  faces    3\n") && text.contains(&format!("view '{results}'")), "{text}");

    // The command finds the execution of that upload, and starts no other one.
    let again = uploads.upload(&file, &["--wait"]).await.unwrap();
    assert!(again.to_string().contains("was there already with the same content"), "{again}");
    assert_eq!(again.json()["videos"][0]["execution_arn"], video["execution_arn"]);
    assert_eq!(uploads.rig.workflow.executions.about("my holiday \"1\".mp4").await.unwrap().len(), 1);
}

/// Opens the gate of the detector when the command shows that it waits for the job.
struct OpenWhenDetecting(Gate, Mutex<Vec<String>>);

impl Progress for OpenWhenDetecting {
    fn step(&self, what: &str) {
        if what == "a.mp4: detecting faces" {
            self.0.open();
        }
        self.1.lock().unwrap().push(what.to_owned());
    }
    fn detail(&self, _text: &str) {}
    fn ratio(&self, _done: f32) {}
}

#[tokio::test]
async fn the_stages_of_the_execution_are_shown_while_the_command_waits() {
    let (gate, detector) = Gated::before(Canned::faces(3));
    let uploads = Uploads::with(detector).await;
    let upload = command(&uploads.file("a.mp4", ANY_VIDEO), &["--wait"]);
    let progress = OpenWhenDetecting(gate, Mutex::default());
    let report = upload.run(&uploads.deployed, &progress, &Phase::default()).await.unwrap();
    assert_eq!(video(&report)["faces"], 3, "{report}");
    let steps = progress.1.into_inner().unwrap();
    let first = ["Checking the files", "Uploading a.mp4 (24 B)", "Waiting for the execution for a.mp4"];
    assert!(steps.starts_with(&first.map(str::to_owned)), "{steps:?}");
}

#[tokio::test]
async fn without_wait_the_commands_that_show_the_analysis_are_named() {
    let uploads = Uploads::start().await;
    let report = uploads.upload(&uploads.file("a.mp4", ANY_VIDEO), &[]).await.unwrap();
    assert_eq!((&video(&report)["status"], &video(&report)["results"]), (&json!("uploaded"), &Value::Null));
    let text = report.to_string();
    assert!(text.starts_with("s3://facereel-uploads/a.mp4 (24 B)\n"), "{text}");
    assert!(text.contains(" status`") && text.contains(" logs s3://facereel-uploads/a.mp4`"), "{text}");
    assert_eq!(uploads.content("a.mp4").await, ANY_VIDEO);
}

#[tokio::test]
async fn a_failed_analysis_is_reported_with_its_cause_and_remedy() {
    let uploads = Uploads::start().await;
    let report = uploads.upload(&uploads.file("text.mp4", b"no video"), &["--wait"]).await.unwrap();
    let video = video(&report);
    assert_eq!((&video["status"], &video["error"]), (&json!("failed"), &json!("NotAVideo")));
    assert_eq!(report.exit_status(), 1);
    for part in [
        "failed   NotAVideo",
        "cause    s3://facereel-uploads/text.mp4 does not begin",
        "remedy   convert it",
        "/v2/executions/details/arn:aws:states:",
    ] {
        assert!(report.to_string().contains(part), "{part} is not in:\n{report}");
    }

    // The execution of an upload that was there before is found by its event.
    let again = uploads.upload(&uploads.file("text.mp4", b"no video"), &["--wait"]).await.unwrap();
    assert_eq!(again.json()["videos"][0]["execution_arn"], video["execution_arn"], "{again}");
    assert_eq!(again.exit_status(), 1);
}

#[tokio::test]
async fn an_upload_that_starts_no_execution_is_reported_with_what_to_check() {
    let uploads = Uploads::start().await;
    let bucket = &uploads.rig.workflow.stack.upload_bucket;
    let none = aws_sdk_s3::types::NotificationConfiguration::builder().build();
    let s3 = &uploads.deployed.s3;
    s3.put_bucket_notification_configuration().bucket(bucket).notification_configuration(none).send().await.unwrap();
    let upload = command(&uploads.file("a.mp4", ANY_VIDEO), &["--wait"]).with_start_limit(Duration::from_secs(1));
    let report = upload.run(&uploads.deployed, &Silent, &Phase::default()).await.unwrap();
    assert_eq!((&video(&report)["status"], report.exit_status()), (&json!("not_started"), 1));
    for part in [
        "no execution has started within 1 s",
        "get-bucket-notification-configuration --bucket facereel-uploads",
        "facereel-uploads… is enabled",
        "backfill s3://facereel-uploads/a.mp4`",
    ] {
        assert!(report.to_string().contains(part), "{part} is not in:\n{report}");
    }
}

#[tokio::test]
async fn an_object_with_another_content_is_replaced_only_on_request() {
    let uploads = Uploads::start().await;
    let first = [ANY_VIDEO, b"first"].concat();
    uploads.upload(&uploads.file("a.mp4", &first), &[]).await.unwrap();
    let file = uploads.file("a.mp4", &[ANY_VIDEO, b"second"].concat());
    let refused = uploads.upload(&file, &[]).await.unwrap_err();
    assert_eq!(refused.exit_status(), 2);
    let text = refused.to_string();
    assert!(text.contains("s3://facereel-uploads/a.mp4 exists already") && text.contains("--replace"), "{text}");
    assert_eq!(uploads.content("a.mp4").await, first);

    // The result is the one of the second content, although an execution for the first one exists.
    let report = uploads.upload(&file, &["--replace", "--wait"]).await.unwrap();
    assert_eq!(video(&report)["status"], "succeeded", "{report}");
    let etag = video(&report)["etag"].as_str().unwrap().to_owned();
    let execution = video(&report)["execution_arn"].as_str().unwrap().to_owned();
    let execution = uploads.rig.workflow.executions.describe(&execution).await.unwrap();
    assert_eq!(execution.input.pointer("/detail/object/etag").unwrap(), &json!(etag));
}

#[tokio::test]
async fn nothing_is_uploaded_if_one_of_the_files_is_not_suitable() {
    let uploads = Uploads::start().await;
    let good = uploads.file("good.mp4", ANY_VIDEO);
    let bad = uploads.file("notes.txt", b"text");
    let error = uploads.upload(&good, &[bad.to_str().unwrap()]).await.unwrap_err();
    assert_eq!(error.exit_status(), 2);
    assert!(error.to_string().contains("notes.txt would start no execution"), "{error}");
    let error = uploads.upload(&good, &["--to", "s3://facereel-results/"]).await.unwrap_err().to_string();
    assert!(error.contains("the bucket facereel-results; its upload bucket is facereel-uploads"), "{error}");
    assert!(uploads.rig.workflow.uploads.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stopped_upload_continues_with_the_missing_parts() {
    let uploads = Uploads::start().await;
    let content = large(6);
    let file = uploads.file("large.mp4", &content);
    uploads.upload_and_stop(&file).await;
    assert_eq!(uploads.unfinished().await, 1);

    let report = uploads.upload(&file, &["--wait"]).await.unwrap();
    assert!(video(&report)["sent_bytes"].as_u64().unwrap() < u64::try_from(content.len()).unwrap(), "{report}");
    assert!(report.to_string().contains(" in an earlier run"), "{report}");
    assert_eq!(video(&report)["status"], "succeeded", "{report}");
    assert!(uploads.content("large.mp4").await == content, "the object is not the file");
    assert_eq!(uploads.unfinished().await, 0);

    let again = uploads.upload(&file, &[]).await.unwrap();
    assert_eq!(video(&again)["sent_bytes"], 0, "{again}");
}

#[tokio::test]
async fn two_processes_that_upload_the_same_file_both_succeed() {
    let uploads = Uploads::start().await;
    for (name, content) in [("small.mp4", ANY_VIDEO.to_vec()), ("large.mp4", large(3))] {
        let file = uploads.file(name, &content);
        let (one, other) = tokio::join!(uploads.upload(&file, &[]), uploads.upload(&file, &[]));
        assert_eq!(video(&one.unwrap())["etag"], video(&other.unwrap())["etag"]);
        assert!(uploads.content(name).await == content, "the object is not the file");
    }
    assert_eq!(uploads.unfinished().await, 0);
}

/// Puts another object under the key when the first part is stored.
struct PutOther(Objects, AtomicBool);

impl Progress for PutOther {
    fn step(&self, _what: &str) {}
    fn detail(&self, _text: &str) {}
    fn ratio(&self, _done: f32) {
        if !self.1.swap(true, Ordering::SeqCst) {
            let put = self.0.put("large.mp4", ANY_VIDEO);
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(put)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_appears_during_the_upload_is_not_replaced() {
    let uploads = Uploads::start().await;
    let upload = command(&uploads.file("large.mp4", &large(3)), &[]);
    let progress = PutOther(uploads.rig.workflow.uploads.clone(), AtomicBool::new(false));
    let error = upload.run(&uploads.deployed, &progress, &Phase::default()).await.unwrap_err().to_string();
    assert!(error.contains("was written by another upload meanwhile") && error.contains("--replace"), "{error}");
    assert_eq!(uploads.content("large.mp4").await, ANY_VIDEO);
    assert_eq!(uploads.unfinished().await, 0);
}

#[tokio::test]
async fn a_file_that_changed_after_a_stopped_upload_is_not_mixed_with_its_earlier_parts() {
    let uploads = Uploads::start().await;
    let mut content = large(6);
    uploads.upload_and_stop(&uploads.file("large.mp4", &content)).await;
    // The first part stays the same, so the unfinished upload is continued; every other stored part is sent again.
    let part = usize::try_from(PART_BYTES).unwrap();
    content[part..].fill(9);
    uploads.upload(&uploads.file("large.mp4", &content), &[]).await.unwrap();
    assert!(uploads.content("large.mp4").await == content, "the object is not the file");

    // An unfinished upload of another content is not touched.
    let other = uploads.file("other.mp4", &large(6));
    uploads.upload_and_stop(&other).await;
    content[ANY_VIDEO.len()..].fill(8);
    fs::write(&other, &content).unwrap();
    uploads.upload(&other, &[]).await.unwrap();
    assert!(uploads.content("other.mp4").await == content, "the object is not the file");
    assert_eq!(uploads.unfinished().await, 1);
}

#[tokio::test]
async fn an_upload_to_a_versioned_bucket_is_followed_to_its_result() {
    let uploads = Uploads::start().await;
    let bucket = &uploads.rig.workflow.stack.upload_bucket;
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let s3 = &uploads.deployed.s3;
    s3.put_bucket_versioning().bucket(bucket).versioning_configuration(enabled).send().await.unwrap();
    uploads.rig.upload("a.mp4", &[ANY_VIDEO, b"earlier"].concat()).await;
    let report = uploads.upload(&uploads.file("a.mp4", ANY_VIDEO), &["--replace", "--wait"]).await.unwrap();
    let (video, head) = (video(&report), s3.head_object().bucket(bucket).key("a.mp4").send().await.unwrap());
    assert_eq!(video["status"], "succeeded", "{report}");
    assert_eq!(video["version_id"].as_str(), head.version_id());
    assert!(head.version_id().is_some());
}

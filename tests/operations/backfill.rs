//! Tests of `facereel backfill` and its state machine.

use std::collections::BTreeMap;
use std::fs;
use std::future::{pending, ready};
use std::path::Path;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use aws_sdk_lambda::types::Environment;
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{BucketVersioningStatus, VersioningConfiguration},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextRef, dyn_dispatch_hint},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use clap::Parser as _;
use face_detection::Detector;
use facereel::commands::backfill::{Backfill, BackfillError, BackfillOutcome, BackfillReport, Obstacle};
use facereel::deployed::Deployed;
use facereel::terminal::{Answer, Stop, exit::Report as _, stop_at};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lambdas::results::Manifest;
use local_stack::{Executions, Silent};
use serde_json::{Value, json};
use tests::{
    schema::assert_report,
    workflow::{ANY_VIDEO, Canned, Gated, Rig},
};

/// Parses the command line.
#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    backfill: Backfill,
}

/// A workflow with its state machine `backfill`, and a bucket with existing videos.
struct Archive {
    rig: Rig,
    deployed: Deployed,
}

impl Archive {
    async fn new() -> Self {
        Self::with(Canned::faces(3)).await
    }

    async fn with(detector: impl Detector + 'static) -> Self {
        let rig = Rig::start(detector).await;
        let deployed =
            Deployed::new(rig.workflow.emulator.aws(), rig.workflow.stack.state_machine_arn.parse().unwrap());
        deployed.s3.create_bucket().bucket("archive").send().await.unwrap();
        Self { rig, deployed }
    }

    /// Deploys the real definition. The emulator's distributed Map (ministack 1.5.33) supports only `JSONPath`, so two of its
    /// fields are rewritten. The child executions are the same as on AWS.
    async fn deploy_backfill(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../statemachine/backfill.asl.json");
        let text = fs::read_to_string(path)
            .unwrap()
            .replace("${partition}", "aws")
            .replace("${results_bucket}", &self.rig.workflow.stack.results_bucket)
            .replace("${analyze_video_arn}", &self.rig.workflow.stack.state_machine_arn);
        let mut machine: Value = serde_json::from_str(&text).unwrap();
        let map = &mut machine["States"]["EachVideo"];
        assert_eq!(map["MaxConcurrency"].take(), "{% $states.input.at_once %}");
        map["MaxConcurrency"] = json!(2);
        let arguments = map["ItemReader"]["Arguments"].as_object_mut().unwrap();
        assert_eq!(arguments.remove("Key"), Some(json!("{% $states.input.videos %}")));
        arguments.insert("Key.$".to_owned(), json!("$.videos"));
        let role = "arn:aws:iam::000000000000:role/facereel";
        let create = self.deployed.sfn.create_state_machine().name("facereel-backfill").role_arn(role);
        create.definition(machine.to_string()).send().await.unwrap();
    }

    async fn put(&self, key: &str, body: &[u8]) {
        let body = ByteStream::from(body.to_vec());
        self.deployed.s3.put_object().bucket("archive").key(key).body(body).send().await.unwrap();
    }

    async fn run(&self, arguments: &[&str]) -> Result<BackfillReport, BackfillError> {
        self.run_until(stop_at(pending()), arguments).await
    }

    async fn run_until(&self, stop: Stop, arguments: &[&str]) -> Result<BackfillReport, BackfillError> {
        let command = Command::try_parse_from([&["backfill"], arguments].concat()).unwrap().backfill;
        let report = command.run(&self.deployed, &Silent, async |_: &str| Answer::NotAsked, stop).await?;
        assert_report("backfill-report", &report.json());
        Ok(report)
    }

    /// Analyses one video.
    async fn analyse(&self, key: &str) {
        let input = json!({ "bucket": "archive", "key": key });
        let execution = self.rig.workflow.executions.start(&input).await.unwrap();
        assert!(self.rig.end_of(&execution).await.has_succeeded());
    }

    /// The number of videos with a complete result, the keys of those that are due, and the number of manifests that were
    /// read to find out.
    async fn dry_run(&self) -> (usize, Vec<String>, usize) {
        let calls = CallsOfResults::default();
        let (complete, due) = self.counted_dry_run(&calls).await;
        (complete, due, calls.manifests.load(Ordering::Relaxed))
    }

    async fn counted_dry_run(&self, calls: &CallsOfResults) -> (usize, Vec<String>) {
        let s3 = aws_sdk_s3::config::Builder::from(self.rig.workflow.emulator.aws()).interceptor(calls.clone()).build();
        let deployed = Deployed { s3: aws_sdk_s3::Client::from_conf(s3), ..self.deployed.clone() };
        let command = Command::try_parse_from(["backfill", "s3://archive", "--dry-run"]).unwrap().backfill;
        let ask = async |_: &str| Answer::NotAsked;
        let report = command.run(&deployed, &Silent, ask, stop_at(pending())).await.unwrap();
        let due = keys(&report).into_iter().map(str::to_owned).collect();
        (report.complete, due)
    }

    /// Runs the backfill to the end of its execution.
    async fn run_to_end(&self, arguments: &[&str]) -> BackfillReport {
        let report = self.run(arguments).await.unwrap();
        let BackfillOutcome::Started { arn } = &report.outcome else { panic!("{report}") };
        let backfills = Executions::of(self.rig.workflow.emulator.aws(), arn.clone());
        let ended = tokio::time::timeout(Duration::from_mins(1), backfills.wait(arn))
            .await
            .expect("the backfill ends within a minute")
            .unwrap();
        assert!(ended.has_succeeded(), "{ended:#?}");
        report
    }

    /// The keys of the videos with a complete result.
    async fn complete(&self) -> Vec<String> {
        let mut keys = Vec::new();
        for key in self.rig.result_keys("results/").await {
            if key.ends_with("/manifest.json") {
                let manifest = self.rig.workflow.results.read(&key).await.unwrap();
                keys.push(serde_json::from_slice::<Manifest>(&manifest).unwrap().video.key);
            }
        }
        keys.sort();
        keys
    }
}

/// Counts the calls that look for results.
#[derive(Debug, Clone, Default)]
struct CallsOfResults {
    manifests: Arc<AtomicUsize>,
    listings: Arc<AtomicUsize>,
}

#[dyn_dispatch_hint]
impl Intercept for CallsOfResults {
    fn name(&self) -> &'static str {
        "CallsOfResults"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let uri = context.request().uri();
        if uri.contains("/manifest.json") {
            self.manifests.fetch_add(1, Ordering::Relaxed);
        }
        if uri.contains("list-type=2") {
            self.listings.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn keys(report: &BackfillReport) -> Vec<&str> {
    report.due.iter().map(|video| video.key.as_str()).collect()
}

#[tokio::test]
async fn only_videos_without_a_complete_result_are_analysed() {
    let archive = Archive::new().await;
    archive.deploy_backfill().await;
    let sample = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sample-clip/sample.mp4")).unwrap();
    for (key, body) in [
        ("in/done.mp4", ANY_VIDEO),
        ("in/b + c%2F \"d\".MOV", &sample),
        ("in/🎬.mp4", ANY_VIDEO),
        ("in/notes.txt", b"text"),
        ("in/empty.mp4", b""),
        ("out/other.mp4", ANY_VIDEO),
    ] {
        archive.put(key, body).await;
    }
    archive.analyse("in/done.mp4").await;

    let dry = archive.run(&["s3://archive/in/", "--dry-run"]).await.unwrap();
    assert_eq!((dry.videos, dry.complete, keys(&dry)), (4, 1, vec!["in/b + c%2F \"d\".MOV", "in/🎬.mp4"]));
    assert_eq!(dry.left_out, BTreeMap::from([(Obstacle::Empty, 1)]));
    let estimate = dry.estimate();
    assert_eq!((estimate.bytes, estimate.unknown), ((sample.len() + ANY_VIDEO.len()) as u64, 1));
    assert!((estimate.minutes - 0.2).abs() < 1e-9, "{estimate:?}");
    assert_eq!(archive.rig.billed(), 1);

    // Without an answer to the question about the price, nothing is started.
    let unanswered = archive.run(&["s3://archive/in/"]).await.unwrap();
    assert!(!unanswered.all_well() && unanswered.to_string().contains("--yes"), "{unanswered}");
    assert_eq!(archive.rig.billed(), 1);

    archive.run_to_end(&["s3://archive/in/", "--yes"]).await;
    assert_eq!(archive.complete().await, ["in/b + c%2F \"d\".MOV", "in/done.mp4", "in/🎬.mp4"]);
    assert_eq!(archive.rig.billed(), 3);

    let again = archive.run(&["s3://archive/in/", "--yes"]).await.unwrap();
    assert_eq!((again.complete, &again.outcome), (3, &BackfillOutcome::NothingDue));

    // New content under a key that has a result.
    archive.put("in/done.mp4", &[ANY_VIDEO, b"new"].concat()).await;
    let replaced = archive.run_to_end(&["s3://archive/in/", "--yes"]).await;
    assert_eq!(keys(&replaced), ["in/done.mp4"]);
    assert_eq!(archive.rig.billed(), 4);
}

#[tokio::test]
async fn only_the_manifests_of_other_content_are_read() {
    let archive = Archive::new().await;
    archive.deploy_backfill().await;
    for key in ["1.mp4", "2.mp4", "3.mp4"] {
        archive.put(key, ANY_VIDEO).await;
    }
    archive.analyse("1.mp4").await;
    archive.analyse("2.mp4").await;
    assert_eq!(archive.dry_run().await, (2, vec!["3.mp4".to_owned()], 0));

    archive.put("2.mp4", &[ANY_VIDEO, b"new"].concat()).await;
    assert_eq!(archive.dry_run().await, (1, vec!["2.mp4".to_owned(), "3.mp4".to_owned()], 1));

    // Then the stack starts jobs with another topic.
    let lambda = &archive.deployed.lambda;
    let function = "facereel-start-detection";
    let configuration = lambda.get_function_configuration().function_name(function).send().await.unwrap();
    let mut variables = configuration.environment.unwrap().variables.unwrap();
    variables.insert("COMPLETION_TOPIC_ARN".to_owned(), "arn:aws:sns:us-east-1:000000000000:other".to_owned());
    let environment = Environment::builder().set_variables(Some(variables)).build();
    lambda.update_function_configuration().function_name(function).environment(environment).send().await.unwrap();
    assert_eq!(archive.dry_run().await, (1, vec!["2.mp4".to_owned(), "3.mp4".to_owned()], 2));
}

#[tokio::test]
async fn the_current_version_counts_in_a_bucket_with_versions() {
    let archive = Archive::new().await;
    archive.deploy_backfill().await;
    archive.put("before.mp4", ANY_VIDEO).await;
    let s3 = &archive.deployed.s3;
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    s3.put_bucket_versioning().bucket("archive").versioning_configuration(enabled).send().await.unwrap();
    for key in ["1.mp4", "2.mp4", "deleted.mp4"] {
        archive.put(key, ANY_VIDEO).await;
    }
    s3.delete_object().bucket("archive").key("deleted.mp4").send().await.unwrap();
    for key in ["1.mp4", "2.mp4", "before.mp4"] {
        archive.analyse(key).await;
    }
    assert_eq!(archive.dry_run().await, (3, Vec::new(), 0));

    // The same content in another version, and new content.
    archive.put("1.mp4", ANY_VIDEO).await;
    archive.put("2.mp4", &[ANY_VIDEO, b"new"].concat()).await;
    assert_eq!(archive.dry_run().await, (2, vec!["2.mp4".to_owned()], 2));

    archive.run_to_end(&["s3://archive", "--yes"]).await;
    assert_eq!(archive.dry_run().await, (3, Vec::new(), 1));
}

#[tokio::test]
async fn the_results_of_deleted_videos_are_skipped() {
    let archive = Archive::new().await;
    archive.deploy_backfill().await;
    for key in ["a.mp4", "c.mp4"] {
        archive.put(key, ANY_VIDEO).await;
        archive.analyse(key).await;
    }
    // More than two pages of the listing.
    let s3 = &archive.deployed.s3;
    let bucket = &archive.rig.workflow.stack.results_bucket;
    let deleted = (0..2100).map(|number| format!("results/b/{number}.mp4/idempotency_key/manifest.json"));
    let put = async |key: String| s3.put_object().bucket(bucket).key(key).send().await.map(drop);
    stream::iter(deleted).map(put).buffer_unordered(16).try_collect::<()>().await.unwrap();
    let calls = CallsOfResults::default();
    assert_eq!(archive.counted_dry_run(&calls).await, (2, Vec::new()));
    assert_eq!(calls.listings.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_backfill_that_is_stopped_before_its_start_leaves_nothing() {
    let archive = Archive::new().await;
    archive.deploy_backfill().await;
    archive.put("1.mp4", ANY_VIDEO).await;
    let stopped = archive.run_until(stop_at(ready(())), &["s3://archive", "--yes"]).await.unwrap_err();
    assert!(matches!(stopped, BackfillError::Stopped), "{stopped}");
    assert_eq!(archive.rig.result_keys("backfill/").await, Vec::<String>::new());
    assert_eq!(archive.rig.billed(), 0);
}

#[tokio::test]
async fn a_failed_video_does_not_stop_the_others_and_is_due_again() {
    let archive = Archive::new().await;
    archive.deploy_backfill().await;
    for (key, body) in [("1.mp4", &b"no video"[..]), ("2.mp4", ANY_VIDEO), ("3.mp4", ANY_VIDEO)] {
        archive.put(key, body).await;
    }
    archive.run_to_end(&["s3://archive", "--yes", "--limit", "2"]).await;
    assert_eq!(archive.complete().await, ["2.mp4"]);
    let next = archive.run(&["s3://archive", "--dry-run"]).await.unwrap();
    assert_eq!(keys(&next), ["1.mp4", "3.mp4"]);
}

#[tokio::test]
async fn a_second_backfill_is_rejected_and_running_videos_are_not_due() {
    let (gate, detector) = Gated::before(Canned::faces(3));
    let archive = Archive::with(detector).await;
    archive.deploy_backfill().await;
    for key in ["1.mp4", "2.mp4", "3.mp4"] {
        archive.put(key, ANY_VIDEO).await;
    }
    let first = archive.run(&["s3://archive", "--yes"]).await.unwrap();
    let BackfillOutcome::Started { arn } = &first.outcome else { panic!("{first}") };
    archive.rig.until("two videos are being analysed", async || archive.rig.billed() == 2).await;
    let error = archive.run(&["s3://archive", "--yes"]).await.unwrap_err();
    assert!(matches!(error, BackfillError::Runs { .. }) && error.to_string().contains(arn.as_str()), "{error}");

    archive.deployed.sfn.stop_execution().execution_arn(arn).send().await.unwrap();
    let next = archive.run(&["s3://archive", "--dry-run"]).await.unwrap();
    assert_eq!((next.running, keys(&next)), (2, vec!["3.mp4"]));
    gate.open();
    archive.rig.until("both have a result", async || archive.complete().await.len() >= 2).await;
}

#[tokio::test]
async fn an_empty_prefix_has_nothing_to_do_and_a_missing_bucket_is_an_error() {
    let archive = Archive::new().await;
    archive.deploy_backfill().await;
    let report = archive.run(&["s3://archive/nothing/here/", "--yes"]).await.unwrap();
    assert!(report.all_well());
    assert!(report.to_string().contains("0 videos") && report.to_string().contains("Nothing to do"), "{report}");
    let missing = archive.run(&["s3://no-such-bucket/", "--yes"]).await.unwrap_err().to_string();
    assert_eq!(missing, "there is no bucket no-such-bucket; check its name and the account (--profile)");
}

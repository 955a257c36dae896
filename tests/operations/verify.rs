//! Tests of `facereel verify` on the emulator. What the emulator lacks is added by [`AwsLike`].

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::{BucketVersioningStatus, NotificationConfiguration, VersioningConfiguration};
use aws_sdk_sqs::operation::{
    create_queue::CreateQueueOutput, delete_queue::DeleteQueueError, get_queue_url::GetQueueUrlOutput,
    receive_message::ReceiveMessageOutput,
};
use aws_smithy_mocks::{MockResponseInterceptor, RuleMode, create_mock_http_client, mock};
use aws_smithy_types::error::ErrorMetadata;
use clap::Parser as _;
use face_detection::{CenterFace, Detector};
use facereel::commands::verify::{Outcome, Verify, VerifyReport};
use facereel::deployed::Deployed;
use facereel::terminal::exit::{FAILURE, INTERRUPTED, Report as _, SUCCESS};
use facereel::terminal::{Answer, Stop, stop_at};
use local_stack::{Silent, WorkflowOptions};
use rekognition_local::{Config, Fault, Server};
use serde_json::{Value, json};
use tests::workflow::{Canned, Gated, Rig, model};

use crate::aws_like::{AwsLike, LOG_GROUP, Logging, TASK_TOKEN, log};

/// Parses the command line.
#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    verify: Verify,
}

/// A workflow, and the access to it.
struct Stack {
    rig: Rig,
    deployed: Deployed,
}

impl Stack {
    async fn with(detector: impl Detector + 'static) -> Self {
        Self::with_options(detector, |_| {}).await
    }

    async fn with_options(detector: impl Detector + 'static, change: impl FnOnce(&mut WorkflowOptions)) -> Self {
        let rig = Rig::with(detector, change).await;
        let aws = rig.workflow.emulator.aws();
        let mut deployed = Deployed::new(aws, rig.workflow.stack.state_machine_arn.parse().unwrap());
        let rekognition = aws_sdk_rekognition::config::Builder::from(aws).endpoint_url(rig.workflow.rekognition.url());
        deployed.rekognition = aws_sdk_rekognition::Client::from_conf(rekognition.build());
        Self { rig, deployed }
    }

    /// Adds what only AWS's Step Functions has.
    async fn like_aws(&mut self, logging: Logging) -> AwsLike {
        let aws = self.rig.workflow.emulator.aws();
        let proxy = AwsLike::start(self.rig.workflow.emulator.url(), &self.deployed.logs, logging).await;
        let sfn = aws_sdk_sfn::config::Builder::from(aws).endpoint_url(proxy.url());
        self.deployed.sfn = aws_sdk_sfn::Client::from_conf(sfn.build());
        proxy
    }

    async fn verify(&self, arguments: &[&str]) -> VerifyReport {
        self.verify_until(arguments, stop_at(std::future::pending())).await
    }

    async fn verify_until(&self, arguments: &[&str], stop: Stop) -> VerifyReport {
        let command = Command::parse_from([&["verify"], arguments].concat()).verify;
        command.run(&self.deployed, &Silent, async |_: &str| Answer::NotAsked, stop).await.unwrap()
    }

    /// Everything that exists: the objects in all versions, the rules and the queues.
    async fn inventory(&self) -> Vec<String> {
        let Deployed { s3, eventbridge, sqs, sns, .. } = &self.deployed;
        let mut found = Vec::new();
        for bucket in [&self.rig.workflow.stack.upload_bucket, &self.rig.workflow.stack.results_bucket] {
            let versions = s3.list_object_versions().bucket(bucket).send().await.unwrap();
            found.extend(versions.versions().iter().map(|one| format!("{bucket} {}", one.key().unwrap())));
            found.extend(versions.delete_markers().iter().map(|one| format!("marker {}", one.key().unwrap())));
        }
        let rules = eventbridge.list_rules().send().await.unwrap();
        found.extend(rules.rules().iter().map(|rule| rule.name().unwrap().to_owned()));
        found.extend(sqs.list_queues().send().await.unwrap().queue_urls().iter().cloned());
        let subscriptions = sns.list_subscriptions().send().await.unwrap();
        found.extend(subscriptions.subscriptions().iter().map(|one| one.endpoint().unwrap().to_owned()));
        found
    }
}

/// The checks with this outcome, by their first words.
fn with_outcome(report: &VerifyReport, outcome: Outcome) -> Vec<&str> {
    let rows = report.checks.iter().chain(&report.facts).filter(|row| row.result == outcome);
    rows.map(|row| row.check.as_str()).collect()
}

/// What a check has seen, and how it ended.
#[track_caller]
fn row<'a>(report: &'a VerifyReport, check: &str) -> (Outcome, &'a str) {
    let row = report.checks.iter().find(|row| row.check == check).unwrap_or_else(|| panic!("no {check} in\n{report}"));
    (row.result, &row.seen)
}

#[tokio::test]
async fn a_working_stack_passes_every_check_that_the_emulator_supports() {
    let stack = Stack::with(CenterFace::load(model().await).unwrap()).await;
    let before = stack.inventory().await;
    let report = stack.verify(&["--yes", "--timeout", "1m"]).await;
    assert_eq!(
        with_outcome(&report, Outcome::NotSupported),
        ["its redrive after the upload", "the logs of the functions", "the log of the state machine"]
    );
    assert_eq!(with_outcome(&report, Outcome::Passed).len(), report.checks.len() - 3, "{report}");
    assert_eq!(report.exit_status(), SUCCESS);
    assert_eq!(stack.inventory().await, before);
}

#[tokio::test]
async fn with_what_only_aws_has_every_check_passes_and_the_facts_are_recorded() {
    let mut stack = Stack::with(CenterFace::load(model().await).unwrap()).await;
    let _proxy = stack.like_aws(Logging::On).await;
    let before = stack.inventory().await;
    let report = stack.verify(&["--yes", "--timeout", "1m", "--facts"]).await;
    assert_eq!(report.exit_status(), SUCCESS, "{report}");
    assert_eq!(with_outcome(&report, Outcome::Passed).len(), report.checks.len() + 3, "{report}");
    assert_eq!(with_outcome(&report, Outcome::Recorded).len(), 8, "{report}");
    assert_eq!(stack.inventory().await, before);

    for (fact, seen) in [
        ("a heartbeat for an ended task", "TaskDoesNotExist"),
        ("StartFaceDetection with the same token", "the same job"),
        ("a second completion message", "1 message"),
        ("the same token with another JobTag", "IdempotentParameterMismatchException"),
        ("a page token that is used twice", "the same page; the token has 64 characters"),
        ("the boxes of a turned video", "720 x 1280"),
        ("a video in an unsupported codec", "FAILED: "),
    ] {
        let row = report.facts.iter().find(|row| row.check == fact).unwrap_or_else(|| panic!("no {fact} in\n{report}"));
        assert!(row.seen.starts_with(seen), "{row:?}");
    }
    assert_valid(&report.json());
}

/// Checks the document against its schema, and that it does not contain the id of the account.
fn assert_valid(document: &Value) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema/verify-report.schema.json");
    let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let violations: Vec<_> = validator.iter_errors(document).map(|error| error.to_string()).collect();
    assert!(violations.is_empty(), "{violations:?}\n{document:#}");
    assert!(!document.to_string().contains("000000000000"), "{document:#}");
}

#[tokio::test]
async fn without_an_agreement_to_the_price_nothing_is_made() {
    let stack = Stack::with(Canned::faces(1)).await;
    let before = stack.inventory().await;
    let report = stack.verify(&[]).await;
    assert_eq!((report.exit_status(), report.checks.len()), (FAILURE, 0));
    let text = report.to_string();
    assert!(text.starts_with("2 jobs for 14 s of video: at most USD 0.023,") && text.ends_with("--yes."), "{text}");
    assert_valid(&report.json());

    // The question contains the price, and no is the end.
    let command = Command::parse_from(["verify", "--facts"]).verify;
    let mut asked = String::new();
    let ask = async |question: &str| {
        question.clone_into(&mut asked);
        Answer::No
    };
    let report = command.run(&stack.deployed, &Silent, ask, stop_at(std::future::pending())).await.unwrap();
    assert!(asked.starts_with("7 jobs for 53 s of video: at most USD 0.088,"), "{asked}");
    assert!(asked.contains("s3://facereel-uploads/facereel-verify/"), "{asked}");
    assert!(report.to_string().ends_with("Nothing was checked."), "{report}");
    assert_eq!(stack.inventory().await, before);
    assert_eq!(stack.rig.billed(), 0);
}

/// Without a rule that starts executions, nothing is uploaded, so nothing is billed.
fn assert_nothing_uploaded(stack: &Stack, report: &VerifyReport, failed: &[&str]) {
    assert_eq!(with_outcome(report, Outcome::Failed), failed, "{report}");
    assert_eq!(row(report, "an upload").0, Outcome::Skipped);
    assert_eq!(row(report, "an execution for a missing video").0, Outcome::Skipped);
    assert_eq!(report.exit_status(), FAILURE);
    assert_eq!(stack.rig.billed(), 0);
}

#[tokio::test]
async fn faults_of_the_rule_and_the_buckets_are_found_before_anything_is_billed() {
    let stack = Stack::with(Canned::faces(1)).await;
    let Deployed { eventbridge, s3, .. } = &stack.deployed;
    let before = stack.inventory().await;

    eventbridge.disable_rule().name("facereel-uploads").send().await.unwrap();
    let report = stack.verify(&["--yes"]).await;
    assert_nothing_uploaded(&stack, &report, &["the upload rule"]);
    assert_eq!(row(&report, "the upload rule").1, "facereel-uploads is DISABLED");
    assert_eq!(row(&report, "an upload").1, "needs: the upload rule");
    eventbridge.enable_rule().name("facereel-uploads").send().await.unwrap();

    let described = eventbridge.describe_rule().name("facereel-uploads").send().await.unwrap();
    let pattern = described.event_pattern.unwrap();
    let mut every_object: Value = serde_json::from_str(&pattern).unwrap();
    every_object["detail"]["object"]["key"] = json!([{ "wildcard": "*.mp4" }, { "wildcard": "*.txt" }]);
    let put = eventbridge.put_rule().name("facereel-uploads").event_pattern(every_object.to_string());
    put.send().await.unwrap();
    let report = stack.verify(&["--yes"]).await;
    assert_nothing_uploaded(&stack, &report, &["the upload rule's pattern"]);
    assert_eq!(
        row(&report, "the upload rule's pattern").1,
        "facereel-uploads: matches an .mp4, matches a .txt, not 0 bytes"
    );
    eventbridge.put_rule().name("facereel-uploads").event_pattern(pattern).send().await.unwrap();

    let none = NotificationConfiguration::builder().build();
    let off = s3.put_bucket_notification_configuration().bucket("facereel-uploads").notification_configuration(none);
    off.send().await.unwrap();
    let report = stack.verify(&["--yes"]).await;
    assert_nothing_uploaded(&stack, &report, &["events of the upload bucket"]);
    assert_eq!(row(&report, "events of the upload bucket").1, "facereel-uploads sends none to EventBridge");

    eventbridge.remove_targets().rule("facereel-uploads").ids("analyze-video").send().await.unwrap();
    let report = stack.verify(&["--yes"]).await;
    assert_nothing_uploaded(&stack, &report, &["the upload rule", "events of the upload bucket"]);
    assert!(row(&report, "the upload rule").1.starts_with("facereel-uploads has no target arn:"), "{report}");
    assert_eq!(stack.inventory().await, before);
}

/// The pattern matches the event that is tested, and not the event that S3 sends.
#[tokio::test]
async fn an_upload_that_starts_nothing_is_found() {
    let stack = Stack::with(Canned::faces(1)).await;
    let eventbridge = &stack.deployed.eventbridge;
    let described = eventbridge.describe_rule().name("facereel-uploads").send().await.unwrap();
    let mut pattern: Value = serde_json::from_str(&described.event_pattern.unwrap()).unwrap();
    pattern["detail"]["source-ip-address"] = json!(["192.0.2.1"]);
    eventbridge.put_rule().name("facereel-uploads").event_pattern(pattern.to_string()).send().await.unwrap();
    let before = stack.inventory().await;
    let report = stack.verify(&["--yes", "--timeout", "3s"]).await;
    assert_eq!(row(&report, "the upload rule's pattern").0, Outcome::Passed);
    assert_eq!(row(&report, "an upload"), (Outcome::Failed, "not within 3 s"), "{report}");
    assert_eq!(row(&report, "the execution"), (Outcome::Skipped, "needs: an upload"));
    assert_eq!(stack.inventory().await, before);
}

#[tokio::test]
async fn executions_that_fail_are_found_with_their_error() {
    let mut stack = Stack::with(Canned::faces(1)).await;
    let _proxy = stack.like_aws(Logging::On).await;
    for _ in 0..2 {
        stack.rig.workflow.rekognition.faults().inject(Fault::JobFails { message: "no frames".to_owned() });
    }
    let report = stack.verify(&["--yes", "--timeout", "1m"]).await;
    for check in ["the execution", "its redrive after the upload"] {
        let (result, seen) = row(&report, check);
        assert!(result == Outcome::Failed && seen.starts_with("JobFailed: no frames"), "{report}");
    }
    assert_eq!(row(&report, "a second execution").0, Outcome::Skipped);
}

/// What the detector finds is neither where the faces are, nor valid.
#[tokio::test]
async fn wrong_faces_and_invalid_lines_and_missing_events_fail_their_own_checks_only() {
    let mut detector = Canned::faces(4);
    detector.faces[2].face.confidence = 150.0;
    let stack = Stack::with(detector).await;
    let none = NotificationConfiguration::builder().build();
    let off = stack.deployed.s3.put_bucket_notification_configuration().bucket("facereel-results");
    off.notification_configuration(none).send().await.unwrap();
    let report = stack.verify(&["--yes", "--timeout", "1m"]).await;
    assert_eq!(
        with_outcome(&report, Outcome::Failed),
        ["events of the results bucket", "the faces", "every file of the result"],
        "{report}"
    );
    assert_eq!(with_outcome(&report, Outcome::Skipped), ["the event of the result"]);
    assert!(row(&report, "the faces").1.starts_with("0 % of 3"), "{report}");
    let invalid = row(&report, "every file of the result").1;
    assert!(invalid.starts_with("faces/00000.jsonl:3/Face/Confidence: 150"), "{invalid}");
    assert_eq!(row(&report, "a second execution").0, Outcome::Passed);
    assert_eq!(report.exit_status(), FAILURE);
}

#[tokio::test]
async fn a_second_start_of_the_job_is_found() {
    let mut stack = Stack::with(Canned::faces(4)).await;
    // The functions write the record of a job after every call of StartFaceDetection.
    let _proxy = stack.like_aws(Logging::Off).await;
    let results = &stack.rig.workflow.results;
    let start_again = async {
        loop {
            let listed =
                stack.deployed.sfn.list_executions().state_machine_arn(stack.deployed.state_machine.to_string());
            let listed = listed.send().await.unwrap();
            if listed.executions().iter().any(|one| one.name().ends_with("-again")) {
                let record = results.list("queue/started-jobs/").await.unwrap().remove(0).key;
                results.put(&record, *b"{\"job_id\":\"j\",\"started_ms\":1}").await.unwrap();
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (report, ()) = tokio::join!(stack.verify(&["--yes", "--timeout", "1m"]), start_again);
    assert_eq!(row(&report, "the log of the state machine"), (Outcome::NotSupported, "its logging is off"), "{report}");
    let (result, seen) = row(&report, "a second execution");
    assert_eq!(
        (result, seen),
        (Outcome::Failed, "the same job, after a second call of StartFaceDetection"),
        "{report}"
    );
}

#[tokio::test]
async fn a_token_in_a_log_is_found() {
    let mut stack = Stack::with(Canned::faces(4)).await;
    let _proxy = stack.like_aws(Logging::On).await;
    let logs = stack.deployed.logs.clone();
    let group = "/aws/lambda/facereel-resume-execution";
    // The emulator creates the group with the first line of the function, if it does not exist yet.
    drop(logs.create_log_group().log_group_name(group).send().await);
    logs.create_log_stream().log_group_name(group).log_stream_name("log").send().await.unwrap();
    // A token that is cut is a token as well.
    log(&logs, group, &format!("{{\"token\":\"{}", &TASK_TOKEN[20..])).await;
    log(&logs, LOG_GROUP, &format!("token {TASK_TOKEN}.")).await;
    let report = stack.verify(&["--yes", "--timeout", "1m"]).await;
    let (functions, state_machine) =
        (row(&report, "the logs of the functions"), row(&report, "the log of the state machine"));
    assert_eq!(functions, (Outcome::Failed, &*format!("{group} contains the task token of an execution")));
    assert_eq!(state_machine, (Outcome::Failed, &*format!("{LOG_GROUP} contains the task token of an execution")));
}

/// The facts are observed on a Rekognition that does not know the job of the functions.
#[tokio::test]
async fn a_fact_fails_if_the_functions_depend_on_another_answer() {
    let mut stack = Stack::with(Canned::faces(4)).await;
    let _proxy = stack.like_aws(Logging::NotDelivered).await;
    let aws = stack.rig.workflow.emulator.aws();
    let config = Config::new(stack.rig.workflow.emulator.url(), Arc::new(Canned::faces(4)));
    let other = Server::start(config).await.unwrap();
    let rekognition = aws_sdk_rekognition::config::Builder::from(aws).endpoint_url(other.url());
    stack.deployed.rekognition = aws_sdk_rekognition::Client::from_conf(rekognition.build());
    let report = stack.verify(&["--yes", "--timeout", "20s", "--facts"]).await;
    let fact = |fact: &str| report.facts.iter().find(|row| row.check == fact).unwrap_or_else(|| panic!("{report}"));
    let again = fact("StartFaceDetection with the same token");
    assert_eq!((again.result, again.seen.as_str()), (Outcome::Failed, "another job"));
    let message = fact("a second completion message");
    assert_eq!(message.seen, "not observed: the second start did not return the same job");
    assert_eq!(fact("a page token that is used twice").result, Outcome::Skipped);
    let undelivered = format!("{LOG_GROUP} has no line about the video after 20 s");
    assert_eq!(row(&report, "the log of the state machine"), (Outcome::Failed, &*undelivered), "{report}");
    assert_eq!(report.exit_status(), FAILURE);
}

/// The event of the result does not reach the queue, and the queue cannot be deleted.
#[tokio::test]
async fn an_event_that_does_not_arrive_fails_and_what_remains_is_named() {
    let mut stack = Stack::with(Canned::faces(4)).await;
    let url = "http://127.0.0.1:1/000000000000/queue";
    let create = mock!(aws_sdk_sqs::Client::create_queue)
        .then_output(move || CreateQueueOutput::builder().queue_url(url).build());
    let get_url = mock!(aws_sdk_sqs::Client::get_queue_url)
        .then_output(move || GetQueueUrlOutput::builder().queue_url(url).build());
    let receive = mock!(aws_sdk_sqs::Client::receive_message).then_output(|| ReceiveMessageOutput::builder().build());
    let delete = mock!(aws_sdk_sqs::Client::delete_queue)
        .then_error(|| DeleteQueueError::generic(ErrorMetadata::builder().code("AccessDenied").message("no").build()));
    let answers = [create, get_url, receive, delete];
    let any = MockResponseInterceptor::new().rule_mode(RuleMode::MatchAny);
    let answers = answers.iter().fold(any, MockResponseInterceptor::with_rule);
    let sqs = aws_sdk_sqs::config::Builder::from(stack.rig.workflow.emulator.aws());
    let sqs = sqs.http_client(create_mock_http_client()).interceptor(answers).build();
    stack.deployed.sqs = aws_sdk_sqs::Client::from_conf(sqs);
    let report = stack.verify(&["--yes", "--timeout", "20s"]).await;
    assert_eq!(row(&report, "the event of the result"), (Outcome::Failed, "no event after 20 s"), "{report}");
    let [left] = &report.not_removed[..] else { panic!("{report}") };
    assert!(left.starts_with("the queue facereel-verify-") && left.contains("do not allow sqs:DeleteQueue"), "{left}");
    assert_eq!(report.exit_status(), FAILURE);
}

#[tokio::test]
async fn a_stack_that_does_not_fail_for_a_missing_video_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("definition.json");
    let text = std::fs::read_to_string(local_stack::Installation::find().unwrap().definition()).unwrap();
    let mut definition: Value = serde_json::from_str(&text).unwrap();
    definition["States"]["InspectVideo"]["Catch"] = json!([{ "ErrorEquals": ["States.ALL"], "Next": "Done" }]);
    definition["States"]["Done"] = json!({ "Type": "Succeed" });
    std::fs::write(&file, definition.to_string()).unwrap();
    let stack = Stack::with_options(Canned::faces(4), |options| options.definition = Some(file)).await;
    let report = stack.verify(&["--yes", "--timeout", "1m"]).await;
    assert_eq!(row(&report, "an execution for a missing video"), (Outcome::Failed, "SUCCEEDED"), "{report}");
    assert_eq!(row(&report, "its redrive after the upload").0, Outcome::Skipped);
}

#[tokio::test]
async fn a_run_that_is_stopped_removes_everything_in_all_versions() {
    let (gate, detector) = Gated::before(Canned::faces(4));
    let stack = Stack::with(detector).await;
    let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let enable = stack.deployed.s3.put_bucket_versioning().bucket("facereel-uploads");
    enable.versioning_configuration(versioning).send().await.unwrap();
    stack.rig.workflow.uploads.put("facereel-verify/other.txt", *b"text").await.unwrap();
    let before = stack.inventory().await;

    let (send, stopped) = tokio::sync::oneshot::channel();
    let stop_at_job = async {
        stack.rig.until("the job runs", async || stack.rig.billed() == 1).await;
        stack.rig.until_a_job_is_recorded().await;
        send.send(()).unwrap();
    };
    let stop = stop_at(async { drop(stopped.await) });
    let (report, ()) = tokio::join!(stack.verify_until(&["--yes"], stop), stop_at_job);
    assert_eq!(report.exit_status(), INTERRUPTED, "{report}");
    assert!(report.to_string().contains("Stopped before the end."), "{report}");
    assert_eq!(row(&report, "an upload").0, Outcome::Passed);
    assert_valid(&report.json());
    assert_eq!(stack.inventory().await, before);
    let executions = stack.deployed.sfn.list_executions().state_machine_arn(stack.deployed.state_machine.to_string());
    let executions = executions.send().await.unwrap();
    let statuses: Vec<_> = executions.executions().iter().map(|one| one.status().as_str()).collect();
    assert_eq!(statuses, ["ABORTED"]);
    gate.open();
}

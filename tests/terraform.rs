//! The Terraform module from apply to destroy, on the local emulator, with the real provider and the real functions.
//!
//! It needs Terraform, so `cargo test` ignores it; `scripts/check-terraform-apply` runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_lambda::primitives::Blob;
use face_detection::{Analysis, AnalyzeError, Continue, Detector};
use lambdas::functions::Function;
use lambdas::job::{FinishedJob, VideoMetadata};
use lambdas::results::{JobFacts, Manifest};
use local_stack::{Dependencies, Emulator, Execution, Executions, Installation, LambdaPackages, Objects, Silent};
use rekognition_local::{Config, Fault, Server};
use serde_json::{Value, json};
use tests::terraform::{
    Change, Terraform, call,
    iam::{Policy, Use},
    recorder::{Recorder, Upstream},
};
use tests::workflow::{ANY_VIDEO, Canned, Gate, Gated};
use tokio::time::{Instant, sleep};

/// Attributes that the emulator (ministack 1.5.33) does not return as they were set, so that a plan would change them.
const EMULATOR_GAPS: [(&str, &str, &str); 7] = [
    ("aws_cloudwatch_metric_alarm", "actions_enabled", "DescribeAlarms answers without it"),
    ("aws_cloudwatch_metric_alarm", "alarm_description", "DescribeAlarms answers without it"),
    ("aws_cloudwatch_metric_alarm", "dimensions", "DescribeAlarms answers without them"),
    ("aws_cloudwatch_metric_alarm", "period", "DescribeAlarms answers without it"),
    ("aws_cloudwatch_metric_alarm", "statistic", "DescribeAlarms answers without it"),
    ("aws_cloudwatch_metric_alarm", "treat_missing_data", "DescribeAlarms answers without it"),
    ("aws_sfn_state_machine", "tracing_configuration", "CreateStateMachine does not keep it"),
];

/// Grants that Lambda itself uses with a function's role, which the emulator does not show: logs, traces and dead letters.
const USED_BY_LAMBDA: [&str; 5] = [
    "SendToDeadLetterQueue: sqs:SendMessage on resource 1",
    "Trace: xray:PutTelemetryRecords on resource 1",
    "Trace: xray:PutTraceSegments on resource 1",
    "WriteLogs: logs:CreateLogStream on resource 1",
    "WriteLogs: logs:PutLogEvents on resource 1",
];

/// Grants that Step Functions itself uses with a state machine's role: AWS's lists for logging and X-Ray.
const USED_BY_STEP_FUNCTIONS: [&str; 12] = [
    "DeliverLogs: logs:CreateLogDelivery on resource 1",
    "DeliverLogs: logs:DeleteLogDelivery on resource 1",
    "DeliverLogs: logs:DescribeLogGroups on resource 1",
    "DeliverLogs: logs:DescribeResourcePolicies on resource 1",
    "DeliverLogs: logs:GetLogDelivery on resource 1",
    "DeliverLogs: logs:ListLogDeliveries on resource 1",
    "DeliverLogs: logs:PutResourcePolicy on resource 1",
    "DeliverLogs: logs:UpdateLogDelivery on resource 1",
    "Trace: xray:GetSamplingRules on resource 1",
    "Trace: xray:GetSamplingTargets on resource 1",
    "Trace: xray:PutTelemetryRecords on resource 1",
    "Trace: xray:PutTraceSegments on resource 1",
];

/// The timeout of every wait.
const LIMIT: Duration = Duration::from_mins(3);

#[tokio::test]
#[ignore = "needs Terraform: scripts/check-terraform-apply runs it"]
async fn a_stack_from_apply_to_destroy() {
    let installation = Installation::find().unwrap();
    let dependencies = Dependencies::prepare(&installation.dependencies_dir().unwrap(), &Silent).await.unwrap();
    let packages = LambdaPackages::prepare(&installation, &Silent).await.unwrap();
    let emulator = Emulator::start(&dependencies).await.unwrap();
    let (gates, detector) = HeldBack::new();
    // Two pages: a result of one page is not listed.
    let config = Config { page_limit: 4, ..Config::new(emulator.url(), Arc::new(detector)) };
    let rekognition = Server::start(config).await.unwrap();
    let recorders = recorders(&emulator, &rekognition).await;
    let urls = recorders.iter().map(|(name, recorder)| (*name, recorder.url().to_owned())).collect();
    let mut terraform = Terraform::prepare(emulator.url(), &packages, &urls).await;

    // With a bucket that the module creates, and with tables for Athena.
    terraform.set("create_athena_tables", "true");
    let outputs = terraform.apply().await;
    let resources = terraform.resources().await;
    let stack = Stack::new(&emulator, &rekognition, &outputs);
    stack.a_result_is_added_to_the_tables(&stack.a_video_becomes_a_result("a folder/it's.mp4").await, &outputs).await;
    let manifest = stack.a_video_becomes_a_result("holiday.mp4").await;
    stack.a_missing_page_is_reported(outputs["function_names"]["summarize"].as_str().unwrap(), manifest).await;
    stack.every_path_of_the_functions(&gates[0]).await;
    stack.the_schedule_starts_a_waiting_job(outputs["function_names"]["start-waiting-jobs"].as_str().unwrap()).await;
    stack.running_executions_are_measured(&resources, &gates[1]).await;
    // All findings are reported together, because a run takes minutes.
    let mut findings = unexpected_changes(&terraform.plan().await);
    let own = uses(&recorders);
    findings.extend(findings_in_service_roles(&resources));

    // With an existing bucket: without versions, with a prefix, and the module manages its notifications.
    let existing = aws_sdk_s3::Client::new(emulator.aws());
    existing.create_bucket().bucket("company-videos").send().await.unwrap();
    terraform.set("upload_bucket", "company-videos");
    terraform.set("upload_bucket_take_notifications", "true");
    terraform.set("upload_prefixes", "[\"in/\"]");
    let outputs = terraform.apply().await;
    let moved = Stack::new(&emulator, &rekognition, &outputs);
    moved.uploads.put("elsewhere/ignored.mp4", video("")).await.unwrap();
    moved.a_video_becomes_a_result("in/Holiday.MOV").await;
    moved.a_completion_starts_the_next_job(&gates[2]).await;
    assert!(moved.executions.about("elsewhere/ignored.mp4").await.unwrap().is_empty());
    let resources_moved = terraform.resources().await;
    let all = uses(&recorders);

    // These functions start jobs with the same code, and so have the same grants for it.
    let starting = ["start-detection", "resume-execution", "start-waiting-jobs"];
    let uses_of_starting: BTreeSet<Use> = starting.iter().flat_map(|name| all[name].iter().cloned()).collect();
    for (name, uses) in &all {
        let policies = [policy_of(&resources, name), policy_of(&resources_moved, name)];
        let later: BTreeSet<Use> = uses.difference(&own[name]).cloned().collect();
        for used in [policies[0].not_granted(&own[name]), policies[1].not_granted(&later)].concat() {
            findings.push(format!("{name} does something that its role does not allow on AWS: {used:?}"));
        }
        // Some grants are needed for only one of the two kinds of buckets.
        let uses = if starting.contains(name) { &uses_of_starting } else { uses };
        let unused = &policies[0].unused(uses) & &policies[1].unused(uses);
        for grant in unused.iter().filter(|grant| !USED_BY_LAMBDA.contains(&grant.as_str())) {
            findings.push(format!("{name} does not use the grant {grant}"));
        }
    }
    findings.extend(unexpected_changes(&terraform.plan().await));
    assert!(findings.is_empty(), "{findings:#?}\n{all:#?}");

    terraform.destroy().await;
    assert!(terraform.resources().await.is_empty());
    assert!(existing.head_bucket().bucket("company-videos").send().await.is_ok(), "an existing bucket is not deleted");
    let buckets = existing.list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets().len(), 1, "the created buckets are deleted, with all of their objects");

    // A new stack with a customer-managed key. The services make the calls of KMS, so that the recorders see none of them.
    terraform.set("customer_managed_key", "true");
    let outputs = terraform.apply().await;
    Stack::new(&emulator, &rekognition, &outputs).a_video_becomes_a_result("in/encrypted.mp4").await;
    terraform.destroy().await;
}

/// An applied stack, and the clients to use it.
struct Stack<'a> {
    rekognition: &'a Server,
    s3: aws_sdk_s3::Client,
    upload_bucket: String,
    uploads: Objects,
    results: Objects,
    executions: Executions,
    emulator: &'a Emulator,
}

impl<'a> Stack<'a> {
    fn new(emulator: &'a Emulator, rekognition: &'a Server, outputs: &Value) -> Self {
        let output =
            |name: &str| outputs[name].as_str().unwrap_or_else(|| panic!("no output {name}: {outputs}")).to_owned();
        Self {
            rekognition,
            s3: aws_sdk_s3::Client::new(emulator.aws()),
            upload_bucket: output("upload_bucket"),
            uploads: Objects::of(emulator.aws(), output("upload_bucket")),
            results: Objects::of(emulator.aws(), output("results_bucket")),
            executions: Executions::of(emulator.aws(), output("state_machine_arn")),
            emulator,
        }
    }

    async fn a_video_becomes_a_result(&self, key: &str) -> Manifest {
        let execution = self.ended(&self.upload(key, video(key)).await.arn).await;
        assert!(execution.has_succeeded(), "{execution:#?}");
        let manifest =
            execution.output.as_ref().and_then(|output| output["manifest"].as_str()).expect("a manifest's key");
        let manifest: Manifest = serde_json::from_slice(&self.results.read(manifest).await.unwrap()).unwrap();
        assert_eq!((manifest.faces, manifest.pages.len()), (7, 2));
        for (page, faces) in manifest.pages.iter().zip([4, 3]) {
            let page = self.results.read(&page.key).await.unwrap();
            assert_eq!(page.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), faces);
        }
        manifest
    }

    /// A complete result becomes a partition of the tables of Athena, and is not added again.
    async fn a_result_is_added_to_the_tables(&self, manifest: &Manifest, outputs: &Value) {
        let Manifest { video, job, .. } = manifest;
        let folder = format!("results/{}/{}", video.key, job.idempotency_key);
        let database = outputs["athena_database"].as_str().expect("a database");
        for table in ["faces", "tracks"] {
            let input = json!({ "DatabaseName": database, "TableName": table });
            let mut added = Value::Null;
            until(&format!("the result is in the table {table}"), async || {
                added = call(self.emulator.url(), "AWSGlue.GetPartitions", &input).await["Partitions"].take();
                added.as_array().is_some_and(|partitions| !partitions.is_empty())
            })
            .await;
            assert_eq!(added[0]["Values"], json!([video.key, job.idempotency_key]), "{added}");
            let location = added[0]["StorageDescriptor"]["Location"].as_str().expect("a location");
            let prefix = location.strip_prefix(&format!("s3://{}/", outputs["results_bucket"].as_str().unwrap()));
            assert_eq!(prefix, Some(format!("{folder}/{table}/").as_str()));
            assert!(!self.results.list(prefix.unwrap()).await.unwrap().is_empty(), "{location} has no objects");
            let columns = &added[0]["StorageDescriptor"]["Columns"];
            assert_eq!(columns[0]["Name"], if table == "faces" { "timestamp" } else { "id" }, "{columns}");
        }
        let arn = outputs["state_machine_arns"]["add-partitions"].as_str().expect("an ARN").to_owned();
        let executions = Executions::of(self.emulator.aws(), arn);
        let event = json!({ "detail": { "object": { "key": format!("{folder}/manifest.json") } } });
        let again = executions.start(&event).await.unwrap();
        assert!(executions.wait(&again).await.unwrap().has_succeeded());
    }

    /// Invokes summarize for one page more than there is, because no execution loses a page.
    async fn a_missing_page_is_reported(&self, function: &str, manifest: Manifest) {
        let Manifest { job: JobFacts { job_id, idempotency_key, attempt, face_attributes }, video, .. } = manifest;
        let metadata = VideoMetadata::default();
        let job = FinishedJob { job_id, idempotency_key, attempt, face_attributes, video, metadata };
        let request = json!({ "job": job, "pages": 3, "execution_arn": manifest.execution_arn });
        let lambda = aws_sdk_lambda::Client::new(self.emulator.aws());
        let answer =
            lambda.invoke().function_name(function).payload(Blob::new(request.to_string())).send().await.unwrap();
        let error: Value = serde_json::from_slice(answer.payload.expect("an error").as_ref()).unwrap();
        assert_eq!(error["errorType"], "PageMissing", "{error}");
    }

    /// Takes every path of start-detection and resume-execution, so that they make every call that they can make.
    async fn every_path_of_the_functions(&self, gate: &Gate) {
        // The job has already ended: the callback is sent immediately.
        assert!(self.manual("holiday.mp4").await.has_succeeded());
        assert_fails(&self.manual("missing.mp4").await, "VideoNotFound");
        let current = self.s3.head_object().bucket(&self.upload_bucket).key("holiday.mp4").send().await.unwrap();
        let version = json!({ "bucket": self.upload_bucket, "key": "holiday.mp4", "version_id": current.version_id() });
        let version = self.executions.start(&version).await.unwrap();
        assert!(self.ended(&version).await.has_succeeded());
        let text = self.upload("text.mp4", b"This is not a video.".to_vec()).await;
        assert_fails(&self.ended(&text.arn).await, "NotAVideo");
        self.rekognition.faults().inject(Fault::JobFails { message: "the codec is not supported".to_owned() });
        let broken = self.upload("broken.mp4", video("broken")).await;
        assert_fails(&self.ended(&broken.arn).await, "JobFailed");
        // Replayed while no invocation holds the lease: start-detection itself starts the next attempt.
        until("no invocation holds the lease", async || self.waiting().await == Some(0)).await;
        self.rekognition.faults().inject(Fault::JobFails { message: "still not supported".to_owned() });
        assert_fails(&self.manual("broken.mp4").await, "JobFailed");

        // While one job runs, two videos wait for a slot: one that is deleted, and one whose first job failed.
        let jobs = self.rekognition.calls().jobs;
        let held = self.upload("held.mp4", video("hold-0")).await;
        until("a job runs", async || self.rekognition.calls().jobs == jobs + 1).await;
        let deleted = self.without_a_slot(1, async || self.upload("deleted.mp4", video("deleted")).await).await;
        let replay = self.without_a_slot(2, async || self.executions.start(&broken.input).await.unwrap()).await;
        self.delete_version("deleted.mp4").await;

        // The completion of the running job starts the other two.
        gate.open();
        assert!(self.ended(&held.arn).await.has_succeeded());
        assert_fails(&self.ended(&deleted.arn).await, "VideoNotFound");
        let replayed = self.ended(&replay).await;
        assert!(replayed.has_succeeded(), "{replayed:#?}");
    }

    async fn the_schedule_starts_a_waiting_job(&self, function: &str) {
        let upload = async || self.upload("scheduled.mp4", video("scheduled")).await;
        let waiting = self.without_a_slot(1, upload).await;
        let event = Blob::new(include_str!("fixtures/events/schedule.json"));
        let lambda = aws_sdk_lambda::Client::new(self.emulator.aws());
        let answer = lambda.invoke().function_name(function).payload(event).send().await.unwrap();
        assert_eq!(answer.function_error, None);
        let execution = self.ended(&waiting.arn).await;
        assert!(execution.has_succeeded(), "{execution:#?}");
    }

    async fn a_completion_starts_the_next_job(&self, gate: &Gate) {
        let jobs = self.rekognition.calls().jobs;
        let held = self.upload("in/held.mp4", video("hold-2")).await;
        until("a job runs", async || self.rekognition.calls().jobs == jobs + 1).await;
        let next = self.without_a_slot(1, async || self.upload("in/next.mp4", video("next")).await).await;
        gate.open();
        for execution in [held, next] {
            let execution = self.ended(&execution.arn).await;
            assert!(execution.has_succeeded(), "{execution:#?}");
        }
    }

    /// The state machine `running-executions` publishes the number of running executions and the age of the oldest.
    async fn running_executions_are_measured(&self, resources: &[Value], gate: &Gate) {
        let held = self.upload("measured.mp4", video("hold-1")).await;
        sleep(Duration::from_secs(1)).await;
        let state_machine = resource(resources, "aws_sfn_state_machine", "running_executions", None);
        let executions = Executions::of(self.emulator.aws(), state_machine["arn"].as_str().unwrap().to_owned());
        let measured = executions.start(&json!({})).await.unwrap();
        assert!(executions.wait(&measured).await.unwrap().has_succeeded());
        let alarm = &resource(resources, "aws_cloudwatch_metric_alarm", "alarm", Some("stuck"));
        let age = measurement(self.emulator, &alarm["namespace"], &alarm["metric_name"], &alarm["dimensions"]).await;
        assert!((1.0..LIMIT.as_secs_f64()).contains(&age), "the oldest execution started {age} s ago");
        let running =
            measurement(self.emulator, &alarm["namespace"], &json!("RunningExecutions"), &alarm["dimensions"]).await;
        assert!((running - 1.0).abs() < f64::EPSILON, "{running} executions run");
        gate.open();
        assert!(self.ended(&held.arn).await.has_succeeded());
    }

    async fn upload(&self, key: &str, body: Vec<u8>) -> Execution {
        self.uploads.put(key, body).await.unwrap();
        let mut found = None;
        until(&format!("an execution for {key}"), async || {
            found = self.executions.about(key).await.unwrap().pop();
            found.is_some()
        })
        .await;
        found.expect("it was found")
    }

    /// Starts an execution while every job slot is used, and returns when `waiting` videos wait for a slot.
    async fn without_a_slot<T>(&self, waiting: usize, start: impl AsyncFnOnce() -> T) -> T {
        self.rekognition.faults().inject(Fault::LimitExceeded { times: 1 });
        let tries = self.rekognition.calls().start;
        let started = start().await;
        until("a video waits for a slot", async || {
            self.rekognition.calls().start > tries && self.waiting().await == Some(waiting)
        })
        .await;
        started
    }

    /// The number of videos that wait for a slot; `None` while an invocation holds the lease.
    async fn waiting(&self) -> Option<usize> {
        let queue = self.results.list("queue/").await.unwrap();
        let leased = queue.iter().any(|object| object.key == "queue/lease");
        (!leased).then(|| queue.iter().filter(|object| object.key.starts_with("queue/entries/")).count())
    }

    async fn delete_version(&self, key: &str) {
        let head = self.s3.head_object().bucket(&self.upload_bucket).key(key).send().await.unwrap();
        let version = head.version_id().expect("the created bucket keeps versions");
        self.s3.delete_object().bucket(&self.upload_bucket).key(key).version_id(version).send().await.unwrap();
    }

    async fn manual(&self, key: &str) -> Execution {
        let arn = self.executions.start(&json!({ "bucket": self.upload_bucket, "key": key })).await.unwrap();
        self.ended(&arn).await
    }

    async fn ended(&self, arn: &str) -> Execution {
        let mut ended = None;
        until(&format!("{arn} ends"), async || {
            ended = Some(self.executions.describe(arn).await.unwrap()).filter(|execution| !execution.is_running());
            ended.is_some()
        })
        .await;
        ended.expect("it has ended")
    }
}

fn assert_fails(execution: &Execution, error: &str) {
    assert_eq!(execution.error.as_deref(), Some(error), "{execution:#?}");
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < give_up, "not within {} s: {what}", LIMIT.as_secs());
        sleep(Duration::from_millis(50)).await;
    }
}

/// Finds seven faces in every video. A video that ends with `hold-<number>` is held back until the gate with that number is opened.
struct HeldBack([Gated; 3]);

impl HeldBack {
    fn new() -> ([Gate; 3], Self) {
        let gated = [(); 3].map(|()| Gated::before(Canned::faces(7)));
        (gated.clone().map(|(gate, _)| gate), Self(gated.map(|(_, gated)| gated)))
    }
}

impl Detector for HeldBack {
    fn analyze(&self, video: &Path, progress: &dyn Fn(f32) -> Continue) -> Result<Analysis, AnalyzeError> {
        let content = fs::read(video).unwrap_or_default();
        let is_held_by = |number: usize| content.ends_with(format!("hold-{number}").as_bytes());
        match (0..self.0.len()).find(|number| is_held_by(*number)) {
            Some(number) => self.0[number].analyze(video, progress),
            None => Canned::faces(7).analyze(video, progress),
        }
    }
}

/// The start of an MP4 file, and `end`, which makes the content unique.
fn video(end: &str) -> Vec<u8> {
    [ANY_VIDEO, end.as_bytes()].concat()
}

/// The maximum of a metric in CloudWatch within two hours of now.
async fn measurement(emulator: &Emulator, namespace: &Value, name: &Value, dimensions: &Value) -> f64 {
    let dimensions: Vec<Value> = dimensions
        .as_object()
        .expect("dimensions by name")
        .iter()
        .map(|(name, value)| json!({ "Name": name, "Value": value }))
        .collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let input = json!({
        "Namespace": namespace,
        "MetricName": name,
        "Dimensions": dimensions,
        "StartTime": now - 7200,
        "EndTime": now + 7200,
        "Period": 86400,
        "Statistics": ["Maximum"],
    });
    let answer = call(emulator.url(), "GraniteServiceVersion20100801.GetMetricStatistics", &input).await;
    answer.pointer("/Datapoints/0/Maximum").and_then(Value::as_f64).unwrap_or_else(|| panic!("{input}: {answer}"))
}

async fn recorders(emulator: &Emulator, rekognition: &Server) -> BTreeMap<&'static str, Recorder> {
    let upstream = Upstream {
        emulator: emulator.url().to_owned(),
        rekognition: rekognition.url(),
        state_machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:facereel-analyze-video".to_owned(),
    };
    let mut recorders = BTreeMap::new();
    for name in Function::ALL.iter().map(|function| function.name()) {
        recorders.insert(name, Recorder::start(upstream.clone()).await.unwrap());
    }
    recorders
}

fn uses(recorders: &BTreeMap<&'static str, Recorder>) -> BTreeMap<&'static str, BTreeSet<Use>> {
    recorders.iter().map(|(name, recorder)| (*name, recorder.uses())).collect()
}

/// The changes of a second plan that are not gaps of the emulator, and the gaps that no longer exist.
fn unexpected_changes(changes: &[Change]) -> Vec<String> {
    let gaps = EMULATOR_GAPS
        .map(|(kind, attribute, _)| Change { kind: kind.to_owned(), attribute: Some(attribute.to_owned()) });
    let others = changes.iter().filter(|change| !gaps.contains(change));
    let closed = gaps.iter().filter(|gap| !changes.contains(gap));
    others
        .map(|change| format!("a second plan is not empty: {change:?}"))
        .chain(closed.map(|gap| format!("the emulator has no such gap any more, remove it from the list: {gap:?}")))
        .collect()
}

/// Missing and unused grants in the roles of the state machines, of EventBridge and of Rekognition, compared with the actions
/// that the stack makes them perform.
fn findings_in_service_roles(resources: &[Value]) -> Vec<String> {
    let mut findings = Vec::new();
    let text = |kind: &str, name: &str, attribute: &str| {
        resource(resources, kind, name, None)[attribute]
            .as_str()
            .unwrap_or_else(|| panic!("{kind}.{name}.{attribute}"))
            .to_owned()
    };
    let analyze_video = text("aws_sfn_state_machine", "analyze_video", "arn");
    let done = [
        ("state_machine", actions_in(&text("aws_sfn_state_machine", "analyze_video", "definition"), &analyze_video)),
        (
            "running_executions",
            actions_in(&text("aws_sfn_state_machine", "running_executions", "definition"), &analyze_video),
        ),
        ("add_partitions", actions_in(&text("aws_sfn_state_machine", "add_partitions", "definition"), &analyze_video)),
        (
            "events",
            ["uploads", "running_executions", "add_partitions"]
                .map(|rule| Use::of("states:StartExecution", text("aws_cloudwatch_event_target", rule, "arn")))
                .into(),
        ),
        ("publish", [Use::of("sns:Publish", text("aws_sns_topic", "completions", "arn"))].into()),
    ];
    for (role, done) in done {
        let policy: Policy = serde_json::from_str(&text("aws_iam_role_policy", role, "policy")).unwrap();
        for used in policy.not_granted(&done) {
            findings.push(format!("{role} does something that it does not allow: {used:?}"));
        }
        let unused = policy.unused(&done);
        for grant in unused.iter().filter(|grant| !USED_BY_STEP_FUNCTIONS.contains(&grant.as_str())) {
            findings.push(format!("{role} has an unused grant: {grant}"));
        }
    }
    findings
}

/// The actions of the states in the definition of a state machine.
fn actions_in(definition: &str, analyze_video: &str) -> BTreeSet<Use> {
    fn states<'a>(machine: &'a Value, into: &mut Vec<&'a Value>) {
        for state in machine["States"].as_object().expect("States").values() {
            into.push(state);
            if let Some(processor) = state.get("ItemProcessor") {
                states(processor, into);
            }
        }
    }
    let definition: Value = serde_json::from_str(definition).unwrap();
    let mut all = Vec::new();
    states(&definition, &mut all);
    // Glue checks an action on a table for the catalog and the database as well.
    let on_tables = |action: &str, database: &Value| {
        let database = database.as_str().expect("a database");
        let tables = ["faces", "tracks"].map(|table| format!("table/{database}/{table}"));
        let resources = [&["catalog".to_owned(), format!("database/{database}")], tables.as_slice()].concat();
        resources.iter().map(|name| Use::of(action, format!("arn:aws:glue:us-east-1:000000000000:{name}"))).collect()
    };
    let actions = |state: &Value| -> Option<Vec<Use>> {
        let resource = state.get("Resource")?.as_str()?.trim_start_matches("arn:aws:states:::").to_owned();
        let arguments = &state["Arguments"];
        let action = match resource.trim_end_matches(".waitForTaskToken") {
            "lambda:invoke" => Use::of("lambda:InvokeFunction", arguments["FunctionName"].as_str()?),
            "aws-sdk:sfn:listExecutions" => {
                assert!(arguments.as_str()?.contains(analyze_video), "{arguments}");
                Use::of("states:ListExecutions", analyze_video)
            }
            "aws-sdk:cloudwatch:putMetricData" => {
                Use::of("cloudwatch:PutMetricData", "*").with("cloudwatch:namespace", arguments["Namespace"].as_str()?)
            }
            "aws-sdk:glue:getTable" => return Some(on_tables("glue:GetTable", &arguments["DatabaseName"])),
            "aws-sdk:glue:createPartition" => {
                return Some(on_tables("glue:CreatePartition", &arguments["DatabaseName"]));
            }
            other => panic!("the action of {other} is unknown: add it here"),
        };
        Some(vec![action])
    };
    all.into_iter().filter_map(actions).flatten().collect()
}

fn policy_of(resources: &[Value], function: &str) -> Policy {
    let policy =
        resource(resources, "aws_iam_role_policy", "function", Some(function))["policy"].as_str().expect("a policy");
    serde_json::from_str(policy).unwrap_or_else(|error| panic!("{function}: {error}\n{policy}"))
}

fn resource<'a>(resources: &'a [Value], kind: &str, name: &str, index: Option<&str>) -> &'a Value {
    let is_it = |resource: &&Value| {
        resource["type"] == kind && resource["name"] == name && index.is_none_or(|index| resource["index"] == index)
    };
    resources.iter().find(is_it).map_or_else(|| panic!("no {kind}.{name}"), |resource| &resource["values"])
}

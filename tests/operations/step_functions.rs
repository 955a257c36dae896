//! Step Functions in memory, behind mocked clients, with what the commands read of S3, Lambda and SQS. Unlike the emulator, it
//! supports redrive, pages of any size and customer-managed keys, it can deny calls, and it counts them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use aws_sdk_lambda::{
    operation::get_function_configuration::GetFunctionConfigurationOutput, types::EnvironmentResponse,
};
use aws_sdk_s3::operation::{
    get_object::{GetObjectError, GetObjectOutput},
    list_objects_v2::ListObjectsV2Output,
};
use aws_sdk_sfn::{
    config::http::HttpResponse,
    operation::{
        describe_execution::{DescribeExecutionError, DescribeExecutionOutput},
        get_execution_history::{GetExecutionHistoryError, GetExecutionHistoryOutput},
        list_executions::{ListExecutionsError, ListExecutionsOutput},
        redrive_execution::{RedriveExecutionError, RedriveExecutionOutput},
        start_execution::{StartExecutionError, StartExecutionOutput},
    },
    primitives::DateTime,
    types::{
        ExecutionListItem, ExecutionRedriveStatus, ExecutionStatus, HistoryEvent, IncludedData,
        error::{
            ExecutionAlreadyExists, ExecutionDoesNotExist, ExecutionNotRedrivable, KmsAccessDeniedException,
            StateMachineDoesNotExist,
        },
    },
};
use aws_sdk_sqs::{
    operation::{
        change_message_visibility_batch::ChangeMessageVisibilityBatchOutput,
        get_queue_attributes::GetQueueAttributesOutput, get_queue_url::GetQueueUrlOutput,
        receive_message::ReceiveMessageOutput,
    },
    types::{Message, QueueAttributeName},
};
use aws_smithy_mocks::{MockResponse, MockResponseInterceptor, Rule, RuleMode, create_mock_http_client, mock};
use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};
use facereel::deployed::Deployed;

/// The name of the results bucket.
pub const RESULTS_BUCKET: &str = "results";

pub const STATE_MACHINE: &str = "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video";

/// A client with a mocked response for each call.
macro_rules! client {
    ($sdk:ident, $rules:expr) => {{
        let rules: Vec<Rule> = $rules;
        let interceptor = rules
            .iter()
            .fold(MockResponseInterceptor::new().rule_mode(RuleMode::MatchAny), MockResponseInterceptor::with_rule);
        let config = $sdk::Config::builder()
            .behavior_version_latest()
            .region($sdk::config::Region::new("eu-west-1"))
            .credentials_provider($sdk::config::Credentials::new("test", "test", None, None, "test"))
            .retry_config($sdk::config::retry::RetryConfig::disabled())
            .http_client(create_mock_http_client())
            .interceptor(interceptor);
        $sdk::Client::from_conf(config.build())
    }};
}

/// An execution of the state machine.
#[derive(Debug, Clone)]
pub struct Execution {
    pub status: ExecutionStatus,
    pub error: Option<String>,
    pub cause: Option<String>,
    pub input: String,
    pub redrivable: bool,
    pub started: SystemTime,
    pub stopped: Option<SystemTime>,
    pub redriven: Option<SystemTime>,
    pub history: Vec<HistoryEvent>,
}

impl Execution {
    /// An execution that started `age` ago and failed an hour ago.
    pub fn failed(error: &str, age: Duration) -> Self {
        let now = SystemTime::now();
        Self {
            status: ExecutionStatus::Failed,
            error: Some(error.to_owned()),
            cause: None,
            input: r#"{"bucket":"uploads","key":"holiday.mp4"}"#.to_owned(),
            redrivable: true,
            started: now - age,
            stopped: Some(now - Duration::from_hours(1)),
            redriven: None,
            history: Vec::new(),
        }
    }

    /// An execution that started `age` ago and runs.
    pub fn running(age: Duration) -> Self {
        Self { status: ExecutionStatus::Running, error: None, stopped: None, ..Self::failed("", age) }
    }

    /// The same execution for the video `uploads/<key>`.
    pub fn of(self, key: &str) -> Self {
        let input = serde_json::json!({ "bucket": "uploads", "key": key }).to_string();
        Self { input, ..self }
    }
}

/// A call that changed something: the operation and the name of the execution.
pub type Call = (&'static str, String);

/// Step Functions with one state machine.
#[derive(Clone, Default)]
pub struct MockStepFunctions(Arc<Mutex<MockState>>);

#[derive(Default)]
struct MockState {
    executions: BTreeMap<String, Execution>,
    calls: Vec<Call>,
    /// The calls that only read: the operation and the name of the execution, the status or the key.
    reads: Vec<Call>,
    denied: Option<&'static str>,
    encrypted: bool,
    page: Option<usize>,
    listed: Option<BTreeMap<String, Execution>>,
    state_machine_removed: bool,
    objects: BTreeMap<(String, String), Vec<u8>>,
    undelivered: u64,
    /// The visibility timeouts that were set, in seconds.
    visibility_timeouts: Vec<i32>,
    after_each_call: Option<Box<dyn FnMut(usize) + Send>>,
}

impl MockState {
    fn record_read(&mut self, operation: &'static str, what: &str) {
        self.reads.push((operation, what.to_owned()));
    }

    fn record(&mut self, call: &'static str, name: &str) {
        self.calls.push((call, name.to_owned()));
        let calls = self.calls.len();
        if let Some(hook) = &mut self.after_each_call {
            hook(calls);
        }
    }
}

impl MockStepFunctions {
    pub fn with(executions: impl IntoIterator<Item = (&'static str, Execution)>) -> Self {
        let step_functions = Self::default();
        for (name, execution) in executions {
            step_functions.put(name, execution);
        }
        step_functions
    }

    pub fn put(&self, name: &str, execution: Execution) {
        self.state().executions.insert(name.to_owned(), execution);
    }

    /// The calls that changed something, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The number of calls of this operation that only read.
    pub fn reads(&self, operation: &str) -> usize {
        self.state().reads.iter().filter(|(read, _)| *read == operation).count()
    }

    /// Sets the maximum number of executions of one listing.
    pub fn set_page(&self, page: usize) {
        self.state().page = Some(page);
    }

    /// Answers every listing from now on with the executions of this moment.
    pub fn keep_listings(&self) {
        let executions = self.state().executions.clone();
        self.state().listed = Some(executions);
    }

    /// Encrypts the data of all executions with a key that the caller must not use.
    pub fn encrypt(&self) {
        self.state().encrypted = true;
    }

    /// Stores an object.
    pub fn put_object(&self, bucket: &str, key: &str, body: &[u8]) {
        self.state().objects.insert((bucket.to_owned(), key.to_owned()), body.to_vec());
    }

    /// Sets the number of messages in each dead-letter queue.
    pub fn set_undelivered(&self, messages: u64) {
        self.state().undelivered = messages;
    }

    pub fn execution(&self, name: &str) -> Execution {
        self.state().executions[name].clone()
    }

    /// Ends all running executions with this status and error.
    pub fn end_all(&self, status: &ExecutionStatus, error: Option<&str>) {
        for execution in self.state().executions.values_mut() {
            if execution.status == ExecutionStatus::Running {
                execution.status = status.clone();
                execution.error = error.map(str::to_owned);
                execution.stopped = Some(SystemTime::now());
            }
        }
    }

    /// Denies this action from now on.
    pub fn deny(&self, action: &'static str) {
        self.state().denied = Some(action);
    }

    /// Removes the state machine.
    pub fn remove_state_machine(&self) {
        self.state().state_machine_removed = true;
    }

    /// Calls `hook` after each call that changed something, with the number of these calls.
    pub fn after_each_call(&self, hook: impl FnMut(usize) + Send + 'static) {
        self.state().after_each_call = Some(Box::new(hook));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, MockState> {
        self.0.lock().unwrap()
    }

    /// The response of the service to a denied action; `None`, if this action is not denied.
    fn denial(&self, action: &str) -> Option<HttpResponse> {
        self.state().denied.filter(|denied| *denied == action).map(|denied| {
            let body = format!(
                r#"{{"__type":"AccessDeniedException","message":"User: arn:aws:iam::123456789012:user/me is not authorized to perform: {denied}"}}"#
            );
            HttpResponse::new(400.try_into().unwrap(), SdkBody::from(body))
        })
    }

    pub fn deployed(&self) -> Deployed {
        Deployed {
            state_machine: STATE_MACHINE.parse().unwrap(),
            sfn: client!(aws_sdk_sfn, self.rules()),
            s3: client!(aws_sdk_s3, vec![self.list_objects(), self.get_object()]),
            sqs: client!(
                aws_sdk_sqs,
                vec![queue_url(), self.queue_attributes(), receive_message(), self.change_visibility()]
            ),
            lambda: client!(aws_sdk_lambda, vec![function_configuration()]),
            eventbridge: client!(aws_sdk_eventbridge, vec![]),
            logs: client!(aws_sdk_cloudwatchlogs, vec![]),
            sns: client!(aws_sdk_sns, vec![]),
            rekognition: client!(aws_sdk_rekognition, vec![]),
        }
    }

    fn rules(&self) -> Vec<Rule> {
        vec![self.list(), self.describe(), self.history(), self.start(), self.redrive()]
    }

    fn list(&self) -> Rule {
        let mock = self.clone();
        mock!(aws_sdk_sfn::Client::list_executions).then_compute_response(move |request| {
            if let Some(denial) = mock.denial("states:ListExecutions") {
                return MockResponse::Http(denial);
            }
            if mock.state().state_machine_removed {
                let error = StateMachineDoesNotExist::builder().message("State Machine Does Not Exist").build();
                return MockResponse::Error(ListExecutionsError::StateMachineDoesNotExist(error));
            }
            assert_eq!(request.state_machine_arn(), Some(STATE_MACHINE));
            let mut state = mock.state();
            state.record_read("list", request.status_filter().map_or("", ExecutionStatus::as_str));
            let listed = state.listed.as_ref().unwrap_or(&state.executions);
            let of_status = listed.iter().filter(|(_, one)| Some(&one.status) == request.status_filter());
            let mut sorted: Vec<_> = of_status.collect();
            sorted.sort_by_key(|(_, one)| std::cmp::Reverse(one.started));
            let maximum = usize::try_from(request.max_results().unwrap_or(100)).unwrap();
            let page = state.page.unwrap_or(maximum).min(maximum);
            let start = request.next_token().map_or(0, |token| token.parse::<usize>().unwrap());
            let next_token = (start + page < sorted.len()).then(|| (start + page).to_string());
            let items = sorted.into_iter().skip(start).take(page).map(|(name, one)| {
                ExecutionListItem::builder()
                    .execution_arn(arn(name))
                    .state_machine_arn(STATE_MACHINE)
                    .name(name)
                    .status(one.status.clone())
                    .start_date(DateTime::from(one.started))
                    .set_stop_date(one.stopped.map(DateTime::from))
                    .set_redrive_date(one.redriven.map(DateTime::from))
                    .build()
                    .unwrap()
            });
            let output = ListExecutionsOutput::builder().set_executions(Some(items.collect()));
            MockResponse::Output(output.set_next_token(next_token).build().unwrap())
        })
    }

    fn describe(&self) -> Rule {
        let mock = self.clone();
        mock!(aws_sdk_sfn::Client::describe_execution).then_compute_response(move |request| {
            let name = name(request.execution_arn());
            let with_data = request.included_data() != Some(&IncludedData::MetadataOnly);
            let mut state = mock.state();
            state.record_read("describe", &name);
            let readable = !state.encrypted;
            match state.executions.get(&name) {
                Some(_) if with_data && !readable => {
                    let error = kms_access_denied();
                    MockResponse::Error(DescribeExecutionError::KmsAccessDeniedException(error))
                }
                Some(one) => MockResponse::Output(described(&name, one, readable)),
                None => MockResponse::Error(DescribeExecutionError::ExecutionDoesNotExist(
                    ExecutionDoesNotExist::builder().build(),
                )),
            }
        })
    }

    fn history(&self) -> Rule {
        let mock = self.clone();
        mock!(aws_sdk_sfn::Client::get_execution_history).then_compute_response(move |request| {
            assert_eq!(request.reverse_order(), Some(true));
            let name = name(request.execution_arn());
            let mut state = mock.state();
            state.record_read("history", &name);
            if state.encrypted {
                let error = kms_access_denied();
                return MockResponse::Error(GetExecutionHistoryError::KmsAccessDeniedException(error));
            }
            let mut events = state.executions[&name].history.clone();
            events.reverse();
            MockResponse::Output(GetExecutionHistoryOutput::builder().set_events(Some(events)).build().unwrap())
        })
    }

    fn list_objects(&self) -> Rule {
        let mock = self.clone();
        mock!(aws_sdk_s3::Client::list_objects_v2).then_compute_output(move |request| {
            let (bucket, prefix) = (request.bucket().unwrap_or_default(), request.prefix().unwrap_or_default());
            let state = mock.state();
            let keys = state.objects.keys().filter(|(of, key)| of == bucket && key.starts_with(prefix));
            let objects = keys.map(|(_, key)| aws_sdk_s3::types::Object::builder().key(key).build()).collect();
            ListObjectsV2Output::builder().set_contents(Some(objects)).build()
        })
    }

    /// The range of an object.
    fn get_object(&self) -> Rule {
        let mock = self.clone();
        mock!(aws_sdk_s3::Client::get_object).then_compute_response(move |request| {
            let key = (request.bucket().unwrap_or_default().to_owned(), request.key().unwrap_or_default().to_owned());
            let mut state = mock.state();
            state.record_read("get_object", &key.1);
            let Some(body) = state.objects.get(&key) else {
                let error = aws_sdk_s3::types::error::NoSuchKey::builder().build();
                return MockResponse::Error(GetObjectError::NoSuchKey(error));
            };
            let range = request.range().and_then(|range| range.strip_prefix("bytes=")).unwrap();
            let (first, last) = range.split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            let part = &body[first.min(body.len())..(last + 1).min(body.len())];
            let output = GetObjectOutput::builder()
                .content_range(format!("bytes {first}-{last}/{}", body.len()))
                .body(part.to_vec().into());
            MockResponse::Output(output.build())
        })
    }

    /// The visibility timeouts that were set, in seconds.
    pub fn visibility_timeouts(&self) -> Vec<i32> {
        self.state().visibility_timeouts.clone()
    }

    fn change_visibility(&self) -> Rule {
        let mock = self.clone();
        mock!(aws_sdk_sqs::Client::change_message_visibility_batch).then_compute_output(move |request| {
            let timeouts = request.entries().iter().filter_map(|entry| entry.visibility_timeout);
            mock.state().visibility_timeouts.extend(timeouts);
            let output = ChangeMessageVisibilityBatchOutput::builder();
            output.set_successful(Some(Vec::new())).set_failed(Some(Vec::new())).build().unwrap()
        })
    }

    fn queue_attributes(&self) -> Rule {
        let mock = self.clone();
        mock!(aws_sdk_sqs::Client::get_queue_attributes).then_compute_output(move |_| {
            let messages = mock.state().undelivered.to_string();
            GetQueueAttributesOutput::builder()
                .attributes(QueueAttributeName::ApproximateNumberOfMessages, messages)
                .build()
        })
    }

    fn start(&self) -> Rule {
        let mock = self.clone();
        mock!(aws_sdk_sfn::Client::start_execution).then_compute_response(move |request| {
            if let Some(denial) = mock.denial("states:StartExecution") {
                return MockResponse::Http(denial);
            }
            let name =
                request.name().expect("a name, without which a second run would start a second execution").to_owned();
            let mut state = mock.state();
            if state.executions.contains_key(&name) {
                let error = ExecutionAlreadyExists::builder().build();
                return MockResponse::Error(StartExecutionError::ExecutionAlreadyExists(error));
            }
            let mut execution = Execution::running(Duration::ZERO);
            execution.input = request.input().unwrap_or_default().to_owned();
            state.executions.insert(name.clone(), execution);
            state.record("start", &name);
            let now = DateTime::from(SystemTime::now());
            MockResponse::Output(
                StartExecutionOutput::builder().execution_arn(arn(&name)).start_date(now).build().unwrap(),
            )
        })
    }

    fn redrive(&self) -> Rule {
        let mock = self.clone();
        mock!(aws_sdk_sfn::Client::redrive_execution).then_compute_response(move |request| {
            if let Some(denial) = mock.denial("states:RedriveExecution") {
                return MockResponse::Http(denial);
            }
            let name = name(request.execution_arn());
            let mut state = mock.state();
            let execution = state.executions.get_mut(&name).unwrap();
            let failed = ![ExecutionStatus::Running, ExecutionStatus::Succeeded].contains(&execution.status);
            if !(failed && execution.redrivable) {
                let error = ExecutionNotRedrivable::builder().message("Execution is not redrivable").build();
                return MockResponse::Error(RedriveExecutionError::ExecutionNotRedrivable(error));
            }
            (execution.status, execution.error, execution.stopped) = (ExecutionStatus::Running, None, None);
            execution.redriven = Some(SystemTime::now());
            state.record("redrive", &name);
            let now = DateTime::from(SystemTime::now());
            MockResponse::Output(RedriveExecutionOutput::builder().redrive_date(now).build().unwrap())
        })
    }
}

fn kms_access_denied() -> KmsAccessDeniedException {
    let meta = ErrorMetadata::builder().code("KmsAccessDeniedException").message("kms:Decrypt is not allowed").build();
    KmsAccessDeniedException::builder().meta(meta).build()
}

fn queue_url() -> Rule {
    mock!(aws_sdk_sqs::Client::get_queue_url).then_compute_output(|request| {
        GetQueueUrlOutput::builder().queue_url(format!("https://sqs/{}", request.queue_name().unwrap())).build()
    })
}

/// Each queue has one message, an event of an upload, which is always received.
fn receive_message() -> Rule {
    mock!(aws_sdk_sqs::Client::receive_message).then_compute_output(|_| {
        let event = include_str!("../fixtures/events/put-object.json");
        let message = Message::builder().message_id("m1").receipt_handle("r1").body(event).build();
        ReceiveMessageOutput::builder().messages(message).build()
    })
}

fn function_configuration() -> Rule {
    mock!(aws_sdk_lambda::Client::get_function_configuration).then_compute_output(|_| {
        let environment = EnvironmentResponse::builder().variables("RESULTS_BUCKET", RESULTS_BUCKET).build();
        GetFunctionConfigurationOutput::builder().environment(environment).build()
    })
}

fn described(name: &str, one: &Execution, readable: bool) -> DescribeExecutionOutput {
    let redrivable = one.redrivable && ![ExecutionStatus::Running, ExecutionStatus::Succeeded].contains(&one.status);
    DescribeExecutionOutput::builder()
        .execution_arn(arn(name))
        .state_machine_arn(STATE_MACHINE)
        .name(name)
        .status(one.status.clone())
        .set_error(one.error.clone())
        .set_cause(one.cause.clone().filter(|_| readable))
        .set_input(readable.then(|| one.input.clone()))
        .start_date(DateTime::from(one.started))
        .set_stop_date(one.stopped.map(DateTime::from))
        .redrive_status(if redrivable {
            ExecutionRedriveStatus::Redrivable
        } else {
            ExecutionRedriveStatus::NotRedrivable
        })
        .build()
        .unwrap()
}

pub fn arn(name: &str) -> String {
    format!("{}:{name}", STATE_MACHINE.replace("stateMachine", "execution"))
}

fn name(arn: Option<&str>) -> String {
    arn.and_then(|arn| arn.rsplit(':').next()).unwrap_or_default().to_owned()
}

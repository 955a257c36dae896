//! Step Functions in memory, behind mocked clients. Unlike the emulator, it supports redrive, and it can deny calls.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use aws_sdk_sfn::{
    config::http::HttpResponse,
    operation::{
        describe_execution::{DescribeExecutionError, DescribeExecutionOutput},
        get_execution_history::GetExecutionHistoryOutput,
        list_executions::{ListExecutionsError, ListExecutionsOutput},
        redrive_execution::{RedriveExecutionError, RedriveExecutionOutput},
        start_execution::{StartExecutionError, StartExecutionOutput},
    },
    primitives::DateTime,
    types::{
        ExecutionListItem, ExecutionRedriveStatus, ExecutionStatus, HistoryEvent,
        error::{ExecutionAlreadyExists, ExecutionDoesNotExist, ExecutionNotRedrivable, StateMachineDoesNotExist},
    },
};
use aws_smithy_mocks::{MockResponse, MockResponseInterceptor, Rule, RuleMode, create_mock_http_client, mock};
use aws_smithy_types::body::SdkBody;
use facereel::deployed::Deployed;

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
    pub input: String,
    pub redrivable: bool,
    pub started: SystemTime,
    pub stopped: Option<SystemTime>,
    pub redriven: u32,
    pub history: Vec<HistoryEvent>,
}

impl Execution {
    /// An execution that started `age` ago and failed an hour ago.
    pub fn failed(error: &str, age: Duration) -> Self {
        let now = SystemTime::now();
        Self {
            status: ExecutionStatus::Failed,
            error: Some(error.to_owned()),
            input: r#"{"bucket":"uploads","key":"holiday.mp4"}"#.to_owned(),
            redrivable: true,
            started: now - age,
            stopped: Some(now - Duration::from_hours(1)),
            redriven: 0,
            history: Vec::new(),
        }
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
    denied: Option<&'static str>,
    state_machine_removed: bool,
    after_each_call: Option<Box<dyn FnMut(usize) + Send>>,
}

impl MockState {
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
            s3: client!(aws_sdk_s3, vec![]),
            sqs: client!(aws_sdk_sqs, vec![]),
            lambda: client!(aws_sdk_lambda, vec![]),
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
            let state = mock.state();
            let of_status = state.executions.iter().filter(|(_, one)| Some(&one.status) == request.status_filter());
            let items = of_status.map(|(name, one)| {
                ExecutionListItem::builder()
                    .execution_arn(arn(name))
                    .state_machine_arn(STATE_MACHINE)
                    .name(name)
                    .status(one.status.clone())
                    .start_date(DateTime::from(one.started))
                    .set_stop_date(one.stopped.map(DateTime::from))
                    .build()
                    .unwrap()
            });
            MockResponse::Output(ListExecutionsOutput::builder().set_executions(Some(items.collect())).build().unwrap())
        })
    }

    fn describe(&self) -> Rule {
        let mock = self.clone();
        mock!(aws_sdk_sfn::Client::describe_execution).then_compute_response(move |request| {
            let name = name(request.execution_arn());
            match mock.state().executions.get(&name) {
                Some(one) => MockResponse::Output(described(&name, one)),
                None => MockResponse::Error(DescribeExecutionError::ExecutionDoesNotExist(
                    ExecutionDoesNotExist::builder().build(),
                )),
            }
        })
    }

    fn history(&self) -> Rule {
        let mock = self.clone();
        mock!(aws_sdk_sfn::Client::get_execution_history).then_compute_output(move |request| {
            assert_eq!(request.reverse_order(), Some(true));
            let mut events = mock.state().executions[&name(request.execution_arn())].history.clone();
            events.reverse();
            GetExecutionHistoryOutput::builder().set_events(Some(events)).build().unwrap()
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
            let mut execution = Execution::failed("", Duration::ZERO);
            (execution.status, execution.error, execution.stopped) = (ExecutionStatus::Running, None, None);
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
            execution.redriven += 1;
            state.record("redrive", &name);
            let now = DateTime::from(SystemTime::now());
            MockResponse::Output(RedriveExecutionOutput::builder().redrive_date(now).build().unwrap())
        })
    }
}

fn described(name: &str, one: &Execution) -> DescribeExecutionOutput {
    let redrivable = one.redrivable && ![ExecutionStatus::Running, ExecutionStatus::Succeeded].contains(&one.status);
    DescribeExecutionOutput::builder()
        .execution_arn(arn(name))
        .state_machine_arn(STATE_MACHINE)
        .name(name)
        .status(one.status.clone())
        .set_error(one.error.clone())
        .input(&one.input)
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

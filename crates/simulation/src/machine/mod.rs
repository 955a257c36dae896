//! Step Functions: interprets the real definition in virtual time.
//!
//! Only what the definition uses is simulated: any other field, type of state or resource causes a panic.

mod backfill;
mod execution;
mod jsonata;
mod retry;

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

pub(super) use backfill::Backfill;
pub(super) use execution::{Execution, Failure, REPLAY, Status};
use execution::{MAX_EVENTS, Position};
use futures_util::stream::{self, StreamExt as _};
use jsonata::Scope;
use retry::Retries;
use serde_json::{Map, Value, json};
use tokio::select;

use crate::clock::{Ms, SECOND, epoch, rfc3339, sleep};
use crate::lambda::{Functions, from_arn};
use crate::tasks::{MAX_PAYLOAD_BYTES, Token};
use crate::world::Cloud;
use lambdas::functions::Function;

/// The state machine.
#[derive(Debug)]
pub(super) struct Machine {
    cloud: Cloud,
    functions: Functions,
    definition: Value,
}

/// The states that are run: those of an execution, or those of an iteration of a Map.
#[derive(Clone, Copy)]
struct Branch<'a> {
    execution: usize,
    states: &'a Value,
    /// The Map's item and its index.
    item: Option<(usize, &'a Value)>,
}

impl Machine {
    pub(super) fn new(cloud: &Cloud, functions: Functions, definition: Value) -> Self {
        Self { cloud: cloud.clone(), functions, definition }
    }

    /// Runs an execution from its current state to its end. If this future is dropped, the execution is aborted.
    pub(super) async fn run(self: Rc<Self>, execution: usize) {
        assert_simulated(&self.definition, &["Comment", "QueryLanguage", "TimeoutSeconds", "StartAt", "States"]);
        let position = {
            let mut world = self.cloud.lock();
            let now = world.now();
            let execution = &mut world.executions[execution];
            execution.status = Status::Running;
            execution.entered = now;
            execution.events += 1;
            let begin = || Position {
                state: self.definition["StartAt"].as_str().expect("StartAt").to_owned(),
                input: execution.input.clone(),
                variables: Map::new(),
                done: Vec::new(),
            };
            let position = execution.position.clone().unwrap_or_else(begin);
            let (name, redrives) = (execution.name.clone(), execution.redrives);
            world.log(|| format!("{name} runs from {} (redrive {redrives})", position.state));
            position
        };
        let branch = Branch { execution, states: &self.definition["States"], item: None };
        let limit = seconds(&self.definition, "TimeoutSeconds").expect("a state machine has a timeout");
        let status = match tokio::time::timeout(Duration::from_millis(limit), self.run_states(branch, position)).await {
            Ok(Ok(output)) => Status::Succeeded(output),
            Ok(Err(failure)) => Status::Failed(failure),
            Err(_) => Status::TimedOut,
        };
        self.cloud.lock().end(execution, &status);
    }

    /// Runs states from `position` to an end; returns the output of the last one.
    fn run_states<'a>(
        &'a self,
        branch: Branch<'a>,
        mut position: Position,
    ) -> Pin<Box<dyn Future<Output = Result<Value, Failure>> + 'a>> {
        Box::pin(async move {
            loop {
                let state = &branch.states[&position.state];
                let (output, next) = self.run_state(branch, state, &mut position).await?;
                match next {
                    None => return Ok(output),
                    Some(next) => position = Position { state: next, input: output, done: Vec::new(), ..position },
                }
            }
        })
    }

    /// Runs one state; returns its output and the next state. Its assignments are added to the variables of `position`.
    async fn run_state(
        &self,
        branch: Branch<'_>,
        state: &Value,
        position: &mut Position,
    ) -> Result<(Value, Option<String>), Failure> {
        if branch.item.is_none() {
            let mut world = self.cloud.lock();
            world.executions[branch.execution].position = Some(position.clone());
            world.maybe_begin_outage();
        }
        self.cloud.lock().transitions += 1;
        self.count_events(branch, 1)?;
        let result = match state["Type"].as_str() {
            Some("Task") => Some(self.run_task(branch, state, position).await?),
            Some("Map") => Some(self.run_map(branch, state, position).await?),
            Some("Choice") => None,
            other => panic!("the state {} has a type that is not simulated: {other:?}", position.state),
        };
        self.count_events(branch, 1)?;
        let Some(result) = result else {
            assert_simulated(state, &["Comment", "Type", "Choices", "Default"]);
            let scope = self.scope(branch, position, &[]);
            for choice in state["Choices"].as_array().expect("Choices") {
                assert_simulated(choice, &["Comment", "Condition", "Next"]);
                if scope.evaluate(&choice["Condition"])? == json!(true) {
                    return Ok((position.input.clone(), text(choice, "Next")));
                }
            }
            return Ok((position.input.clone(), text(state, "Default")));
        };
        let scope = self.scope(branch, position, &[("result", &result)]);
        let output = match state.get("Output") {
            Some(template) => scope.evaluate(template)?,
            None => result,
        };
        self.check_payload(branch, &output)?;
        let assigned = scope.evaluate(state.get("Assign").unwrap_or(&json!({})))?;
        let Value::Object(assigned) = assigned else { panic!("Assign of {} is not an object", position.state) };
        assigned.values().try_for_each(|value| self.check_payload(branch, value))?;
        position.variables.extend(assigned);
        assert!(state.get("Next").is_some() != (state["End"] == true), "{} must have Next or End", position.state);
        Ok((output, text(state, "Next")))
    }

    async fn run_map(&self, branch: Branch<'_>, state: &Value, position: &mut Position) -> Result<Value, Failure> {
        assert_simulated(
            state,
            &["Comment", "Type", "Items", "MaxConcurrency", "ItemProcessor", "Output", "Assign", "Next", "End"],
        );
        let processor = &state["ItemProcessor"];
        assert_simulated(processor, &["ProcessorConfig", "StartAt", "States"]);
        assert_eq!(processor["ProcessorConfig"]["Mode"], "INLINE", "only inline Maps are simulated");
        let items = self.scope(branch, position, &[]).evaluate(&state["Items"])?;
        let Value::Array(items) = items else {
            return Err(Failure::new(
                "States.QueryEvaluationError",
                format!("{}: Items is not an array", position.state),
            ));
        };
        self.count_events(branch, 1)?;
        // After a redrive only the iterations that have not succeeded run again.
        position.done.resize(items.len(), None);
        let waiting: Vec<_> = (0..items.len()).filter(|index| position.done[*index].is_none()).collect();
        // An inline Map runs at most 40 iterations at the same time
        // (<https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html>).
        let concurrency = state["MaxConcurrency"]
            .as_u64()
            .map_or(40, |concurrency| usize::try_from(concurrency).expect("few").min(40));
        let variables = position.variables.clone();
        let iteration = async |index: usize| {
            self.count_events(branch, 1)?;
            let inner = Branch { states: &processor["States"], item: Some((index, &items[index])), ..branch };
            let start = Position {
                state: text(processor, "StartAt").expect("StartAt"),
                input: items[index].clone(),
                variables: variables.clone(),
                done: Vec::new(),
            };
            let output = self.run_states(inner, start).await?;
            self.count_events(branch, 1)?;
            Ok((index, output))
        };
        let mut outputs = pin!(stream::iter(waiting).map(iteration).buffer_unordered(concurrency));
        while let Some(output) = outputs.next().await {
            let (index, output) = output?;
            position.done[index] = Some(output);
            self.cloud.lock().executions[branch.execution].position = Some(position.clone());
        }
        self.count_events(branch, 1)?;
        Ok(position.done.iter().flatten().cloned().collect())
    }

    async fn run_task(&self, branch: Branch<'_>, state: &Value, position: &Position) -> Result<Value, Failure> {
        assert_simulated(state, TASK);
        let mut retries = Retries::of(state);
        loop {
            let failure = match self.run_task_once(branch, state, position, retries.count()).await {
                Ok(result) => {
                    self.check_payload(branch, &result)?;
                    return Ok(result);
                }
                Err(failure) => failure,
            };
            let delay = {
                let mut world = self.cloud.lock();
                let name = world.executions[branch.execution].name.clone();
                world.cover(&format!("{} failed: {}", position.state, failure.error));
                let delay = retries.next(&failure, &mut world.rng);
                world.log(|| format!("{name} {}: {failure} (retry after {delay:?} ms)", position.state));
                delay
            };
            match delay {
                Some(delay) => {
                    sleep(delay).await;
                    self.cloud.lock().transitions += 1;
                }
                None => return Err(failure),
            }
        }
    }

    /// Runs a task without retries; `retry` is the number of retries so far.
    async fn run_task_once(
        &self,
        branch: Branch<'_>,
        state: &Value,
        position: &Position,
        retry: u64,
    ) -> Result<Value, Failure> {
        // TaskScheduled, TaskStarted, and one event for its end.
        self.count_events(branch, 3)?;
        let timeout = seconds(state, "TimeoutSeconds").expect("every Task has a timeout");
        let mut scope = self.scope(branch, position, &[]);
        scope.states["context"]["State"]["RetryCount"] = json!(retry);
        scope.states["context"]["State"]["EnteredTime"] = json!(rfc3339(self.cloud.lock().now()));
        match state["Resource"].as_str() {
            Some("arn:aws:states:::lambda:invoke") => {
                let (function, payload) = self.arguments(branch, state, &scope)?;
                select! { biased;
                    result = self.functions.invoke(function, payload) => {
                        Ok(json!({ "ExecutedVersion": "$LATEST", "Payload": result?, "StatusCode": 200 }))
                    }
                    () = sleep(timeout) => Err(timed_out(timeout)),
                }
            }
            Some("arn:aws:states:::lambda:invoke.waitForTaskToken") => {
                self.run_task_with_token(branch, state, scope, timeout).await
            }
            other => panic!("the state {} has a resource that is not simulated: {other:?}", position.state),
        }
    }

    /// Invokes the function of a task and waits for the callback with its token.
    async fn run_task_with_token(
        &self,
        branch: Branch<'_>,
        state: &Value,
        mut scope: Scope<'_>,
        timeout: Ms,
    ) -> Result<Value, Failure> {
        let (token, mut callback) = Token::open(&self.cloud, branch.execution);
        let began = self.cloud.lock().now();
        scope.states["context"]["Task"] = json!({ "Token": token.name });
        let (function, payload) = self.arguments(branch, state, &scope)?;
        let unspecified = self.cloud.lock().unspecified;
        let heartbeat = scope.evaluate(&state["HeartbeatSeconds"])?;
        let heartbeat = heartbeat.as_u64().expect("a task with a token has a heartbeat") * SECOND;
        let mut invocation = pin!(self.functions.invoke(function, payload));
        let (mut deadline, mut missed) = (pin!(sleep(timeout)), pin!(sleep(heartbeat)));
        let mut returned = false;
        loop {
            select! { biased;
                answer = &mut callback, if returned || !unspecified.callback_waits_for_function => {
                    return answer.expect("the token is open");
                }
                result = &mut invocation, if !returned => {
                    result?;
                    // TaskSubmitted
                    self.count_events(branch, 1)?;
                    returned = true;
                    if !unspecified.heartbeat_from_task_start {
                        missed.set(sleep(heartbeat));
                    }
                }
                () = token.heartbeat.notified() => missed.set(sleep(heartbeat)),
                () = &mut deadline => return Err(timed_out(timeout)),
                () = &mut missed, if returned || unspecified.heartbeat_from_task_start => {
                    if returned {
                        self.cloud.lock().check_waiting_task(&token.name, began);
                    }
                    let error =
                        if unspecified.heartbeat_is_timeout { "States.Timeout" } else { "States.HeartbeatTimeout" };
                    return Err(Failure::new(error, format!("no heartbeat or callback within {heartbeat} ms")));
                }
            }
        }
    }

    fn arguments(&self, branch: Branch<'_>, state: &Value, scope: &Scope<'_>) -> Result<(Function, Value), Failure> {
        let mut arguments = scope.evaluate(&state["Arguments"])?;
        self.check_payload(branch, &arguments)?;
        assert_simulated(&arguments, &["FunctionName", "Payload"]);
        let name = arguments["FunctionName"].as_str().expect("a function's name");
        let function = from_arn(name).unwrap_or_else(|| panic!("no function has the ARN {name}"));
        Ok((function, arguments["Payload"].take()))
    }

    fn scope<'a>(&self, branch: Branch<'_>, position: &'a Position, more: &[(&str, &Value)]) -> Scope<'a> {
        let world = self.cloud.lock();
        let execution = &world.executions[branch.execution];
        let mut states = json!({
            "input": position.input,
            "context": {
                "Execution": {
                    "Id": execution.arn(),
                    "Input": execution.input,
                    "Name": execution.name,
                    "RoleArn": "arn:aws:iam::123456789012:role/analyze-video",
                    "StartTime": rfc3339(execution.started),
                    "RedriveCount": execution.redrives,
                },
                "State": { "Name": position.state },
                "StateMachine": { "Name": "analyze-video" },
            },
        });
        // Absent before the first redrive.
        if execution.redrives > 0 {
            states["context"]["Execution"]["RedriveTime"] = json!(rfc3339(execution.entered));
        }
        if let Some((index, value)) = branch.item {
            states["context"]["Map"] = json!({ "Item": { "Index": index, "Value": value } });
        }
        for (name, value) in more {
            states[name] = (*value).clone();
        }
        Scope { states, variables: &position.variables, millis: epoch(world.now()) }
    }

    /// Counts events of the history as Step Functions does
    /// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html>).
    fn count_events(&self, branch: Branch<'_>, count: u64) -> Result<(), Failure> {
        let mut world = self.cloud.lock();
        let execution = &mut world.executions[branch.execution];
        execution.events += count;
        if execution.events < MAX_EVENTS {
            return Ok(());
        }
        let cause = format!("the execution reached the maximum number of history events ({MAX_EVENTS})");
        Err(Failure::new("States.Runtime", cause))
    }

    fn check_payload(&self, branch: Branch<'_>, payload: &Value) -> Result<(), Failure> {
        let bytes = payload.to_string().len();
        let mut world = self.cloud.lock();
        let execution = &mut world.executions[branch.execution];
        execution.payload = execution.payload.max(bytes);
        if bytes <= MAX_PAYLOAD_BYTES {
            return Ok(());
        }
        Err(Failure::new("States.DataLimitExceeded", format!("a payload of {bytes} bytes")))
    }
}

const TASK: &[&str] = &[
    "Comment",
    "Type",
    "Resource",
    "Arguments",
    "HeartbeatSeconds",
    "TimeoutSeconds",
    "Retry",
    "Assign",
    "Output",
    "Next",
    "End",
];

fn timed_out(timeout: Ms) -> Failure {
    Failure::new("States.Timeout", format!("the task took longer than {timeout} ms"))
}

/// Panics at a field that is not simulated.
fn assert_simulated(value: &Value, fields: &[&str]) {
    for field in value.as_object().expect("an object").keys() {
        assert!(fields.contains(&field.as_str()), "the field {field} is not simulated");
    }
}

fn seconds(state: &Value, field: &str) -> Option<Ms> {
    state[field].as_u64().map(|seconds| seconds * SECOND)
}

fn text(value: &Value, field: &str) -> Option<String> {
    value[field].as_str().map(str::to_owned)
}

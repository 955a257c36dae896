//! Step Functions: the real definition, interpreted in virtual time.
//!
//! What the definition does not use is not here: an unknown field or type of state stops the simulation.

mod jsonata;
mod retry;

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jsonata::Scope;
use lambdas::input;
use lambdas::video::Location;
use retry::Retries;
use serde_json::{Map, Value, json};
use tokio::select;

use crate::clock::{Ms, SECOND, rfc3339, sleep};
use crate::lambda::{Function, Functions};
use crate::tasks::{MAX_PAYLOAD_BYTES, Token};
use crate::world::Cloud;

/// A history has no more events.
pub(super) const MAX_EVENTS: u64 = 25_000;

/// Why a state or an execution failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) error: String,
    pub(super) cause: String,
}

impl Failure {
    pub(super) fn new(error: &str, cause: String) -> Self {
        Self { error: error.to_owned(), cause }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.cause)
    }
}

/// How an execution stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Status {
    Running,
    Succeeded(Value),
    Failed(Failure),
    TimedOut,
    Aborted,
    /// The operator has started another one in its place.
    Replaced,
}

/// One execution.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) name: String,
    pub(super) input: Value,
    pub(super) started: Ms,
    /// When it was started or last redriven.
    pub(super) entered: Ms,
    pub(super) ended: Ms,
    pub(super) status: Status,
    pub(super) redrives: u64,
    pub(super) events: u64,
    /// The largest payload it has passed.
    pub(super) payload: usize,
    /// Where it is, or where it failed: a redrive enters there again.
    place: Option<Place>,
}

/// A state that is entered, and all that it needs to be entered again.
#[derive(Debug, Clone)]
struct Place {
    state: String,
    input: Value,
    variables: Map<String, Value>,
    /// The outputs of a Map's iterations that have succeeded.
    done: Vec<Option<Value>>,
}

impl Execution {
    pub(super) fn new(name: String, input: Value, now: Ms) -> Self {
        Self {
            name,
            input,
            started: now,
            entered: now,
            ended: 0,
            status: Status::Running,
            redrives: 0,
            events: 0,
            payload: 0,
            place: None,
        }
    }

    /// The state it is in, or failed in.
    pub(super) fn state(&self) -> &str {
        self.place.as_ref().map_or("", |place| &place.state)
    }

    /// Where the video lies that its input names.
    pub(super) fn video(&self) -> Option<Location> {
        input::location(self.input.clone()).ok()
    }

    fn arn(&self) -> String {
        format!("arn:aws:states:us-east-1:123456789012:execution:analyze-video:{}", self.name)
    }
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Machine {
    cloud: Cloud,
    functions: Functions,
    definition: Value,
}

/// Which states are walked: an execution's own, or those inside a Map's iteration.
#[derive(Clone, Copy)]
struct Walk<'a> {
    execution: usize,
    states: &'a Value,
    /// The Map's item and its index.
    item: Option<(usize, &'a Value)>,
}

impl Machine {
    pub(super) fn new(cloud: &Cloud, functions: Functions, definition: Value) -> Self {
        Self { cloud: cloud.clone(), functions, definition }
    }

    /// Runs an execution from where it is to its end. Dropping this aborts it.
    pub(super) async fn run(self: Rc<Self>, execution: usize) {
        known(&self.definition, &["Comment", "QueryLanguage", "TimeoutSeconds", "StartAt", "States"]);
        let place = {
            let mut world = self.cloud.lock();
            let now = world.now();
            let execution = &mut world.executions[execution];
            execution.status = Status::Running;
            execution.entered = now;
            execution.events += 1;
            let begin = || Place {
                state: self.definition["StartAt"].as_str().expect("StartAt").to_owned(),
                input: execution.input.clone(),
                variables: Map::new(),
                done: Vec::new(),
            };
            let place = execution.place.clone().unwrap_or_else(begin);
            let (name, redrives) = (execution.name.clone(), execution.redrives);
            world.log(|| format!("{name} runs from {} (redrive {redrives})", place.state));
            place
        };
        let walk = Walk { execution, states: &self.definition["States"], item: None };
        let limit = seconds(&self.definition, "TimeoutSeconds").expect("a state machine has a timeout");
        let status = match tokio::time::timeout(Duration::from_millis(limit), self.walk(walk, place)).await {
            Ok(Ok(output)) => Status::Succeeded(output),
            Ok(Err(failure)) => Status::Failed(failure),
            Err(_) => Status::TimedOut,
        };
        self.cloud.lock().end(execution, &status);
    }

    /// Walks states from `place` to an end; returns the output there.
    fn walk<'a>(
        &'a self,
        walk: Walk<'a>,
        mut place: Place,
    ) -> Pin<Box<dyn Future<Output = Result<Value, Failure>> + 'a>> {
        Box::pin(async move {
            loop {
                let state = &walk.states[&place.state];
                let (output, next) = self.state(walk, state, &mut place).await?;
                match next {
                    None => return Ok(output),
                    Some(next) => place = Place { state: next, input: output, done: Vec::new(), ..place },
                }
            }
        })
    }

    /// Runs one state; returns its output and the state after it. Leaves its assignments in the place's variables.
    async fn state(
        &self,
        walk: Walk<'_>,
        state: &Value,
        place: &mut Place,
    ) -> Result<(Value, Option<String>), Failure> {
        if walk.item.is_none() {
            let mut world = self.cloud.lock();
            world.executions[walk.execution].place = Some(place.clone());
            world.ambush();
        }
        self.cloud.lock().meet("state entered");
        self.events(walk, 1)?;
        let result = match state["Type"].as_str() {
            Some("Task") => Some(self.task(walk, state, place).await?),
            Some("Map") => Some(self.map(walk, state, place).await?),
            Some("Choice") => None,
            other => panic!("the state {} has a type that is not simulated: {other:?}", place.state),
        };
        self.events(walk, 1)?;
        let Some(result) = result else {
            known(state, &["Comment", "Type", "Choices", "Default"]);
            let scope = self.scope(walk, place, &[]);
            for choice in state["Choices"].as_array().expect("Choices") {
                known(choice, &["Comment", "Condition", "Next"]);
                if scope.evaluate(&choice["Condition"])? == json!(true) {
                    return Ok((place.input.clone(), text(choice, "Next")));
                }
            }
            return Ok((place.input.clone(), text(state, "Default")));
        };
        let scope = self.scope(walk, place, &[("result", &result)]);
        let output = match state.get("Output") {
            Some(template) => scope.evaluate(template)?,
            None => result,
        };
        self.payload(walk, &output)?;
        let assigned = scope.evaluate(state.get("Assign").unwrap_or(&json!({})))?;
        let Value::Object(assigned) = assigned else { panic!("Assign of {} is no object", place.state) };
        assigned.values().try_for_each(|value| self.payload(walk, value))?;
        place.variables.extend(assigned);
        assert!(state.get("Next").is_some() != (state["End"] == true), "{} must have Next or End", place.state);
        Ok((output, text(state, "Next")))
    }

    async fn map(&self, walk: Walk<'_>, state: &Value, place: &mut Place) -> Result<Value, Failure> {
        known(
            state,
            &["Comment", "Type", "Items", "MaxConcurrency", "ItemProcessor", "Output", "Assign", "Next", "End"],
        );
        let processor = &state["ItemProcessor"];
        known(processor, &["ProcessorConfig", "StartAt", "States"]);
        assert_eq!(processor["ProcessorConfig"]["Mode"], "INLINE", "only inline Maps are simulated");
        let items = self.scope(walk, place, &[]).evaluate(&state["Items"])?;
        let Value::Array(items) = items else {
            return Err(Failure::new("States.QueryEvaluationError", format!("{}: Items are no array", place.state)));
        };
        self.events(walk, 1)?;
        // After a redrive only what has not succeeded runs again.
        place.done.resize(items.len(), None);
        let waiting: Vec<_> = (0..items.len()).filter(|index| place.done[*index].is_none()).collect();
        // An inline Map runs 40 at once at most.
        let at_once =
            state["MaxConcurrency"].as_u64().map_or(40, |at_once| usize::try_from(at_once).expect("few").min(40));
        let variables = place.variables.clone();
        let iteration = async |index: usize| {
            self.events(walk, 1)?;
            let inner = Walk { states: &processor["States"], item: Some((index, &items[index])), ..walk };
            let start = Place {
                state: text(processor, "StartAt").expect("StartAt"),
                input: items[index].clone(),
                variables: variables.clone(),
                done: Vec::new(),
            };
            let output = self.walk(inner, start).await?;
            self.events(walk, 1)?;
            Ok((index, output))
        };
        let mut outputs = pin!(stream::iter(waiting).map(iteration).buffer_unordered(at_once));
        while let Some(output) = outputs.next().await {
            let (index, output) = output?;
            place.done[index] = Some(output);
            self.cloud.lock().executions[walk.execution].place = Some(place.clone());
        }
        self.events(walk, 1)?;
        Ok(place.done.iter().flatten().cloned().collect())
    }

    async fn task(&self, walk: Walk<'_>, state: &Value, place: &Place) -> Result<Value, Failure> {
        known(state, TASK);
        let mut retries = Retries::of(state);
        loop {
            let failure = match self.attempt(walk, state, place, retries.count()).await {
                Ok(result) => {
                    self.payload(walk, &result)?;
                    return Ok(result);
                }
                Err(failure) => failure,
            };
            let delay = {
                let mut world = self.cloud.lock();
                let name = world.executions[walk.execution].name.clone();
                world.meet(&format!("{} failed: {}", place.state, failure.error));
                let delay = retries.next(&failure, &mut world.dice);
                world.log(|| format!("{name} {}: {failure} (again in {delay:?} ms)", place.state));
                delay
            };
            match delay {
                Some(delay) => sleep(delay).await,
                None => return Err(failure),
            }
        }
    }

    async fn attempt(&self, walk: Walk<'_>, state: &Value, place: &Place, retry: u64) -> Result<Value, Failure> {
        // TaskScheduled, TaskStarted, and how it ended.
        self.events(walk, 3)?;
        let timeout = seconds(state, "TimeoutSeconds").expect("every Task has a timeout");
        let timed_out = || Failure::new("States.Timeout", format!("{timeout} ms are over"));
        let mut scope = self.scope(walk, place, &[]);
        scope.states["context"]["State"]["RetryCount"] = json!(retry);
        scope.states["context"]["State"]["EnteredTime"] = json!(rfc3339(self.cloud.lock().now()));
        match state["Resource"].as_str() {
            Some("arn:aws:states:::lambda:invoke") => {
                let (function, payload) = self.arguments(walk, state, &scope)?;
                select! { biased;
                    result = self.functions.invoke(function, payload) => {
                        Ok(json!({ "ExecutedVersion": "$LATEST", "Payload": result?, "StatusCode": 200 }))
                    }
                    () = sleep(timeout) => Err(timed_out()),
                }
            }
            Some("arn:aws:states:::lambda:invoke.waitForTaskToken") => {
                let (token, callback) = Token::open(&self.cloud, walk.execution);
                scope.states["context"]["Task"] = json!({ "Token": token.name });
                let (function, payload) = self.arguments(walk, state, &scope)?;
                let quirks = self.cloud.lock().quirks;
                let heartbeat = scope.evaluate(&state["HeartbeatSeconds"])?;
                let heartbeat = heartbeat.as_u64().expect("who waits has a heartbeat") * SECOND;
                let mut invocation = pin!(self.functions.invoke(function, payload));
                let (mut callback, mut deadline, mut missed) = (callback, pin!(sleep(timeout)), pin!(sleep(heartbeat)));
                let mut returned = false;
                loop {
                    select! { biased;
                        answer = &mut callback, if returned || !quirks.callback_waits_for_function => {
                            return answer.expect("the token is open");
                        }
                        result = &mut invocation, if !returned => {
                            result?;
                            // TaskSubmitted
                            self.events(walk, 1)?;
                            returned = true;
                            if !quirks.heartbeat_counts_from_the_start {
                                missed.set(sleep(heartbeat));
                            }
                        }
                        () = &mut deadline => return Err(timed_out()),
                        () = &mut missed, if returned || quirks.heartbeat_counts_from_the_start => {
                            let error =
                                if quirks.heartbeat_is_timeout { "States.Timeout" } else { "States.HeartbeatTimeout" };
                            return Err(Failure::new(error, format!("no word for {heartbeat} ms")));
                        }
                    }
                }
            }
            other => panic!("the state {} has a resource that is not simulated: {other:?}", place.state),
        }
    }

    fn arguments(&self, walk: Walk<'_>, state: &Value, scope: &Scope<'_>) -> Result<(Function, Value), Failure> {
        let mut arguments = scope.evaluate(&state["Arguments"])?;
        self.payload(walk, &arguments)?;
        known(&arguments, &["FunctionName", "Payload"]);
        let name = arguments["FunctionName"].as_str().expect("a function's name");
        let function = Function::named(name).unwrap_or_else(|| panic!("no function has the ARN {name}"));
        Ok((function, arguments["Payload"].take()))
    }

    fn scope<'a>(&self, walk: Walk<'_>, place: &'a Place, more: &[(&str, &Value)]) -> Scope<'a> {
        let world = self.cloud.lock();
        let execution = &world.executions[walk.execution];
        let mut states = json!({
            "input": place.input,
            "context": {
                "Execution": {
                    "Id": execution.arn(),
                    "Input": execution.input,
                    "Name": execution.name,
                    "RoleArn": "arn:aws:iam::123456789012:role/analyze-video",
                    "StartTime": rfc3339(execution.started),
                    "RedriveCount": execution.redrives,
                },
                "State": { "Name": place.state },
                "StateMachine": { "Name": "analyze-video" },
            },
        });
        // Absent until there is a redrive.
        if execution.redrives > 0 {
            states["context"]["Execution"]["RedriveTime"] = json!(rfc3339(execution.entered));
        }
        if let Some((index, value)) = walk.item {
            states["context"]["Map"] = json!({ "Item": { "Index": index, "Value": value } });
        }
        for (name, value) in more {
            states[name] = (*value).clone();
        }
        Scope { states, variables: &place.variables }
    }

    /// Counts events of the history as AWS does
    /// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html>).
    fn events(&self, walk: Walk<'_>, count: u64) -> Result<(), Failure> {
        let mut world = self.cloud.lock();
        let execution = &mut world.executions[walk.execution];
        execution.events += count;
        if execution.events < MAX_EVENTS {
            return Ok(());
        }
        let cause = format!("the execution reached the maximum number of history events ({MAX_EVENTS})");
        Err(Failure::new("States.Runtime", cause))
    }

    fn payload(&self, walk: Walk<'_>, payload: &Value) -> Result<(), Failure> {
        let bytes = payload.to_string().len();
        let mut world = self.cloud.lock();
        let execution = &mut world.executions[walk.execution];
        execution.payload = execution.payload.max(bytes);
        if bytes <= MAX_PAYLOAD_BYTES {
            return Ok(());
        }
        Err(Failure::new("States.DataLimitExceeded", format!("a payload of {bytes} bytes")))
    }
}

impl crate::world::World {
    /// Ends an execution.
    pub(super) fn end(&mut self, execution: usize, status: &Status) {
        let now = self.now();
        let execution = &mut self.executions[execution];
        execution.ended = now;
        execution.events += 1;
        let (name, state) = (execution.name.clone(), execution.state().to_owned());
        execution.status = status.clone();
        if *status == Status::TimedOut {
            self.wrong(format!("{name} waited for ever in {state}: it has timed out"));
        }
        self.log(|| match status {
            Status::Succeeded(output) => format!("{name} SUCCEEDED: {output}"),
            Status::Failed(failure) => format!("{name} FAILED in {state}: {failure}"),
            other => format!("{name} {other:?} in {state}"),
        });
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

/// Stops at a field whose meaning is not simulated.
fn known(value: &Value, fields: &[&str]) {
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

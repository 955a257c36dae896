//! The backfill: a distributed Map that starts one execution for each video of a list and waits for its end.
//!
//! As for the other state machine, any field that is not simulated causes a panic.

use std::future::Future;

use futures_util::stream::{self, StreamExt as _};
use serde_json::{Map, Value, json};

use super::jsonata::Scope;
use super::retry::Retries;
use super::{Failure, Status, assert_simulated, seconds, text, timed_out};
use crate::clock::{Ms, SECOND, epoch, sleep};
use crate::world::{Cloud, RESULTS};

/// How often the integration asks whether the execution that it has started has ended.
const POLL: Ms = 10 * SECOND;

/// The state machine of the backfill.
#[derive(Debug)]
pub(crate) struct Backfill {
    cloud: Cloud,
    definition: Value,
}

impl Backfill {
    pub(crate) fn new(cloud: &Cloud, definition: Value) -> Self {
        Self { cloud: cloud.clone(), definition }
    }

    /// Runs a backfill with an input to its end. `start` starts an execution of the other state machine and returns its
    /// index. Returns the number of iterations that have failed.
    pub(crate) async fn run(&self, input: Value, start: impl Fn(String, Value) -> usize) -> usize {
        assert_simulated(&self.definition, &["Comment", "QueryLanguage", "TimeoutSeconds", "StartAt", "States"]);
        let map = &self.definition["States"][text(&self.definition, "StartAt").expect("StartAt")];
        let fields = [
            "Type",
            "Label",
            "ItemReader",
            "MaxConcurrency",
            "ToleratedFailurePercentage",
            "ItemProcessor",
            "ResultWriter",
            "End",
        ];
        assert_simulated(map, &fields);
        assert_eq!((&map["Type"], &map["End"]), (&json!("Map"), &json!(true)));
        let (reader, writer, processor) = (&map["ItemReader"], &map["ResultWriter"], &map["ItemProcessor"]);
        assert_eq!(writer["Resource"], "arn:aws:states:::s3:putObject");
        assert_eq!(processor["ProcessorConfig"], json!({ "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" }));
        let evaluate = |template| self.scope(&input).evaluate(template).expect("the input of a backfill is valid");
        let items = self.read(reader, &evaluate(&reader["Arguments"]));
        let concurrency = evaluate(&map["MaxConcurrency"]).as_u64().expect("at_once is a number");
        let concurrency = usize::try_from(concurrency).expect("few at the same time");

        let iterations = stream::iter(&items).map(|item| self.iterate(processor, item, &start));
        let ended: Vec<_> = iterations.buffer_unordered(concurrency).collect().await;
        let failed = ended.iter().filter(|result| result.is_err()).count();
        let tolerated = map["ToleratedFailurePercentage"].as_u64().unwrap_or_default();
        let mut world = self.cloud.lock();
        if failed * 100 > usize::try_from(tolerated).expect("a percentage") * items.len() {
            world.add_violation(format!("the backfill failed, because {failed} of {} iterations failed", items.len()));
        }
        world.cover("backfill");
        world.log(|| format!("the backfill ends; {failed} of {} iterations have failed", items.len()));
        failed
    }

    fn scope(&self, input: &Value) -> Scope<'static> {
        static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        let millis = epoch(self.cloud.lock().now());
        Scope { states: json!({ "input": input }), variables: &NONE, millis }
    }

    fn read(&self, reader: &Value, arguments: &Value) -> Vec<Value> {
        assert_simulated(reader, &["Resource", "ReaderConfig", "Arguments"]);
        assert_eq!(reader["Resource"], "arn:aws:states:::s3:getObject");
        assert_eq!(reader["ReaderConfig"], json!({ "InputType": "JSON" }));
        assert_eq!(arguments["Bucket"], "${results_bucket}");
        let world = self.cloud.lock();
        let list = world.s3.get(RESULTS, arguments["Key"].as_str().unwrap_or_default(), None);
        serde_json::from_slice(&list.expect("the list exists").body).expect("the list is a JSON array")
    }

    /// Runs the only state of a child execution.
    async fn iterate(
        &self,
        processor: &Value,
        item: &Value,
        start: &impl Fn(String, Value) -> usize,
    ) -> Result<(), Failure> {
        let state = &processor["States"][text(processor, "StartAt").expect("StartAt")];
        assert_simulated(state, super::TASK);
        assert_eq!(state["Resource"], "arn:aws:states:::states:startExecution.sync:2");
        let mut retries = Retries::of(state);
        let timeout = seconds(state, "TimeoutSeconds").expect("every Task has a timeout");
        loop {
            self.cloud.lock().transitions += 1;
            let arguments = self.scope(item).evaluate(&state["Arguments"])?;
            assert_eq!(arguments["StateMachineArn"], "${analyze_video_arn}");
            let name = text(&arguments, "Name").expect("a name");
            let task = within(timeout, self.start_and_wait(name, &arguments["Input"], start));
            let Err(failure) = task.await else { return Ok(()) };
            let delay = {
                let mut world = self.cloud.lock();
                world.log(|| format!("the backfill of {item}: {failure}"));
                world.cover(&format!("backfill iteration: {}", failure.error));
                retries.next(&failure, &mut world.rng)
            };
            match delay {
                Some(delay) => sleep(delay).await,
                None => return Err(failure),
            }
        }
    }

    /// `startExecution.sync:2`. While an execution of the same name and input runs, `StartExecution` returns that one
    /// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>).
    async fn start_and_wait(
        &self,
        name: String,
        input: &Value,
        start: &impl Fn(String, Value) -> usize,
    ) -> Result<(), Failure> {
        let failure = |error: &str| Err(Failure::new(error, format!("simulated, for {name}")));
        let (refused, lost, known) = {
            let mut world = self.cloud.lock();
            let rates = world.fault_rates();
            let known = world.executions.iter().position(|execution| execution.name == name);
            (world.chance(rates.not_invoked), world.chance(rates.result_lost), known)
        };
        if refused {
            return failure("StepFunctions.AWSStepFunctionsException");
        }
        let execution = match known {
            Some(known) if self.cloud.lock().executions[known].status == Status::Running => known,
            Some(_) => return failure("StepFunctions.ExecutionAlreadyExistsException"),
            None => start(name.clone(), input.clone()),
        };
        if lost {
            return failure("StepFunctions.SdkClientException");
        }
        loop {
            sleep(POLL).await;
            match &self.cloud.lock().executions[execution].status {
                Status::Running => {}
                Status::Succeeded(_) => return Ok(()),
                _ => return failure("States.TaskFailed"),
            }
        }
    }
}

async fn within(timeout: Ms, task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        result = task => result,
        () = sleep(timeout) => Err(timed_out(timeout)),
    }
}

//! Lambda: runs the real functions, kills them, refuses invocations, and retries asynchronous ones.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures_util::FutureExt as _;
use lambda_runtime::Diagnostic;
use lambdas::aws::Clients;
use lambdas::functions::Function;
use lambdas::{
    fetch_page, inspect_video, list_pages, resume_execution, start_detection, start_waiting_jobs, summarize,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::select;
use tokio::sync::oneshot;

use crate::clock::{HOUR, MINUTE, Ms, SECOND, sleep};
use crate::faults::Service;
use crate::machine::Failure;
use crate::scenario::InjectedBug;
use crate::wire;
use crate::world::{Cloud, PUBLISH_ROLE, RESULTS};

/// How long Lambda keeps an asynchronous event that it cannot deliver, as terraform deploys the function
/// (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>).
fn max_event_age(function: Function) -> Ms {
    if function == Function::StartWaitingJobs { 5 * MINUTE } else { 6 * HOUR }
}

/// The pauses before an asynchronous event is delivered again to a function that has failed, as terraform deploys it.
fn pauses(function: Function) -> &'static [Ms] {
    if function == Function::StartWaitingJobs { &[] } else { &[MINUTE, 2 * MINUTE] }
}

/// The longest pause before Lambda delivers an event again that it could not deliver.
const MAX_PAUSE: Ms = 5 * MINUTE;

/// The errors with which Lambda refuses an invocation: the function has not run.
const REFUSALS: [&str; 2] = ["Lambda.ServiceException", "Lambda.TooManyRequestsException"];

/// The function that a placeholder of the definition names: the placeholders serve as ARNs here.
pub(super) fn from_arn(arn: &str) -> Option<Function> {
    Function::ALL.iter().copied().find(|function| arn == format!("${{{}}}", function.placeholder()))
}

/// When Lambda ends the function, as it is deployed.
fn timeout(function: Function) -> Ms {
    function.timeout().as_secs() * SECOND
}

/// The deployed functions.
#[derive(Debug, Clone)]
pub(super) struct Functions {
    cloud: Cloud,
    /// Each function has its own clock.
    clients: Rc<BTreeMap<Function, Clients>>,
}

impl Functions {
    /// Deploys the functions. Their clocks are at most `clock_skew` early or late.
    pub(super) fn new(cloud: &Cloud, seed: u64, clock_skew: Ms) -> Self {
        // A separate generator, so that a scenario without skew has the same random values.
        let mut rng = fastrand::Rng::with_seed(seed);
        let skew = i64::try_from(clock_skew).expect("a few seconds");
        let clients = Function::ALL.iter().map(|function| (*function, wire::clients(cloud, rng.i64(-skew..=skew))));
        Self { cloud: cloud.clone(), clients: Rc::new(clients.collect()) }
    }

    /// Invokes a function and waits for its result. If this future is dropped, the function still runs on, as on AWS.
    pub(super) async fn invoke(&self, function: Function, payload: Value) -> Result<Value, Failure> {
        let (kill_after, result_lost) = self.admit(function)?;
        let (sender, result) = oneshot::channel();
        let functions = self.clone();
        tokio::task::spawn_local(async move {
            sender.send(functions.run_until_killed(function, payload, kill_after).await).ok();
        });
        if result_lost {
            let after = {
                let mut world = self.cloud.lock();
                world.fault("result lost");
                world.rng.u64(0..5 * SECOND)
            };
            sleep(after).await;
            return Err(Failure::new("Lambda.SdkClientException", "the connection was closed".to_owned()));
        }
        result.await.expect("a function always ends")
    }

    /// Refuses an invocation, or returns when the function is killed (if at all) and whether its result is lost.
    fn admit(&self, function: Function) -> Result<(Option<Ms>, bool), Failure> {
        let mut world = self.cloud.lock();
        world.count_call(&format!("invocation of {}", function.name()));
        let fault_rates = world.fault_rates();
        let refused = if world.is_unavailable(Service::Lambda) || world.chance(fault_rates.not_invoked) {
            world.fault("not invoked");
            Some("Lambda.ServiceException")
        } else if world.running >= world.concurrency {
            world.fault("Lambda throttled by concurrency");
            Some("Lambda.TooManyRequestsException")
        } else {
            None
        };
        if let Some(error) = refused {
            world.log(|| format!(" {function:?} is not invoked: {error}"));
            return Err(Failure::new(error, "simulated".to_owned()));
        }
        world.running += 1;
        let kill_after = world.chance(fault_rates.killed).then(|| {
            let within = match world.rng.u8(0..8) {
                0 => timeout(function),
                1 => 30 * SECOND,
                // Most invocations end within a second.
                _ => 800,
            };
            world.rng.u64(0..within)
        });
        Ok((kill_after, world.chance(fault_rates.result_lost)))
    }

    async fn run_until_killed(
        &self,
        function: Function,
        payload: Value,
        kill_after: Option<Ms>,
    ) -> Result<Value, Failure> {
        self.cloud.lock().log(|| format!(" {function:?} begins"));
        let answer = select! { biased;
            () = sleep(kill_after.unwrap_or(Ms::MAX / 2).min(timeout(function))) => {
                let mut world = self.cloud.lock();
                world.last_disturbance = world.now();
                world.fault(&format!("{function:?} killed"));
                let error = if kill_after.is_some() { "Runtime.ExitError" } else { "Sandbox.Timedout" };
                Err(Failure::new(error, format!("{function:?} was killed")))
            }
            answer = AssertUnwindSafe(self.run(function, payload)).catch_unwind() => {
                answer.unwrap_or_else(|panic| {
                    let panic = panic.downcast_ref::<String>();
                    self.cloud.lock().add_violation(format!("{function:?} panicked: {panic:?}"));
                    Err(Failure::new("Runtime.ExitError", "panicked".to_owned()))
                })
            }
        };
        let mut world = self.cloud.lock();
        world.running -= 1;
        world.log(|| match &answer {
            Ok(_) => format!(" {function:?} ends"),
            Err(failure) => format!(" {function:?} ends with {failure}"),
        });
        answer
    }

    async fn run(&self, function: Function, payload: Value) -> Result<Value, Failure> {
        let clients = &self.clients[&function];
        if function == Function::Summarize && self.cloud.lock().injected_bug == Some(InjectedBug::FailsWithUnknownError)
        {
            return Err(Failure::new("UnknownError", String::new()));
        }
        let results_bucket = || RESULTS.to_owned();
        match function {
            Function::InspectVideo => answer(inspect_video::inspect_video(clients, request(&payload))).await,
            Function::StartWaitingJobs => {
                let config = start_waiting_jobs::Config { results_bucket: results_bucket() };
                answer(start_waiting_jobs::start_waiting_jobs(clients, &config, request(&payload))).await
            }
            Function::StartDetection => {
                let config = start_detection::Config {
                    results_bucket: results_bucket(),
                    completion_topic_arn: self.cloud.lock().topic.clone(),
                    publish_role_arn: PUBLISH_ROLE.to_owned(),
                    face_attributes: lambdas::job::FaceAttributes::Default,
                };
                answer(start_detection::start_detection(clients, &config, request(&payload))).await
            }
            Function::ResumeExecution => {
                let config = resume_execution::Config { results_bucket: results_bucket() };
                answer(resume_execution::resume_execution(clients, &config, request(&payload))).await
            }
            Function::ListPages => answer(list_pages::list_pages(clients, request(&payload))).await,
            Function::FetchPage => {
                let config = fetch_page::Config { results_bucket: results_bucket() };
                answer(fetch_page::fetch_page(clients, &config, request(&payload))).await
            }
            Function::Summarize => {
                let config = summarize::Config { results_bucket: results_bucket() };
                answer(summarize::summarize(clients, &config, request(&payload))).await
            }
        }
    }

    /// Invokes a function asynchronously: after a failure Lambda may invoke it again. An event that it cannot deliver
    /// returns to its queue. The events of resume-execution that remain are dead letters.
    pub(super) async fn invoke_asynchronously(&self, function: Function, event: Value) {
        let began = self.cloud.lock().now();
        let (mut retries, mut pause) = (pauses(function).iter().copied(), SECOND);
        loop {
            let Err(failure) = self.invoke(function, event.clone()).await else { return };
            let wait = if REFUSALS.contains(&failure.error.as_str()) {
                pause = MAX_PAUSE.min(2 * pause);
                (self.cloud.lock().now() < began + max_event_age(function)).then_some(pause)
            } else {
                retries.next()
            };
            match wait {
                Some(wait) => sleep(wait).await,
                None => break,
            }
        }
        if function == Function::ResumeExecution {
            let mut world = self.cloud.lock();
            world.cover("dead letter");
            world.log(|| "an event becomes a dead letter".to_owned());
            world.dead_letters.push(event);
        }
    }
}

/// Reads a payload. Panics if it is not what the function expects: that is a bug in the definition or the function.
fn request<T: DeserializeOwned>(payload: &Value) -> T {
    T::deserialize(payload).unwrap_or_else(|error| panic!("{error} in the payload {payload}"))
}

async fn answer<T: serde::Serialize, E: Into<Diagnostic> + Debug>(
    function: impl Future<Output = Result<T, E>>,
) -> Result<Value, Failure> {
    match function.await {
        Ok(answer) => Ok(json!(answer)),
        Err(error) => {
            let Diagnostic { error_type, error_message } = error.into();
            Err(Failure { error: error_type, cause: error_message })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::schedule;

    /// The number after `name` in a file of the module.
    fn deployed(file: &str, name: &str) -> u64 {
        let path = format!("{}/../../terraform/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(path).unwrap();
        let (_, rest) = text.split_once(name).unwrap_or_else(|| panic!("no {name} in {file}"));
        let digits = rest.trim_start_matches([' ', '=', '(']).chars().take_while(char::is_ascii_digit);
        digits.collect::<String>().parse().unwrap()
    }

    #[test]
    fn events_are_delivered_as_terraform_deploys_it() {
        for (function, file) in
            [(Function::ResumeExecution, "completions.tf"), (Function::StartWaitingJobs, "waiting_jobs.tf")]
        {
            assert_eq!(deployed(file, "maximum_retry_attempts"), pauses(function).len() as u64, "{file}");
            assert_eq!(deployed(file, "maximum_event_age_in_seconds") * SECOND, max_event_age(function), "{file}");
        }
        assert_eq!(deployed("waiting_jobs.tf", "= \"rate") * MINUTE, schedule::PERIOD);
    }
}

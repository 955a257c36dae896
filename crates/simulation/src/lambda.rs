//! Lambda: the real functions, run, killed, refused, and called again.

use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use lambda_runtime::Diagnostic;
use lambdas::aws::Clients;
use lambdas::{fetch_page, list_pages, resume_execution, start_detection, summarize};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::select;
use tokio::sync::oneshot;

use crate::backoff;
use crate::clock::{MINUTE, Ms, SECOND, sleep};
use crate::machine::Failure;
use crate::story::Sabotage;
use crate::weather::Service;
use crate::world::{Cloud, RESULTS};

/// An account's concurrent executions of functions.
const CONCURRENCY: usize = 1000;

/// A function of the workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    StartDetection,
    ResumeExecution,
    ListPages,
    FetchPage,
    Summarize,
}

impl Function {
    /// The function that the definition means: the placeholders' own names are the ARNs here.
    pub(super) fn named(arn: &str) -> Option<Self> {
        Some(match arn {
            "${start_detection_arn}" => Self::StartDetection,
            "${list_pages_arn}" => Self::ListPages,
            "${fetch_page_arn}" => Self::FetchPage,
            "${summarize_arn}" => Self::Summarize,
            _ => return None,
        })
    }

    /// When Lambda ends it.
    fn timeout(self) -> Ms {
        match self {
            Self::StartDetection | Self::ResumeExecution => MINUTE,
            Self::ListPages | Self::FetchPage => 5 * MINUTE - 10 * SECOND,
            Self::Summarize => 15 * MINUTE - 10 * SECOND,
        }
    }
}

/// The functions as they are deployed.
#[derive(Debug, Clone)]
pub(super) struct Functions {
    cloud: Cloud,
    clients: Clients,
    /// Whether jobs wait for a slot in the queue, or in their executions' Retry.
    queue: bool,
}

impl Functions {
    pub(super) fn new(cloud: &Cloud, clients: Clients, queue: bool) -> Self {
        Self { cloud: cloud.clone(), clients, queue }
    }

    /// Invokes a function and waits for its result. Dropping this leaves the function running, as it does on AWS.
    pub(super) async fn invoke(&self, function: Function, payload: Value) -> Result<Value, Failure> {
        let (kill_after, result_lost) = {
            let mut world = self.cloud.lock();
            let weather = world.weather();
            let refused = if world.is_out(Service::Lambda) || world.chance(weather.not_invoked) {
                world.meet("fault: not invoked");
                Some("Lambda.ServiceException")
            } else if world.running >= CONCURRENCY {
                world.meet("Lambda throttled by concurrency");
                Some("Lambda.TooManyRequestsException")
            } else {
                None
            };
            if let Some(error) = refused {
                world.log(|| format!(" {function:?} is not invoked: {error}"));
                return Err(Failure::new(error, "simulated".to_owned()));
            }
            world.running += 1;
            let killed = world.chance(weather.killed).then(|| world.dice.u64(0..800));
            (killed, world.chance(weather.result_lost))
        };
        let (sender, result) = oneshot::channel();
        let functions = self.clone();
        tokio::task::spawn_local(async move {
            functions.cloud.lock().log(|| format!(" {function:?} begins"));
            let answer = select! { biased;
                () = sleep(kill_after.unwrap_or(Ms::MAX / 2).min(function.timeout())) => {
                    functions.cloud.lock().meet(&format!("{function:?} killed"));
                    let error = if kill_after.is_some() { "Runtime.ExitError" } else { "Sandbox.Timedout" };
                    Err(Failure::new(error, format!("{function:?} was killed")))
                }
                answer = AssertUnwindSafe(functions.run(function, payload)).catch_unwind() => {
                    answer.unwrap_or_else(|panic| {
                        functions.cloud.lock().wrong(format!("{function:?} panicked: {:?}", panic.downcast_ref::<String>()));
                        Err(Failure::new("Runtime.ExitError", "panicked".to_owned()))
                    })
                }
            };
            let mut world = functions.cloud.lock();
            world.running -= 1;
            world.log(|| match &answer {
                Ok(_) => format!(" {function:?} ends"),
                Err(failure) => format!(" {function:?} ends with {failure}"),
            });
            drop(world);
            sender.send(answer).ok();
        });
        if result_lost {
            let after = {
                let mut world = self.cloud.lock();
                world.meet("fault: result lost");
                world.dice.u64(0..5 * SECOND)
            };
            sleep(after).await;
            return Err(Failure::new("Lambda.SdkClientException", "the connection was closed".to_owned()));
        }
        result.await.expect("a function always ends")
    }

    async fn run(&self, function: Function, payload: Value) -> Result<Value, Failure> {
        let Self { clients, .. } = self;
        if function == Function::Summarize && self.cloud.lock().sabotage == Some(Sabotage::FailsOddly) {
            return Err(Failure::new("Oddity", String::new()));
        }
        let results_bucket = || RESULTS.to_owned();
        match function {
            Function::StartDetection => {
                let config = start_detection::Config {
                    results_bucket: results_bucket(),
                    completion_topic_arn: self.cloud.lock().topic.clone(),
                    publish_role_arn: "arn:aws:iam::123456789012:role/publish".to_owned(),
                    face_attributes: lambdas::job::FaceAttributes::Default,
                };
                let request = request(&payload);
                if self.queue {
                    answer(start_detection::start_detection(clients, &config, request)).await
                } else {
                    answer(backoff::start_detection(clients, &config, request)).await
                }
            }
            Function::ResumeExecution => {
                let config = resume_execution::Config { results_bucket: results_bucket() };
                let request = request(&payload);
                if self.queue {
                    answer(resume_execution::resume_execution(clients, &config, request)).await
                } else {
                    answer(backoff::resume_execution(clients, &config, request)).await
                }
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

    /// Invokes resume-execution as SNS does: twice more after a failure, then it is a dead letter.
    pub(super) async fn invoke_asynchronously(&self, event: Value) {
        for wait in [MINUTE, 2 * MINUTE, 0] {
            if self.invoke(Function::ResumeExecution, event.clone()).await.is_ok() {
                return;
            }
            sleep(wait).await;
        }
        let mut world = self.cloud.lock();
        world.meet("dead letter");
        world.log(|| "a dead letter".to_owned());
        world.dead_letters.push(event);
    }
}

/// What the state machine and SNS send is what the functions take: anything else is a bug of ours.
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

//! Step Functions: the executions of `analyze-video`, most of which have failed.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use facereel::commands::replay::Lineage;
use lambdas::layout;
use serde_json::{Value, json};

use super::{
    account::{STATE_MACHINE, UPLOADS},
    wire::{Answer, Call},
};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// A failed execution can be redriven for 14 days
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html>).
const REDRIVABLE: u64 = 14 * DAY;

/// The number of running executions, and of those among them that wait for a job slot.
const RUNNING: u64 = 200;
const WAITING: usize = 180;

/// One of this many failures is cured only by a new execution.
const ONE_NEW_EXECUTION_OF: u64 = 10;

/// How many executions have failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// In the last 24 hours; half of them were replaced by a new execution, which has succeeded.
    pub recent: u64,
    /// Before: 15 to 89 days ago.
    pub old: u64,
}

/// All executions: the failures, and those that run.
#[derive(Debug)]
pub struct Executions {
    /// By start, the earliest first. New ones are added at the end.
    all: Vec<Execution>,
    by_name: HashMap<(u64, u32), usize>,
    now: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Running,
    Succeeded,
    Failed,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }
}

/// An execution. Times are seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Execution {
    /// The number of the upload, from which the name of the execution follows.
    upload: u64,
    /// 0 for the execution that the upload has started, and then the number of the replacement.
    position: u32,
    status: Status,
    started: u64,
    stopped: u64,
    redriven: bool,
}

impl Execution {
    /// The error of a failed execution.
    fn error(&self) -> &'static str {
        if self.upload % ONE_NEW_EXECUTION_OF == 1 { "PageMissing" } else { "AccessDenied" }
    }

    fn name(&self) -> String {
        // As EventBridge names it: the id of the event and another one.
        let name = format!("{:08x}-0c1b-4a57-9d0e-3a1f7c5b2e11_0f8e7d6c-5b4a-4392-8170-6f5e4d3c2b1a", self.upload);
        match self.position {
            0 => name,
            position => Lineage::of(&name).0.replacement(position),
        }
    }

    fn arn(&self) -> String {
        format!("{}:{}", STATE_MACHINE.replace(":stateMachine:", ":execution:"), self.name())
    }

    fn key(&self) -> String {
        format!("in/{:08}.mp4", self.upload)
    }

    fn input(&self) -> String {
        json!({
            "version": "0",
            "id": &self.name()[..36],
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": "123456789012",
            "region": "eu-central-1",
            "time": "2026-11-25T10:00:00Z",
            "resources": [format!("arn:aws:s3:::{UPLOADS}")],
            "detail": {
                "version": "0",
                "bucket": { "name": UPLOADS },
                "object": { "key": self.key(), "size": 60_000_000, "etag": "e", "version-id": "v", "sequencer": "0" },
                "reason": "PutObject",
            },
        })
        .to_string()
    }

    fn listed(&self) -> Value {
        let mut item = json!({
            "executionArn": self.arn(),
            "name": self.name(),
            "startDate": self.started,
            "stateMachineArn": STATE_MACHINE,
            "status": self.status.as_str(),
        });
        if self.status != Status::Running {
            item["stopDate"] = self.stopped.into();
        }
        item
    }
}

impl Executions {
    /// The failures, the replacements of half of the recent ones, and some running executions if there are failures.
    pub fn new(failures: Failures) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let Failures { recent, old } = failures;
        let execution = |upload, status, started| Execution {
            upload,
            position: 0,
            status,
            started,
            stopped: started,
            redriven: false,
        };
        let old = (0..old).map(|upload| execution(upload, Status::Failed, now - 89 * DAY + 74 * DAY * upload / old));
        // Some have started more than a day ago, because they waited for a job slot.
        let recent = (0..recent).flat_map(|index| {
            let failed = execution(failures.old + index, Status::Failed, now - 30 * HOUR + 27 * HOUR * index / recent);
            let failed = Execution { stopped: (now - 23 * HOUR).max(failed.started + 600), ..failed };
            let replaced = Execution { position: 1, status: Status::Succeeded, started: now - HOUR, ..failed };
            [Some(failed), (index % 2 == 0).then_some(replaced)]
        });
        let running = if failures.recent > 0 { RUNNING } else { 0 };
        let running = (0..running).map(|index| {
            execution(failures.old + failures.recent + index, Status::Running, now - 2 * HOUR + 30 * index)
        });
        let mut all: Vec<_> = old.chain(recent.flatten()).chain(running).collect();
        all.sort_by_key(|execution| execution.started);
        let by_name =
            all.iter().enumerate().map(|(at, execution)| ((execution.upload, execution.position), at)).collect();
        Self { all, by_name, now }
    }

    /// The keys of the queue entries of the executions that wait for a job slot.
    pub fn queue(&self) -> Vec<String> {
        let running = self.all.iter().filter(|execution| execution.status == Status::Running && !execution.redriven);
        let waiting = running.skip(usize::try_from(RUNNING).unwrap_or_default() - WAITING).take(WAITING);
        let milliseconds = |seconds: u64| i64::try_from(seconds * 1000).unwrap_or_default();
        waiting.map(|one| layout::queue_entry(milliseconds(one.started), &one.name(), 0)).collect()
    }

    /// The answer to a call; `None` if the operation has no model.
    pub fn answer(&mut self, call: &Call) -> Option<Answer> {
        let request = call.json();
        Some(match call.operation.as_str() {
            "ListExecutions" => self.list(&request),
            "DescribeExecution" => self.describe(&request),
            "GetExecutionHistory" => self.history(&request),
            "RedriveExecution" => self.redrive(&request),
            "StartExecution" => self.start(&request),
            _ => return None,
        })
    }

    /// The latest start is first. A token is a position in the list.
    fn list(&self, request: &Value) -> Answer {
        if request["stateMachineArn"] != STATE_MACHINE {
            // The backfill's state machine has no execution.
            return Answer::json(&json!({ "executions": [] }));
        }
        let end = request["nextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(self.all.len());
        // 100 by default (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html>).
        let most = request["maxResults"].as_u64().filter(|most| *most > 0).unwrap_or(100);
        let status = request["statusFilter"].as_str();
        let is_selected = |execution: &Execution| status.is_none_or(|status| execution.status.as_str() == status);
        let mut selected = self.all[..end].iter().enumerate().rev().filter(|(_, execution)| is_selected(execution));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let page: Vec<_> = selected.by_ref().take(most).map(|(_, execution)| execution.listed()).collect();
        let next = selected.next().map(|(at, _)| (at + 1).to_string());
        Answer::json(&json!({ "executions": page, "nextToken": next }))
    }

    fn describe(&self, request: &Value) -> Answer {
        let Some(execution) = self.find(request).map(|at| &self.all[at]) else { return does_not_exist() };
        let mut described = execution.listed();
        described["input"] = execution.input().into();
        described["redriveCount"] = u8::from(execution.redriven).into();
        let is_redrivable = execution.status == Status::Failed && self.now < execution.stopped + REDRIVABLE;
        described["redriveStatus"] = if is_redrivable { "REDRIVABLE" } else { "NOT_REDRIVABLE" }.into();
        if execution.status == Status::Failed {
            described["error"] = execution.error().into();
            described["cause"] = "s3:PutObject was denied; grant it to the role of the function".into();
        }
        Answer::json(&described)
    }

    /// The history of an execution, the latest event first. A failed one has fetched its pages; a running one waits for its job.
    fn history(&self, request: &Value) -> Answer {
        let Some(execution) = self.find(request).map(|at| &self.all[at]) else { return does_not_exist() };
        let is_running = execution.status == Status::Running;
        let states = ["FetchPage", "ReadPages", "StartDetection", "InspectVideo"].into_iter();
        let states: Vec<_> = states.skip(if is_running { 2 } else { 0 }).collect();
        let entered = states.iter().enumerate().map(|(at, state)| {
            let details = json!({ "name": state });
            let id = 20 - 4 * at;
            json!({ "id": id, "type": "TaskStateEntered", "timestamp": execution.started, "stateEnteredEventDetails": details })
        });
        let failed = json!({ "id": 21, "type": "ExecutionFailed", "timestamp": execution.stopped,
            "executionFailedEventDetails": { "error": execution.error(), "cause": "denied" } });
        let events: Vec<_> = Some(failed).filter(|_| !is_running).into_iter().chain(entered).collect();
        Answer::json(&json!({ "events": events }))
    }

    fn redrive(&mut self, request: &Value) -> Answer {
        let Some(at) = self.find(request) else { return does_not_exist() };
        let execution = &mut self.all[at];
        if execution.status != Status::Failed {
            return Answer::json_error("ExecutionNotRedrivable", "the execution has not failed");
        }
        (execution.status, execution.redriven) = (Status::Running, true);
        Answer::json(&json!({ "redriveDate": self.now }))
    }

    fn start(&mut self, request: &Value) -> Answer {
        let name = request["name"].as_str().unwrap_or_default();
        let arn = format!("{}:{name}", STATE_MACHINE.replace(":stateMachine:", ":execution:"));
        if request["stateMachineArn"] == STATE_MACHINE {
            let Some(parsed) = parse(name) else { return Answer::json_error("InvalidName", name) };
            if self.by_name.contains_key(&parsed) {
                return Answer::json_error("ExecutionAlreadyExists", name);
            }
            let (upload, position) = parsed;
            self.by_name.insert(parsed, self.all.len());
            let (status, now) = (Status::Running, self.now);
            self.all.push(Execution { upload, position, status, started: now, stopped: now, redriven: false });
        }
        Answer::json(&json!({ "executionArn": arn, "startDate": self.now }))
    }

    fn find(&self, request: &Value) -> Option<usize> {
        let name = request["executionArn"].as_str()?.rsplit(':').next()?;
        self.by_name.get(&parse(name)?).copied()
    }
}

/// The number of the upload and the position in a name.
fn parse(name: &str) -> Option<(u64, u32)> {
    let upload = u64::from_str_radix(name.get(..8)?, 16).ok()?;
    let position = name.rsplit_once("-replay-").map_or(Some(0), |(_, position)| position.parse().ok())?;
    Some((upload, position))
}

fn does_not_exist() -> Answer {
    Answer::json_error("ExecutionDoesNotExist", "there is no such execution")
}

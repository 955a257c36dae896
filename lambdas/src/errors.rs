//! The catalogue of errors: the one place for what is known about each error name of the workflow.
//!
//! The names are those of the functions' error variants, and of Step Functions where an execution ends without an error of
//! a function. The table in `docs/operations.md` is written from this catalogue; the state machine's Retry, `facereel
//! replay`, `facereel run` and the simulation are tested against it.

/// What is known about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorFacts {
    /// The name that Step Functions shows as `Error`, or the status of an execution that ended without one.
    pub name: &'static str,
    /// What happened.
    pub cause: &'static str,
    /// What the operator does.
    pub remedy: &'static str,
    /// Whether the state machine retries it.
    pub retried: bool,
    /// How an execution that failed with it is replayed.
    pub replay: Replay,
}

/// How a failed execution is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// It is redriven: it continues in the state that failed. No new job is billed within 7 days.
    Redrive,
    /// It is redriven, and starts a new job, which is billed.
    RedriveBilled,
    /// A redrive would fail again. A new execution with the same input finds the job that was paid for.
    NewExecution,
    /// A redrive would fail again. A new execution starts a new job, which is billed.
    NewExecutionBilled,
}

impl Replay {
    /// Whether a redrive can succeed.
    #[must_use]
    pub fn cured_by_redrive(self) -> bool {
        matches!(self, Self::Redrive | Self::RedriveBilled)
    }

    /// Whether Rekognition bills a new job in any case. After 7 days it does so for the others as well.
    #[must_use]
    pub fn billed(self) -> bool {
        matches!(self, Self::RedriveBilled | Self::NewExecutionBilled)
    }

    /// For the table of the documentation.
    fn text(self) -> &'static str {
        match self {
            Self::Redrive => "redriven",
            Self::RedriveBilled => "redriven; a new job is billed",
            Self::NewExecution => "new execution",
            Self::NewExecutionBilled => "new execution; a new job is billed",
        }
    }
}

const fn error(name: &'static str, cause: &'static str, remedy: &'static str, replay: Replay) -> ErrorFacts {
    ErrorFacts { name, cause, remedy, retried: false, replay }
}

const fn retried(name: &'static str, cause: &'static str, remedy: &'static str) -> ErrorFacts {
    ErrorFacts { name, cause, remedy, retried: true, replay: Replay::Redrive }
}

/// Every error name with which an execution of `analyze-video` can end by a function's or its own fault.
pub const CATALOGUE: &[ErrorFacts] = &[
    error(
        "InvalidInput",
        "the input is neither an \"Object Created\" event of S3 nor `{\"bucket\": …, \"key\": …}`",
        "start an execution with a correct input",
        Replay::Redrive,
    ),
    error("VideoNotFound", "the object does not exist, or no longer", "upload it again", Replay::Redrive),
    error("VideoEmpty", "the object has 0 bytes", "upload it again", Replay::Redrive),
    error(
        "VideoTooLarge",
        "the video is larger than 10 GB or longer than 6 hours",
        "split it, or encode it smaller",
        Replay::Redrive,
    ),
    error(
        "NotAVideo",
        "the object is not an MP4 or MOV file",
        "convert it: `ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p -movflags +faststart OUTPUT.mp4`",
        Replay::Redrive,
    ),
    error(
        "VideoArchived",
        "the object is in S3 Glacier or Deep Archive",
        "restore it with `aws s3api restore-object`, then replay",
        Replay::Redrive,
    ),
    error(
        "VideoReplaced",
        "the object was overwritten before its job was started, so nothing was billed",
        "nothing: the newer upload has a separate execution; a new execution analyses what is there now",
        Replay::NewExecutionBilled,
    ),
    error(
        "VideoUnreadable",
        "S3 or Rekognition cannot read the object",
        "check that the bucket is in the same Region, and the key's policy and the function's role",
        Replay::Redrive,
    ),
    error(
        "JobFailed",
        "the job ended without a result; the cause begins with Rekognition's reason",
        "if the reason is the file, check that a player shows the whole video, then encode it again: `ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p OUTPUT.mp4`; else try again",
        Replay::RedriveBilled,
    ),
    error(
        "AccessDenied",
        "a role lacks the permission that the cause names",
        "grant the permission, then replay",
        Replay::Redrive,
    ),
    error(
        "Refused",
        "an AWS service refused a call for the reason in the cause",
        "repair what the cause names, then replay; if it names a fault of facereel, report it",
        Replay::Redrive,
    ),
    error(
        "PageTokenExpired",
        "the page tokens are older than 24 hours",
        "replay: a new execution lists the pages again",
        Replay::NewExecution,
    ),
    error(
        "JobNotSucceeded",
        "the job has no pages, because its status is no longer `SUCCEEDED`",
        "replay: a new execution reads the status again",
        Replay::NewExecution,
    ),
    error(
        "JobGone",
        "the results are older than 7 days, and Rekognition has deleted them",
        "replay: a new execution starts a new job",
        Replay::NewExecutionBilled,
    ),
    error(
        "PageMissing",
        "a page was deleted from the results bucket",
        "replay: a new execution fetches the pages again",
        Replay::NewExecution,
    ),
    error(
        "PageUnreadable",
        "a page in the results bucket was changed, or Rekognition's answer was not a page",
        "replay: a new execution fetches the pages again",
        Replay::NewExecution,
    ),
    retried("Throttled", "AWS throttled the calls through every retry", "replay when there is less load"),
    retried("ServiceUnavailable", "an AWS service did not answer through every retry", "replay"),
    error(
        "TIMED_OUT",
        "the execution did not end within 7 days",
        "replay, and see which state it waited in",
        Replay::Redrive,
    ),
    error("ABORTED", "a person stopped the execution", "replay", Replay::Redrive),
];

/// Names that a function uses between invocations and that no execution ends with.
pub const INTERNAL: &[&str] = &["JobNotFinished"];

/// What is known about an error, if it is one of the workflow's.
#[must_use]
pub fn facts(name: &str) -> Option<&'static ErrorFacts> {
    CATALOGUE.iter().find(|facts| facts.name == name)
}

/// The catalogue as a Markdown table.
#[must_use]
pub fn table() -> String {
    let rows = CATALOGUE.iter().map(|facts| {
        let ErrorFacts { name, cause, remedy, retried, replay } = facts;
        let retried = if *retried { "yes" } else { "no" };
        format!("| `{name}` | {cause} | {remedy} | {retried} | {} |\n", replay.text())
    });
    let head = "| error | what happened | what to do | retried | `facereel replay` |\n|---|---|---|---|---|\n";
    head.to_owned() + &rows.collect::<String>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::VariantNames as _;

    use super::*;
    use crate::{
        aws::AwsError, page::PageError, resume_execution::ResumeExecutionError, summarize::SummarizeError,
        video::InspectError,
    };

    fn definition() -> serde_json::Value {
        let path = format!("{}/../statemachine/analyze-video.asl.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// The `Retry` of every task of the state machine.
    fn retriers(states: &serde_json::Value) -> Vec<serde_json::Value> {
        let states = states.as_object().unwrap().values();
        states
            .flat_map(|state| match state.pointer("/ItemProcessor/States") {
                Some(inner) => retriers(inner),
                None => state.get("Retry").cloned().into_iter().collect(),
            })
            .collect()
    }

    #[test]
    fn the_state_machine_retries_the_errors_of_the_catalogue_and_no_other_of_the_functions() {
        let definition = definition();
        let tasks = retriers(&definition["States"]);
        assert_eq!(tasks.len(), 5);
        for task in tasks {
            let names = task.as_array().unwrap().iter().flat_map(|retrier| retrier["ErrorEquals"].as_array().unwrap());
            // The names of AWS have a dot.
            let names: BTreeSet<_> =
                names.map(|name| name.as_str().unwrap()).filter(|name| !name.contains('.')).collect();
            let retried: BTreeSet<_> = CATALOGUE.iter().filter(|facts| facts.retried).map(|facts| facts.name).collect();
            assert_eq!(names, retried);
        }
    }

    #[test]
    fn every_task_retries_the_same_errors_of_aws() {
        let of_aws = |task: &serde_json::Value| -> BTreeSet<String> {
            let names = task.as_array().unwrap().iter().flat_map(|retrier| retrier["ErrorEquals"].as_array().unwrap());
            let names = names.map(|name| name.as_str().unwrap().to_owned());
            // The task with a callback alone has a heartbeat.
            names.filter(|name| name.contains('.') && name != "States.HeartbeatTimeout").collect()
        };
        let tasks = retriers(&definition()["States"]);
        for task in &tasks {
            assert_eq!(of_aws(task), of_aws(&tasks[0]));
        }
    }

    #[test]
    fn the_table_in_the_documentation_is_the_catalogue() {
        let path = format!("{}/../docs/operations.md", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        let (begin, end) =
            ("<!-- errors: written by UPDATE_DOCS=1 cargo test -p lambdas errors -->\n", "<!-- end of errors -->");
        let (before, rest) = text.split_once(begin).expect("docs/operations.md has the mark of the table");
        let (written, after) = rest.split_once(end).expect("docs/operations.md has the mark of the table's end");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, format!("{before}{begin}{}{end}{after}", table())).unwrap();
        } else {
            assert_eq!(written, table(), "UPDATE_DOCS=1 cargo test -p lambdas errors");
        }
    }

    #[test]
    fn every_error_of_a_function_is_in_the_catalogue_and_no_other() {
        let functions = [
            AwsError::VARIANTS,
            PageError::VARIANTS,
            ResumeExecutionError::VARIANTS,
            InspectError::VARIANTS,
            SummarizeError::VARIANTS,
            crate::queue::START_JOB_ERRORS,
            &[crate::callbacks::JOB_FAILED],
        ];
        // `Aws` is transparent: the name is that of the `AwsError` inside.
        let named: BTreeSet<_> = functions.concat().into_iter().filter(|name| *name != "Aws").collect();
        let statuses = ["ABORTED", "TIMED_OUT"];
        let known = CATALOGUE.iter().map(|facts| facts.name).chain(INTERNAL.iter().copied());
        let known: BTreeSet<_> = known.filter(|name| !statuses.contains(name)).collect();
        assert_eq!(named, known);
    }
}

//! The terminal session in `docs/operations.md`: ten failures of four kinds, from the alarm to the end.

use std::{
    env, fs,
    future::pending,
    path::Path,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use aws_sdk_sfn::types::ExecutionStatus;
use clap::Parser as _;
use facereel::commands::{replay::Replay, status::Status};
use facereel::terminal::{Choice, exit::Report, stop_at};
use local_stack::Silent;

use crate::step_functions::{Execution, MockStepFunctions, arn};

/// The marks of the session in the documentation.
const BEGIN: &str =
    "<!-- a bad day: written by UPDATE_DOCS=1 cargo test -p tests --test operations bad_day -->\n```console\n";
const END: &str = "```\n<!-- end of a bad day -->\n";

/// Parses the command lines.
#[derive(clap::Parser)]
enum Command {
    Status(Status),
    Replay(Replay),
}

/// A stack on which ten executions have failed.
fn bad_day() -> MockStepFunctions {
    let step_functions = MockStepFunctions::default();
    let fail = |name: &str, key: &str, minutes_ago: u64, error: &str, cause: &str| {
        let mut execution = Execution::failed(error, Duration::from_mins(minutes_ago + 25)).of(key);
        execution.stopped = Some(SystemTime::now() - Duration::from_mins(minutes_ago));
        execution.cause = Some(cause.to_owned());
        step_functions.put(name, execution);
    };
    for (index, minutes_ago) in (1..=4).zip([12, 14, 17, 30]) {
        let key = format!("interviews/{index}.mp4");
        let cause = format!(
            "facereel-inspect-video may not call s3:GetObject on s3://uploads/{key}: the key's policy denies kms:Decrypt"
        );
        fail(&format!("a{index}"), &key, minutes_ago, "AccessDenied", &cause);
    }
    for (index, minutes_ago) in (1..=3).zip([21, 22, 23]) {
        let key = format!("archive/2019-{index}.mov");
        let cause = format!(
            "s3://uploads/{key} is archived (S3 Glacier or Deep Archive); restore it with `aws s3api restore-object`, then replay the execution"
        );
        fail(&format!("b{index}"), &key, minutes_ago, "VideoArchived", &cause);
    }
    for (index, minutes_ago) in (1..=2).zip([40, 55]) {
        let key = format!("concert-{index}.mp4");
        let cause = "INTERNAL_ERROR: Rekognition reported no more (face detection job 8f14e45fceea)";
        fail(&format!("c{index}"), &key, minutes_ago, "JobFailed", cause);
        step_functions.put_object("uploads", &key, &video_of_minutes(index * 4));
    }
    fail("d1", "trailer.mp4", 90, "PageTokenExpired", "the page tokens of the job are older than 24 hours");
    step_functions
}

/// An MP4 file with a movie header only, which says this length.
fn video_of_minutes(minutes: u32) -> Vec<u8> {
    let header = [&[0; 12][..], &1000_u32.to_be_bytes(), &(minutes * 60_000).to_be_bytes(), &[0; 80]].concat();
    let movie = [&108_u32.to_be_bytes()[..], b"mvhd", &header].concat();
    [&116_u32.to_be_bytes()[..], b"moov", &movie].concat()
}

/// The output of a command line, and what the user sees before it.
fn prompt(session: &mut String, command: &str, text: &str) {
    session.extend(["$ ", command, "\n", text, "\n"]);
}

/// The text for a page: without the long start of the links, and without spaces at the ends of lines.
fn shortened(session: &str) -> String {
    let link = arn("");
    let start = session.find("https://").unwrap();
    let end = start + session[start..].find(&link).unwrap();
    let details = format!("{}{link}", &session[start..end]);
    let text = session.replace(&details, "https://eu-west-1.console.aws.amazon.com/…:");
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[tokio::test]
async fn a_bad_day_ends_with_every_video_analysed() {
    let step_functions = bad_day();
    let deployed = step_functions.deployed();
    let mut session = String::new();
    let status = async || {
        let Command::Status(status) = Command::parse_from(["facereel", "status", "--check"]) else { unreachable!() };
        status.run(&deployed, &Silent).await.unwrap()
    };

    let before = status().await;
    assert_eq!((before.exit_status(), before.failed, before.errors.len()), (1, 10, 4));
    prompt(&mut session, "facereel status --check", &before.to_string());

    let Command::Replay(replay) = Command::parse_from(["facereel", "replay", "--wait"]) else { unreachable!() };
    let question = Mutex::new(String::new());
    let ask = async |text: &str| {
        *question.lock().unwrap() = text.to_owned();
        Choice::All
    };
    let ends = step_functions.clone();
    let (report, ()) = tokio::join!(replay.run(&deployed, &Silent, ask, stop_at(pending())), async {
        while ends.calls().len() < 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ends.end_all(&ExecutionStatus::Succeeded, None);
    });
    let report = report.unwrap();
    assert!(report.all_well(), "{report}");
    let question = question.into_inner().unwrap();
    prompt(&mut session, "facereel replay --wait", &format!("{question} [a/f/N] a\n\n{report}"));

    let after = status().await;
    assert_eq!((after.exit_status(), after.failed), (0, 0));
    prompt(&mut session, "facereel status --check", &after.to_string());
    assert_session_in_documentation(&shortened(&session));
}

/// Compares the session with the documentation, or writes it there.
fn assert_session_in_documentation(session: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("docs/operations.md has the mark of the session");
    let (written, after) = rest.split_once(END).expect("docs/operations.md has the mark of the session's end");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{session}{END}{after}")).unwrap();
    } else {
        assert_eq!(written, session, "UPDATE_DOCS=1 cargo test -p tests --test operations bad_day");
    }
}

//! Tests of `facereel logs`.

use aws_sdk_cloudwatchlogs::{
    Client,
    config::{Credentials, Region},
    operation::filter_log_events::{FilterLogEventsError, FilterLogEventsOutput},
    types::{FilteredLogEvent, error::ResourceNotFoundException},
};
use aws_smithy_mocks::{MockResponse, MockResponseInterceptor, RuleMode, create_mock_http_client, mock};
use clap::Parser as _;
use facereel::commands::logs::{Logs, LogsError, LogsReport};
use facereel::deployed::Deployed;
use facereel::terminal::exit::Report as _;
use local_stack::Silent;
use serde_json::{Value, json};
use tests::{
    schema::assert_report,
    workflow::{ANY_VIDEO, Canned, Rig},
};

use crate::step_functions::MockStepFunctions;

/// Parses the command line.
#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    logs: Logs,
    #[arg(long)]
    json: bool,
}

async fn logs(rig: &Rig, video: &str) -> Result<LogsReport, LogsError> {
    let deployed = Deployed::new(rig.workflow.emulator.aws(), rig.workflow.stack.state_machine_arn.parse().unwrap());
    Command::parse_from(["logs", video]).logs.run(&deployed, &Silent).await
}

/// A page of log events.
fn page(events: &[&Value], next_token: Option<&str>) -> FilterLogEventsOutput {
    let event = |(index, message): (usize, &&Value)| {
        let id = i64::try_from(index).unwrap();
        FilteredLogEvent::builder().event_id(id.to_string()).timestamp(id).message(message.to_string()).build()
    };
    let events = events.iter().enumerate().map(event).collect();
    FilterLogEventsOutput::builder().set_events(Some(events)).set_next_token(next_token.map(str::to_owned)).build()
}

/// The functions and the messages of a report, in order.
fn messages(report: &LogsReport) -> Vec<(String, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let document = report.json();
    assert_report("logs-report", &document);
    document["lines"].as_array().unwrap().iter().map(|line| (text(line, "function"), text(line, "message"))).collect()
}

#[tokio::test]
async fn the_lines_of_every_function_about_a_video_are_merged() {
    let rig = Rig::with(Canned::faces(3), |options| options.page_limit = 2).await;
    let key = "2027/my \"best\" day.mp4";
    let execution = rig.upload(key, ANY_VIDEO).await;
    rig.results_of(&execution.arn).await;
    let other = rig.upload("other day.mp4", ANY_VIDEO).await;
    rig.results_of(&other.arn).await;

    let report = logs(&rig, key).await.unwrap();
    let messages = messages(&report);
    for expected in [
        ("inspect-video", "the video can be analysed"),
        ("start-detection", "started the job"),
        ("resume-execution", "sent a callback"),
        ("list-pages", "listed pages"),
        ("fetch-page", "wrote a page"),
        ("summarize", "the result is complete"),
    ] {
        assert!(
            messages.iter().any(|(function, message)| (function.as_str(), message.as_str()) == expected),
            "{report}"
        );
    }
    assert_eq!(messages.last().unwrap().0, "summarize", "{report}");
    assert_eq!(messages.iter().filter(|(function, _)| function == "fetch-page").count(), 2, "{report}");
    assert!(report.to_string().contains("page=1  faces=1"), "{report}");
    let document = report.json();
    let lines = document["lines"].as_array().unwrap();
    assert!(lines.is_sorted_by_key(|line| line["time"].as_str().unwrap()), "{report}");
    let name = execution.arn.rsplit(':').next().unwrap();
    assert!(lines.iter().all(|line| [&json!(name), &Value::Null].contains(&&line["execution_name"])), "{document:#}");

    for same in [&format!("s3://facereel-uploads/{key}"), &execution.arn, name] {
        assert_eq!(logs(&rig, same).await.unwrap().json()["lines"], document["lines"], "{same}");
    }
}

#[tokio::test]
async fn the_cause_of_a_failure_is_in_the_lines() {
    let rig = Rig::start(Canned::faces(1)).await;
    let execution = rig.upload("text.mp4", b"no video").await;
    rig.failure_of(&execution.arn).await;
    let report = logs(&rig, "text.mp4").await.unwrap().to_string();
    assert!(report.contains("inspect-video       WARN   the video cannot be analysed"), "{report}");
    assert!(report.contains("error=NotAVideo") && report.contains("cause=s3://facereel-uploads/text.mp4"), "{report}");
}

#[tokio::test]
async fn a_video_without_lines_and_an_invalid_name_are_reported() {
    let rig = Rig::start(Canned::faces(1)).await;
    let report = logs(&rig, "missing.mp4").await.unwrap().to_string();
    for part in ["Nothing was logged about missing.mp4 since 20", "--since", "/aws/lambda/facereel-*"] {
        assert!(report.contains(part), "{part} is not in: {report}");
    }
    let of_another = "arn:aws:states:us-east-1:000000000000:execution:other-analyze-video:e1";
    let missing = rig.workflow.stack.state_machine_arn.replace("stateMachine", "execution") + ":e1";
    for (video, says) in [
        ("s3://facereel-uploads", "names no object"),
        ("S3://facereel-uploads/a.mp4", "write s3://facereel-uploads/a.mp4"),
        (of_another, "is not an execution of arn:aws:states:"),
        (&missing, "there is no execution arn:aws:states:"),
    ] {
        let error = logs(&rig, video).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let input = json!({ "bucket": "facereel-uploads" });
    let arn = rig.workflow.executions.start(&input).await.unwrap();
    rig.failure_of(&arn).await;
    let error = logs(&rig, arn.rsplit(':').next().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("is not about a video"), "{error}");
}

/// The emulator has neither pages of log events nor Lambda's reports.
#[tokio::test]
async fn empty_pages_are_skipped_and_a_timeout_of_lambda_is_shown() {
    let fetched = json!({
        "level": "INFO",
        "fields": { "message": "wrote a page", "page": 0 },
        "spans": [{ "requestId": "r1", "name": "invoke" }, { "key": "a.mp4", "name": "fetch_page" }],
    });
    let timeout = json!({ "type": "platform.report", "record": { "requestId": "r1", "status": "timeout" } });
    let of_another = json!({ "type": "platform.report", "record": { "requestId": "r2", "status": "timeout" } });
    let filter = mock!(Client::filter_log_events).then_compute_response(move |request| {
        if request.log_group_name() != Some("/aws/lambda/facereel-fetch-page") {
            let error = ResourceNotFoundException::builder().build();
            return MockResponse::Error(FilterLogEventsError::ResourceNotFoundException(error));
        }
        MockResponse::Output(match (request.filter_pattern().unwrap(), request.next_token()) {
            ("\"a.mp4\"", None) => page(&[], Some("2")),
            ("\"a.mp4\"", Some("2")) => page(&[&fetched], None),
            (pattern, None) if pattern.contains("platform.report") => page(&[&of_another, &timeout], None),
            (pattern, token) => panic!("{pattern} {token:?}"),
        })
    });
    let mut deployed = MockStepFunctions::default().deployed();
    deployed.logs = Client::from_conf(
        aws_sdk_cloudwatchlogs::Config::builder()
            .behavior_version_latest()
            .region(Region::from_static("eu-west-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(create_mock_http_client())
            .interceptor(MockResponseInterceptor::new().rule_mode(RuleMode::MatchAny).with_rule(&filter))
            .build(),
    );
    let report = Command::parse_from(["logs", "a.mp4"]).logs.run(&deployed, &Silent).await.unwrap();
    let expected = ["wrote a page", "Lambda ended the invocation with the status timeout"];
    let shown: Vec<_> = messages(&report).into_iter().map(|(_, message)| message).collect();
    assert_eq!(shown, expected, "{report}");
}

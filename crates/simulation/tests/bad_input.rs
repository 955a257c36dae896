//! Bad input of every kind: it ends in a named error or is ignored, and does not affect the other videos.

use lambdas::serve::{ConfigError, config_from};
use lambdas::{fetch_page, resume_execution, start_detection, summarize};
use serde_json::{Value, json};
use simulation::{Content, ExecutionEnd, Kind, MINUTE, Run, SECOND, Scenario, Upload, run};

fn upload(key: &str, kind: Kind) -> Upload {
    let content = Content { id: 1, kind, faces: 20, job_ms: MINUTE, failures: 0 };
    Upload { at: 0, key: key.to_owned(), content, events: vec![SECOND] }
}

/// A scenario with a good video, which must succeed whatever else happens.
fn scenario() -> Scenario {
    Scenario { uploads: vec![upload("good.mp4", Kind::Video)], ..Scenario::fault_free(1) }
}

#[track_caller]
fn run_without_violations(scenario: &Scenario) -> Run {
    let run = run(scenario);
    assert!(run.violations.is_empty(), "{:#?}\n{}", run.violations, run.trace);
    assert_eq!(end(&run, "event-0_0").error, "", "the good video");
    run
}

#[track_caller]
fn end<'a>(run: &'a Run, execution: &str) -> &'a ExecutionEnd {
    run.executions
        .iter()
        .find(|end| end.execution == execution)
        .unwrap_or_else(|| panic!("no {execution} in {:?}", run.executions))
}

/// An event as `EventBridge` delivers it, with another value at `pointer`.
fn event(pointer: &str, value: Value) -> Value {
    let mut event = json!({
        "version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103", "detail-type": "Object Created",
        "source": "aws.s3", "account": "123456789012", "time": "2027-01-04T09:00:00Z", "region": "us-east-1",
        "resources": ["arn:aws:s3:::uploads"],
        "detail": { "bucket": { "name": "uploads" }, "object": { "key": "good.mp4", "size": 5 } },
    });
    *event.pointer_mut(pointer).expect("a field of the event") = value;
    event
}

#[test]
fn an_invalid_input_fails_with_a_named_error() {
    let rows = [
        (json!(null), "InvalidInput", "invalid type: null"),
        (json!(7), "InvalidInput", "invalid type: integer `7`"),
        (json!("s3://uploads/good.mp4"), "InvalidInput", "invalid type: string"),
        (json!([]), "InvalidInput", "invalid length 0"),
        (json!({}), "InvalidInput", "missing field `bucket`"),
        (json!({"bucket": "uploads"}), "InvalidInput", "missing field `key`"),
        (json!({"key": "good.mp4"}), "InvalidInput", "missing field `bucket`"),
        (json!({"bucket": "", "key": "good.mp4"}), "InvalidInput", "bucket is empty"),
        (json!({"bucket": "uploads", "key": ""}), "InvalidInput", "key is empty"),
        (json!({"bucket": "uploads", "key": 7}), "InvalidInput", "invalid type: integer `7`"),
        (json!({"bucket": "uploads", "Key": "good.mp4"}), "InvalidInput", "unknown field `Key`"),
        (json!({"bucket": "uploads", "key": "good.mp4", "version": "1"}), "InvalidInput", "unknown field `version`"),
        (json!({"detail": null}), "InvalidInput", "invalid type: null"),
        (event("/source", json!("aws.ec2")), "InvalidInput", "event of aws.ec2"),
        (event("/detail-type", json!("Object Deleted")), "InvalidInput", "\"Object Deleted\" event"),
        (event("/detail", json!("uploads/good.mp4")), "InvalidInput", "invalid type: string"),
        (event("/detail/bucket", json!({})), "InvalidInput", "missing field `name`"),
        (event("/detail/bucket/name", json!("")), "InvalidInput", "bucket is empty"),
        (event("/detail/object", json!({})), "InvalidInput", "missing field `key`"),
        (event("/detail/object/key", json!("")), "InvalidInput", "key is empty"),
        (event("/detail/object/key", json!(["good.mp4"])), "InvalidInput", "invalid type: sequence"),
        (event("/detail/object/key", json!("gone.mp4")), "VideoNotFound", "no object at s3://uploads/gone.mp4"),
        (json!({"bucket": "elsewhere", "key": "good.mp4"}), "VideoNotFound", "s3://elsewhere/good.mp4"),
        (json!({"bucket": "uploads", "key": "good.mp4/"}), "VideoNotFound", "s3://uploads/good.mp4/"),
        (json!({"bucket": "uploads", "key": "good.mp4", "version_id": "version-77"}), "VideoNotFound", "version-77)"),
        (json!({"bucket": "uploads", "key": "good.mp4", "version_id": "none"}), "VideoUnreadable", "is malformed"),
        (json!({"bucket": "Not_A_Name", "key": "good.mp4"}), "VideoUnreadable", "is malformed"),
        (json!({"bucket": "another-region", "key": "good.mp4"}), "VideoUnreadable", "in another Region"),
    ];
    let manual = rows.iter().map(|(input, ..)| (SECOND, input.clone())).collect();
    let run = run_without_violations(&Scenario { manual, ..scenario() });
    for (index, (input, error, cause)) in rows.iter().enumerate() {
        let end = end(&run, &format!("console-{index}"));
        assert_eq!(end.error, *error, "{input}: {}", end.cause);
        assert!(end.cause.contains(cause), "{input}: {}", end.cause);
    }
    // The good video and the one that every scenario ends with: nothing else is paid.
    assert_eq!(run.jobs.len(), 2);
}

#[test]
fn an_object_that_is_no_good_video_fails_with_a_named_error() {
    let rows = [
        (Kind::Empty, "VideoEmpty", "is empty"),
        (Kind::Text, "NotAVideo", "does not begin like an MP4 or MOV file"),
        (Kind::TooLarge, "VideoTooLarge", "accepts at most 10737418240"),
        (Kind::TooLong, "VideoTooLarge", "6 hours"),
        (Kind::Forbidden, "VideoUnreadable", "cannot read s3://uploads/bad-5.mp4"),
        (Kind::UnknownCodec, "JobFailed", "unsupported codec/format"),
        (Kind::Archived, "VideoArchived", "aws s3api restore-object"),
        (Kind::Denied, "AccessDenied", "grant it to the role of the function"),
    ];
    let mut scenario = scenario();
    for (index, (kind, ..)) in rows.iter().enumerate() {
        scenario.uploads.push(upload(&format!("bad-{}.mp4", index + 1), *kind));
    }
    let run = run_without_violations(&scenario);
    for (index, (kind, error, cause)) in rows.iter().enumerate() {
        let end = end(&run, &format!("event-{}_0", index + 1));
        assert_eq!(end.error, *error, "{kind:?}: {}", end.cause);
        assert!(end.cause.contains(cause), "{kind:?}: {}", end.cause);
    }
    // Only the codec is found by Rekognition, and so by a job.
    assert_eq!(run.jobs.len(), 3);
}

#[test]
fn forged_messages_resume_no_execution() {
    let ignored = [
        String::new(),
        "no JSON".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        json!({"Status": "SUCCEEDED"}).to_string(),
        json!({"JobId": 7}).to_string(),
        json!({"JobId": ""}).to_string(),
        json!({"JobId": "short"}).to_string(),
        json!({"JobId": "0".repeat(64), "Status": "SUCCEEDED"}).to_string(),
        "{\"JobId\":".to_owned() + &"[".repeat(500),
    ];
    let forged_messages = ignored.into_iter().map(|message| (20 * SECOND, Some(message))).collect();
    let run = run_without_violations(&Scenario { forged_messages, ..scenario() });
    assert!(!run.coverage.contains_key("dead letter"), "ignored without a retry: {:?}", run.coverage);

    // A false success of a running job is checked several times and then is a dead letter: it resumes no execution.
    let mut long = scenario();
    long.uploads[0].content.job_ms = 10 * MINUTE;
    let run = run_without_violations(&Scenario { forged_messages: vec![(20 * SECOND, None)], ..long });
    assert!(run.trace.contains("ResumeExecution ends with JobNotFinished"), "{}", run.trace);
}

#[test]
fn foreign_objects_among_the_callbacks_and_entries_are_ignored() {
    let idempotency_key = &run_without_violations(&scenario()).jobs[0].idempotency_key;
    let nonsense = ["", "no JSON", "null", "{}", "{\"execution\":7}", "\u{1f3ac}"];
    for body in nonsense {
        let keys = [
            format!("callbacks/{idempotency_key}/unknown/0"),
            format!("callbacks/{idempotency_key}/event-0_0/0"),
            "queue/entries/0000000000000-unknown".to_owned(),
            "queue/entries/".to_owned(),
            "queue/lease".to_owned(),
            "queue/slot-freed".to_owned(),
            format!("queue/completed-jobs/{idempotency_key}"),
        ];
        for key in keys {
            let foreign_objects = vec![(key, body.to_owned())];
            run_without_violations(&Scenario { foreign_objects, ..scenario() });
        }
    }
}

#[test]
fn an_invalid_environment_is_reported_with_its_variable() {
    let all = [
        ("RESULTS_BUCKET", "results"),
        ("COMPLETION_TOPIC_ARN", "topic"),
        ("PUBLISH_ROLE_ARN", "role"),
        ("FACE_ATTRIBUTES", "DEFAULT"),
    ];
    let with = |name: &str, value: Option<&str>| {
        let others = all.iter().filter(|(other, _)| *other != name);
        let changed = value.map(|value| (name.to_owned(), value.to_owned()));
        let others = others.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        others.chain(changed).collect::<Vec<_>>().into_iter()
    };
    let error = |result: Result<(), ConfigError>| result.expect_err("the environment is invalid").to_string();
    let start = |variables| config_from::<start_detection::Config>(variables).map(drop);
    for (name, _) in all {
        let message = error(start(with(name, None)));
        assert!(message.contains(&format!("missing field `{}`", name.to_lowercase())), "{name}: {message}");
    }
    for value in ["", "default", "ALL ", "NONE"] {
        let message = error(start(with("FACE_ATTRIBUTES", Some(value))));
        assert!(message.contains(&format!("unknown variant `{value}`, expected `DEFAULT` or `ALL`")), "{message}");
    }
    let without = || with("RESULTS_BUCKET", None);
    for message in [
        error(config_from::<resume_execution::Config>(without()).map(drop)),
        error(config_from::<fetch_page::Config>(without()).map(drop)),
        error(config_from::<summarize::Config>(without()).map(drop)),
    ] {
        assert!(message.contains("missing field `results_bucket`"), "{message}");
    }
}

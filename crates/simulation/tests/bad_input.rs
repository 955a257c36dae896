//! Bad input of every kind: each ends in its own named error, or is passed over, and harms nobody else.

use lambdas::serve::{ConfigError, config_from};
use lambdas::{fetch_page, resume_execution, start_detection, summarize};
use serde_json::{Value, json};
use simulation::{Content, End, Kind, MINUTE, Run, SECOND, Story, Upload, run};

fn upload(key: &str, kind: Kind) -> Upload {
    let content = Content { id: 1, kind, faces: 20, job_ms: MINUTE, failures: 0 };
    Upload { at: 0, key: key.to_owned(), content, events: vec![SECOND] }
}

/// A good video, which must succeed whatever stands beside it.
fn story() -> Story {
    Story { uploads: vec![upload("good.mp4", Kind::Video)], ..Story::calm(1) }
}

#[track_caller]
fn played(story: &Story) -> Run {
    let run = run(story);
    assert!(run.violations.is_empty(), "{:#?}\n{}", run.violations, run.told);
    assert_eq!(end(&run, "event-0_0").error, "", "the good video");
    run
}

#[track_caller]
fn end<'a>(run: &'a Run, execution: &str) -> &'a End {
    run.ends.iter().find(|end| end.execution == execution).unwrap_or_else(|| panic!("no {execution} in {:?}", run.ends))
}

/// An event as `EventBridge` hands it over, with something else at `pointer`.
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
fn inputs_of_executions() {
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
        (json!({"bucket": "uploads", "key": "good.mp4", "version_id": "none"}), "VideoNotFound", "(version none)"),
    ];
    let manual = rows.iter().map(|(input, ..)| (SECOND, input.clone())).collect();
    let run = played(&Story { manual, ..story() });
    for (index, (input, error, cause)) in rows.iter().enumerate() {
        let end = end(&run, &format!("by-hand-{index}"));
        assert_eq!(end.error, *error, "{input}: {}", end.cause);
        assert!(end.cause.contains(cause), "{input}: {}", end.cause);
    }
    // The good video and the one that every story ends with: nobody paid for anything else.
    assert_eq!(run.jobs.len(), 2);
}

#[test]
fn objects_among_the_uploads() {
    let rows = [
        (Kind::Empty, "VideoEmpty", "is empty"),
        (Kind::Text, "NotAVideo", "does not begin like an MP4 or MOV file"),
        (Kind::TooLarge, "VideoTooLarge", "takes at most 10737418240"),
        (Kind::TooLong, "VideoTooLarge", "6 hours"),
        (Kind::Forbidden, "VideoUnreadable", "cannot read s3://uploads/bad-5.mp4"),
        (Kind::UnknownCodec, "JobFailed", "unsupported codec/format"),
    ];
    let mut story = story();
    for (index, (kind, ..)) in rows.iter().enumerate() {
        story.uploads.push(upload(&format!("bad-{}.mp4", index + 1), *kind));
    }
    let run = played(&story);
    for (index, (kind, error, cause)) in rows.iter().enumerate() {
        let end = end(&run, &format!("event-{}_0", index + 1));
        assert_eq!(end.error, *error, "{kind:?}: {}", end.cause);
        assert!(end.cause.contains(cause), "{kind:?}: {}", end.cause);
    }
    // Only the codec is Rekognition's to find out.
    assert_eq!(run.jobs.len(), 3);
}

#[test]
fn messages_of_the_topic() {
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
    let forgeries = ignored.into_iter().map(|message| (20 * SECOND, Some(message))).collect();
    let run = played(&Story { forgeries, ..story() });
    assert!(!run.met.contains_key("dead letter"), "passed over at once: {:?}", run.met);

    // A lie about a job that runs is asked about again, and a dead letter in the end: it resumes nobody.
    let mut long = story();
    long.uploads[0].content.job_ms = 10 * MINUTE;
    let run = played(&Story { forgeries: vec![(20 * SECOND, None)], ..long });
    assert!(run.told.contains("ResumeExecution ends with JobNotFinished"), "{}", run.told);
}

#[test]
fn objects_among_the_callbacks_and_entries() {
    let idempotency_key = &played(&story()).jobs[0].idempotency_key;
    let nonsense = ["", "no JSON", "null", "{}", "{\"execution\":7}", "\u{1f3ac}"];
    for body in nonsense {
        let places = [
            format!("callbacks/{idempotency_key}/nobody/0"),
            format!("callbacks/{idempotency_key}/event-0_0/0"),
            "queue/entries/0000000000000-nobody".to_owned(),
            "queue/entries/".to_owned(),
            "queue/lease".to_owned(),
            "queue/slot-freed".to_owned(),
            format!("queue/completed-jobs/{idempotency_key}"),
        ];
        for place in places {
            let litter = vec![(place, body.to_owned())];
            played(&Story { litter, ..story() });
        }
    }
}

#[test]
fn environments_of_functions() {
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
    let error = |result: Result<(), ConfigError>| result.expect_err("wrong").to_string();
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

//! The lines that the functions log: JSON, with the fields of the event and of its spans.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use lambdas::functions::Function;
use serde_json::{Map, Value};

/// One line about a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) time: SystemTime,
    pub(super) function: Function,
    pub(super) level: String,
    pub(super) message: String,
    /// The fields of the event, without its message, and without those that are the same on every line.
    pub(super) fields: Map<String, Value>,
    pub(super) execution_name: Option<String>,
    pub(super) request_id: Option<String>,
}

/// The video, and if there is one, the only execution whose lines are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) key: String,
    pub(super) execution_name: Option<String>,
}

/// The fields that say which video a line is about.
const IDENTITY: [&str; 4] = ["key", "execution_name", "execution_arn", "idempotency_key"];

impl Line {
    /// Reads a line if it is about the subject. `None` for any other line, such as those of Lambda itself and of metrics.
    pub(super) fn read(function: Function, time_ms: i64, text: &str, subject: &Subject) -> Option<Self> {
        let line: Value = serde_json::from_str(text).ok()?;
        let level = line.get("level")?.as_str()?.to_owned();
        let mut fields = line.get("fields")?.as_object()?.clone();
        let message = fields.remove("message")?.as_str()?.to_owned();
        let spans = line.get("spans").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        // The innermost span is the most specific one: an invocation for one video can start the job of another.
        let all = || std::iter::once(&fields).chain(spans.iter().rev().filter_map(Value::as_object));
        let text = |name: &str| all().find_map(|fields| fields.get(name)?.as_str()).map(str::to_owned);
        let (key, request_id) = (text("key"), text("requestId"));
        let by_arn = || Some(text("execution_arn")?.rsplit(':').next()?.to_owned());
        let execution_name = text("execution_name").or_else(by_arn);
        if key.as_ref() != Some(&subject.key) {
            return None;
        }
        let is_other = |wanted: &String| execution_name.as_ref().is_some_and(|name| name != wanted);
        if subject.execution_name.as_ref().is_some_and(is_other) {
            return None;
        }
        fields.retain(|name, _| !IDENTITY.contains(&name.as_str()));
        Some(Self { time: time(time_ms)?, function, level, message, fields, execution_name, request_id })
    }

    /// Reads the report of Lambda about one of these invocations, if it did not succeed: for example, a timeout is in no line
    /// of the function. The fields are described in
    /// <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html#platform-report>.
    pub(super) fn of_report(function: Function, time_ms: i64, text: &str, requests: &HashSet<&str>) -> Option<Self> {
        let line: Value = serde_json::from_str(text).ok().filter(|line: &Value| line["type"] == "platform.report")?;
        let record = line.get("record")?;
        let (request_id, status) = (record.get("requestId")?.as_str()?, record.get("status")?.as_str()?);
        if status == "success" || !requests.contains(request_id) {
            return None;
        }
        let fields = [("error_type", record.get("errorType")), ("duration_ms", record.pointer("/metrics/durationMs"))];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.clone())));
        Some(Self {
            time: time(time_ms)?,
            function,
            level: "ERROR".to_owned(),
            message: format!("Lambda ended the invocation with the status {status}"),
            fields: fields.collect(),
            execution_name: None,
            request_id: Some(request_id.to_owned()),
        })
    }
}

fn time(ms: i64) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_millis(ms.try_into().ok()?))
}

/// The pattern for the reports of Lambda about invocations that did not succeed.
pub(super) const FAILED_REPORTS: &str = r#"{ ($.type = "platform.report") && ($.record.status != "success") }"#;

/// The pattern for `FilterLogEvents` that leaves out most lines about other videos. `None`, if no part of the key can be
/// searched reliably. [`Line::read`] decides which lines are about the video.
///
/// A pattern is a phrase in double quotes
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>). The page does not say how a quotation
/// mark within it is written, nor whether a phrase can begin within a word. So the pattern is a part of the key without
/// characters that JSON escapes, which neither begins nor ends within a word.
pub(super) fn pattern(key: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let mut parts = Vec::new();
    let mut rest = key;
    while let Some(start) = rest.find(plain) {
        let part = &rest[start..];
        let end = part.find(|c| !plain(c)).unwrap_or(part.len());
        let before = rest[..start].chars().next_back();
        let after = part[end..].chars().next();
        // Whether a character of another alphabet is a part of the word is not documented either.
        if [before, after].into_iter().flatten().all(|c| c.is_ascii()) {
            parts.push(&part[..end]);
        }
        rest = &part[end..];
    }
    let longest = parts.into_iter().max_by_key(|part| part.len())?;
    Some(format!("\"{longest}\""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn subject(key: &str, execution_name: Option<&str>) -> Subject {
        Subject { key: key.to_owned(), execution_name: execution_name.map(str::to_owned) }
    }

    fn started() -> String {
        json!({
            "level": "INFO",
            "fields": { "message": "started the job", "job_id": "j1", "attempt": 0, "waited": "2s" },
            "span": { "execution_name": "e1", "key": "a.mp4", "idempotency_key": "i1", "name": "start" },
            "spans": [
                { "requestId": "r1", "name": "Lambda runtime invoke" },
                { "execution_name": "e0", "key": "earlier.mp4", "name": "start_detection" },
                { "execution_name": "e1", "key": "a.mp4", "idempotency_key": "i1", "name": "start" },
            ],
        })
        .to_string()
    }

    fn read(text: &str, subject: &Subject) -> Option<Line> {
        Line::read(Function::StartDetection, 1_764_000_000_123, text, subject)
    }

    #[test]
    fn a_line_is_about_the_video_of_its_innermost_span() {
        let line = read(&started(), &subject("a.mp4", None)).unwrap();
        assert_eq!((line.level.as_str(), line.message.as_str()), ("INFO", "started the job"));
        assert_eq!(Value::Object(line.fields), json!({ "job_id": "j1", "attempt": 0, "waited": "2s" }));
        assert_eq!((line.execution_name.as_deref(), line.request_id.as_deref()), (Some("e1"), Some("r1")));
        assert_eq!(line.time, SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_000_000_123));
        for key in ["earlier.mp4", "A.mp4", "a.mp4 "] {
            assert_eq!(read(&started(), &subject(key, None)), None, "{key}");
        }
    }

    #[test]
    fn the_lines_of_another_execution_for_the_same_video_are_left_out() {
        assert!(read(&started(), &subject("a.mp4", Some("e1"))).is_some());
        assert_eq!(read(&started(), &subject("a.mp4", Some("e2"))), None);
        let summarized = json!({
            "level": "INFO",
            "fields": { "message": "the result is complete", "faces": 3 },
            "spans": [{ "execution_arn": "arn:aws:states:eu-west-1:1:execution:x:e1", "key": "a.mp4", "name": "summarize" }],
        })
        .to_string();
        assert!(read(&summarized, &subject("a.mp4", Some("e1"))).is_some());
        assert_eq!(read(&summarized, &subject("a.mp4", Some("e2"))), None);
        // A completed job concerns every execution that waits for it.
        let completed = json!({
            "level": "INFO",
            "fields": { "message": "no execution waits for this job" },
            "spans": [{ "job_id": "j1", "key": "a.mp4", "name": "resume" }],
        });
        assert!(read(&completed.to_string(), &subject("a.mp4", Some("e2"))).is_some());
    }

    #[test]
    fn lines_of_lambda_and_of_metrics_are_left_out() {
        for text in [
            "START RequestId: r1 Version: $LATEST",
            r#"{"time":"2027-01-04T09:00:00Z","type":"platform.report","record":{"requestId":"r1"}}"#,
            r#"{"_aws":{"CloudWatchMetrics":[]},"Videos":1,"key":"a.mp4"}"#,
        ] {
            assert_eq!(read(text, &subject("a.mp4", None)), None, "{text}");
        }
    }

    #[test]
    fn an_invocation_that_lambda_has_ended_is_shown() {
        let report = |status: &str| {
            let metrics = json!({ "durationMs": 900_000.0, "memorySizeMB": 256 });
            let record = json!({ "requestId": "r1", "status": status, "metrics": metrics });
            json!({ "time": "2027-01-04T09:00:00.000Z", "type": "platform.report", "record": record }).to_string()
        };
        let read = |text: &str, requests: &[&str]| {
            Line::of_report(Function::FetchPage, 1_764_000_000_123, text, &requests.iter().copied().collect())
        };
        let line = read(&report("timeout"), &["r0", "r1"]).unwrap();
        assert_eq!(
            (line.level.as_str(), line.message.as_str()),
            ("ERROR", "Lambda ended the invocation with the status timeout")
        );
        assert_eq!(Value::Object(line.fields), json!({ "duration_ms": 900_000.0 }));
        for (text, requests) in [(report("success"), ["r1"]), (report("timeout"), ["r0"]), (started(), ["r1"])] {
            assert_eq!(read(&text, &requests), None, "{text}");
        }
    }

    #[test]
    fn the_pattern_is_the_longest_part_of_the_key_that_can_be_searched() {
        for (key, expected) in [
            ("2027/day_1-a.mp4", Some(r#""2027/day_1-a.mp4""#)),
            ("my \"best\" holiday.mp4", Some(r#""holiday.mp4""#)),
            ("a b -x.mp4", Some(r#""-x.mp4""#)),
            ("100%/film*.mp4", Some(r#""/film""#)),
            ("ünïcode/long name.mp4", Some(r#""name.mp4""#)),
            ("🎬.mp4", None),
        ] {
            assert_eq!(pattern(key).as_deref(), expected, "{key}");
        }
    }
}

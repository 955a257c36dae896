//! The report of `facereel logs`: one line for each line of the logs.

use std::{fmt, time::SystemTime};

use humantime::{format_rfc3339_millis, format_rfc3339_seconds};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::line::{Line, Subject};
use crate::documents::document;
use crate::terminal::exit;

/// Fields with a whole key, which is long and contains the key of the video again. They are only in the JSON document.
const LONG: [&str; 2] = ["object", "manifest"];

/// The lines about a video.
#[derive(Debug, Clone)]
pub struct LogsReport {
    pub(super) subject: Subject,
    pub(super) since: SystemTime,
    pub(super) lines: Vec<Line>,
    /// The names of the functions.
    pub(super) groups: String,
}

/// The report of the logs as JSON.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "The report of `facereel logs --json`")]
pub struct LogsDocument {
    /// The key of the video.
    key: String,
    /// The time since which lines are shown.
    since: String,
    /// The lines, in the order of time.
    lines: Vec<LineDocument>,
}

/// One line.
#[derive(Debug, Serialize, JsonSchema)]
struct LineDocument {
    /// The time.
    time: String,
    /// The function, without the name of the stack.
    function: String,
    /// `INFO`, `WARN` or `ERROR`.
    level: String,
    /// What happened.
    message: String,
    /// The fields of the message, such as `job_id`, `page` and `faces`.
    fields: Map<String, Value>,
    /// The name of the execution. null, if the line is not about one.
    execution_name: Option<String>,
    /// The id of the invocation.
    request_id: Option<String>,
}

impl exit::Report for LogsReport {
    fn json(&self) -> Value {
        let lines = self.lines.iter().cloned().map(|line| LineDocument {
            time: format_rfc3339_millis(line.time).to_string(),
            function: line.function.name().to_owned(),
            level: line.level,
            message: line.message,
            fields: line.fields,
            execution_name: line.execution_name,
            request_id: line.request_id,
        });
        document(&LogsDocument {
            key: self.subject.key.clone(),
            since: format_rfc3339_seconds(self.since).to_string(),
            lines: lines.collect(),
        })
    }
}

impl fmt::Display for LogsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, since, lines, groups } = self;
        if lines.is_empty() {
            let since = format_rfc3339_seconds(*since);
            return write!(
                f,
                "Nothing was logged about {} since {since}. Check the key, or give an earlier --since; the log groups are /aws/lambda/{groups}, and a line can take a minute to appear",
                subject.key
            );
        }
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            line.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, function) = (format_rfc3339_millis(self.time), self.function.name());
        write!(f, "{time}  {function:18}  {:5}  {}", printable(&self.level), printable(&self.message))?;
        for (name, value) in self.fields.iter().filter(|(name, _)| !LONG.contains(&name.as_str())) {
            let value = value.as_str().map_or_else(|| value.to_string(), printable);
            write!(f, "  {}={value}", printable(name))?;
        }
        Ok(())
    }
}

/// A text without control characters, which would change the terminal.
fn printable(text: &str) -> String {
    let mut printable = String::new();
    for character in text.chars() {
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lambdas::functions::Function;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_shows_the_time_the_function_the_level_the_message_and_its_fields() {
        let Value::Object(fields) = json!({ "page": 3, "faces": 12, "object": "results/a.mp4/k/faces/00003.jsonl", "cause": "a\u{1b}[31mb\nc" })
        else {
            panic!()
        };
        let line = Line {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_000_000_123),
            function: Function::FetchPage,
            level: "INFO".to_owned(),
            message: "wrote a page".to_owned(),
            fields,
            execution_name: None,
            request_id: None,
        };
        let text = line.to_string();
        assert!(text.starts_with("2025-11-24T16:00:00.123Z  fetch-page          INFO   wrote a page  "), "{text}");
        assert!(text.contains("page=3") && text.contains("faces=12"), "{text}");
        assert!(!text.contains("00003.jsonl"), "{text}");
        assert!(text.contains(r"cause=a\u{1b}[31mb\nc"), "{text}");
    }
}

//! The video of an execution, as an operator names it.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// The number of characters of a video in a table. A longer one is shortened in the middle.
const MAX_SHOWN: usize = 60;

/// The video of an execution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct Video {
    /// The bucket's name.
    pub bucket: String,
    /// The key, raw: neither decoded nor encoded.
    pub key: String,
    /// The version, in a versioned bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
}

impl Video {
    /// The video in the input of an execution. `None` for an input that names none.
    #[must_use]
    pub fn of_input(input: &str) -> Option<Self> {
        let location = lambdas::input::location(serde_json::from_str(input).ok()?).ok()?;
        Some(Self { bucket: location.bucket, key: location.key, version_id: location.version_id })
    }

    /// The video for a table: shortened in the middle, so that the bucket and the end of the key can be read.
    #[must_use]
    pub fn short(&self) -> String {
        shortened(&self.to_string(), MAX_SHOWN)
    }
}

/// `bucket/key`. Characters that would control the terminal are escaped.
impl fmt::Display for Video {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.bucket.chars().chain(['/']).chain(self.key.chars()) {
            // The latter change the direction of the text.
            if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Removes characters from the middle of a text that has more than `max`. A third of the rest is from its start.
fn shortened(text: &str, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text.to_owned();
    }
    let start = (max - 1) / 3;
    let end = max - 1 - start;
    text.chars().take(start).chain(['…']).chain(text.chars().skip(count - end)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn video(key: &str) -> Video {
        Video { bucket: "uploads".to_owned(), key: key.to_owned(), version_id: None }
    }

    #[test]
    fn the_video_of_an_execution_is_in_the_event_or_in_the_manual_input() {
        let manual = json!({ "bucket": "uploads", "key": "a b+c%2F🎬.mp4" }).to_string();
        assert_eq!(Video::of_input(&manual), Some(video("a b+c%2F🎬.mp4")));
        let path = format!("{}/../../tests/fixtures/events/put-object.json", env!("CARGO_MANIFEST_DIR"));
        let event = Video::of_input(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(event.to_string(), "amzn-s3-demo-bucket/holiday/day 1.mp4");
        for input in ["", "{}", "null", r#"{"bucket": "uploads"}"#] {
            assert_eq!(Video::of_input(input), None, "{input}");
        }
    }

    #[test]
    fn a_long_key_keeps_its_start_and_its_end() {
        assert_eq!(video("holiday.mp4").short(), "uploads/holiday.mp4");
        let short = video(&format!("{}/the-end.mp4", "é".repeat(500))).short();
        assert_eq!(short.chars().count(), MAX_SHOWN);
        assert!(short.starts_with("uploads/é") && short.contains('…') && short.ends_with("/the-end.mp4"), "{short}");
    }

    #[test]
    fn a_key_cannot_control_the_terminal() {
        let text = video("a\u{1b}[2Jb\nc\u{202e}4pm.mp4").to_string();
        assert_eq!(text, r"uploads/a\u{1b}[2Jb\nc\u{202e}4pm.mp4");
    }
}

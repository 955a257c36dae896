//! The `EventBridge` rules that start an execution for an upload.

use std::fmt;

use serde_json::Value;

use super::{Deployed, Error};

/// A rule that starts an execution for each upload to a bucket whose key matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRule {
    /// Its name.
    pub name: String,
    /// Whether it is enabled.
    pub enabled: bool,
    /// The upload bucket.
    pub bucket: String,
    /// The patterns of the keys. One of them must match.
    pub keys: Vec<KeyPattern>,
    /// The whole event pattern.
    pub pattern: Value,
}

/// A pattern of keys, in one of the two forms that the module writes
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPattern {
    /// The key ends with this text, in upper or lower case.
    Suffix(String),
    /// The key starts with the first text and ends with the second one, in this case.
    PrefixAndSuffix(String, String),
}

impl KeyPattern {
    /// Whether the key matches.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        match self {
            Self::Suffix(suffix) => {
                let start = key.len().saturating_sub(suffix.len());
                key.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
            Self::PrefixAndSuffix(prefix, suffix) => {
                key.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.ends_with(suffix.as_str()))
            }
        }
    }

    fn read(pattern: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match (pattern.pointer("/suffix/equals-ignore-case").or_else(|| pattern.get("suffix")), pattern.get("wildcard"))
        {
            (Some(suffix), _) => text(suffix).map(Self::Suffix),
            (None, Some(wildcard)) => {
                let (prefix, suffix) = wildcard.as_str()?.rsplit_once('*')?;
                Some(Self::PrefixAndSuffix(prefix.to_owned(), suffix.to_owned()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::PrefixAndSuffix(prefix, suffix) => write!(f, "{prefix}*{suffix}"),
        }
    }
}

impl UploadRule {
    /// Whether an upload with this key to the rule's bucket starts an execution.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        self.keys.iter().any(|pattern| pattern.matches(key))
    }

    /// The prefix of the keys that the rule matches; empty, if it matches keys without a prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self.keys.first() {
            Some(KeyPattern::PrefixAndSuffix(prefix, _)) => prefix,
            _ => "",
        }
    }

    fn read(name: String, enabled: bool, pattern: &str) -> Option<Self> {
        let pattern: Value = serde_json::from_str(pattern).ok()?;
        let bucket = pattern.pointer("/detail/bucket/name/0")?.as_str()?.to_owned();
        let keys = pattern.pointer("/detail/object/key")?.as_array()?.iter().filter_map(KeyPattern::read).collect();
        Some(Self { name, enabled, bucket, keys, pattern })
    }
}

impl Deployed {
    /// The rules of the stack that start an execution for an upload: one, or one for each prefix.
    ///
    /// # Errors
    /// [`Error`] of `events:ListRules`; [`Error::NoUploadRule`], if there is none.
    pub async fn upload_rules(&self) -> Result<Vec<UploadRule>, Error> {
        let prefix = self.state_machine.named("uploads");
        let mut rules = Vec::new();
        let mut next_token = None;
        loop {
            let call = self.eventbridge.list_rules().name_prefix(&prefix).set_next_token(next_token);
            let page = call.send().await.map_err(Error::aws("events:ListRules"))?;
            for rule in page.rules.unwrap_or_default() {
                let enabled = rule.state.is_none_or(|state| state.as_str().starts_with("ENABLED"));
                let (name, pattern) = (rule.name.unwrap_or_default(), rule.event_pattern.unwrap_or_default());
                rules.extend(UploadRule::read(name, enabled, &pattern));
            }
            next_token = page.next_token;
            if next_token.is_none() {
                break;
            }
        }
        if rules.is_empty() { Err(Error::NoUploadRule(prefix)) } else { Ok(rules) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(keys: &Value) -> UploadRule {
        let pattern = json!({ "detail": { "bucket": { "name": ["uploads"] }, "object": { "key": keys } } });
        UploadRule::read("facereel-uploads".to_owned(), true, &pattern.to_string()).unwrap()
    }

    #[test]
    fn a_rule_without_a_prefix_ignores_the_case_of_the_suffix() {
        let rule = rule(&json!([{ "suffix": { "equals-ignore-case": ".mp4" } }]));
        assert_eq!((rule.bucket.as_str(), rule.prefix()), ("uploads", ""));
        for (key, matches) in [("a.mp4", true), ("b/A.MP4", true), ("a.mp4.txt", false), ("4", false), ("🎬mp4", false)]
        {
            assert_eq!(rule.matches(key), matches, "{key}");
        }
    }

    #[test]
    fn a_rule_with_a_prefix_matches_the_case_of_its_suffixes() {
        let rule = rule(&json!([{ "wildcard": "in/*.mp4" }, { "wildcard": "in/*.MP4" }]));
        assert_eq!(rule.prefix(), "in/");
        for (key, matches) in [("in/a.mp4", true), ("in/b/A.MP4", true), ("in/a.Mp4", false), ("a.mp4", false)] {
            assert_eq!(rule.matches(key), matches, "{key}");
        }
    }
}

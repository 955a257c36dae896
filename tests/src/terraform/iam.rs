//! Policies held against what was really done: nothing done that is not granted, nothing granted that is not done.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// Something that a role did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The action, as IAM names it.
    pub action: String,
    /// The resource's ARN; `*` for an action without resource types.
    pub resource: String,
    /// The condition keys that came with it.
    pub context: BTreeMap<&'static str, String>,
}

impl Use {
    /// A use without condition keys.
    pub fn of(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { action: action.into(), resource: resource.into(), context: BTreeMap::new() }
    }

    /// The same, with a condition key.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.context.insert(key, value.into());
        self
    }
}

/// A role's policy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Policy {
    #[serde(rename = "Version")]
    _version: String,
    statement: Vec<Statement>,
}

/// Only what the module's policies are made of: anything else in them is an error here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    sid: String,
    effect: Allow,
    action: Values,
    resource: Values,
    #[serde(default)]
    condition: BTreeMap<Operator, BTreeMap<String, Values>>,
}

#[derive(Debug, Deserialize)]
enum Allow {
    Allow,
}

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
enum Operator {
    StringEquals,
    StringLikeIfExists,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

impl Values {
    fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(value) => std::slice::from_ref(value).iter(),
            Self::Many(values) => values.iter(),
        }
        .map(String::as_str)
    }
}

impl Policy {
    /// What was done that is not granted.
    #[must_use]
    pub fn not_granted<'a>(&self, uses: &'a BTreeSet<Use>) -> Vec<&'a Use> {
        uses.iter().filter(|used| !self.statement.iter().any(|statement| statement.grants(used))).collect()
    }

    /// What is granted but was not done: a line for each action and each entry among a statement's resources.
    #[must_use]
    pub fn idle(&self, uses: &BTreeSet<Use>) -> BTreeSet<String> {
        let mut idle = BTreeSet::new();
        for statement in &self.statement {
            for action in statement.action.iter() {
                for (index, resource) in statement.resource.iter().enumerate() {
                    let is_it = |used: &&Use| used.action == action && matches(resource, &used.resource);
                    if !uses.iter().filter(is_it).any(|used| statement.holds(used)) {
                        idle.insert(format!("{}: {action} on resource {}", statement.sid, index + 1));
                    }
                }
            }
        }
        idle
    }
}

impl Statement {
    fn grants(&self, used: &Use) -> bool {
        let Allow::Allow = self.effect;
        self.action.iter().any(|action| action == used.action)
            && self.resource.iter().any(|resource| matches(resource, &used.resource))
            && self.holds(used)
    }

    /// Whether every condition is met.
    fn holds(&self, used: &Use) -> bool {
        self.condition.iter().all(|(operator, keys)| {
            keys.iter().all(|(key, wanted)| match (operator, used.context.get(key.as_str())) {
                (Operator::StringEquals, Some(value)) => wanted.iter().any(|wanted| wanted == value),
                (Operator::StringEquals, None) => false,
                (Operator::StringLikeIfExists, Some(value)) => wanted.iter().any(|wanted| matches(wanted, value)),
                (Operator::StringLikeIfExists, None) => true,
            })
        })
    }
}

/// IAM's wildcards: `*` is any text, `?` any one character.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(rest, &text[at..]))
        }
        Some(wanted) => text.chars().next().is_some_and(|first| {
            (wanted == '?' || wanted == first) && matches(&pattern[wanted.len_utf8()..], &text[first.len_utf8()..])
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy() -> Policy {
        let policy = json!({ "Version": "2012-10-17", "Statement": [
            { "Sid": "Read", "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::b/in/*" },
            { "Sid": "List", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b",
              "Condition": { "StringLikeIfExists": { "s3:prefix": ["in/*"] } } },
            { "Sid": "Pass", "Effect": "Allow", "Action": "iam:PassRole", "Resource": "r",
              "Condition": { "StringEquals": { "iam:PassedToService": "rekognition.amazonaws.com" } } },
            { "Sid": "Log", "Effect": "Allow", "Action": "logs:PutLogEvents", "Resource": "*" },
        ] });
        serde_json::from_value(policy).unwrap()
    }

    fn all() -> BTreeSet<Use> {
        [
            Use::of("s3:GetObject", "arn:aws:s3:::b/in/a.mp4"),
            Use::of("s3:PutObject", "arn:aws:s3:::b/in/a/b.mp4"),
            Use::of("s3:ListBucket", "arn:aws:s3:::b").with("s3:prefix", "in/a/"),
            Use::of("s3:ListBucket", "arn:aws:s3:::b"),
            Use::of("iam:PassRole", "r").with("iam:PassedToService", "rekognition.amazonaws.com"),
        ]
        .into()
    }

    #[test]
    fn a_policy_that_is_used_up_is_well() {
        assert_eq!(policy().not_granted(&all()), Vec::<&Use>::new());
        assert_eq!(policy().idle(&all()), ["Log: logs:PutLogEvents on resource 1".to_owned()].into());
    }

    #[test]
    fn what_is_never_done_is_named() {
        let mut uses = all();
        uses.retain(|used| used.action != "s3:PutObject" && used.action != "iam:PassRole");
        uses.insert(Use::of("iam:PassRole", "r"));
        uses.insert(Use::of("s3:PutObject", "arn:aws:s3:::b/out/a.mp4"));
        let idle: Vec<_> = policy().idle(&uses).into_iter().collect();
        assert_eq!(
            idle,
            [
                "Log: logs:PutLogEvents on resource 1",
                "Pass: iam:PassRole on resource 1",
                "Read: s3:PutObject on resource 1"
            ]
        );
    }

    #[test]
    fn what_is_not_granted_is_named() {
        for used in [
            Use::of("s3:DeleteObject", "arn:aws:s3:::b/in/a.mp4"),
            Use::of("s3:GetObject", "arn:aws:s3:::b/out/a.mp4"),
            Use::of("s3:ListBucket", "arn:aws:s3:::b").with("s3:prefix", "out/"),
            Use::of("iam:PassRole", "r").with("iam:PassedToService", "lambda.amazonaws.com"),
            Use::of("iam:PassRole", "r"),
        ] {
            let mut uses = all();
            uses.insert(used.clone());
            assert_eq!(policy().not_granted(&uses), [&used]);
        }
    }

    #[test]
    fn wildcards_are_iams() {
        assert!(matches("a*c", "abbc") && matches("*", "") && matches("a?c", "aüc") && matches("🎬*", "🎬"));
        assert!(!matches("a*c", "abb") && !matches("a", "ab") && !matches("?", ""));
    }
}

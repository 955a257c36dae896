//! Compares IAM policies with the actions that a role performed: every action must be granted, and every grant used.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// An action that a role performed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The action, as IAM names it.
    pub action: String,
    /// The resource's ARN; `*` for an action without resource types.
    pub resource: String,
    /// The condition keys of the request.
    pub context: BTreeMap<&'static str, String>,
}

impl Use {
    /// An action without condition keys.
    pub fn of(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { action: action.into(), resource: resource.into(), context: BTreeMap::new() }
    }

    /// The same action with one more condition key.
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

/// A statement of a policy, limited to what the module's policies use: anything else is an error.
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
    /// The actions that the policy does not grant.
    #[must_use]
    pub fn not_granted<'a>(&self, uses: &'a BTreeSet<Use>) -> Vec<&'a Use> {
        uses.iter().filter(|used| !self.statement.iter().any(|statement| statement.grants(used))).collect()
    }

    /// The grants that were not used: a line for each action and each entry of a statement's resources.
    #[must_use]
    pub fn unused(&self, uses: &BTreeSet<Use>) -> BTreeSet<String> {
        let mut unused = BTreeSet::new();
        for statement in &self.statement {
            for action in statement.action.iter() {
                for (index, resource) in statement.resource.iter().enumerate() {
                    let is_it = |used: &&Use| used.action == action && matches(resource, &used.resource);
                    if !uses.iter().filter(is_it).any(|used| statement.holds(used)) {
                        unused.insert(format!("{}: {action} on resource {}", statement.sid, index + 1));
                    }
                }
            }
        }
        unused
    }
}

impl Statement {
    fn grants(&self, used: &Use) -> bool {
        let Allow::Allow = self.effect;
        self.action.iter().any(|action| action == used.action)
            && self.resource.iter().any(|resource| matches(resource, &used.resource))
            && self.holds(used)
    }

    /// Whether every condition is satisfied.
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
    fn used_grants_are_not_reported() {
        assert_eq!(policy().not_granted(&all()), Vec::<&Use>::new());
        assert_eq!(policy().unused(&all()), ["Log: logs:PutLogEvents on resource 1".to_owned()].into());
    }

    #[test]
    fn unused_grants_are_reported() {
        let mut uses = all();
        uses.retain(|used| used.action != "s3:PutObject" && used.action != "iam:PassRole");
        uses.insert(Use::of("iam:PassRole", "r"));
        uses.insert(Use::of("s3:PutObject", "arn:aws:s3:::b/out/a.mp4"));
        let unused: Vec<_> = policy().unused(&uses).into_iter().collect();
        assert_eq!(
            unused,
            [
                "Log: logs:PutLogEvents on resource 1",
                "Pass: iam:PassRole on resource 1",
                "Read: s3:PutObject on resource 1"
            ]
        );
    }

    #[test]
    fn actions_without_a_grant_are_reported() {
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
    fn wildcards_match_as_in_iam() {
        assert!(matches("a*c", "abbc") && matches("*", "") && matches("a?c", "aüc") && matches("🎬*", "🎬"));
        assert!(!matches("a*c", "abb") && !matches("a", "ab") && !matches("?", ""));
    }
}

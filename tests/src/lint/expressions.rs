//! Rules about `JSONata`: the text between `{%` and `%}` must parse, and may read only what exists when it is evaluated.

use std::collections::BTreeSet;

use jsonata_core::parser;
use serde_json::Value;

use super::reads::{self, Read};
use super::{Lint, array, inside, timeouts};

/// What an expression may read; depends on the field that contains it.
struct Scope<'a> {
    variables: &'a BTreeSet<String>,
    /// The members of `$states`.
    states: &'static [&'static str],
    /// Whether `$states.context.Task` exists.
    task_token: bool,
}

/// The members of the context object, and their members.
const CONTEXT: &[(&str, &[&str])] = &[
    ("Execution", &["Id", "Input", "Name", "RedriveCount", "RedriveTime", "RoleArn", "StartTime"]),
    ("Map", &["Item"]),
    ("State", &["EnteredTime", "Name", "RetryCount"]),
    ("StateMachine", &["Id", "Name"]),
    ("Task", &["Token"]),
];

/// `JSONata` 2.0.6 without `$eval`, and what Step Functions adds.
const FUNCTIONS: &[&str] = &[
    "abs",
    "append",
    "assert",
    "average",
    "base64decode",
    "base64encode",
    "boolean",
    "ceil",
    "clone",
    "contains",
    "count",
    "decodeUrl",
    "decodeUrlComponent",
    "distinct",
    "each",
    "encodeUrl",
    "encodeUrlComponent",
    "error",
    "exists",
    "filter",
    "floor",
    "formatBase",
    "formatInteger",
    "formatNumber",
    "fromMillis",
    "hash",
    "join",
    "keys",
    "length",
    "lookup",
    "lowercase",
    "map",
    "match",
    "max",
    "merge",
    "millis",
    "min",
    "not",
    "now",
    "number",
    "pad",
    "parse",
    "parseInteger",
    "partition",
    "power",
    "random",
    "range",
    "reduce",
    "replace",
    "reverse",
    "round",
    "shuffle",
    "sift",
    "single",
    "sort",
    "split",
    "spread",
    "sqrt",
    "string",
    "substring",
    "substringAfter",
    "substringBefore",
    "sum",
    "toMillis",
    "trim",
    "type",
    "uppercase",
    "uuid",
    "zip",
];

const BEFORE: &[&str] = &["context", "input"];
const AFTER_RESULT: &[&str] = &["context", "input", "result"];
const AFTER_ERROR: &[&str] = &["context", "errorOutput", "input"];

/// Fields without an expression in the scope of the state: plain text, or rules and states with another scope.
const NOT_EXPRESSIONS: &[&str] = &["Branches", "Catch", "Choices", "Comment", "ItemProcessor"];

pub(super) fn check(lint: &mut Lint<'_>, path: &str, state: &Value, variables: &BTreeSet<String>) {
    let has_result = matches!(state["Type"].as_str(), Some("Task" | "Map" | "Parallel"));
    for (field, value) in state.as_object().into_iter().flatten() {
        if NOT_EXPRESSIONS.contains(&field.as_str()) {
            continue;
        }
        let after = has_result && matches!(field.as_str(), "Assign" | "Output");
        let states = if after { AFTER_RESULT } else { BEFORE };
        let task_token = field == "Arguments" && timeouts::waits_for_token(state);
        template(lint, &inside(path, field), value, &Scope { variables, states, task_token });
    }
    for (list, states) in [("Choices", BEFORE), ("Catch", AFTER_ERROR)] {
        for (index, rule) in array(&state[list]).iter().enumerate() {
            for (field, value) in rule.as_object().into_iter().flatten().filter(|(field, _)| *field != "Comment") {
                let path = format!("{path}.{list}[{index}].{field}");
                template(lint, &path, value, &Scope { variables, states, task_token: false });
            }
        }
    }
}

/// Whether any expression inside `value` reads the task token.
pub(super) fn mention_task_token(value: &Value) -> bool {
    let token = Read::Variable(["states", "context", "Task", "Token"].map(str::to_owned).to_vec());
    match value {
        Value::String(text) => expression(text)
            .and_then(|source| parser::parse(source).ok())
            .is_some_and(|ast| reads::of(&ast).contains(&token)),
        Value::Array(items) => items.iter().any(mention_task_token),
        Value::Object(fields) => fields.values().any(mention_task_token),
        _ => false,
    }
}

/// Checks every expression inside `value`.
fn template(lint: &mut Lint<'_>, path: &str, value: &Value, scope: &Scope<'_>) {
    match value {
        Value::String(text) => match expression(text).map(parser::parse) {
            Some(Ok(ast)) => {
                for problem in reads::of(&ast).iter().filter_map(|read| scope.problem(read)) {
                    lint.find(path, problem);
                }
            }
            Some(Err(error)) => lint.find(path, format!("malformed JSONata: {error}")),
            None if text.contains("{%") || text.contains("%}") => {
                lint.find(path, "is plain text: an expression is the whole string, from `{%` to `%}`");
            }
            None => {}
        },
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                template(lint, &format!("{path}[{index}]"), item, scope);
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                template(lint, &inside(path, field), value, scope);
            }
        }
        _ => {}
    }
}

/// The `JSONata` in a string; `None` if the string is not an expression.
pub(super) fn expression(text: &str) -> Option<&str> {
    text.strip_prefix("{%")?.strip_suffix("%}")
}

impl Scope<'_> {
    /// Why `read` is not allowed here; `None` if it is allowed.
    fn problem(&self, read: &Read) -> Option<String> {
        match read {
            Read::Variable(steps) => match steps.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["states", ref members @ ..] => self.states_problem(members),
                [name, ..] if self.variables.contains(name) || FUNCTIONS.contains(&name) => None,
                [name, ..] => Some(format!("`${name}` is not assigned on every path to this state")),
                [] => None,
            },
            Read::Function(name) if FUNCTIONS.contains(&name.as_str()) => None,
            Read::Function(name) => Some(format!("`${name}` is not a function of JSONata or Step Functions")),
            Read::Bare(name) => Some(format!("`{name}(` lacks its `$`")),
            Read::Input(name) => {
                Some(format!("`{name}` is not a field of any object: the state's input is `$states.input`"))
            }
        }
    }

    fn states_problem(&self, members: &[&str]) -> Option<String> {
        let (member, rest) = members.split_first()?;
        if !self.states.contains(member) {
            return Some(format!("`$states.{member}` does not exist here; the members are {}", self.states.join(", ")));
        }
        if *member != "context" {
            return None;
        }
        let (object, rest) = rest.split_first()?;
        let Some((_, known)) = CONTEXT.iter().find(|(name, _)| name == object) else {
            return Some(format!("`$states.context` has no `{object}`"));
        };
        if *object == "Task" && !self.task_token {
            return Some(
                "`$states.context.Task` exists only in the `Arguments` of a Task that waits for its token".into(),
            );
        }
        let member = rest.first().filter(|member| !known.contains(*member))?;
        Some(format!("`$states.context.{object}` has no `{member}`; it has {}", known.join(", ")))
    }
}

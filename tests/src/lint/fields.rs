//! The fields that an object of the Amazon States Language may have. AWS refuses an unknown field, and the local emulator
//! ignores it.

use serde_json::Value;

use super::{Lint, array, inside, keys};

type Fields = &'static [&'static str];

pub(super) const MACHINE: Fields = &["Comment", "QueryLanguage", "StartAt", "States", "TimeoutSeconds", "Version"];
pub(super) const BRANCH: Fields = &["Comment", "StartAt", "States"];
pub(super) const RETRIER: Fields =
    &["BackoffRate", "Comment", "ErrorEquals", "IntervalSeconds", "JitterStrategy", "MaxAttempts", "MaxDelaySeconds"];
pub(super) const CATCHER: Fields = &["Assign", "Comment", "ErrorEquals", "Next", "Output"];
const CHOICE_RULE: Fields = &["Assign", "Comment", "Condition", "Next", "Output"];
const ITEM_PROCESSOR: Fields = &["Comment", "ProcessorConfig", "StartAt", "States"];
const PROCESSOR_CONFIG: Fields = &["ExecutionType", "Mode"];

const CHOICE: Fields = &["Assign", "Choices", "Comment", "Default", "Output", "QueryLanguage", "Type"];
const FAIL: Fields = &["Cause", "Comment", "Error", "QueryLanguage", "Type"];
const MAP: Fields = &[
    "Assign",
    "Catch",
    "Comment",
    "End",
    "ItemBatcher",
    "ItemProcessor",
    "ItemReader",
    "ItemSelector",
    "Items",
    "Label",
    "MaxConcurrency",
    "Next",
    "Output",
    "QueryLanguage",
    "ResultWriter",
    "Retry",
    "ToleratedFailureCount",
    "ToleratedFailurePercentage",
    "Type",
];
const PARALLEL: Fields =
    &["Arguments", "Assign", "Branches", "Catch", "Comment", "End", "Next", "Output", "QueryLanguage", "Retry", "Type"];
const PASS: Fields = &["Assign", "Comment", "End", "Next", "Output", "QueryLanguage", "Type"];
const SUCCEED: Fields = &["Comment", "Output", "QueryLanguage", "Type"];
const TASK: Fields = &[
    "Arguments",
    "Assign",
    "Catch",
    "Comment",
    "Credentials",
    "End",
    "HeartbeatSeconds",
    "Next",
    "Output",
    "QueryLanguage",
    "Resource",
    "Retry",
    "TimeoutSeconds",
    "Type",
];
const WAIT: Fields = &["Assign", "Comment", "End", "Next", "Output", "QueryLanguage", "Seconds", "Timestamp", "Type"];

/// The fields of a type of state; `None` for a type that does not exist.
pub(super) fn of_state(kind: &str) -> Option<Fields> {
    Some(match kind {
        "Choice" => CHOICE,
        "Fail" => FAIL,
        "Map" => MAP,
        "Parallel" => PARALLEL,
        "Pass" => PASS,
        "Succeed" => SUCCEED,
        "Task" => TASK,
        "Wait" => WAIT,
        _ => return None,
    })
}

/// Reports every field of `object` that is not in `known`.
pub(super) fn known(lint: &mut Lint<'_>, path: &str, object: &Value, known: &[&str]) {
    for field in keys(object).filter(|field| !known.contains(&field.as_str())) {
        lint.find(path, format!("`{field}` is not a field here; known are {}", known.join(", ")));
    }
}

pub(super) fn choice_rules(lint: &mut Lint<'_>, path: &str, choice: &Value) {
    let rules = array(&choice["Choices"]);
    if rules.is_empty() {
        lint.find(path, "a Choice needs at least one rule in `Choices`");
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{path}.Choices[{index}]");
        known(lint, &path, rule, CHOICE_RULE);
        if rule["Condition"].is_null() {
            lint.find(&path, "a rule without `Condition` is never chosen");
        }
    }
}

pub(super) fn item_processor(lint: &mut Lint<'_>, path: &str, processor: &Value) {
    let path = inside(path, "ItemProcessor");
    known(lint, &path, processor, ITEM_PROCESSOR);
    let config = &processor["ProcessorConfig"];
    known(lint, &inside(&path, "ProcessorConfig"), config, PROCESSOR_CONFIG);
    match (config["Mode"].as_str(), config["ExecutionType"].as_str()) {
        (Some("INLINE"), None) | (Some("DISTRIBUTED"), Some("STANDARD" | "EXPRESS")) => {}
        _ => lint.find(
            &path,
            "`ProcessorConfig` is {Mode: INLINE} or {Mode: DISTRIBUTED, ExecutionType: STANDARD | EXPRESS}",
        ),
    }
}

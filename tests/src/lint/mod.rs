//! A lint of Step Functions definitions in the Amazon States Language with `JSONata`.
//!
//! The emulator of the end-to-end tests ignores what it does not know, and AWS accepts much that fails only days later:
//! a missing timeout, a variable that one path never assigns, a Catch that makes a redrive useless. This lint refuses
//! all of that before anything runs. [`lint`] is the way in; each rule lies beside what it is about:
//!
//! | module | rules about |
//! |---|---|
//! | [`fields`] | which fields an object may have |
//! | [`flow`] | where a state can go, what is reached, what is assigned on the way there |
//! | [`integrations`] | the resources of Tasks and distributed Maps, and their arguments |
//! | [`errors`] | Retry, Catch and the names of errors |
//! | [`expressions`] | `JSONata`: syntax, variables, `$states` |
//! | [`template`] | placeholders, and what Terraform would read as its own |

mod errors;
mod expressions;
mod fields;
mod flow;
mod integrations;
mod reads;
mod template;
mod timeouts;

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// What a definition may count on once it is deployed.
#[derive(Debug, Clone, Copy)]
pub struct Deployment<'a> {
    /// The names that the deployment puts in for `${name}`.
    pub placeholders: &'a [&'a str],
    /// The error names that the functions themselves report.
    pub known_errors: &'a [&'a str],
}

/// One reason why a definition must not be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The state's path, with the field inside it: `FetchPages.FetchPage.Retry[0]`.
    pub path: String,
    /// What is wrong, and what to do about it, in a sentence.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Every reason why `definition`, the text of an `.asl.json` file, must not be deployed; empty when there is none.
#[must_use]
pub fn lint(definition: &str, deployment: Deployment<'_>) -> Vec<Finding> {
    let mut lint = Lint { deployment, findings: Vec::new() };
    template::check(&mut lint, definition);
    match serde_json::from_str::<Value>(definition) {
        Ok(machine) => lint.machine(&machine),
        Err(error) => lint.find("", format!("is not JSON: {error}")),
    }
    lint.findings
}

/// The findings so far, and what the rules need to know.
struct Lint<'a> {
    deployment: Deployment<'a>,
    findings: Vec<Finding>,
}

impl Lint<'_> {
    fn find(&mut self, path: &str, message: impl Into<String>) {
        let path = if path.is_empty() { "(state machine)" } else { path }.to_owned();
        self.findings.push(Finding { path, message: message.into() });
    }

    fn machine(&mut self, machine: &Value) {
        fields::known(self, "", machine, fields::MACHINE);
        if machine["QueryLanguage"] != "JSONata" {
            self.find("", "`QueryLanguage` must be \"JSONata\": nothing here is written for JSONPath");
        }
        self.workflow("", machine, &BTreeSet::new());
    }

    /// Checks the states of `workflow`: the machine itself, a Map's `ItemProcessor`, or a branch of a Parallel.
    ///
    /// `outer` are the variables that its first state can already read.
    fn workflow(&mut self, path: &str, workflow: &Value, outer: &BTreeSet<String>) {
        let Some(flow) = flow::Flow::read(self, path, workflow) else { return };
        flow.check(self);
        let assigned = flow.assigned_on_entry(outer);
        for (name, state) in flow.states {
            // What is not reached reads nothing, and is a finding already.
            if let Some(variables) = assigned.get(name.as_str()) {
                self.state(&inside(path, name), state, variables);
            }
        }
    }

    fn state(&mut self, path: &str, state: &Value, variables: &BTreeSet<String>) {
        let Some(known) = state["Type"].as_str().and_then(fields::of_state) else {
            self.find(path, format!("`Type` {} is not a type of state", state["Type"]));
            return;
        };
        fields::known(self, path, state, known);
        if !matches!(state["QueryLanguage"].as_str(), None | Some("JSONata")) {
            self.find(path, "`QueryLanguage` must be JSONata, as everywhere");
        }
        errors::check(self, path, state);
        expressions::check(self, path, state, variables);
        match state["Type"].as_str() {
            Some("Task") => {
                timeouts::check(self, path, state);
                integrations::task(self, path, state);
            }
            Some("Choice") => fields::choice_rules(self, path, state),
            Some("Map") => {
                integrations::map(self, path, state);
                let processor = &state["ItemProcessor"];
                fields::item_processor(self, path, processor);
                let distributed = processor["ProcessorConfig"]["Mode"] == "DISTRIBUTED";
                // A distributed Map starts executions of their own, which see nothing of this one's variables.
                let visible = if distributed { &BTreeSet::new() } else { variables };
                self.workflow(path, processor, visible);
            }
            Some("Parallel") => {
                for (index, branch) in array(&state["Branches"]).iter().enumerate() {
                    let path = format!("{path}.Branches[{index}]");
                    fields::known(self, &path, branch, fields::BRANCH);
                    self.workflow(&path, branch, variables);
                }
            }
            _ => {}
        }
    }
}

/// The path of `name` inside `path`.
fn inside(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The elements of an array; none of anything else.
fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The keys of an object; none of anything else.
fn keys(value: &Value) -> impl Iterator<Item = &String> {
    value.as_object().into_iter().flat_map(serde_json::Map::keys)
}

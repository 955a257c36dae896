//! A lint of Step Functions definitions in the Amazon States Language with `JSONata`.
//!
//! The emulator of the end-to-end tests ignores unknown fields, and AWS accepts definitions that fail only days later: a
//! missing timeout, a variable that one path does not assign, a Catch that makes a redrive useless. This lint reports all of
//! that without running the definition. [`lint`] is the entry point; each module has the rules of one subject:
//!
//! | module | rules about |
//! |---|---|
//! | [`fields`] | the fields that an object may have |
//! | [`flow`] | transitions, reachable states, and the variables that are assigned on every path |
//! | [`integrations`] | the resources of Tasks and distributed Maps, and their arguments |
//! | [`errors`] | Retry, Catch and the names of errors |
//! | [`expressions`] | `JSONata`: syntax, variables, `$states` |
//! | [`template`] | placeholders, and Terraform's template directives |
//! | [`timeouts`] | timeouts, heartbeats and task tokens |

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

/// What the deployment of a definition provides.
#[derive(Debug, Clone, Copy)]
pub struct Deployment<'a> {
    /// The names that the deployment replaces in `${name}`.
    pub placeholders: &'a [&'a str],
    /// The error names that the functions report.
    pub known_errors: &'a [&'a str],
}

/// A reason not to deploy a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The state's path, with the field inside it: `ReadPages.FetchPage.Retry[0]`.
    pub path: String,
    /// The problem and its remedy, in a sentence.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Every finding in `definition`, the text of an `.asl.json` file; empty if it can be deployed.
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

/// The findings so far, and the input of the rules.
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
            self.find("", "`QueryLanguage` must be \"JSONata\": the lint does not support JSONPath");
        }
        self.workflow("", machine, &BTreeSet::new());
    }

    /// Checks the states of `workflow`: the machine itself, a Map's `ItemProcessor`, or a branch of a Parallel.
    ///
    /// `outer` are the variables that its first state can read.
    fn workflow(&mut self, path: &str, workflow: &Value, outer: &BTreeSet<String>) {
        let Some(flow) = flow::Flow::read(self, path, workflow) else { return };
        flow.check(self);
        let assigned = flow.assigned_on_entry(outer);
        for (name, state) in flow.states {
            // An unreachable state is already a finding.
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
            self.find(path, "`QueryLanguage` must be JSONata, as for the state machine");
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
                // A distributed Map starts child executions, which cannot read the variables of this one.
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

//! Rules about transitions: every target exists, every state is reachable, and which variables every path to a state assigns.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Lint, array, inside, keys};

/// The states of one workflow, and its start.
pub(super) struct Flow<'a> {
    path: &'a str,
    start: &'a str,
    pub states: &'a Map<String, Value>,
}

/// A transition from a state.
struct Edge<'a> {
    /// The field that contains it: `Next`, `Choices[0].Next`…
    field: String,
    target: &'a str,
    /// The variables that the transition assigns.
    assigned: Vec<&'a str>,
    caught: bool,
}

impl<'a> Flow<'a> {
    /// The flow of `workflow`; `None`, with a finding, if it has no states.
    pub fn read(lint: &mut Lint<'_>, path: &'a str, workflow: &'a Value) -> Option<Self> {
        let states = workflow["States"].as_object().filter(|states| !states.is_empty());
        let (Some(start), Some(states)) = (workflow["StartAt"].as_str(), states) else {
            lint.find(path, "a workflow needs `StartAt` and `States`");
            return None;
        };
        Some(Self { path, start, states })
    }

    pub fn check(&self, lint: &mut Lint<'_>) {
        if !self.states.contains_key(self.start) {
            lint.find(self.path, format!("`StartAt` names \"{}\", which is not a state here", self.start));
            return;
        }
        let reached = self.reached_from(self.start);
        for (name, state) in self.states {
            let path = inside(self.path, name);
            if !reached.contains(name.as_str()) {
                lint.find(&path, "no path from `StartAt` leads here");
            }
            completed(lint, &path, state);
            for edge in edges(state) {
                if !self.states.contains_key(edge.target) {
                    lint.find(&path, format!("`{}` names \"{}\", which is not a state here", edge.field, edge.target));
                } else if edge.caught
                    && let Some(fail) =
                        self.reached_from(edge.target).iter().find(|name| self.states[**name]["Type"] == "Fail")
                {
                    lint.find(&path, format!("`{}` ends in the Fail state {fail}, which a redrive would enter again: do not catch the error", edge.field));
                }
            }
        }
        if !reached.iter().any(|name| is_end(&self.states[*name])) {
            lint.find(self.path, "no reachable state ends the workflow: one needs `End`");
        }
    }

    /// For every reachable state, the variables that every path to it assigns.
    pub fn assigned_on_entry(&self, outer: &BTreeSet<String>) -> BTreeMap<&'a str, BTreeSet<String>> {
        let mut entry = BTreeMap::from([(self.start, outer.clone())]);
        let mut changed = vec![self.start];
        while let Some(name) = changed.pop() {
            for edge in self.states.get(name).map(edges).unwrap_or_default() {
                let mut on_arrival = entry[name].clone();
                on_arrival.extend(edge.assigned.into_iter().map(str::to_owned));
                if let Some(before) = entry.get(edge.target) {
                    on_arrival = &on_arrival & before;
                    if on_arrival == *before {
                        continue;
                    }
                }
                entry.insert(edge.target, on_arrival);
                changed.push(edge.target);
            }
        }
        entry
    }

    fn reached_from(&self, start: &'a str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut next = vec![start];
        while let Some(name) = next.pop() {
            if let Some(state) = self.states.get(name)
                && reached.insert(name)
            {
                next.extend(edges(state).into_iter().map(|edge| edge.target));
            }
        }
        reached
    }
}

/// A state has either `Next` or `End`, except for those of type Choice, Succeed and Fail.
fn completed(lint: &mut Lint<'_>, path: &str, state: &Value) {
    if matches!(state["Type"].as_str(), Some("Choice" | "Succeed" | "Fail")) {
        return;
    }
    match (state["Next"].is_string(), state["End"] == true) {
        (false, false) => lint.find(path, "has neither `Next` nor `End`"),
        (true, true) => lint.find(path, "has both `Next` and `End`"),
        _ => {}
    }
}

fn is_end(state: &Value) -> bool {
    state["End"] == true || state["Type"] == "Succeed" || state["Type"] == "Fail"
}

/// Every transition from `state`. The `Assign` of a rule replaces that of the state.
fn edges(state: &Value) -> Vec<Edge<'_>> {
    let mut edges: Vec<_> =
        ["Next", "Default"].into_iter().filter_map(|field| edge(field.to_owned(), &state[field], state)).collect();
    for list in ["Choices", "Catch"] {
        for (index, rule) in array(&state[list]).iter().enumerate() {
            edges.extend(edge(format!("{list}[{index}].Next"), &rule["Next"], rule));
        }
    }
    edges
}

fn edge<'a>(field: String, target: &'a Value, from: &'a Value) -> Option<Edge<'a>> {
    let assigned = keys(&from["Assign"]).map(String::as_str).collect();
    Some(Edge { caught: field.starts_with("Catch"), field, target: target.as_str()?, assigned })
}

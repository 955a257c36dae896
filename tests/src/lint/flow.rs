//! Where a state can go, what is reached from the start, and what is assigned on every way to a state.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Lint, array, inside, keys};

/// The states of one workflow and the way in.
pub(super) struct Flow<'a> {
    path: &'a str,
    start: &'a str,
    pub states: &'a Map<String, Value>,
}

/// A way out of a state.
struct Edge<'a> {
    /// The field that holds it: `Next`, `Choices[0].Next`…
    field: String,
    target: &'a str,
    /// The variables assigned by whoever goes this way.
    assigned: Vec<&'a str>,
    caught: bool,
}

impl<'a> Flow<'a> {
    /// The flow of `workflow`, or a finding when it has no states.
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
            lint.find(self.path, format!("`StartAt` names \"{}\", which is no state here", self.start));
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
                    lint.find(&path, format!("`{}` names \"{}\", which is no state here", edge.field, edge.target));
                } else if edge.caught
                    && let Some(fail) =
                        self.reached_from(edge.target).iter().find(|name| self.states[**name]["Type"] == "Fail")
                {
                    lint.find(&path, format!("`{}` ends in the Fail state {fail}, which a redrive only enters again: leave the error uncaught", edge.field));
                }
            }
        }
        if !reached.iter().any(|name| is_end(&self.states[*name])) {
            lint.find(self.path, "no state that is reached ends the workflow: one needs `End`");
        }
    }

    /// For every state that is reached, the variables that every path to it has assigned.
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

/// A state either goes on or ends; those that choose, succeed or fail do so by their type.
fn completed(lint: &mut Lint<'_>, path: &str, state: &Value) {
    if matches!(state["Type"].as_str(), Some("Choice" | "Succeed" | "Fail")) {
        return;
    }
    match (state["Next"].is_string(), state["End"] == true) {
        (false, false) => lint.find(path, "has neither `Next` nor `End`: nobody knows what comes after it"),
        (true, true) => lint.find(path, "has both `Next` and `End`"),
        _ => {}
    }
}

fn is_end(state: &Value) -> bool {
    state["End"] == true || state["Type"] == "Succeed" || state["Type"] == "Fail"
}

/// Every way out of `state`; a rule's own `Assign` stands in for the state's.
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

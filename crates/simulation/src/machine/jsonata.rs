//! `JSONata` in the state machine's definition.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator};
use jsonata_core::parser;
use jsonata_core::value::JValue;
use serde_json::{Map, Value, json};

use crate::clock::Ms;
use crate::machine::Failure;

thread_local! {
    static PARSED: RefCell<HashMap<String, Rc<AstNode>>> = RefCell::default();
}

/// The values that expressions can read.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// `$states`.
    pub(super) states: Value,
    pub(super) variables: &'a Map<String, Value>,
    /// `$millis()`.
    pub(super) millis: Ms,
}

/// The variable that replaces `$millis()`, which would read the clock of this machine.
const MILLIS: &str = "virtual_millis";

impl Scope<'_> {
    /// Evaluates every expression inside `template`.
    pub(super) fn evaluate(&self, template: &Value) -> Result<Value, Failure> {
        match template {
            Value::String(text) => match text.strip_prefix("{%").and_then(|text| text.strip_suffix("%}")) {
                Some(source) => self.expression(source),
                None => Ok(template.clone()),
            },
            Value::Array(items) => items.iter().map(|item| self.evaluate(item)).collect(),
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| Ok((name.clone(), self.evaluate(value)?)));
                fields.collect::<Result<_, _>>().map(Value::Object)
            }
            _ => Ok(template.clone()),
        }
    }

    fn expression(&self, source: &str) -> Result<Value, Failure> {
        let failure = |cause: String| Failure::new("States.QueryEvaluationError", format!("{source}: {cause}"));
        let known = PARSED.with_borrow(|parsed| parsed.get(source).cloned());
        let parsed = if let Some(known) = known {
            known
        } else {
            assert!(!source.contains("$now("), "the function $now is not simulated");
            let virtual_time = source.replace("$millis()", &format!("${MILLIS}"));
            let parsed = Rc::new(parser::parse(&virtual_time).map_err(|error| failure(error.to_string()))?);
            PARSED.with_borrow_mut(|all| all.insert(source.to_owned(), Rc::clone(&parsed)));
            parsed
        };
        let mut context = Context::new();
        context.bind("states".to_owned(), self.states.clone().into());
        if source.contains("$millis()") {
            context.bind(MILLIS.to_owned(), json!(self.millis).into());
        }
        for (name, value) in self.variables.iter().filter(|(name, _)| source.contains(&format!("${name}"))) {
            context.bind(name.clone(), value.clone().into());
        }
        // Step Functions provides the input only as `$states.input`.
        match Evaluator::with_context(context).evaluate(&parsed, &JValue::Undefined) {
            Ok(JValue::Undefined) => Err(failure("is undefined".to_owned())),
            // `Serialize` of the value keeps integers, its `From` does not.
            Ok(value) => serde_json::to_value(&value).map_err(|error| failure(error.to_string())),
            Err(error) => Err(failure(error.message().to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(template: &Value) -> Result<Value, Failure> {
        let Value::Object(variables) = json!({"window": {"batches": [{"index": 0}], "next": {"index": 1}}, "n": 7})
        else {
            unreachable!()
        };
        let states = json!({"input": {"key": "a b"}, "context": {"Execution": {"Name": "e"}}});
        Scope { states, variables: &variables, millis: 1_799_053_200_123 }.evaluate(template)
    }

    #[test]
    fn strings_that_are_expressions_are_evaluated_at_any_depth() {
        let template = json!({"a": ["{% $states.input.key %}", "plain {% $n %}"], "b": {"c": "{% $n + 1 %}"}, "d": 1});
        assert_eq!(evaluate(&template).unwrap(), json!({"a": ["a b", "plain {% $n %}"], "b": {"c": 8}, "d": 1}));
    }

    #[test]
    fn the_time_is_virtual() {
        assert_eq!(evaluate(&json!("{% $millis() %}")).unwrap(), json!(1_799_053_200_123_u64));
        let since = "{% $floor(($millis() - $toMillis('2027-01-04T09:00:00Z')) / 100) %}";
        assert_eq!(evaluate(&json!(since)).unwrap(), json!(1));
    }

    #[test]
    fn arrays_of_one_element_stay_arrays() {
        assert_eq!(evaluate(&json!("{% $window.batches %}")).unwrap(), json!([{"index": 0}]));
        assert_eq!(evaluate(&json!("{% $exists($window.next) %}")).unwrap(), json!(true));
        assert_eq!(evaluate(&json!("{% $exists($window.gone) %}")).unwrap(), json!(false));
    }

    #[test]
    fn an_undefined_value_is_an_error() {
        for source in ["{% $window.gone %}", "{% $nothing %}", "{% $states.context.Task.Token %}", "{% key %}"] {
            assert_eq!(evaluate(&json!(source)).unwrap_err().error, "States.QueryEvaluationError", "{source}");
        }
    }
}

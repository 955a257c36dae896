//! The lint finds nothing in the state machines. For each of its rules, a test breaks the real definition and expects a finding.

use std::fs;
use std::path::Path;

use aws_sdk_s3::error::BoxError;
use lambdas::aws::AwsError;
use serde_json::{Value, json};
use tests::lint::{self, Deployment, Finding};

/// The placeholders that the deployment replaces: the partition in every definition, the functions' ARNs in
/// `analyze-video`, the next two in `backfill`, the next three in `running-executions`, the last one in `add-partitions`.
const PLACEHOLDERS: &[&str] = &[
    "partition",
    "inspect_video_arn",
    "start_detection_arn",
    "list_pages_arn",
    "fetch_page_arn",
    "summarize_arn",
    "analyze_video_arn",
    "results_bucket",
    "namespace",
    "state_machine",
    "state_machine_arn",
    "database",
];

/// What the lint finds in a definition that is deployed with our functions.
fn findings(definition: &str) -> Vec<Finding> {
    // The names of the retryable errors come from the functions: a name that is changed there is unknown here.
    let (call, source) = ("", || BoxError::from(""));
    let known_errors = [
        AwsError::Throttled { call, source: source() }.into(),
        AwsError::ServiceUnavailable { call, source: source() }.into(),
    ];
    lint::lint(definition, Deployment { placeholders: PLACEHOLDERS, known_errors: &known_errors })
}

fn definition(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../statemachine").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the lint finds in `analyze-video` after `change`.
fn broken(change: impl FnOnce(&mut Value)) -> Vec<Finding> {
    let mut machine = serde_json::from_str(&definition("analyze-video.asl.json")).expect("JSON");
    change(&mut machine);
    findings(&machine.to_string())
}

/// The value at `pointer`, which must exist, so that a test does not pass without breaking the definition.
fn at<'a>(machine: &'a mut Value, pointer: &str) -> &'a mut Value {
    machine.pointer_mut(pointer).unwrap_or_else(|| panic!("analyze-video has no {pointer}"))
}

fn remove(machine: &mut Value, pointer: &str) {
    let (object, field) = pointer.rsplit_once('/').expect("a pointer");
    let removed = at(machine, object).as_object_mut().expect("an object").remove(field);
    assert!(removed.is_some(), "analyze-video has no {pointer}");
}

/// Exactly one finding, at `path`, that says `message`.
#[track_caller]
fn assert_found(findings: &[Finding], path: &str, message: &str) {
    let [finding] = findings else {
        panic!("expected one finding, got {}: {findings:#?}", findings.len());
    };
    assert_eq!(finding.path, path, "{finding}");
    assert!(finding.message.contains(message), "{finding}\ndoes not say {message}");
}

#[test]
fn the_definitions_are_clean() {
    for name in
        ["analyze-video.asl.json", "add-partitions.asl.json", "backfill.asl.json", "running-executions.asl.json"]
    {
        assert_eq!(findings(&definition(name)), [], "{name}");
    }
}

mod fields {
    use super::*;

    #[test]
    fn an_unknown_field_of_the_machine() {
        let found = broken(|machine| machine["TimeoutSecond"] = json!(60));
        assert_found(&found, "(state machine)", "`TimeoutSecond` is not a field here");
    }

    #[test]
    fn an_unknown_field_of_a_state() {
        let found = broken(|machine| machine["States"]["Summarize"]["TimeOutSeconds"] = json!(900));
        assert_found(&found, "Summarize", "`TimeOutSeconds` is not a field here");
    }

    #[test]
    fn a_jsonpath_field_in_jsonata() {
        let found = broken(|machine| machine["States"]["Summarize"]["ResultPath"] = json!("$.summary"));
        assert_found(&found, "Summarize", "`ResultPath` is not a field here");
    }

    #[test]
    fn an_unknown_field_of_a_retry() {
        let found = broken(|machine| at(machine, "/States/Summarize/Retry/0")["MaxAttempt"] = json!(3));
        assert_found(&found, "Summarize.Retry[0]", "`MaxAttempt` is not a field here");
    }

    #[test]
    fn an_unknown_field_of_a_catch() {
        let found = broken(|machine| {
            machine["States"]["ReadPages"]["Catch"] =
                json!([{ "ErrorEquals": ["States.ALL"], "Next": "Summarize", "ResultPath": "$.error" }]);
        });
        assert_found(&found, "ReadPages.Catch[0]", "`ResultPath` is not a field here");
    }

    #[test]
    fn an_unknown_field_of_a_choice_rule() {
        let found = broken(|machine| at(machine, "/States/MorePages?/Choices/0")["IsPresent"] = json!(true));
        assert_found(&found, "MorePages?.Choices[0]", "`IsPresent` is not a field here");
    }

    #[test]
    fn a_choice_rule_without_a_condition() {
        let found = broken(|machine| remove(machine, "/States/MorePages?/Choices/0/Condition"));
        assert_found(&found, "MorePages?.Choices[0]", "without `Condition`");
    }

    #[test]
    fn a_choice_without_rules() {
        let found = broken(|machine| {
            *at(machine, "/States/Summarize") = json!({ "Type": "Choice", "Choices": [], "Default": "Done" });
            machine["States"]["Done"] = json!({ "Type": "Succeed" });
        });
        assert_found(&found, "Summarize", "needs at least one rule");
    }

    #[test]
    fn an_unknown_argument_of_a_function() {
        let found = broken(|machine| at(machine, "/States/Summarize/Arguments")["Paylod"] = json!({}));
        assert_found(&found, "Summarize.Arguments", "`Paylod` is not a field here");
    }

    #[test]
    fn an_unknown_field_of_an_item_processor() {
        let found = broken(|machine| at(machine, "/States/ReadPages/ItemProcessor")["StartsAt"] = json!("FetchPage"));
        assert_found(&found, "ReadPages.ItemProcessor", "`StartsAt` is not a field here");
    }

    #[test]
    fn an_unknown_mode_of_a_map() {
        let found =
            broken(|machine| *at(machine, "/States/ReadPages/ItemProcessor/ProcessorConfig/Mode") = json!("INLNE"));
        assert_found(&found, "ReadPages.ItemProcessor", "`ProcessorConfig` is {Mode: INLINE}");
    }

    #[test]
    fn an_unknown_type_of_state() {
        let found = broken(|machine| *at(machine, "/States/Summarize/Type") = json!("task"));
        assert_found(&found, "Summarize", "is not a type of state");
    }

    #[test]
    fn a_machine_in_jsonpath() {
        let found = broken(|machine| remove(machine, "/QueryLanguage"));
        assert_found(&found, "(state machine)", "must be \"JSONata\"");
    }
}

mod timeouts {
    use super::*;

    #[test]
    fn a_task_without_a_timeout() {
        let found = broken(|machine| remove(machine, "/States/Summarize/TimeoutSeconds"));
        assert_found(&found, "Summarize", "a Task without `TimeoutSeconds`");
    }

    #[test]
    fn a_task_inside_a_map_without_a_timeout() {
        let found =
            broken(|machine| remove(machine, "/States/ReadPages/ItemProcessor/States/FetchPage/TimeoutSeconds"));
        assert_found(&found, "ReadPages.FetchPage", "a Task without `TimeoutSeconds`");
    }

    #[test]
    fn a_task_without_a_retry() {
        let found = broken(|machine| remove(machine, "/States/Summarize/Retry"));
        assert_found(&found, "Summarize", "a Task without `Retry`");
    }

    #[test]
    fn a_heartbeat_as_long_as_the_timeout() {
        let found = broken(|machine| {
            let timeout = at(machine, "/States/StartDetection/TimeoutSeconds").clone();
            *at(machine, "/States/StartDetection/HeartbeatSeconds") = timeout;
        });
        assert_found(&found, "StartDetection", "must be below `TimeoutSeconds`");
    }

    #[test]
    fn a_heartbeat_that_grows_beyond_the_timeout() {
        let found = broken(|machine| {
            *at(machine, "/States/StartDetection/HeartbeatSeconds") =
                "{% 900 * ($states.context.State.RetryCount + 1) %}".into();
        });
        assert_found(&found, "StartDetection", "must be below `TimeoutSeconds`");
    }

    #[test]
    fn a_heartbeat_that_is_not_a_number() {
        for invalid in ["900", "{% -1 %}", "{% 0.5 %}", "{% '900' %}"] {
            let found = broken(|machine| *at(machine, "/States/StartDetection/HeartbeatSeconds") = invalid.into());
            assert_found(&found, "StartDetection", "`HeartbeatSeconds` after 0 retries");
        }
    }

    #[test]
    fn a_callback_without_a_heartbeat() {
        let found = broken(|machine| remove(machine, "/States/StartDetection/HeartbeatSeconds"));
        assert_found(&found, "StartDetection", "needs `HeartbeatSeconds`");
    }

    #[test]
    fn a_callback_without_its_task_token() {
        let found =
            broken(|machine| *at(machine, "/States/StartDetection/Arguments/Payload/task_token") = json!("token"));
        assert_found(&found, "StartDetection", "must pass $states.context.Task.Token");
    }
}

mod errors {
    use super::*;

    #[test]
    fn a_growing_interval_without_a_maximum() {
        let found = broken(|machine| remove(machine, "/States/Summarize/Retry/0/MaxDelaySeconds"));
        assert_found(&found, "Summarize.Retry[0]", "set `MaxDelaySeconds`");
    }

    #[test]
    fn a_growing_interval_without_jitter() {
        let found = broken(|machine| remove(machine, "/States/Summarize/Retry/0/JitterStrategy"));
        assert_found(&found, "Summarize.Retry[0]", "set `JitterStrategy`");
    }

    #[test]
    fn an_interval_that_grows_by_default() {
        let found = broken(|machine| {
            remove(machine, "/States/Summarize/Retry/0/BackoffRate");
            remove(machine, "/States/Summarize/Retry/0/MaxDelaySeconds");
        });
        assert_found(&found, "Summarize.Retry[0]", "the interval grows by 2");
    }

    #[test]
    fn an_error_that_is_not_reported() {
        let found = broken(|machine| *at(machine, "/States/Summarize/Retry/0/ErrorEquals/0") = json!("Throtled"));
        assert_found(&found, "Summarize.Retry[0]", "nothing reports an error named `Throtled`");
    }

    #[test]
    fn a_mistyped_error_of_lambda() {
        let found =
            broken(|machine| *at(machine, "/States/Summarize/Retry/0/ErrorEquals/0") = json!("Lambda.ServiceExeption"));
        assert_found(&found, "Summarize.Retry[0]", "nothing reports an error named `Lambda.ServiceExeption`");
    }

    #[test]
    fn a_retry_of_a_terminal_error() {
        let found = broken(|machine| {
            *at(machine, "/States/Summarize/Retry/0/ErrorEquals/0") = json!("States.DataLimitExceeded");
        });
        assert_found(&found, "Summarize.Retry[0]", "no rule applies to it");
    }

    #[test]
    fn a_rule_for_all_errors_and_others() {
        let found = broken(|machine| *at(machine, "/States/Summarize/Retry/0/ErrorEquals/0") = json!("States.ALL"));
        assert_found(&found, "Summarize.Retry[0]", "`States.ALL` must be the only name");
    }

    #[test]
    fn a_missed_heartbeat_that_is_retried_by_only_one_of_its_names() {
        let found = broken(|machine| {
            *at(machine, "/States/StartDetection/Retry/0/ErrorEquals") = json!(["States.HeartbeatTimeout"]);
        });
        assert_found(&found, "StartDetection.Retry[0]", "reported as `States.Timeout` as well");
    }

    #[test]
    fn an_error_that_an_earlier_retrier_matches() {
        let found = broken(|machine| {
            let names = at(machine, "/States/StartDetection/Retry/1/ErrorEquals");
            names.as_array_mut().expect("names").push(json!("States.Timeout"));
        });
        assert_found(&found, "StartDetection.Retry[1]", "`States.Timeout` has no effect here");
    }

    #[test]
    fn a_catch_that_ends_in_a_fail() {
        let found = broken(|machine| {
            machine["States"]["Summarize"]["Catch"] = json!([{ "ErrorEquals": ["States.ALL"], "Next": "Report" }]);
            machine["States"]["Report"] = json!({ "Type": "Pass", "Next": "Failed" });
            machine["States"]["Failed"] = json!({ "Type": "Fail", "Error": "Failed" });
        });
        assert_found(&found, "Summarize", "`Catch[0].Next` ends in the Fail state Failed");
    }
}

mod flow {
    use super::*;

    #[test]
    fn a_dangling_start() {
        let found = broken(|machine| machine["StartAt"] = json!("Start"));
        assert_found(&found, "(state machine)", "`StartAt` names \"Start\"");
    }

    #[test]
    fn a_dangling_start_inside_a_map() {
        let found = broken(|machine| *at(machine, "/States/ReadPages/ItemProcessor/StartAt") = json!("Fetch"));
        assert_found(&found, "ReadPages", "`StartAt` names \"Fetch\"");
    }

    #[test]
    fn a_dangling_next() {
        let found = broken(|machine| {
            at(machine, "/States/MorePages?/Choices").as_array_mut().expect("rules").push(json!({
                "Condition": "{% false %}",
                "Next": "Sumarize"
            }));
        });
        assert_found(&found, "MorePages?", "`Choices[1].Next` names \"Sumarize\"");
    }

    #[test]
    fn a_dangling_default() {
        let found = broken(|machine| {
            *at(machine, "/States/MorePages?/Default") = json!("Sumarize");
            at(machine, "/States/MorePages?/Choices").as_array_mut().expect("rules").push(json!({
                "Condition": "{% true %}",
                "Next": "Summarize"
            }));
        });
        assert_found(&found, "MorePages?", "`Default` names \"Sumarize\"");
    }

    #[test]
    fn an_unreachable_state() {
        let found = broken(|machine| machine["States"]["Forgotten"] = json!({ "Type": "Succeed" }));
        assert_found(&found, "Forgotten", "no path from `StartAt` leads here");
    }

    #[test]
    fn a_state_without_next_and_end() {
        let found = broken(|machine| remove(machine, "/States/ReadPages/ItemProcessor/States/FetchPage/End"));
        assert!(found[0].to_string().contains("ReadPages.FetchPage: has neither `Next` nor `End`"), "{found:#?}");
    }

    #[test]
    fn a_state_with_next_and_end() {
        let found = broken(|machine| machine["States"]["Summarize"]["Next"] = json!("ReadPages"));
        assert_found(&found, "Summarize", "has both `Next` and `End`");
    }

    #[test]
    fn a_workflow_without_an_end() {
        let found = broken(|machine| {
            remove(machine, "/States/Summarize/End");
            machine["States"]["Summarize"]["Next"] = json!("ReadPages");
        });
        assert_found(&found, "(state machine)", "no reachable state ends the workflow");
    }
}

mod expressions {
    use super::*;

    #[test]
    fn a_variable_that_no_state_assigns() {
        let found = broken(|machine| *at(machine, "/States/ReadPages/Items") = json!("{% $windows.batches %}"));
        assert_found(&found, "ReadPages.Items", "`$windows` is not assigned on every path");
    }

    #[test]
    fn a_variable_that_only_one_path_assigns() {
        let found = broken(|machine| {
            machine["States"]["Start?"] = json!({
                "Type": "Choice",
                "Choices": [{ "Condition": "{% $exists($states.input.job) %}", "Next": "ReadPages", "Assign": { "window": {} } }],
                "Default": "InspectVideo"
            });
            machine["StartAt"] = json!("Start?");
        });
        let paths: Vec<_> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert!(paths.contains(&"ReadPages.ListPages.Arguments.Payload.job"), "{found:#?}");
        assert!(
            found.iter().all(|finding| finding.message.contains("`$job` is not assigned on every path")),
            "{found:#?}"
        );
    }

    #[test]
    fn a_variable_read_in_the_state_that_assigns_it_first() {
        let found = broken(|machine| {
            at(machine, "/States/StartDetection/Assign")["idempotency_key"] = json!("{% $job.idempotency_key %}");
        });
        assert_found(&found, "StartDetection.Assign.idempotency_key", "`$job` is not assigned");
    }

    #[test]
    fn an_outer_variable_in_a_distributed_map() {
        let found = broken(|machine| {
            *at(machine, "/States/ReadPages/ItemProcessor/ProcessorConfig") =
                json!({ "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" });
            *at(machine, "/States/ReadPages/ItemProcessor/States/ListPages/Arguments/Payload/job") = json!({});
        });
        assert_found(&found, "ReadPages.FetchPage.Arguments.Payload.job", "`$job` is not assigned");
    }

    #[test]
    fn variables_bound_by_the_expression_are_known() {
        for bound in [
            "( $first := 1; $first + 1 )",
            "$map($window.batches, function($batch, $index) { $batch.index + $index })",
            "$window.batches@$batch.($batch.index)",
            "$window.batches#$index.$index",
            "( $loop := function($n) { $n > 0 ? $loop($n - 1) : 0 }; $loop(3) )",
            "$window.batches[index > 3].{ 'index': index, 'all': $ }",
            "$map($window.batches, $string)",
        ] {
            let found = broken(|machine| *at(machine, "/States/ReadPages/Items") = json!(format!("{{% {bound} %}}")));
            assert_eq!(found, [], "{bound}");
        }
    }

    #[test]
    fn a_variable_outside_the_block_that_binds_it() {
        let found = broken(|machine| *at(machine, "/States/ReadPages/Items") = json!("{% [( $n := 1; $n ), $n] %}"));
        assert_found(&found, "ReadPages.Items", "`$n` is not assigned");
    }

    #[test]
    fn malformed_jsonata() {
        let found = broken(|machine| {
            *at(machine, "/States/MorePages?/Choices/0/Condition") = json!("{% $exists($window.next %}");
        });
        assert_found(&found, "MorePages?.Choices[0].Condition", "malformed JSONata");
    }

    #[test]
    fn an_unknown_function() {
        let found = broken(|machine| {
            *at(machine, "/States/MorePages?/Choices/0/Condition") = json!("{% $exist($window.next) %}");
        });
        assert_found(&found, "MorePages?.Choices[0].Condition", "`$exist` is not a function");
    }

    #[test]
    fn a_function_without_its_dollar_sign() {
        let found = broken(|machine| {
            *at(machine, "/States/MorePages?/Choices/0/Condition") = json!("{% exists($window.next) %}");
        });
        assert_found(&found, "MorePages?.Choices[0].Condition", "`exists(` lacks its `$`");
    }

    #[test]
    fn a_field_without_an_object() {
        let found = broken(|machine| *at(machine, "/States/Summarize/Arguments/Payload/job") = json!("{% job %}"));
        assert_found(&found, "Summarize.Arguments.Payload.job", "`job` is not a field of any object");
    }

    #[test]
    fn an_expression_inside_a_text() {
        let found = broken(|machine| *at(machine, "/States/Summarize/Arguments/Payload/job") = json!("{% $job %} "));
        assert_found(&found, "Summarize.Arguments.Payload.job", "is plain text");
    }

    #[test]
    fn a_result_in_the_arguments() {
        let found =
            broken(|machine| *at(machine, "/States/Summarize/Arguments/Payload/job") = json!("{% $states.result %}"));
        assert_found(&found, "Summarize.Arguments.Payload.job", "`$states.result` does not exist here");
    }

    #[test]
    fn a_result_of_a_choice() {
        let found = broken(|machine| at(machine, "/States/MorePages?")["Output"] = json!("{% $states.result %}"));
        assert_found(&found, "MorePages?.Output", "`$states.result` does not exist here");
    }

    #[test]
    fn an_error_output_outside_a_catch() {
        let found =
            broken(|machine| *at(machine, "/States/Summarize/Output") = json!("{% $states.errorOutput.Cause %}"));
        assert_found(&found, "Summarize.Output", "`$states.errorOutput` does not exist here");
    }

    #[test]
    fn a_result_inside_a_catch() {
        let found = broken(|machine| {
            machine["States"]["ReadPages"]["Catch"] = json!([{
                "ErrorEquals": ["States.ALL"],
                "Assign": { "why": "{% $states.errorOutput.Cause & $states.result %}" },
                "Next": "Summarize"
            }]);
        });
        assert_found(&found, "ReadPages.Catch[0].Assign.why", "`$states.result` does not exist here");
    }

    #[test]
    fn a_member_that_the_context_lacks() {
        let found = broken(|machine| {
            *at(machine, "/States/Summarize/Arguments/Payload/execution_arn") =
                json!("{% $states.context.Execution.Arn %}");
        });
        assert_found(&found, "Summarize.Arguments.Payload.execution_arn", "`$states.context.Execution` has no `Arn`");
    }

    #[test]
    fn a_task_token_in_a_state_that_does_not_wait() {
        let found = broken(|machine| {
            *at(machine, "/States/Summarize/Arguments/Payload/execution_arn") =
                json!("{% $states.context.Task.Token %}");
        });
        assert_found(
            &found,
            "Summarize.Arguments.Payload.execution_arn",
            "only in the `Arguments` of a Task that waits",
        );
    }
}

mod integrations {
    use super::*;

    #[test]
    fn a_mistyped_resource() {
        let found = broken(|machine| {
            *at(machine, "/States/Summarize/Resource") = json!("arn:${partition}:states:::lambda:invok");
        });
        assert_found(
            &found,
            "Summarize",
            "`Resource` \"arn:${partition}:states:::lambda:invok\" is not a known integration",
        );
    }

    #[test]
    fn a_resource_of_one_partition() {
        let found =
            broken(|machine| *at(machine, "/States/Summarize/Resource") = json!("arn:aws:states:::lambda:invoke"));
        assert_found(&found, "Summarize", "`Resource` \"arn:aws:states:::lambda:invoke\" is not a known integration");
    }

    #[test]
    fn a_call_without_a_function_name() {
        let found = broken(|machine| remove(machine, "/States/Summarize/Arguments/FunctionName"));
        assert_found(&found, "Summarize", "`Arguments` need `FunctionName`");
    }

    #[test]
    fn an_item_reader_of_an_inline_map() {
        let found = broken(|machine| {
            at(machine, "/States/ReadPages")["ItemReader"] = json!({ "Resource": "arn:${partition}:states:::s3:listObjectsV2", "Arguments": { "Bucket": "videos" } });
        });
        assert_found(&found, "ReadPages", "`ItemReader` belongs to distributed Maps");
    }

    #[test]
    fn an_unknown_argument_of_a_metric() {
        let mut machine: Value = serde_json::from_str(&definition("running-executions.asl.json")).expect("JSON");
        machine["States"]["Publish"]["Arguments"]["MetricDatum"] = json!([]);
        let found = findings(&machine.to_string());
        assert_found(&found, "Publish.Arguments", "`MetricDatum` is not a field here");
    }

    /// The backfill: a distributed Map over a list that starts one execution a video.
    fn backfill() -> Value {
        serde_json::from_str(&definition("backfill.asl.json")).expect("JSON")
    }

    #[test]
    fn a_mistyped_reader() {
        let mut machine = backfill();
        machine["States"]["EachVideo"]["ItemReader"]["Resource"] = json!("arn:${partition}:states:::s3:listObjects");
        let found = findings(&machine.to_string());
        assert_found(&found, "EachVideo.ItemReader", "is not a known integration");
    }

    #[test]
    fn an_unknown_field_of_a_batcher() {
        let mut machine = backfill();
        machine["States"]["EachVideo"]["ItemBatcher"] = json!({ "MaxItemPerBatch": 1 });
        let found = findings(&machine.to_string());
        assert_found(&found, "EachVideo.ItemBatcher", "`MaxItemPerBatch` is not a field here");
    }

    #[test]
    fn an_unknown_field_of_a_reader() {
        let mut machine = backfill();
        machine["States"]["EachVideo"]["ItemReader"]["ReaderConfig"]["MaxItem"] = json!(1);
        let found = findings(&machine.to_string());
        assert_found(&found, "EachVideo.ItemReader.ReaderConfig", "`MaxItem` is not a field here");
    }
}

mod template {
    use super::*;

    #[test]
    fn an_unknown_placeholder() {
        let found =
            broken(|machine| *at(machine, "/States/Summarize/Arguments/FunctionName") = json!("${list_page_arn}"));
        assert_found(&found, "(state machine)", "does not replace `${list_page_arn}`");
    }

    #[test]
    fn a_directive_of_terraform() {
        let found = broken(|machine| machine["Comment"] = json!("100%{ of the pages }"));
        assert_found(&found, "(state machine)", "`%{` starts a directive");
    }

    #[test]
    fn text_that_is_not_json() {
        let found = findings("{\"StartAt\": }");
        assert_found(&found, "(state machine)", "is not JSON");
    }
}

/// The expressions of `add-partitions`, for the keys that the functions write.
mod partitions {
    use jsonata_core::evaluator::{Context, Evaluator};
    use jsonata_core::parser;
    use jsonata_core::value::JValue;
    use lambdas::layout;

    use super::*;

    /// The value of the expression at `pointer`, with these variables.
    fn value(machine: &mut Value, pointer: &str, variables: &[(&str, &Value)]) -> Value {
        let source = at(machine, pointer).as_str().expect("an expression").to_owned();
        let source = source.strip_prefix("{%").and_then(|source| source.strip_suffix("%}")).expect("an expression");
        let mut context = Context::new();
        for (name, value) in variables {
            context.bind((*name).to_owned(), (*value).clone().into());
        }
        let parsed = parser::parse(source).expect("JSONata");
        let value = Evaluator::with_context(context).evaluate(&parsed, &JValue::Undefined).expect(source);
        serde_json::to_value(&value).expect("JSON")
    }

    #[test]
    fn a_result_becomes_the_partition_of_its_video_and_job() {
        let definition = definition("add-partitions.asl.json").replace("${results_bucket}", "results-bucket");
        let mut machine = serde_json::from_str(&definition).expect("JSON");
        let partition = "/States/EachTable/ItemProcessor/States/CreatePartition/Arguments/PartitionInput";
        let idempotency_key = "0f".repeat(32);
        for video in ["a.mp4", "shows/2026/a b.mp4", "manifest.json/it's 50% 'ü' \"🎬\".mp4", "/a.mp4", "a//b.mp4"] {
            let folder = layout::result(video, &idempotency_key);
            let event = json!({ "detail": { "object": { "key": format!("{folder}{}", layout::MANIFEST) } } });
            let parts = value(&mut machine, "/States/ReadKey/Assign/parts", &[("states", &json!({ "input": event }))]);
            let values =
                [0, 1].map(|index| value(&mut machine, &format!("{partition}/Values/{index}"), &[("parts", &parts)]));
            assert_eq!(values, [json!(video), json!(idempotency_key)]);

            let of_table = json!({ "Columns": [{ "Name": "id" }], "Location": "s3://results-bucket/results/" });
            let states = json!({ "input": { "table": "tracks", "storage": of_table } });
            let variables = [("parts", &parts), ("states", &states)];
            let storage = value(&mut machine, &format!("{partition}/StorageDescriptor"), &variables);
            let location = format!("s3://results-bucket/{folder}tracks/");
            assert_eq!(storage, json!({ "Columns": [{ "Name": "id" }], "Location": location }));
        }
    }
}

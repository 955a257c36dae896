//! Rules about the services that a definition calls: the names of the resources, and the arguments of each.

use serde_json::Value;

use super::{Lint, fields, inside};

/// A service integration.
struct Integration {
    /// The ARN with the placeholder for the partition. A definition with the name of one partition would fail in every other.
    resource: &'static str,
    arguments: &'static [&'static str],
    required: &'static str,
}

const INVOKE: &[&str] = &["ClientContext", "FunctionName", "InvocationType", "LogType", "Payload", "Qualifier"];
const START_EXECUTION: &[&str] = &["Input", "Name", "StateMachineArn", "TraceHeader"];

const TASKS: &[Integration] = &[
    Integration { resource: "arn:${partition}:states:::lambda:invoke", arguments: INVOKE, required: "FunctionName" },
    Integration {
        resource: "arn:${partition}:states:::lambda:invoke.waitForTaskToken",
        arguments: INVOKE,
        required: "FunctionName",
    },
    Integration {
        resource: "arn:${partition}:states:::states:startExecution",
        arguments: START_EXECUTION,
        required: "StateMachineArn",
    },
    Integration {
        resource: "arn:${partition}:states:::states:startExecution.sync",
        arguments: START_EXECUTION,
        required: "StateMachineArn",
    },
    Integration {
        resource: "arn:${partition}:states:::states:startExecution.sync:2",
        arguments: START_EXECUTION,
        required: "StateMachineArn",
    },
    Integration {
        resource: "arn:${partition}:states:::states:startExecution.waitForTaskToken",
        arguments: START_EXECUTION,
        required: "StateMachineArn",
    },
    Integration {
        resource: "arn:${partition}:states:::aws-sdk:sfn:listExecutions",
        arguments: &["MapRunArn", "MaxResults", "NextToken", "RedriveFilter", "StateMachineArn", "StatusFilter"],
        required: "StateMachineArn",
    },
    Integration {
        resource: "arn:${partition}:states:::aws-sdk:cloudwatch:putMetricData",
        arguments: &["EntityMetricData", "MetricData", "Namespace", "StrictEntityValidation"],
        required: "Namespace",
    },
    Integration {
        resource: "arn:${partition}:states:::aws-sdk:glue:getTable",
        arguments: &[
            "AuditContext",
            "CatalogId",
            "DatabaseName",
            "IncludeStatusDetails",
            "Name",
            "QueryAsOfTime",
            "TransactionId",
        ],
        required: "DatabaseName",
    },
    Integration {
        resource: "arn:${partition}:states:::aws-sdk:glue:createPartition",
        arguments: &["CatalogId", "DatabaseName", "PartitionInput", "TableName"],
        required: "PartitionInput",
    },
];

const READERS: &[Integration] = &[
    Integration {
        resource: "arn:${partition}:states:::s3:listObjectsV2",
        arguments: &["Bucket", "Prefix"],
        required: "Bucket",
    },
    Integration {
        resource: "arn:${partition}:states:::s3:getObject",
        arguments: &["Bucket", "Key", "VersionId"],
        required: "Bucket",
    },
];

const WRITERS: &[Integration] = &[Integration {
    resource: "arn:${partition}:states:::s3:putObject",
    arguments: &["Bucket", "Prefix"],
    required: "Bucket",
}];

const READER: &[&str] = &["Arguments", "ReaderConfig", "Resource"];
const READER_CONFIG: &[&str] = &[
    "CSVDelimiter",
    "CSVHeaderLocation",
    "CSVHeaders",
    "InputType",
    "ItemsPointer",
    "ManifestType",
    "MaxItems",
    "Transformation",
];
const WRITER: &[&str] = &["Arguments", "Resource", "WriterConfig"];
const WRITER_CONFIG: &[&str] = &["OutputType", "Transformation"];
const BATCHER: &[&str] = &["BatchInput", "MaxInputBytesPerBatch", "MaxItemsPerBatch"];
const DISTRIBUTED_ONLY: &[&str] =
    &["ItemBatcher", "ItemReader", "Label", "ResultWriter", "ToleratedFailureCount", "ToleratedFailurePercentage"];

pub(super) fn task(lint: &mut Lint<'_>, path: &str, task: &Value) {
    call(lint, path, task, TASKS);
}

/// Checks the reader, the batcher and the writer of a Map; only a distributed Map may have them.
pub(super) fn map(lint: &mut Lint<'_>, path: &str, map: &Value) {
    if map["ItemProcessor"]["ProcessorConfig"]["Mode"] == "INLINE" {
        for field in DISTRIBUTED_ONLY.iter().filter(|field| !map[**field].is_null()) {
            lint.find(path, format!("`{field}` belongs to distributed Maps; this one is inline"));
        }
    }
    for (field, known, integrations, config, config_known) in [
        ("ItemReader", READER, READERS, "ReaderConfig", READER_CONFIG),
        ("ResultWriter", WRITER, WRITERS, "WriterConfig", WRITER_CONFIG),
    ] {
        if map[field].is_null() {
            continue;
        }
        let path = inside(path, field);
        fields::known(lint, &path, &map[field], known);
        fields::known(lint, &inside(&path, config), &map[field][config], config_known);
        call(lint, &path, &map[field], integrations);
    }
    fields::known(lint, &inside(path, "ItemBatcher"), &map["ItemBatcher"], BATCHER);
}

/// Checks the `Resource` and the `Arguments` of `caller`.
fn call(lint: &mut Lint<'_>, path: &str, caller: &Value, integrations: &[Integration]) {
    let resource = caller["Resource"].as_str().unwrap_or_default();
    let Some(integration) = integrations.iter().find(|integration| integration.resource == resource) else {
        let known: Vec<_> = integrations.iter().map(|integration| integration.resource).collect();
        lint.find(
            path,
            format!("`Resource` \"{resource}\" is not a known integration; known are {}", known.join(", ")),
        );
        return;
    };
    let arguments = &caller["Arguments"];
    // The fields of an expression are known only when it is evaluated.
    if arguments.is_string() {
        return;
    }
    fields::known(lint, &inside(path, "Arguments"), arguments, integration.arguments);
    if arguments[integration.required].is_null() {
        lint.find(path, format!("`Arguments` need `{}`", integration.required));
    }
}

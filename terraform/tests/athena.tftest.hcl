# The tables of Athena, and the state machine that adds the results to them. tests/athena_tables_test.py compares the columns with
# the schemas of the results.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  zips_directory = "tests/zips"
}

run "a_stack_has_no_tables_by_default" {
  assert {
    condition     = length(aws_glue_catalog_database.results) + length(aws_glue_catalog_table.results) + length(aws_sfn_state_machine.add_partitions) + length(aws_cloudwatch_event_rule.add_partitions) + length(aws_cloudwatch_event_target.add_partitions) == 0
    error_message = "Without create_athena_tables, nothing of it must exist."
  }
  assert {
    condition     = output.athena_database == null && !contains(keys(output.state_machine_arns), "add-partitions") && !contains(keys(aws_cloudwatch_metric_alarm.alarm), "add-partitions-failed")
    error_message = "Without create_athena_tables, no output and no alarm must name it."
  }
}

run "a_complete_result_becomes_a_partition_of_each_table" {
  variables {
    name                 = "media-faces"
    create_athena_tables = true
  }

  assert {
    condition     = output.athena_database == "media_faces" && aws_glue_catalog_database.results[0].name == "media_faces"
    error_message = "Athena accepts no hyphen in the name of a database."
  }
  assert {
    condition     = { for name, table in aws_glue_catalog_table.results : name => [table.database_name, table.table_type, join(",", table.partition_keys[*].name), table.storage_descriptor[0].location] } == { for name in ["faces", "tracks"] : name => ["media_faces", "EXTERNAL_TABLE", "video,idempotency_key", "s3://${aws_s3_bucket.results.id}/results/"] }
    error_message = "Both tables must be in the database, with a partition for each result."
  }
  assert {
    condition     = alltrue([for table in aws_glue_catalog_table.results : one(table.storage_descriptor[0].ser_de_info).serialization_library == "org.apache.hive.hcatalog.data.JsonSerDe"])
    error_message = "The names in Rekognition's lines are in another case than the columns, so the SerDe must ignore the case."
  }
  assert {
    condition     = toset(keys(output.state_machine_arns)) == toset(["analyze-video", "running-executions", "backfill", "add-partitions"]) && output.role_arns["add-partitions"] != null && output.log_group_names["add-partitions"] == "/aws/vendedlogs/states/media-faces-add-partitions"
    error_message = "The state machine, its role and its log group must be in the outputs."
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.add_partitions[0].event_pattern).detail == { bucket = { name = ["media-faces-results-123456789012-eu-west-1"] }, object = { key = [{ wildcard = "results/*/manifest.json" }] } }
    error_message = "Only a complete result must start an execution."
  }
  assert {
    condition     = aws_cloudwatch_event_target.add_partitions[0].role_arn == aws_iam_role.events.arn && contains(jsondecode(aws_iam_role_policy.events.policy).Statement[0].Resource, aws_sfn_state_machine.add_partitions[0].arn)
    error_message = "The role of EventBridge must be able to start the state machine."
  }
  assert {
    condition     = toset(jsondecode(aws_sfn_state_machine.add_partitions[0].definition).States.EachTable.Items) == toset(keys(aws_glue_catalog_table.results))
    error_message = "The state machine must add the partitions of every table."
  }
  assert {
    condition = alltrue([for state in ["GetTable", "CreatePartition"] :
      jsondecode(aws_sfn_state_machine.add_partitions[0].definition).States.EachTable.ItemProcessor.States[state].Arguments.DatabaseName == aws_glue_catalog_database.results[0].name
    ])
    error_message = "The state machine must use the database of the stack."
  }
  assert {
    condition     = strcontains(jsondecode(aws_sfn_state_machine.add_partitions[0].definition).States.EachTable.ItemProcessor.States.CreatePartition.Arguments.PartitionInput.StorageDescriptor, "'s3://${aws_s3_bucket.results.id}/' &")
    error_message = "The partitions must be in the results bucket."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.alarm["add-partitions-failed"].dimensions == tomap({ StateMachineArn = "arn:aws:states:eu-west-1:123456789012:stateMachine:media-faces-add-partitions" })
    error_message = "A result that is missing in the tables must raise an alarm."
  }
}

run "the_state_machine_may_only_add_partitions" {
  variables {
    create_athena_tables = true
    customer_managed_key = true
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.add_partitions[0].policy).Statement : [statement.Action, statement.Resource] if statement.Sid == "AddPartitions"] == [[
      ["glue:CreatePartition", "glue:GetTable"],
      [
        "arn:aws:glue:eu-west-1:123456789012:catalog",
        "arn:aws:glue:eu-west-1:123456789012:database/facereel",
        "arn:aws:glue:eu-west-1:123456789012:table/facereel/faces",
        "arn:aws:glue:eu-west-1:123456789012:table/facereel/tracks",
      ],
    ]]
    error_message = "The role must be limited to the two tables."
  }
  assert {
    condition     = sort([for statement in jsondecode(aws_iam_role_policy.add_partitions[0].policy).Statement : statement.Sid]) == tolist(["AddPartitions", "DeliverLogs", "UseKeyForAddPartitions", "UseKeyForLogDelivery"])
    error_message = "The role lacks a permission to use the key, or has one that it does not need."
  }
  assert {
    condition     = aws_sfn_state_machine.add_partitions[0].encryption_configuration[0].kms_key_id == aws_kms_key.key[0].arn && aws_sfn_state_machine.add_partitions[0].timeouts.delete == "10m"
    error_message = "The key must encrypt the executions, and a deletion that waits must fail after 10 minutes."
  }
}

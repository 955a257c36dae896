# The options for platform teams: IAM, VPC, environment, log groups, what the stack creates, and the outputs.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  zips_directory = "tests/zips"
}

run "all_roles_have_the_path_and_the_permissions_boundary" {
  variables {
    iam_path                 = "/platform/media/"
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
  }

  assert {
    condition     = alltrue([for role in concat(values(aws_iam_role.function), values(aws_iam_role.state_machine), [aws_iam_role.events, aws_iam_role.publish]) : role.path == "/platform/media/" && role.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"])
    error_message = "A role has another path or no permissions boundary."
  }
}

run "a_path_without_a_slash_at_its_end_is_rejected" {
  command = plan
  variables { iam_path = "/platform" }
  expect_failures = [var.iam_path]
}

run "a_path_that_makes_the_arn_of_a_role_too_long_is_rejected" {
  command = plan
  variables { iam_path = "/${join("", [for _ in range(127) : "p"])}/" }
  expect_failures = [var.iam_path]
}

run "a_permissions_boundary_that_is_not_an_arn_is_rejected" {
  command = plan
  variables { permissions_boundary_arn = "boundary" }
  expect_failures = [var.permissions_boundary_arn]
}

run "functions_run_in_the_vpc" {
  variables {
    vpc = { subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-1"] }
  }

  assert {
    condition     = alltrue([for function in aws_lambda_function.function : function.vpc_config[0].subnet_ids == toset(["subnet-1", "subnet-2"]) && function.vpc_config[0].security_group_ids == toset(["sg-1"])])
    error_message = "Every function must run in the VPC."
  }
  assert {
    condition = alltrue([for name, policy in aws_iam_role_policy.function : { for statement in jsondecode(policy.policy).Statement : statement.Effect => [statement.Action, try(statement.Condition, null)] if strcontains(statement.Sid, "NetworkInterfaces") } == {
      Allow = [["ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses"], null]
      Deny  = [["ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses"], { ArnEquals = { "lambda:SourceFunctionArn" = "arn:aws:lambda:eu-west-1:123456789012:function:facereel-${name}" } }]
    }])
    error_message = "Lambda must be able to manage network interfaces with the role, and the code of the function must not."
  }
}

run "without_a_vpc_no_role_manages_network_interfaces" {
  assert {
    condition     = alltrue([for function in aws_lambda_function.function : length(function.vpc_config) == 0]) && !anytrue([for policy in aws_iam_role_policy.function : strcontains(policy.policy, "ec2:")])
    error_message = "Without a VPC, the functions need no permissions of EC2."
  }
}

run "a_vpc_without_subnets_is_rejected" {
  command = plan
  variables { vpc = { subnet_ids = [], security_group_ids = ["sg-1"] } }
  expect_failures = [var.vpc]
}

run "functions_have_the_environment_and_the_layers" {
  variables {
    customer_managed_key = true
    function_environment = { SSL_CERT_FILE = "/opt/ca-bundle.pem" }
    function_layers      = ["arn:aws:lambda:eu-west-1:123456789012:layer:ca-bundle:3"]
  }

  assert {
    condition     = alltrue([for function in aws_lambda_function.function : function.environment[0].variables["SSL_CERT_FILE"] == "/opt/ca-bundle.pem" && function.layers == tolist(["arn:aws:lambda:eu-west-1:123456789012:layer:ca-bundle:3"])])
    error_message = "Every function must have the environment and the layers."
  }
  assert {
    condition     = aws_lambda_function.function["summarize"].environment[0].variables["RESULTS_BUCKET"] == "facereel-results-123456789012-eu-west-1"
    error_message = "The functions must keep the variables of the stack."
  }
  assert {
    condition     = alltrue([for name, function in aws_lambda_function.function : function.kms_key_arn == aws_kms_key.key[0].arn && strcontains(aws_iam_role_policy.function[name].policy, "UseKeyForEnvironment")])
    error_message = "The key must encrypt every environment, and every role must be able to decrypt it."
  }
}

run "a_variable_of_the_stack_in_the_environment_is_rejected" {
  command = plan
  variables { function_environment = { RESULTS_BUCKET = "others" } }
  expect_failures = [var.function_environment]
}

run "a_layer_without_a_version_is_rejected" {
  command = plan
  variables { function_layers = ["arn:aws:lambda:eu-west-1:123456789012:layer:ca-bundle"] }
  expect_failures = [var.function_layers]
}

run "log_groups_can_exist" {
  variables { create_log_groups = false }

  assert {
    condition     = length(aws_cloudwatch_log_group.function) + length(aws_cloudwatch_log_group.state_machine) == 0
    error_message = "The stack must not create the log groups."
  }
  assert {
    condition     = aws_lambda_function.function["summarize"].logging_config[0].log_group == "/aws/lambda/facereel-summarize" && aws_sfn_state_machine.analyze_video.logging_configuration[0].log_destination == "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/vendedlogs/states/facereel-analyze-video:*"
    error_message = "The functions and the state machines must log to the existing log groups."
  }
  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.function["summarize"].policy).Statement : statement.Resource if statement.Sid == "WriteLogs"] == ["arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/facereel-summarize:*"]
    error_message = "The functions must be able to write to the existing log groups."
  }
}

run "logs_can_be_kept_without_a_limit" {
  variables { log_retention_days = 0 }

  assert {
    condition     = alltrue([for group in concat(values(aws_cloudwatch_log_group.function), values(aws_cloudwatch_log_group.state_machine)) : group.retention_in_days == 0])
    error_message = "Logs must not expire."
  }
}

run "a_stack_without_dashboard_alarms_and_backfill" {
  variables {
    create_dashboard = false
    create_alarms    = false
    create_backfill  = false
  }

  assert {
    condition     = length(aws_cloudwatch_dashboard.dashboard) == 0 && output.dashboard_url == null
    error_message = "There must be no dashboard."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.alarm) + length(aws_cloudwatch_metric_alarm.throttled) == 0
    error_message = "There must be no alarms."
  }
  assert {
    condition     = length(aws_sfn_state_machine.backfill) + length(aws_iam_role_policy.backfill) == 0 && !contains(keys(aws_iam_role.state_machine), "backfill") && !contains(keys(aws_cloudwatch_log_group.state_machine), "backfill") && output.backfill_commands == []
    error_message = "There must be nothing of the backfill."
  }
}

run "alarms_without_backfill" {
  variables { create_backfill = false }

  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.alarm)) == toset(["failed", "timed-out", "stuck", "undelivered-completions", "undelivered-uploads", "waiting-jobs"])
    error_message = "Without backfill, its alarms must not exist, and all others must."
  }
  assert {
    condition     = !strcontains(aws_cloudwatch_dashboard.dashboard[0].dashboard_body, "Backfills")
    error_message = "Without backfill, the dashboard must not show its failures."
  }
}

run "a_topic_reports_completed_and_failed_results" {
  variables {
    create_results_topic = true
    customer_managed_key = true
  }

  assert {
    condition = { for outcome, rule in aws_cloudwatch_event_rule.results : outcome => jsondecode(rule.event_pattern).detail } == {
      completed = {
        bucket = { name = ["facereel-results-123456789012-eu-west-1"] }
        object = { key = [{ wildcard = "results/*/manifest.json" }] }
      }
      failed = {
        stateMachineArn = ["arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video"]
        status          = ["ABORTED", "FAILED", "TIMED_OUT"]
      }
    }
    error_message = "The rules must match the manifests of results, but not those of backfills, and the executions that did not succeed."
  }
  assert {
    condition     = alltrue([for target in aws_cloudwatch_event_target.results : target.arn == aws_sns_topic.results[0].arn]) && length(aws_cloudwatch_event_target.results) == 2 && output.results_topic_arn == aws_sns_topic.results[0].arn
    error_message = "Both rules must publish to the topic."
  }
  assert {
    condition     = jsondecode(aws_sns_topic_policy.results[0].policy).Statement == [{ Sid = "AllowEventBridgeToPublish", Effect = "Allow", Principal = { Service = "events.amazonaws.com" }, Action = "sns:Publish", Resource = aws_sns_topic.results[0].arn }]
    error_message = "EventBridge must be able to publish, without a condition, which it does not support."
  }
  assert {
    condition     = aws_sns_topic.results[0].kms_master_key_id == aws_kms_key.key[0].arn && [for statement in jsondecode(aws_kms_key.key[0].policy).Statement : statement.Condition if statement.Sid == "Results"] == [{ StringEquals = { "kms:EncryptionContext:aws:sns:topicArn" = "arn:aws:sns:eu-west-1:123456789012:facereel-results" } }]
    error_message = "The key must encrypt the topic, and EventBridge must be able to use it for this topic only."
  }
}

run "without_the_option_there_is_no_results_topic" {
  assert {
    condition     = length(aws_sns_topic.results) + length(aws_cloudwatch_event_rule.results) + length(aws_cloudwatch_event_target.results) == 0 && output.results_topic_arn == null
    error_message = "The topic is optional."
  }
}

run "outputs_name_all_resources" {
  assert {
    condition     = output.upload_bucket_arn == "arn:aws:s3:::facereel-uploads-123456789012-eu-west-1" && output.results_bucket_arn == "arn:aws:s3:::facereel-results-123456789012-eu-west-1"
    error_message = "The ARNs of the buckets are wrong."
  }
  assert {
    condition     = output.state_machine_arns == { for name in ["analyze-video", "backfill", "running-executions"] : name => "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-${name}" }
    error_message = "The ARNs of the state machines are wrong."
  }
  assert {
    condition     = output.function_names == { for name in keys(local.functions) : name => "facereel-${name}" } && keys(output.function_arns) == keys(local.functions)
    error_message = "The names and the ARNs of the functions must be by function."
  }
  assert {
    condition     = toset(keys(output.role_arns)) == toset(concat(keys(local.functions), ["analyze-video", "backfill", "running-executions", "events", "publish"]))
    error_message = "The ARNs of all roles must be an output."
  }
  assert {
    condition     = toset(values(output.log_group_names)) == toset(concat([for group in aws_cloudwatch_log_group.function : group.name], [for group in aws_cloudwatch_log_group.state_machine : group.name]))
    error_message = "The names of all log groups must be an output."
  }
}

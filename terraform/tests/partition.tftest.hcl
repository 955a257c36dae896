# An ARN contains the partition: `aws` in most Regions, `aws-us-gov` or `aws-cn` in the others. terraform plan accepts a
# definition or a policy with another partition, and AWS rejects it.

mock_provider "aws" {
  source = "./tests/mocks"

  mock_data "aws_region" {
    defaults = { id = "us-gov-west-1" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws-us-gov" }
  }

  mock_resource "aws_lambda_function" {
    defaults = { arn = "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:f" }
  }

  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws-us-gov:sns:us-gov-west-1:123456789012:facereel-completions" }
  }

  mock_resource "aws_sqs_queue" {
    defaults = {
      id  = "https://sqs.us-gov-west-1.amazonaws.com/123456789012/undelivered"
      arn = "arn:aws-us-gov:sqs:us-gov-west-1:123456789012:undelivered"
    }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws-us-gov:iam::123456789012:role/r" }
  }

  mock_resource "aws_sfn_state_machine" {
    defaults = { arn = "arn:aws-us-gov:states:us-gov-west-1:123456789012:stateMachine:facereel-analyze-video" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws-us-gov:logs:us-gov-west-1:123456789012:log-group:g" }
  }

  mock_resource "aws_cloudwatch_event_rule" {
    defaults = { arn = "arn:aws-us-gov:events:us-gov-west-1:123456789012:rule/r" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/k" }
  }
}

variables {
  zips_directory       = "tests/zips"
  customer_managed_key = true
  create_results_topic = true
  upload_prefixes      = ["in/"]
  vpc                  = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }
}

run "every_arn_has_the_partition_of_the_stack" {
  assert {
    condition = alltrue([
      for machine in [aws_sfn_state_machine.analyze_video, aws_sfn_state_machine.backfill[0], aws_sfn_state_machine.running_executions] :
      toset(regexall("arn:[^:]*:", machine.definition)) == toset(["arn:aws-us-gov:"])
    ])
    error_message = "A definition contains an ARN with another partition."
  }
  assert {
    condition = toset(regexall("arn:[^:]*:", join("", concat(
      [for policy in concat(values(aws_iam_role_policy.function), [aws_iam_role_policy.backfill[0], aws_iam_role_policy.events, aws_iam_role_policy.running_executions, aws_iam_role_policy.publish, aws_iam_role_policy.state_machine]) : policy.policy],
      [for role in concat(values(aws_iam_role.function), values(aws_iam_role.state_machine), [aws_iam_role.events, aws_iam_role.publish]) : role.assume_role_policy],
      [for policy in concat(values(aws_s3_bucket_policy.created), values(aws_sqs_queue_policy.undelivered), [aws_sns_topic_policy.completions, aws_sns_topic_policy.results[0], aws_kms_key.key[0]]) : policy.policy],
    )))) == toset(["arn:aws-us-gov:"])
    error_message = "A policy contains an ARN with another partition."
  }
  assert {
    condition     = !strcontains(aws_cloudwatch_dashboard.dashboard[0].dashboard_body, "arn:aws:") && !strcontains(jsonencode([local.functions, values(aws_cloudwatch_event_rule.results)[*].event_pattern, output.backfill_commands, output.state_machine_url, output.state_machine_arns, output.key_policy_statements, output.results_bucket_arn]), "arn:aws:")
    error_message = "The dashboard, the environment of a function or an output contains an ARN with another partition."
  }
}

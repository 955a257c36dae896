# Existing keys. tests/apply_test.py shows that a key cannot be switched off or deleted while objects need it: the mocked
# provider does not return the encryption of a bucket.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  zips_directory = "tests/zips"
}

run "an_existing_key_encrypts_everything" {
  variables { kms_key_arn = "arn:aws:kms:eu-west-1:999999999999:key/theirs" }

  assert {
    condition     = length(aws_kms_key.key) == 0 && length(aws_kms_alias.key) == 0 && output.key_arn == "arn:aws:kms:eu-west-1:999999999999:key/theirs"
    error_message = "With an existing key, the stack must not create one."
  }
  assert {
    condition = alltrue(concat(
      [for bucket in aws_s3_bucket_server_side_encryption_configuration.created : one(bucket.rule).apply_server_side_encryption_by_default[0].kms_master_key_id == var.kms_key_arn && one(bucket.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms" && one(bucket.rule).bucket_key_enabled],
      [for queue in aws_sqs_queue.undelivered : queue.kms_master_key_id == var.kms_key_arn && queue.sqs_managed_sse_enabled != true],
      [for group in concat(values(aws_cloudwatch_log_group.function), values(aws_cloudwatch_log_group.state_machine)) : group.kms_key_id == var.kms_key_arn],
      [for machine in [aws_sfn_state_machine.analyze_video, aws_sfn_state_machine.backfill[0], aws_sfn_state_machine.running_executions] : machine.encryption_configuration[0].kms_key_id == var.kms_key_arn],
      [aws_sns_topic.completions.kms_master_key_id == var.kms_key_arn, aws_lambda_function.function["summarize"].kms_key_arn == var.kms_key_arn],
    ))
    error_message = "A resource is not encrypted with the existing key."
  }
  assert {
    condition = alltrue([for statement in flatten([for policy in concat(values(aws_iam_role_policy.function), [aws_iam_role_policy.backfill[0], aws_iam_role_policy.publish, aws_iam_role_policy.state_machine, aws_iam_role_policy.running_executions]) : [for statement in jsondecode(policy.policy).Statement : statement if startswith(statement.Sid, "UseKeyFor")]]) : statement.Resource == var.kms_key_arn
    ])
    error_message = "The roles must use the existing key."
  }
  assert {
    condition     = [for statement in output.key_policy_statements : statement.Sid] == ["LogGroups", "LogDelivery", "DeadLetters"]
    error_message = "The output must contain the statements that the policy of the existing key needs."
  }
}

run "two_keys_are_rejected" {
  command = plan
  variables {
    kms_key_arn          = "arn:aws:kms:eu-west-1:123456789012:key/theirs"
    customer_managed_key = true
  }
  expect_failures = [var.kms_key_arn]
}

run "an_alias_as_the_existing_key_is_rejected" {
  command = plan
  variables { kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:alias/theirs" }
  expect_failures = [var.kms_key_arn]
}

run "an_existing_key_in_another_region_is_rejected" {
  command = plan
  variables { kms_key_arn = "arn:aws:kms:us-east-1:123456789012:key/theirs" }
  expect_failures = [var.kms_key_arn]
}

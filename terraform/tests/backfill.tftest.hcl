# The state machine that analyses every video in a list.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  zips_directory = "tests/zips"
}

run "the_definition_names_the_stacks_state_machine_and_results_bucket" {
  assert {
    condition     = !strcontains(aws_sfn_state_machine.backfill[0].definition, "$${")
    error_message = "The definition still contains a template placeholder."
  }
  assert {
    condition     = jsondecode(aws_sfn_state_machine.backfill[0].definition).States.EachVideo.ItemProcessor.States.AnalyzeVideo.Arguments.StateMachineArn == aws_sfn_state_machine.analyze_video.arn
    error_message = "The backfill must start executions of analyze-video."
  }
  assert {
    condition = alltrue([for field in ["ItemReader", "ResultWriter"] :
      jsondecode(aws_sfn_state_machine.backfill[0].definition).States.EachVideo[field].Arguments.Bucket == aws_s3_bucket.results.id
    ])
    error_message = "The backfill must read its list from the results bucket and write its outcome there."
  }
}

run "the_role_allows_only_what_the_backfill_does" {
  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.backfill[0].policy).Statement : statement.Sid => flatten([statement.Resource]) if statement.Sid != "DeliverLogs" } == {
      StartExecutions = ["arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-backfill", "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video"]
      WaitForAndStopExecutions = [
        "arn:aws:states:eu-west-1:123456789012:execution:facereel-analyze-video:*",
        "arn:aws:states:eu-west-1:123456789012:execution:facereel-backfill:*",
        "arn:aws:states:eu-west-1:123456789012:execution:facereel-backfill/*",
      ]
      RedriveChildExecutions    = ["arn:aws:states:eu-west-1:123456789012:execution:facereel-backfill/*"]
      ManageExecutionEventsRule = ["arn:aws:events:eu-west-1:123456789012:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"]
      ReadListAndWriteResults   = ["arn:aws:s3:::facereel-results-123456789012-eu-west-1/backfill/*"]
    }
    error_message = "The role must allow executions of the two state machines only, and objects under backfill/ only."
  }
  assert {
    condition     = !anytrue(flatten([for statement in jsondecode(aws_iam_role_policy.backfill[0].policy).Statement : [for action in flatten([statement.Action]) : strcontains(action, "*")]]))
    error_message = "Actions must not contain wildcards."
  }
  assert {
    condition     = jsondecode(aws_iam_role.state_machine["backfill"].assume_role_policy).Statement[0].Condition == { ArnLike = { "aws:SourceArn" = ["arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-backfill", "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-backfill/*"] }, StringEquals = { "aws:SourceAccount" = "123456789012" } }
    error_message = "Only the state machine backfill and its distributed Map may assume its role."
  }
}

run "a_customer_managed_key_encrypts_the_backfill" {
  variables { customer_managed_key = true }

  assert {
    condition     = aws_sfn_state_machine.backfill[0].encryption_configuration[0].kms_key_id == aws_kms_key.key[0].arn && aws_cloudwatch_log_group.state_machine["backfill"].kms_key_id == aws_kms_key.key[0].arn
    error_message = "The executions or the log of the backfill are not encrypted with the key."
  }
  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.backfill[0].policy).Statement : statement.Sid => statement.Condition if startswith(statement.Sid, "UseKeyFor")
      } == {
      UseKeyForBackfill      = { StringLike = { "kms:EncryptionContext:aws:states:stateMachineArn" = ["arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-backfill", "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-backfill/*"] } }
      UseKeyForDescribeVideo = { StringEquals = { "kms:EncryptionContext:aws:states:stateMachineArn" = "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video" } }
      UseKeyForLogDelivery   = { StringLike = { "kms:EncryptionContext:SourceArn" = "arn:aws:logs:eu-west-1:123456789012:*" } }
      UseKeyForObjects       = { StringEquals = { "kms:ViaService" = "s3.eu-west-1.amazonaws.com" } }
    }
    error_message = "The role lacks a permission to use the key, or has one that it does not need."
  }
}

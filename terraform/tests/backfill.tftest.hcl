# The state machine that works off a list of videos.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region         = "eu-west-1"
  zips_directory = "tests/zips"
}

run "it_starts_the_analysis_and_reads_its_list" {
  assert {
    condition     = !strcontains(aws_sfn_state_machine.backfill.definition, "$${")
    error_message = "A place in the definition was not filled in."
  }
  assert {
    condition     = jsondecode(aws_sfn_state_machine.backfill.definition).States.EachVideo.ItemProcessor.States.AnalyzeVideo.Arguments.StateMachineArn == aws_sfn_state_machine.analyze_video.arn
    error_message = "It starts another state machine."
  }
  assert {
    condition = alltrue([for field in ["ItemReader", "ResultWriter"] :
      jsondecode(aws_sfn_state_machine.backfill.definition).States.EachVideo[field].Arguments.Bucket == aws_s3_bucket.results.id
    ])
    error_message = "The list and what became of it lie in the results bucket."
  }
}

run "it_may_do_that_and_no_more" {
  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.backfill.policy).Statement : statement.Sid => flatten([statement.Resource]) if statement.Sid != "DeliverLogs" } == {
      StartExecutions = ["arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-backfill", "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video"]
      WaitForAndStopExecutions = [
        "arn:aws:states:eu-west-1:123456789012:execution:facereel-analyze-video:*",
        "arn:aws:states:eu-west-1:123456789012:execution:facereel-backfill:*",
        "arn:aws:states:eu-west-1:123456789012:execution:facereel-backfill/*",
      ]
      RedriveChildren         = ["arn:aws:states:eu-west-1:123456789012:execution:facereel-backfill/*"]
      HearOfEnds              = ["arn:aws:events:eu-west-1:123456789012:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"]
      ReadListAndWriteResults = ["arn:aws:s3:::facereel-results-123456789012-eu-west-1/backfill/*"]
    }
    error_message = "The backfill starts and stops executions of two state machines, and reads and writes below backfill/ only."
  }
  assert {
    condition     = !anytrue(flatten([for statement in jsondecode(aws_iam_role_policy.backfill.policy).Statement : [for action in flatten([statement.Action]) : strcontains(action, "*")]]))
    error_message = "An action must be spelled out."
  }
  assert {
    condition     = jsondecode(aws_iam_role.state_machine["backfill"].assume_role_policy).Statement[0].Condition == { ArnEquals = { "aws:SourceArn" = "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-backfill" }, StringEquals = { "aws:SourceAccount" = "123456789012" } }
    error_message = "Only the state machine takes its role."
  }
}

run "the_key_encrypts_it_too" {
  variables { customer_managed_key = true }

  assert {
    condition     = aws_sfn_state_machine.backfill.encryption_configuration[0].kms_key_id == aws_kms_key.key[0].arn && aws_cloudwatch_log_group.state_machine["backfill"].kms_key_id == aws_kms_key.key[0].arn
    error_message = "Something is not encrypted with the key."
  }
  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.backfill.policy).Statement : statement.Sid => statement.Condition if startswith(statement.Sid, "UseKeyFor")
      } == {
      UseKeyForExecutions  = { StringEquals = { "kms:EncryptionContext:aws:states:stateMachineArn" = ["arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video", "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-backfill", "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-running-executions"] } }
      UseKeyForLogDelivery = { StringLike = { "kms:EncryptionContext:SourceArn" = "arn:aws:logs:eu-west-1:123456789012:*" } }
      UseKeyForObjects     = { StringEquals = { "kms:ViaService" = "s3.eu-west-1.amazonaws.com" } }
    }
    error_message = "The backfill lacks its part of the key, or has one that it does not need."
  }
}

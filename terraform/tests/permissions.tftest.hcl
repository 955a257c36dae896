# Roles: who may take them, and the borders of what they allow. That they allow exactly what is done is tested end to
# end, where every call is recorded (tests/terraform.rs).

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region         = "eu-west-1"
  zips_directory = "tests/zips"
}

run "only_actions_without_resource_types_take_every_resource" {
  assert {
    condition = toset(flatten([
      for policy in concat(values(aws_iam_role_policy.function), [aws_iam_role_policy.events, aws_iam_role_policy.state_machine, aws_iam_role_policy.running_executions, aws_iam_role_policy.publish]) : [
        for statement in jsondecode(policy.policy).Statement : statement.Action if contains(flatten([statement.Resource]), "*")
      ]
      ])) == toset([
      "cloudwatch:PutMetricData",
      "logs:CreateLogDelivery",
      "logs:DeleteLogDelivery",
      "logs:DescribeLogGroups",
      "logs:DescribeResourcePolicies",
      "logs:GetLogDelivery",
      "logs:ListLogDeliveries",
      "logs:PutResourcePolicy",
      "logs:UpdateLogDelivery",
      "rekognition:GetFaceDetection",
      "rekognition:StartFaceDetection",
      "xray:GetSamplingRules",
      "xray:GetSamplingTargets",
      "xray:PutTelemetryRecords",
      "xray:PutTraceSegments",
    ])
    error_message = "A statement allows something on every resource that has resource types."
  }
  assert {
    condition = !anytrue(flatten([
      for policy in concat(values(aws_iam_role_policy.function), [aws_iam_role_policy.events, aws_iam_role_policy.state_machine, aws_iam_role_policy.running_executions, aws_iam_role_policy.publish]) : [
        for statement in jsondecode(policy.policy).Statement : [for action in flatten([statement.Action]) : strcontains(action, "*")]
      ]
    ]))
    error_message = "An action must be spelled out."
  }
}

run "functions_reach_only_their_own_places" {
  variables { upload_prefix = "in/" }

  assert {
    condition = alltrue([for name in ["start-detection", "resume-execution"] :
      { for statement in jsondecode(aws_iam_role_policy.function[name].policy).Statement : statement.Sid => [statement.Resource, try(statement.Condition, null)] if contains(["ReadVideos", "TellMissingVideos", "LetRekognitionPublish", "KeepWaitersAndQueue", "ListWaitersAndQueue", "AnswerTasks"], statement.Sid) }
      == {
        ReadVideos            = ["arn:aws:s3:::facereel-uploads-123456789012-eu-west-1/in/*", null]
        TellMissingVideos     = ["arn:aws:s3:::facereel-uploads-123456789012-eu-west-1", { StringLikeIfExists = { "s3:prefix" = "in/*" } }]
        LetRekognitionPublish = [aws_iam_role.publish.arn, { StringEquals = { "iam:PassedToService" = "rekognition.amazonaws.com" } }]
        KeepWaitersAndQueue   = [["arn:aws:s3:::facereel-results-123456789012-eu-west-1/queue/*", "arn:aws:s3:::facereel-results-123456789012-eu-west-1/waiting/*"], null]
        ListWaitersAndQueue   = ["arn:aws:s3:::facereel-results-123456789012-eu-west-1", { StringLikeIfExists = { "s3:prefix" = ["queue/*", "waiting/*"] } }]
        AnswerTasks           = ["arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video", null]
      }
    ])
    error_message = "Who starts jobs reads videos below the prefix, keeps waiters and queue, passes one role to Rekognition and answers one state machine."
  }
  assert {
    condition = alltrue([for name in ["fetch-page", "summarize"] : alltrue([
      for statement in jsondecode(aws_iam_role_policy.function[name].policy).Statement :
      statement.Resource == "arn:aws:s3:::facereel-results-123456789012-eu-west-1/results/*" if contains(["WritePages", "ReadPagesAndWriteSummary"], statement.Sid)
    ])])
    error_message = "Results are written below results/ only: task tokens lie in the same bucket."
  }
}

run "nobody_else_takes_a_role" {
  assert {
    condition = {
      for name, role in merge(aws_iam_role.state_machine, { publish = aws_iam_role.publish, events = aws_iam_role.events }) :
      name => [jsondecode(role.assume_role_policy).Statement[0].Principal.Service, jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"]]
      } == {
      publish            = ["rekognition.amazonaws.com", "123456789012"]
      events             = ["events.amazonaws.com", "123456789012"]
      analyze-video      = ["states.amazonaws.com", "123456789012"]
      backfill           = ["states.amazonaws.com", "123456789012"]
      running-executions = ["states.amazonaws.com", "123456789012"]
    }
    error_message = "A service takes a role on this account's behalf only."
  }
  assert {
    condition     = alltrue([for name, role in aws_iam_role.state_machine : jsondecode(role.assume_role_policy).Statement[0].Condition.ArnEquals["aws:SourceArn"] == "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-${name}"])
    error_message = "Only the state machine takes its role."
  }
  assert {
    condition     = jsondecode(aws_sns_topic_policy.completions.policy).Statement == [{ Sid = "OnlyRekognitionPublishes", Effect = "Allow", Principal = { AWS = aws_iam_role.publish.arn }, Action = "sns:Publish", Resource = aws_sns_topic.completions.arn }]
    error_message = "Only Rekognition's role publishes completions."
  }
  assert {
    condition     = aws_lambda_permission.completions.source_arn == aws_sns_topic.completions.arn && aws_lambda_permission.completions.principal == "sns.amazonaws.com"
    error_message = "Only the topic calls resume-execution."
  }
}

run "buckets_refuse_open_connections" {
  assert {
    condition     = alltrue([for policy in aws_s3_bucket_policy.created : jsondecode(policy.policy).Statement[0].Effect == "Deny" && jsondecode(policy.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false"])
    error_message = "Buckets must refuse connections without TLS."
  }
}

run "one_key_encrypts_everything" {
  variables { customer_managed_key = true }

  assert {
    condition = alltrue(concat(
      [for bucket in aws_s3_bucket_server_side_encryption_configuration.created : one(bucket.rule).apply_server_side_encryption_by_default[0].kms_master_key_id == aws_kms_key.key[0].arn],
      [for queue in aws_sqs_queue.undelivered : queue.kms_master_key_id == aws_kms_key.key[0].arn],
      [for group in concat(values(aws_cloudwatch_log_group.function), values(aws_cloudwatch_log_group.state_machine)) : group.kms_key_id == aws_kms_key.key[0].arn],
      [for function in aws_lambda_function.function : function.kms_key_arn == aws_kms_key.key[0].arn],
      [for machine in [aws_sfn_state_machine.analyze_video, aws_sfn_state_machine.running_executions] : machine.encryption_configuration[0].kms_key_id == aws_kms_key.key[0].arn],
      [aws_sns_topic.completions.kms_master_key_id == aws_kms_key.key[0].arn, aws_kms_key.key[0].enable_key_rotation],
    ))
    error_message = "Something is not encrypted with the key."
  }
  assert {
    condition = jsonencode({
      for name, policy in merge(aws_iam_role_policy.function, { events = aws_iam_role_policy.events, state-machine = aws_iam_role_policy.state_machine, running-executions = aws_iam_role_policy.running_executions, publish = aws_iam_role_policy.publish }) :
      name => sort([for statement in jsondecode(policy.policy).Statement : statement.Sid if startswith(statement.Sid, "UseKeyFor")])
      }) == jsonencode({
      start-detection    = ["UseKeyForEnvironment", "UseKeyForExecutions", "UseKeyForObjects"]
      resume-execution   = ["UseKeyForEnvironment", "UseKeyForExecutions", "UseKeyForObjects", "UseKeyForQueues"]
      list-pages         = ["UseKeyForEnvironment"]
      fetch-page         = ["UseKeyForEnvironment", "UseKeyForObjects"]
      summarize          = ["UseKeyForEnvironment", "UseKeyForObjects"]
      events             = ["UseKeyForExecutions"]
      state-machine      = ["UseKeyForExecutions", "UseKeyForLogDelivery"]
      running-executions = ["UseKeyForExecutions", "UseKeyForLogDelivery"]
      publish            = ["UseKeyForTopic"]
    })
    error_message = "A role lacks its part of the key, or has one that it does not need."
  }
}

run "without_a_key_nobody_uses_one" {
  assert {
    condition     = length(aws_kms_key.key) == 0 && !anytrue([for policy in aws_iam_role_policy.function : strcontains(policy.policy, "kms:")])
    error_message = "Without a customer-managed key no role needs KMS."
  }
}

run "an_existing_buckets_key_opens_its_videos" {
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = false
    upload_bucket_kms_key_arn        = "arn:aws:kms:eu-west-1:123456789012:key/theirs"
  }

  assert {
    condition = toset([for name, policy in aws_iam_role_policy.function : name if anytrue([
      for statement in jsondecode(policy.policy).Statement : statement.Resource == "arn:aws:kms:eu-west-1:123456789012:key/theirs" && statement.Action == ["kms:Decrypt"]
    ])]) == toset(["start-detection", "resume-execution"])
    error_message = "Who starts jobs must be able to read encrypted videos."
  }
}

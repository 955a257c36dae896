# The roles: which principals can assume them, and the resources that they are limited to. tests/terraform.rs records every
# call end to end and checks that the roles allow exactly these calls.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  zips_directory = "tests/zips"
}

run "only_actions_without_resource_types_are_allowed_on_all_resources" {
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
    error_message = "A statement allows an action that has resource types on all resources."
  }
  assert {
    condition = !anytrue(flatten([
      for policy in concat(values(aws_iam_role_policy.function), [aws_iam_role_policy.events, aws_iam_role_policy.state_machine, aws_iam_role_policy.running_executions, aws_iam_role_policy.publish]) : [
        for statement in jsondecode(policy.policy).Statement : [for action in flatten([statement.Action]) : strcontains(action, "*")]
      ]
    ]))
    error_message = "Actions must not contain wildcards."
  }
}

run "functions_can_access_only_their_own_prefixes" {
  variables { upload_prefixes = ["in/"] }

  assert {
    condition = alltrue([for name in ["start-detection", "resume-execution", "start-waiting-jobs"] :
      { for statement in jsondecode(aws_iam_role_policy.function[name].policy).Statement : statement.Sid => [statement.Resource, try(statement.Condition, null)] if contains(["ReadVideos", "DetectMissingVideos", "PassPublishRole", "ReadAndDeleteCallbacksAndQueue", "WriteQueue", "ListCallbacksQueueAndResults", "SendTaskResults"], statement.Sid) }
      == {
        ReadVideos                     = [["arn:aws:s3:::facereel-uploads-123456789012-eu-west-1/in/*"], null]
        DetectMissingVideos            = ["arn:aws:s3:::facereel-uploads-123456789012-eu-west-1", { StringLikeIfExists = { "s3:prefix" = ["in/*"] } }]
        PassPublishRole                = [aws_iam_role.publish.arn, { StringEquals = { "iam:PassedToService" = "rekognition.amazonaws.com" } }]
        ReadAndDeleteCallbacksAndQueue = [["arn:aws:s3:::facereel-results-123456789012-eu-west-1/callbacks/*", "arn:aws:s3:::facereel-results-123456789012-eu-west-1/queue/*"], null]
        WriteQueue                     = ["arn:aws:s3:::facereel-results-123456789012-eu-west-1/queue/*", null]
        ListCallbacksQueueAndResults   = ["arn:aws:s3:::facereel-results-123456789012-eu-west-1", { StringLikeIfExists = { "s3:prefix" = ["callbacks/*", "queue/*", "results/*"] } }]
        SendTaskResults                = ["arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video", null]
      }
    ])
    error_message = "The functions that start jobs must be limited to videos under the prefix, to callbacks/ and queue/, to the publish role and to the tasks of analyze-video."
  }
  assert {
    condition     = toset([for statement in jsondecode(aws_iam_role_policy.function["inspect-video"].policy).Statement : statement.Sid]) == toset(["ReadVideos", "DetectMissingVideos", "WriteLogs", "Trace"])
    error_message = "inspect-video must be limited to reading the videos."
  }
  assert {
    condition = alltrue([for name in ["fetch-page", "summarize"] : alltrue([
      for statement in jsondecode(aws_iam_role_policy.function[name].policy).Statement :
      statement.Resource == "arn:aws:s3:::facereel-results-123456789012-eu-west-1/results/*" if contains(["WritePages", "ReadPagesAndWriteSummary"], statement.Sid)
    ])])
    error_message = "fetch-page and summarize must be limited to results/, because the same bucket stores task tokens."
  }
}

run "only_the_intended_principal_can_assume_a_role" {
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
    error_message = "A service may assume a role on behalf of this account only."
  }
  assert {
    condition     = alltrue([for name, role in aws_iam_role.state_machine : jsondecode(role.assume_role_policy).Statement[0].Condition.ArnLike["aws:SourceArn"][0] == "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-${name}" && (name == "backfill" || length(jsondecode(role.assume_role_policy).Statement[0].Condition.ArnLike["aws:SourceArn"]) == 1)])
    error_message = "Only its own state machine may assume a role."
  }
  assert {
    condition     = jsondecode(aws_sns_topic_policy.completions.policy).Statement == [{ Sid = "AllowRekognitionToPublish", Effect = "Allow", Principal = { AWS = aws_iam_role.publish.arn }, Action = "sns:Publish", Resource = aws_sns_topic.completions.arn }]
    error_message = "Only the role that Rekognition assumes may publish to the topic."
  }
  assert {
    condition     = aws_lambda_permission.completions.source_arn == aws_sns_topic.completions.arn && aws_lambda_permission.completions.principal == "sns.amazonaws.com"
    error_message = "Only the topic may invoke resume-execution."
  }
  assert {
    condition     = aws_lambda_permission.waiting_jobs.source_arn == aws_cloudwatch_event_rule.waiting_jobs.arn && aws_lambda_permission.waiting_jobs.principal == "events.amazonaws.com" && aws_lambda_permission.waiting_jobs.function_name == "facereel-start-waiting-jobs"
    error_message = "Only the schedule may invoke start-waiting-jobs."
  }
}

run "buckets_deny_connections_without_tls" {
  assert {
    condition     = alltrue([for policy in aws_s3_bucket_policy.created : jsondecode(policy.policy).Statement[0].Effect == "Deny" && jsondecode(policy.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false"])
    error_message = "The bucket policies must deny connections without TLS."
  }
}

run "a_customer_managed_key_encrypts_everything" {
  variables { customer_managed_key = true }

  assert {
    condition = alltrue(concat(
      [for bucket in aws_s3_bucket_server_side_encryption_configuration.created : one(bucket.rule).apply_server_side_encryption_by_default[0].kms_master_key_id == aws_kms_key.key[0].arn],
      [for queue in aws_sqs_queue.undelivered : queue.kms_master_key_id == aws_kms_key.key[0].arn],
      [for group in concat(values(aws_cloudwatch_log_group.function), values(aws_cloudwatch_log_group.state_machine)) : group.kms_key_id == aws_kms_key.key[0].arn],
      [for name, function in aws_lambda_function.function : function.kms_key_arn == (contains(["inspect-video", "list-pages"], name) ? null : aws_kms_key.key[0].arn)],
      [for machine in [aws_sfn_state_machine.analyze_video, aws_sfn_state_machine.running_executions] : machine.encryption_configuration[0].kms_key_id == aws_kms_key.key[0].arn],
      [aws_sns_topic.completions.kms_master_key_id == aws_kms_key.key[0].arn, aws_kms_key.key[0].enable_key_rotation],
    ))
    error_message = "A resource is not encrypted with the key."
  }
  assert {
    condition = jsonencode({
      for name, policy in merge(aws_iam_role_policy.function, { events = aws_iam_role_policy.events, state-machine = aws_iam_role_policy.state_machine, running-executions = aws_iam_role_policy.running_executions, publish = aws_iam_role_policy.publish }) :
      name => sort([for statement in jsondecode(policy.policy).Statement : statement.Sid if startswith(statement.Sid, "UseKeyFor")])
      }) == jsonencode({
      inspect-video      = ["UseKeyForReadObjects"]
      start-detection    = ["UseKeyForEnvironment", "UseKeyForObjects"]
      start-waiting-jobs = ["UseKeyForEnvironment", "UseKeyForObjects"]
      resume-execution   = ["UseKeyForEnvironment", "UseKeyForObjects", "UseKeyForQueues"]
      list-pages         = []
      fetch-page         = ["UseKeyForEnvironment", "UseKeyForWriteObjects"]
      summarize          = ["UseKeyForEnvironment", "UseKeyForObjects"]
      events             = []
      state-machine      = ["UseKeyForAnalyzeVideo", "UseKeyForLogDelivery"]
      running-executions = ["UseKeyForLogDelivery", "UseKeyForRunningExecutions"]
      publish            = ["UseKeyForTopic"]
    })
    error_message = "A role lacks a permission to use the key, or has one that it does not need."
  }
}

run "the_key_allows_each_service_only_what_it_encrypts" {
  variables { customer_managed_key = true }

  assert {
    condition = { for statement in jsondecode(aws_kms_key.key[0].policy).Statement : statement.Sid => statement.Condition if statement.Sid != "Account" } == {
      LogGroups = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = [
        "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/facereel-*",
        "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/vendedlogs/states/facereel-*",
      ] } }
      LogDelivery = { StringLike = { "kms:EncryptionContext:SourceArn" = "arn:aws:logs:eu-west-1:123456789012:*" } }
      DeadLetters = { StringLike = { "kms:EncryptionContext:aws:sqs:arn" = "arn:aws:sqs:eu-west-1:123456789012:facereel-undelivered-*" } }
    }
    error_message = "Each service must be limited by the encryption context. Conditions on aws:SourceAccount deny services that do not send it."
  }
}

run "without_a_customer_managed_key_no_policy_allows_kms" {
  assert {
    condition     = length(aws_kms_key.key) == 0 && !anytrue([for policy in aws_iam_role_policy.function : strcontains(policy.policy, "kms:")])
    error_message = "Without a customer-managed key, the policies must not allow KMS actions."
  }
}

run "functions_that_read_videos_can_decrypt_videos_of_an_existing_bucket" {
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = false
    upload_bucket_kms_key_arn        = "arn:aws:kms:eu-west-1:123456789012:key/theirs"
  }

  assert {
    condition = toset([for name, policy in aws_iam_role_policy.function : name if anytrue([
      for statement in jsondecode(policy.policy).Statement : statement.Resource == "arn:aws:kms:eu-west-1:123456789012:key/theirs" && statement.Action == ["kms:Decrypt"]
    ])]) == toset(["inspect-video", "start-detection", "resume-execution", "start-waiting-jobs"])
    error_message = "The functions that read videos or start jobs, and no others, must be able to decrypt the videos."
  }
}

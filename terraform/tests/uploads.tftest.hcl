# Which uploads start an execution, and the settings of the buckets.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  zips_directory = "tests/zips"
}

run "a_created_bucket_sends_uploads_to_the_state_machine" {
  assert {
    condition     = aws_s3_bucket.upload[0].bucket == "facereel-uploads-123456789012-eu-west-1"
    error_message = "The name of the upload bucket must consist of name, account and Region."
  }
  assert {
    condition     = aws_s3_bucket_notification.upload[0].eventbridge
    error_message = "The upload bucket must send its events to EventBridge."
  }
  assert {
    condition     = aws_s3_bucket_versioning.upload[0].versioning_configuration[0].status == "Enabled"
    error_message = "The upload bucket must be versioned, so that an upload does not replace a video that is being analysed."
  }
  assert {
    condition     = toset(keys(aws_s3_bucket_public_access_block.created)) == toset(["results", "upload"])
    error_message = "Both created buckets must block public access."
  }
  assert {
    condition = jsondecode(aws_cloudwatch_event_rule.uploads[""].event_pattern) == {
      source      = ["aws.s3"]
      detail-type = ["Object Created"]
      detail = {
        bucket = { name = ["facereel-uploads-123456789012-eu-west-1"] }
        object = {
          key  = [{ suffix = { equals-ignore-case = ".mp4" } }, { suffix = { equals-ignore-case = ".mov" } }]
          size = [{ numeric = [">", 0] }]
        }
      }
    }
    error_message = "The rule must match videos in this bucket only that are not empty, and must not filter by the reason of the event (PutObject, CopyObject and so on)."
  }
  assert {
    condition     = aws_cloudwatch_event_target.uploads[""].input == null && length(aws_cloudwatch_event_target.uploads[""].input_transformer) == 0
    error_message = "The target must pass the whole event to the state machine."
  }
  assert {
    condition     = aws_cloudwatch_event_target.uploads[""].dead_letter_config[0].arn == aws_sqs_queue.undelivered["uploads"].arn
    error_message = "Events that start no execution must go to the dead-letter queue."
  }
}

run "a_prefix_matches_lower_case_and_upper_case_suffixes" {
  variables { upload_prefixes = ["in/"] }

  assert {
    condition     = [for key in jsondecode(aws_cloudwatch_event_rule.uploads[var.upload_prefixes[0]].event_pattern).detail.object.key : key.wildcard] == ["in/*.mp4", "in/*.MP4", "in/*.mov", "in/*.MOV"]
    error_message = "With a prefix, the rule must match each suffix in lower case and in upper case only."
  }
  assert {
    condition     = output.upload_command == "aws s3 cp VIDEO.mp4 s3://facereel-uploads-123456789012-eu-west-1/in/ --region eu-west-1"
    error_message = "The upload command must contain the prefix."
  }
}

# EventBridge rejects a rule with more than four or five wildcards ("Rule is too complex") and a pattern of more than
# 2,048 characters. Both errors occur only when the rule is created.

run "the_pattern_of_the_shortest_prefix_is_within_the_limits" {
  variables { upload_prefixes = ["i"] }

  assert {
    condition     = length(regexall("[*]", aws_cloudwatch_event_rule.uploads[var.upload_prefixes[0]].event_pattern)) <= 4
    error_message = "A rule may have at most four wildcards."
  }
  assert {
    condition     = length(aws_cloudwatch_event_rule.uploads[var.upload_prefixes[0]].event_pattern) <= 2048
    error_message = "A pattern may have at most 2,048 characters."
  }
}

run "the_pattern_of_the_longest_prefix_and_bucket_is_within_the_limits" {
  variables {
    upload_bucket                    = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    upload_bucket_take_notifications = false
    upload_prefixes                  = ["videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/v"]
  }

  assert {
    condition     = length(var.upload_prefixes[0]) == 400 && length(var.upload_bucket) == 63
    error_message = "The test must use the longest prefix and the longest bucket name."
  }
  assert {
    condition     = length(regexall("[*]", aws_cloudwatch_event_rule.uploads[var.upload_prefixes[0]].event_pattern)) <= 4
    error_message = "A rule may have at most four wildcards."
  }
  assert {
    condition     = length(aws_cloudwatch_event_rule.uploads[var.upload_prefixes[0]].event_pattern) <= 2048
    error_message = "A pattern may have at most 2,048 characters."
  }
}

run "the_pattern_of_a_prefix_that_json_escapes_is_within_the_limits" {
  variables {
    upload_bucket                    = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    upload_bucket_take_notifications = false
    upload_prefixes                  = ["<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<"]
  }

  assert {
    condition     = length(jsonencode(var.upload_prefixes[0])) == 398 && length(aws_cloudwatch_event_rule.uploads[var.upload_prefixes[0]].event_pattern) <= 2048
    error_message = "A pattern may have at most 2,048 characters, and < counts as six."
  }
}

run "each_prefix_has_its_own_rule" {
  variables { upload_prefixes = ["interviews/", "shows/", "films/2026/"] }

  assert {
    condition     = toset([for rule in aws_cloudwatch_event_rule.uploads : rule.name]) == toset(["facereel-uploads-e500120c", "facereel-uploads-297f4296", "facereel-uploads-54fe861d"])
    error_message = "Each prefix must have a rule, whose name does not depend on the other prefixes."
  }
  assert {
    condition     = alltrue([for prefix, rule in aws_cloudwatch_event_rule.uploads : length(regexall("[*]", rule.event_pattern)) == 4 && alltrue([for key in jsondecode(rule.event_pattern).detail.object.key : startswith(key.wildcard, prefix)])])
    error_message = "A rule must match one prefix only, because a rule may have at most four wildcards."
  }
  assert {
    condition     = toset(keys(aws_cloudwatch_event_target.uploads)) == toset(var.upload_prefixes) && alltrue([for target in aws_cloudwatch_event_target.uploads : target.dead_letter_config[0].arn == aws_sqs_queue.undelivered["uploads"].arn])
    error_message = "Each rule must start executions and have the dead-letter queue."
  }
  assert {
    condition     = length(jsondecode(aws_sqs_queue_policy.undelivered["uploads"].policy).Statement[0].Condition.ArnEquals["aws:SourceArn"]) == 3 && length(jsondecode(aws_iam_role.events.assume_role_policy).Statement[0].Condition.ArnEquals["aws:SourceArn"]) == 4
    error_message = "Each rule must be allowed to send to the queue and to assume the role."
  }
  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.function["inspect-video"].policy).Statement : statement.Sid => try(statement.Condition.StringLikeIfExists["s3:prefix"], statement.Resource) if contains(["ReadVideos", "DetectMissingVideos"], statement.Sid) } == {
      ReadVideos          = [for prefix in var.upload_prefixes : "arn:aws:s3:::facereel-uploads-123456789012-eu-west-1/${prefix}*"]
      DetectMissingVideos = [for prefix in var.upload_prefixes : "${prefix}*"]
    }
    error_message = "The functions must be limited to the prefixes."
  }
  assert {
    condition     = [for command in output.backfill_commands : split(" ", command)[2]] == [for prefix in var.upload_prefixes : "s3://facereel-uploads-123456789012-eu-west-1/${prefix}"]
    error_message = "There must be a backfill command for each prefix."
  }
}

run "the_longest_prefixes_are_within_the_limits_of_iam" {
  variables {
    name                             = "abcdefghijklmnopqrst"
    customer_managed_key             = true
    vpc                              = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }
    upload_bucket                    = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    upload_bucket_take_notifications = false
    upload_bucket_kms_key_arn        = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    upload_prefixes                  = [for index in range(10) : "${index}${join("", [for _ in range(99) : "p"])}"]
  }

  assert {
    condition     = alltrue([for policy in aws_iam_role_policy.function : length(policy.policy) <= 10240])
    error_message = "The policy of a role may have at most 10,240 characters."
  }
  assert {
    # The ARN of a mocked rule is 41 characters shorter than the longest one.
    condition     = length(aws_iam_role.events.assume_role_policy) + 11 * 50 <= 2048
    error_message = "The trust policy of a role may have at most 2,048 characters."
  }
}

run "an_existing_bucket_is_not_changed" {
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = false
  }

  assert {
    condition     = length(aws_s3_bucket.upload) == 0 && length(aws_s3_bucket_notification.upload) == 0 && toset(keys(aws_s3_bucket_policy.created)) == toset(["results"])
    error_message = "The stack must not change an existing bucket."
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.uploads[""].event_pattern).detail.bucket.name == ["videos"]
    error_message = "The rule must match the existing bucket."
  }
}

run "an_existing_bucket_sends_events_if_its_notifications_are_taken" {
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = true
  }

  assert {
    condition     = aws_s3_bucket_notification.upload[0].bucket == "videos" && aws_s3_bucket_notification.upload[0].eventbridge
    error_message = "The existing bucket must send its events to EventBridge."
  }
}

run "bucket_policies_can_be_extended" {
  variables {
    upload_bucket_policy_statements = [
      { Sid = "CameraUploads", Effect = "Allow", Principal = { AWS = "arn:aws:iam::210987654321:root" }, Action = "s3:PutObject", Resource = "arn:aws:s3:::facereel-uploads-123456789012-eu-west-1/*" },
      { Sid = "NoDeletion", Effect = "Deny", Principal = "*", Action = ["s3:DeleteObject"], Resource = "arn:aws:s3:::facereel-uploads-123456789012-eu-west-1/*", Condition = { Bool = { "aws:ViaAWSService" = "false" } } },
    ]
    results_bucket_policy_statements = [{ Sid = "Readers", Effect = "Allow", Principal = { AWS = "210987654321" }, Action = "s3:GetObject", Resource = "arn:aws:s3:::facereel-results-123456789012-eu-west-1/results/*" }]
  }

  assert {
    condition = { for bucket, policy in aws_s3_bucket_policy.created : bucket => [for statement in jsondecode(policy.policy).Statement : statement.Sid] } == {
      results = ["DenyUnencryptedConnections", "Readers"]
      upload  = ["DenyUnencryptedConnections", "CameraUploads", "NoDeletion"]
    }
    error_message = "Each bucket must have its own statements after the one that denies connections without TLS."
  }
  assert {
    condition     = jsondecode(aws_s3_bucket_policy.created["upload"].policy).Statement[2].Condition == { Bool = { "aws:ViaAWSService" = "false" } }
    error_message = "Statements can have different elements."
  }
}

run "temporary_objects_expire_and_results_do_not" {
  assert {
    condition = { for rule in aws_s3_bucket_lifecycle_configuration.results.rule : try(rule.filter[0].prefix, "") => rule.expiration[0].days if length(rule.expiration) > 0 } == {
      "backfill/"  = 15
      "callbacks/" = 15
      "queue/"     = 15
    }
    error_message = "Only backfill/, callbacks/ and queue/ must expire, one day after the last possible redrive."
  }
}

run "results_expire_after_results_expiration_days" {
  variables { results_expiration_days = 30 }

  assert {
    condition     = { for rule in aws_s3_bucket_lifecycle_configuration.results.rule : rule.filter[0].prefix => rule.expiration[0].days if length(rule.expiration) > 0 }["results/"] == 30
    error_message = "Results must expire after results_expiration_days."
  }
}

run "the_results_bucket_sends_events_that_start_no_execution" {
  assert {
    condition     = aws_s3_bucket_notification.results.eventbridge && aws_s3_bucket_notification.results.bucket == aws_s3_bucket.results.id
    error_message = "The results bucket must send its events to EventBridge: docs/results.md lets consumers subscribe to manifest.json."
  }
  assert {
    condition     = !contains(jsondecode(aws_cloudwatch_event_rule.uploads[""].event_pattern).detail.bucket.name, aws_s3_bucket.results.id)
    error_message = "An object in the results bucket must not start an execution."
  }
}

# Which uploads start an execution, and what happens to the bucket they land in.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region         = "eu-west-1"
  zips_directory = "tests/zips"
}

run "a_bucket_of_its_own_tells_eventbridge" {
  assert {
    condition     = aws_s3_bucket.upload[0].bucket == "facereel-uploads-123456789012-eu-west-1"
    error_message = "The upload bucket's name is made of name, account and Region."
  }
  assert {
    condition     = aws_s3_bucket_notification.upload[0].eventbridge
    error_message = "The upload bucket must tell EventBridge."
  }
  assert {
    condition     = aws_s3_bucket_versioning.upload[0].versioning_configuration[0].status == "Enabled"
    error_message = "A video that is being analysed must not be replaced."
  }
  assert {
    condition     = toset(keys(aws_s3_bucket_public_access_block.created)) == toset(["results", "upload"])
    error_message = "Both created buckets must be closed to the public."
  }
  assert {
    condition = jsondecode(aws_cloudwatch_event_rule.uploads.event_pattern) == {
      source      = ["aws.s3"]
      detail-type = ["Object Created"]
      detail = {
        bucket = { name = ["facereel-uploads-123456789012-eu-west-1"] }
        object = { key = [{ suffix = { equals-ignore-case = ".mp4" } }, { suffix = { equals-ignore-case = ".mov" } }] }
      }
    }
    error_message = "The rule must match each way to create a video (no reason), in this bucket only."
  }
  assert {
    condition     = aws_cloudwatch_event_target.uploads.input == null && length(aws_cloudwatch_event_target.uploads.input_transformer) == 0
    error_message = "The state machine takes the whole event."
  }
  assert {
    condition     = aws_cloudwatch_event_target.uploads.dead_letter_config[0].arn == aws_sqs_queue.undelivered["uploads"].arn
    error_message = "What cannot be started must be kept."
  }
}

run "a_prefix_takes_lower_and_upper_case" {
  variables { upload_prefix = "in/" }

  assert {
    condition     = [for key in jsondecode(aws_cloudwatch_event_rule.uploads.event_pattern).detail.object.key : key.wildcard] == ["in/*.mp4", "in/*.MP4", "in/*.mov", "in/*.MOV"]
    error_message = "Behind a prefix, the rule must match each suffix in lower case and in upper case, and nothing else."
  }
  assert {
    condition     = output.upload_command == "aws s3 cp VIDEO.mp4 s3://facereel-uploads-123456789012-eu-west-1/in/ --region eu-west-1"
    error_message = "The upload command must go to the prefix."
  }
}

# EventBridge refuses a rule with more than four or five wildcards ("Rule is too complex") and a pattern of more than
# 2,048 characters, both only when the rule is created.

run "eventbridge_accepts_the_rule_of_the_shortest_prefix" {
  variables { upload_prefix = "i" }

  assert {
    condition     = length(regexall("[*]", aws_cloudwatch_event_rule.uploads.event_pattern)) <= 4
    error_message = "A rule may hold four wildcards."
  }
  assert {
    condition     = length(aws_cloudwatch_event_rule.uploads.event_pattern) <= 2048
    error_message = "A pattern may hold 2,048 characters."
  }
}

run "eventbridge_accepts_the_rule_of_the_longest_prefix_and_bucket" {
  variables {
    upload_bucket                    = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    upload_bucket_take_notifications = false
    upload_prefix                    = "videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/v"
  }

  assert {
    condition     = length(var.upload_prefix) == 400 && length(var.upload_bucket) == 63
    error_message = "The test must use the longest prefix and the longest bucket name."
  }
  assert {
    condition     = length(regexall("[*]", aws_cloudwatch_event_rule.uploads.event_pattern)) <= 4
    error_message = "A rule may hold four wildcards."
  }
  assert {
    condition     = length(aws_cloudwatch_event_rule.uploads.event_pattern) <= 2048
    error_message = "A pattern may hold 2,048 characters."
  }
}

run "a_prefix_of_characters_that_json_escapes_fits_too" {
  variables {
    upload_bucket                    = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    upload_bucket_take_notifications = false
    upload_prefix                    = "<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<"
  }

  assert {
    condition     = length(jsonencode(var.upload_prefix)) == 398 && length(aws_cloudwatch_event_rule.uploads.event_pattern) <= 2048
    error_message = "A pattern may hold 2,048 characters, and < is six of them."
  }
}

run "an_existing_bucket_is_left_as_it_is" {
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = false
  }

  assert {
    condition     = length(aws_s3_bucket.upload) == 0 && length(aws_s3_bucket_notification.upload) == 0 && toset(keys(aws_s3_bucket_policy.created)) == toset(["results"])
    error_message = "Nothing of an existing bucket may be changed."
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.uploads.event_pattern).detail.bucket.name == ["videos"]
    error_message = "The rule must match the existing bucket."
  }
}

run "an_existing_bucket_tells_eventbridge_if_asked" {
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = true
  }

  assert {
    condition     = aws_s3_bucket_notification.upload[0].bucket == "videos" && aws_s3_bucket_notification.upload[0].eventbridge
    error_message = "EventBridge must be switched on."
  }
}

run "leftovers_expire_and_results_stay" {
  assert {
    condition = { for rule in aws_s3_bucket_lifecycle_configuration.results.rule : try(rule.filter[0].prefix, "") => rule.expiration[0].days if length(rule.expiration) > 0 } == {
      "backfill/" = 15
      "queue/"    = 15
      "waiting/"  = 15
    }
    error_message = "Only backfill/, queue/ and waiting/ expire, a day after the last redrive."
  }
}

run "results_expire_if_asked" {
  variables { results_expiration_days = 30 }

  assert {
    condition     = { for rule in aws_s3_bucket_lifecycle_configuration.results.rule : rule.filter[0].prefix => rule.expiration[0].days if length(rule.expiration) > 0 }["results/"] == 30
    error_message = "Results must expire after the days given."
  }
}

run "results_are_announced_and_start_nothing" {
  assert {
    condition     = aws_s3_bucket_notification.results.eventbridge && aws_s3_bucket_notification.results.bucket == aws_s3_bucket.results.id
    error_message = "The results bucket must send its events to EventBridge: docs/results.md lets consumers start on manifest.json."
  }
  assert {
    condition     = !contains(jsondecode(aws_cloudwatch_event_rule.uploads.event_pattern).detail.bucket.name, aws_s3_bucket.results.id)
    error_message = "An object in the results bucket must not start an execution."
  }
}

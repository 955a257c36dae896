# What a variable must not be, each with its own refusal.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region         = "eu-west-1"
  zips_directory = "tests/zips"
}

run "defaults_are_enough" {
  command = plan
}

run "a_region_is_a_code" {
  command = plan
  variables { region = "Ireland" }
  expect_failures = [var.region]
}

run "a_name_fits_a_buckets_name" {
  command = plan
  variables { name = "Facereel" }
  expect_failures = [var.name]
}

run "a_long_name_would_not_fit" {
  command = plan
  variables { name = "a-name-of-twenty-one-" }
  expect_failures = [var.name]
}

run "the_longest_name_and_region_fit" {
  command = plan
  variables {
    name   = "abcdefghijklmnopqrst"
    region = "ap-southeast-1"
  }

  assert {
    condition     = alltrue([for bucket in [local.upload_bucket, local.results_bucket] : length(bucket) <= 63])
    error_message = "A bucket's name is longer than S3 takes."
  }
  assert {
    condition     = alltrue([for role in concat(values(aws_iam_role.function), values(aws_iam_role.state_machine), [aws_iam_role.events, aws_iam_role.publish]) : length(role.name) <= 64])
    error_message = "A role's name is longer than IAM takes."
  }
}

run "tags_of_aws_are_aws_own" {
  command = plan
  variables { tags = { "aws:owner" = "me" } }
  expect_failures = [var.tags]
}

run "an_upload_bucket_is_a_name" {
  command = plan
  variables {
    upload_bucket                    = "arn:aws:s3:::videos"
    upload_bucket_take_notifications = false
  }
  expect_failures = [var.upload_bucket]
}

run "an_existing_buckets_notifications_are_not_taken_unasked" {
  command = plan
  variables { upload_bucket = "videos" }
  expect_failures = [var.upload_bucket_take_notifications]
}

run "a_key_is_no_alias" {
  command = plan
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = false
    upload_bucket_kms_key_arn        = "alias/videos"
  }
  expect_failures = [var.upload_bucket_kms_key_arn]
}

run "a_created_bucket_has_no_other_key" {
  command = plan
  variables { upload_bucket_kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/k" }
  expect_failures = [var.upload_bucket_kms_key_arn]
}

run "a_prefix_is_no_pattern" {
  command = plan
  variables { upload_prefix = "in*/" }
  expect_failures = [var.upload_prefix]
}

run "a_prefix_is_no_policy_variable" {
  command = plan
  variables { upload_prefix = "$${aws:username}/" }
  expect_failures = [var.upload_prefix]
}

run "a_prefix_does_not_begin_with_a_slash" {
  command = plan
  variables { upload_prefix = "/in/" }
  expect_failures = [var.upload_prefix]
}

run "a_prefix_leaves_room_for_the_rest_of_the_pattern" {
  command = plan
  variables { upload_prefix = "videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/vi" }
  expect_failures = [var.upload_prefix]
}

run "a_prefix_that_json_makes_too_long_is_refused" {
  command = plan
  variables { upload_prefix = "<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<" }
  expect_failures = [var.upload_prefix]
}

run "a_prefix_is_of_characters_that_iam_takes" {
  command = plan
  variables { upload_prefix = "видео/" }
  expect_failures = [var.upload_prefix]
}

run "a_prefix_may_be_of_latin_1" {
  command = plan
  variables { upload_prefix = "Köln & Umgebung/" }
}

run "a_prefix_holds_no_backslash" {
  command = plan
  variables { upload_prefix = "in\\" }
  expect_failures = [var.upload_prefix]
}

run "a_results_bucket_is_a_name" {
  command = plan
  variables { results_bucket = "s3://results" }
  expect_failures = [var.results_bucket]
}

run "results_live_a_day_at_least" {
  command = plan
  variables { results_expiration_days = 0 }
  expect_failures = [var.results_expiration_days]
}

run "results_live_whole_days" {
  command = plan
  variables { results_expiration_days = 1.5 }
  expect_failures = [var.results_expiration_days]
}

run "face_attributes_are_rekognitions" {
  command = plan
  variables { face_attributes = "all" }
  expect_failures = [var.face_attributes]
}

run "an_architecture_is_lambdas" {
  command = plan
  variables { architecture = "aarch64" }
  expect_failures = [var.architecture]
}

run "logs_are_kept_as_cloudwatch_can" {
  command = plan
  variables { log_retention_days = 10 }
  expect_failures = [var.log_retention_days]
}

run "an_alarm_topic_is_an_arn" {
  command = plan
  variables { alarm_topic_arn = "alarms" }
  expect_failures = [var.alarm_topic_arn]
}

run "stuck_is_before_the_end" {
  command = plan
  variables { stuck_after_hours = 200 }
  expect_failures = [var.stuck_after_hours]
}

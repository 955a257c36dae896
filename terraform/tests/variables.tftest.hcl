# The validation of the variables.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  zips_directory = "tests/zips"
}

run "no_variable_is_required" {
  command = plan
}

run "a_name_with_capitals_is_rejected" {
  command = plan
  variables { name = "Facereel" }
  expect_failures = [var.name]
}

run "a_name_of_21_characters_is_rejected" {
  command = plan
  variables { name = "a-name-of-twenty-ones" }
  expect_failures = [var.name]
}

run "names_of_buckets_and_roles_fit_the_longest_name_and_region" {
  command = plan
  variables { name = "abcdefghijklmnopqrst" }
  override_data {
    target = data.aws_region.current
    values = { id = "ap-southeast-1" }
  }

  assert {
    condition     = alltrue([for bucket in [local.upload_bucket, local.results_bucket] : length(bucket) <= 63])
    error_message = "The name of a bucket is longer than S3 allows."
  }
  assert {
    condition     = alltrue([for role in concat(values(aws_iam_role.function), values(aws_iam_role.state_machine), [aws_iam_role.events, aws_iam_role.publish]) : length(role.name) <= 64])
    error_message = "The name of a role is longer than IAM allows."
  }
}

run "a_tag_with_the_reserved_prefix_aws_is_rejected" {
  command = plan
  variables { tags = { "aws:owner" = "me" } }
  expect_failures = [var.tags]
}

run "an_upload_bucket_that_is_an_arn_is_rejected" {
  command = plan
  variables {
    upload_bucket                    = "arn:aws:s3:::videos"
    upload_bucket_take_notifications = false
  }
  expect_failures = [var.upload_bucket]
}

run "an_upload_bucket_with_two_dots_is_rejected" {
  command = plan
  variables {
    upload_bucket                    = "company..videos"
    upload_bucket_take_notifications = false
  }
  expect_failures = [var.upload_bucket]
}

run "an_upload_bucket_that_is_an_ip_address_is_rejected" {
  command = plan
  variables {
    upload_bucket                    = "192.168.5.4"
    upload_bucket_take_notifications = false
  }
  expect_failures = [var.upload_bucket]
}

run "the_alias_of_an_access_point_is_rejected" {
  command = plan
  variables {
    upload_bucket                    = "videos-abcdefghijklmnopqrstuvwx-s3alias"
    upload_bucket_take_notifications = false
  }
  expect_failures = [var.upload_bucket]
}

run "an_upload_bucket_with_dots_is_valid" {
  command = plan
  variables {
    upload_bucket                    = "videos.company.com"
    upload_bucket_take_notifications = false
  }
}

run "statements_for_the_policy_of_an_existing_bucket_are_rejected" {
  command = plan
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = false
    upload_bucket_policy_statements  = [{ Effect = "Allow", Principal = "*", Action = "s3:GetObject", Resource = "arn:aws:s3:::videos/*" }]
  }
  expect_failures = [var.upload_bucket_policy_statements]
}

run "a_bucket_policy_that_is_not_a_list_of_statements_is_rejected" {
  command = plan
  variables {
    upload_bucket_policy_statements  = "{}"
    results_bucket_policy_statements = [["s3:GetObject"]]
  }
  expect_failures = [var.upload_bucket_policy_statements, var.results_bucket_policy_statements]
}

run "an_existing_bucket_without_a_choice_about_notifications_is_rejected" {
  command = plan
  variables { upload_bucket = "videos" }
  expect_failures = [var.upload_bucket_take_notifications]
}

run "the_alias_of_a_key_is_rejected" {
  command = plan
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = false
    upload_bucket_kms_key_arn        = "alias/videos"
  }
  expect_failures = [var.upload_bucket_kms_key_arn]
}

run "a_key_without_an_existing_bucket_is_rejected" {
  command = plan
  variables { upload_bucket_kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/k" }
  expect_failures = [var.upload_bucket_kms_key_arn]
}

run "a_prefix_with_a_wildcard_is_rejected" {
  command = plan
  variables { upload_prefixes = ["in*/"] }
  expect_failures = [var.upload_prefixes]
}

run "a_prefix_with_a_policy_variable_is_rejected" {
  command = plan
  variables { upload_prefixes = ["$${aws:username}/"] }
  expect_failures = [var.upload_prefixes]
}

run "a_prefix_that_begins_with_a_slash_is_rejected" {
  command = plan
  variables { upload_prefixes = ["/in/"] }
  expect_failures = [var.upload_prefixes]
}

run "a_prefix_that_makes_the_pattern_too_long_is_rejected" {
  command = plan
  variables { upload_prefixes = ["videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/videos/vi"] }
  expect_failures = [var.upload_prefixes]
}

run "a_prefix_that_json_escapes_make_too_long_is_rejected" {
  command = plan
  variables { upload_prefixes = ["<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<"] }
  expect_failures = [var.upload_prefixes]
}

run "a_prefix_with_characters_that_iam_rejects_is_rejected" {
  command = plan
  variables { upload_prefixes = ["видео/"] }
  expect_failures = [var.upload_prefixes]
}

run "a_prefix_within_another_one_is_rejected" {
  command = plan
  variables { upload_prefixes = ["in/", "in/today/"] }
  expect_failures = [var.upload_prefixes]
}

run "the_same_prefix_twice_is_rejected" {
  command = plan
  variables { upload_prefixes = ["in/", "in/"] }
  expect_failures = [var.upload_prefixes]
}

run "an_empty_prefix_is_rejected" {
  command = plan
  variables { upload_prefixes = [""] }
  expect_failures = [var.upload_prefixes]
}

run "eleven_prefixes_are_rejected" {
  command = plan
  variables { upload_prefixes = [for index in range(11) : "${index + 100}/"] }
  expect_failures = [var.upload_prefixes]
}

run "prefixes_that_are_too_long_for_a_policy_are_rejected" {
  command = plan
  variables { upload_prefixes = [for index in range(3) : "${index}${join("", [for _ in range(334) : "p"])}"] }
  expect_failures = [var.upload_prefixes]
}

run "a_prefix_in_latin_1_is_valid" {
  command = plan
  variables { upload_prefixes = ["Köln & Umgebung/"] }
}

run "a_prefix_with_a_backslash_is_rejected" {
  command = plan
  variables { upload_prefixes = ["in\\"] }
  expect_failures = [var.upload_prefixes]
}

run "a_results_bucket_that_is_a_url_is_rejected" {
  command = plan
  variables { results_bucket = "s3://results" }
  expect_failures = [var.results_bucket]
}

run "a_results_bucket_with_dots_is_rejected" {
  command = plan
  variables { results_bucket = "results.company.com" }
  expect_failures = [var.results_bucket]
}

run "an_expiration_of_zero_days_is_rejected" {
  command = plan
  variables { results_expiration_days = 0 }
  expect_failures = [var.results_expiration_days]
}

run "an_expiration_of_a_fraction_of_a_day_is_rejected" {
  command = plan
  variables { results_expiration_days = 1.5 }
  expect_failures = [var.results_expiration_days]
}

run "unknown_face_attributes_are_rejected" {
  command = plan
  variables { face_attributes = "all" }
  expect_failures = [var.face_attributes]
}

run "an_architecture_that_lambda_does_not_support_is_rejected" {
  command = plan
  variables { architecture = "aarch64" }
  expect_failures = [var.architecture]
}

run "a_retention_that_cloudwatch_does_not_support_is_rejected" {
  command = plan
  variables { log_retention_days = 10 }
  expect_failures = [var.log_retention_days]
}

run "an_alarm_topic_that_is_not_an_arn_is_rejected" {
  command = plan
  variables { alarm_topic_arn = "alarms" }
  expect_failures = [var.alarm_topic_arn]
}

run "an_alarm_topic_in_another_region_is_rejected" {
  command = plan
  variables { alarm_topic_arn = "arn:aws:sns:us-east-1:123456789012:alarms" }
  expect_failures = [var.alarm_topic_arn]
}

run "a_stuck_threshold_above_the_timeout_of_an_execution_is_rejected" {
  command = plan
  variables { stuck_after_hours = 200 }
  expect_failures = [var.stuck_after_hours]
}

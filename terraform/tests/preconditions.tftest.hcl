# Configurations that cannot work fail in the plan.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  zips_directory = "tests/zips"
}

run "results_in_the_upload_bucket_are_rejected" {
  command = plan
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = false
    results_bucket                   = "videos"
  }
  expect_failures = [aws_s3_bucket.results]
}

run "an_upload_bucket_in_another_region_is_rejected" {
  command = plan
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = false
  }
  override_data {
    target = data.aws_s3_bucket.upload_bucket_in_this_region
    values = { bucket_regional_domain_name = "videos.s3.us-east-1.amazonaws.com" }
  }
  expect_failures = [data.aws_s3_bucket.upload_bucket_in_this_region]
}

run "a_region_without_rekognition_is_rejected" {
  command = plan
  override_data {
    target = data.aws_region.current
    values = { id = "eu-north-1" }
  }
  expect_failures = [data.aws_region.current]
}

run "missing_zip_files_are_rejected" {
  command = plan
  variables { zips_directory = "tests/nothing-built" }
  expect_failures = [aws_lambda_function.function]
}

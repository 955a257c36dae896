# What cannot work is refused before anything is made.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region         = "eu-west-1"
  zips_directory = "tests/zips"
}

run "results_beside_uploads_would_loop" {
  command = plan
  variables {
    upload_bucket                    = "videos"
    upload_bucket_take_notifications = false
    results_bucket                   = "videos"
  }
  expect_failures = [aws_s3_bucket.results]
}

run "a_bucket_of_another_region_cannot_be_read" {
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

run "functions_that_are_not_built_cannot_be_deployed" {
  command = plan
  variables { zips_directory = "tests/nothing-built" }
  expect_failures = [aws_lambda_function.function]
}

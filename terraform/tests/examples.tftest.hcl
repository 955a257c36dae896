# Each example is a valid configuration and connects the module as its comments say.

mock_provider "aws" {
  source = "./tests/mocks"
}

mock_provider "aws" {
  alias  = "bucket"
  source = "./tests/mocks"

  override_data {
    target = data.aws_caller_identity.bucket
    values = { account_id = "210987654321" }
  }
}

variables {
  zips_directory = "tests/zips"
}

run "complete" {
  module { source = "./examples/complete" }
  variables { reader_account = "210987654321" }

  assert {
    condition     = output.facereel.key_arn == aws_kms_key.facereel.arn
    error_message = "The key must encrypt the stack."
  }
  assert {
    condition     = [for statement in jsondecode(aws_kms_key.facereel.policy).Statement : statement.Sid] == ["Account", "ReadResults", "LogGroups", "LogDelivery", "DeadLetters", "Results"]
    error_message = "The policy of the key must contain the statements of the module."
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.completed.event_pattern).detail.bucket.name == [output.facereel.results_bucket]
    error_message = "The rule must match the results bucket."
  }
}

run "existing_bucket" {
  module { source = "./examples/existing-bucket" }
  variables { bucket = "videos" }

  assert {
    condition     = aws_s3_bucket_notification.videos.bucket == "videos" && aws_s3_bucket_notification.videos.eventbridge
    error_message = "The example must switch EventBridge on."
  }
  assert {
    condition     = startswith(output.backfill_commands[0], "facereel backfill s3://videos/interviews/ ")
    error_message = "The stack must analyse the prefix of the bucket."
  }
}

run "bucket_of_another_account" {
  module { source = "./examples/bucket-of-another-account" }
  variables { bucket = "videos" }

  assert {
    condition     = aws_cloudwatch_event_permission.bucket_account.principal == "210987654321"
    error_message = "The account of the bucket must be able to send events to the bus of the stack's account."
  }
  assert {
    condition     = aws_cloudwatch_event_target.videos.arn == "arn:aws:events:eu-west-1:123456789012:event-bus/default" && jsondecode(aws_iam_role_policy.videos.policy).Statement[0].Resource == aws_cloudwatch_event_target.videos.arn
    error_message = "The rule must forward the events to the bus of the stack's account, and its role must be able to."
  }
  assert {
    condition     = { for statement in jsondecode(aws_s3_bucket_policy.videos.policy).Statement : statement.Sid => [statement.Principal.AWS, statement.Resource] } == { ReadVideos = ["arn:aws:iam::123456789012:root", "arn:aws:s3:::videos/interviews/*"], ListVideos = ["arn:aws:iam::123456789012:root", "arn:aws:s3:::videos"] }
    error_message = "The policy of the bucket must let the stack's account read the videos."
  }
}

run "deployer_policy" {
  module { source = "./examples/deployer-policy" }
  variables {
    iam_path                 = "/media/"
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
    upload_bucket            = "videos"
  }

  assert {
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    condition     = length(aws_iam_policy.deployer.policy) <= 6144
    error_message = "A managed policy may have at most 6,144 characters."
  }
  assert {
    condition     = { for statement in jsondecode(aws_iam_policy.deployer.policy).Statement : statement.Sid => statement.Condition if can(statement.Condition) } == { PermissionsOfRoles = { StringEquals = { "iam:PermissionsBoundary" = "arn:aws:iam::123456789012:policy/boundary" } }, PassRoles = { StringEquals = { "iam:PassedToService" = ["events.amazonaws.com", "lambda.amazonaws.com", "states.amazonaws.com"] } } }
    error_message = "The deployer must be able to create only roles with the permissions boundary, and to pass them to three services only."
  }
  assert {
    condition     = [for statement in jsondecode(aws_iam_policy.deployer.policy).Statement : statement.Resource if statement.Sid == "Roles"] == [["arn:aws:iam::123456789012:role/media/facereel-*"]]
    error_message = "The deployer must be limited to roles of the stack."
  }
}

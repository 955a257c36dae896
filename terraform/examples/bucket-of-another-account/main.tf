# A stack in one account, for a bucket of another account in the same Region.
#
# S3 sends events to the account of the bucket only. A rule there forwards them to the default event bus of the stack's account,
# where the rule of the stack matches them: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-cross-account.html

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

# The account of the stack.
provider "aws" {
  region  = var.region
  profile = var.profile
}

# The account of the bucket.
provider "aws" {
  alias   = "bucket"
  region  = var.region
  profile = var.bucket_profile
}

variable "region" {
  description = "The Region of the bucket and of the stack."
  type        = string
  default     = "eu-west-1"
}

variable "profile" {
  description = "The profile of the stack's account."
  type        = string
  default     = null
}

variable "bucket_profile" {
  description = "The profile of the bucket's account."
  type        = string
  default     = null
}

variable "bucket" {
  description = "The name of the bucket."
  type        = string
}

variable "zips_directory" {
  description = "The directory of the functions' zip files."
  type        = string
  default     = null
}

locals {
  prefix         = "interviews/"
  stack_account  = data.aws_caller_identity.stack.account_id
  bucket_account = data.aws_caller_identity.bucket.account_id
  partition      = data.aws_partition.current.partition
  bucket_arn     = "arn:${local.partition}:s3:::${var.bucket}"
  event_bus_arn  = "arn:${local.partition}:events:${var.region}:${local.stack_account}:event-bus/default"
}

data "aws_partition" "current" {}

data "aws_caller_identity" "stack" {}

data "aws_caller_identity" "bucket" {
  provider = aws.bucket
}

# In the account of the stack.

module "facereel" {
  source = "../.."

  upload_bucket                    = var.bucket
  upload_bucket_take_notifications = false
  upload_prefixes                  = [local.prefix]
  zips_directory                   = var.zips_directory

  # The module reads the Region of the bucket, which the policy of the bucket allows.
  depends_on = [aws_s3_bucket_policy.videos]
}

resource "aws_cloudwatch_event_permission" "bucket_account" {
  principal    = local.bucket_account
  statement_id = "facereel-uploads"
}

# In the account of the bucket.

# This resource owns the whole notification configuration of the bucket. Add its other notifications here.
resource "aws_s3_bucket_notification" "videos" {
  provider = aws.bucket

  bucket      = var.bucket
  eventbridge = true
}

# This resource owns the whole policy of the bucket. Add its other statements here. The account is allowed as a whole; the roles'
# own policies limit the access to the functions that read videos. If a KMS key encrypts the objects, its policy must allow
# kms:Decrypt to the account too, and the module needs upload_bucket_kms_key_arn.
resource "aws_s3_bucket_policy" "videos" {
  provider = aws.bucket

  bucket = var.bucket
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "ReadVideos"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.stack_account}:root" }
        Action    = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource  = "${local.bucket_arn}/${local.prefix}*"
      },
      {
        Sid       = "ListVideos"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.stack_account}:root" }
        Action    = "s3:ListBucket"
        Resource  = local.bucket_arn
      },
    ]
  })
}

resource "aws_cloudwatch_event_rule" "videos" {
  provider = aws.bucket

  name        = "facereel-uploads"
  description = "Forwards uploads to the account that analyses them"

  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Created"]
    detail = {
      bucket = { name = [var.bucket] }
      object = { key = [{ prefix = local.prefix }] }
    }
  })
}

resource "aws_cloudwatch_event_target" "videos" {
  provider = aws.bucket

  rule     = aws_cloudwatch_event_rule.videos.name
  arn      = local.event_bus_arn
  role_arn = aws_iam_role.videos.arn

  # Without the permission, EventBridge would drop the events.
  depends_on = [aws_cloudwatch_event_permission.bucket_account, aws_iam_role_policy.videos]
}

resource "aws_iam_role" "videos" {
  provider = aws.bucket

  name = "facereel-uploads-${var.region}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.bucket_account } }
    }]
  })
}

resource "aws_iam_role_policy" "videos" {
  provider = aws.bucket

  name = "forward-events"
  role = aws_iam_role.videos.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "events:PutEvents"
      Resource = local.event_bus_arn
    }]
  })
}

# A stack as a platform team deploys it: with its own key, tags, prefixes, roles below a path, an alarm topic, tables for Athena,
# and a queue that receives an event for each completed result.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { team = "media" }
  }
}

variable "region" {
  description = "The Region of all resources."
  type        = string
  default     = "eu-west-1"
}

variable "zips_directory" {
  description = "The directory of the functions' zip files."
  type        = string
  default     = null
}

variable "permissions_boundary_arn" {
  description = "The permissions boundary of the roles."
  type        = string
  default     = null
}

variable "reader_account" {
  description = "The account of another team that reads results."
  type        = string
  default     = null
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

module "facereel" {
  source = "../.."

  name                     = "media-faces"
  upload_prefixes          = ["interviews/", "shows/"]
  results_expiration_days  = 365
  create_results_topic     = true
  create_athena_tables     = true
  iam_path                 = "/media/"
  permissions_boundary_arn = var.permissions_boundary_arn
  kms_key_arn              = aws_kms_key.facereel.arn
  log_retention_days       = 365
  alarm_topic_arn          = aws_sns_topic.alarms.arn
  tags                     = { application = "facereel" }
  zips_directory           = var.zips_directory

  results_bucket_policy_statements = [for account in var.reader_account[*] : {
    Sid       = "ReadResults"
    Effect    = "Allow"
    Principal = { AWS = account }
    Action    = "s3:GetObject"
    Resource  = "${module.facereel.results_bucket_arn}/results/*"
  }]
}

# The key. The module's key statements do not refer to the key, which would be a cycle.

resource "aws_kms_key" "facereel" {
  description         = "Encrypts the data of facereel"
  enable_key_rotation = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      }],
      [for account in var.reader_account[*] : {
        Sid       = "ReadResults"
        Effect    = "Allow"
        Principal = { AWS = account }
        Action    = "kms:Decrypt"
        Resource  = "*"
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
      }],
      module.facereel.key_policy_statements,
    )
  })
}

# Subscribe to this topic to receive the alarms.

resource "aws_sns_topic" "alarms" {
  #checkov:skip=CKV_AWS_26:The messages contain the names of alarms only.
  name = "media-faces-alarms"
}

# A consumer of results starts its own processing when manifest.json is written. The state machine backfill writes another
# manifest.json, under backfill/, so the pattern contains results/.

resource "aws_cloudwatch_event_rule" "completed" {
  name        = "media-faces-completed"
  description = "Results that are complete"

  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Created"]
    detail = {
      bucket = { name = [module.facereel.results_bucket] }
      object = { key = [{ wildcard = "results/*/manifest.json" }] }
    }
  })
}

resource "aws_cloudwatch_event_target" "completed" {
  rule = aws_cloudwatch_event_rule.completed.name
  arn  = aws_sqs_queue.completed.arn
}

resource "aws_sqs_queue" "completed" {
  name                    = "media-faces-completed"
  sqs_managed_sse_enabled = true
}

resource "aws_sqs_queue_policy" "completed" {
  queue_url = aws_sqs_queue.completed.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = aws_sqs_queue.completed.arn
      Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.completed.arn } }
    }]
  })
}

output "facereel" {
  description = "All outputs of the module."
  value       = module.facereel
}

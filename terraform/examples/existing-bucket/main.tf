# A stack that analyses the videos under one prefix of a bucket that exists and is managed elsewhere.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

# The Region and the credentials come from the environment: AWS_REGION, AWS_PROFILE.
provider "aws" {}

variable "bucket" {
  description = "The name of the bucket, in the Region of the stack."
  type        = string
}

variable "zips_directory" {
  description = "The directory of the functions' zip files."
  type        = string
  default     = null
}

module "facereel" {
  source = "../.."

  upload_bucket                    = var.bucket
  upload_bucket_take_notifications = false
  upload_prefixes                  = ["interviews/"]
  zips_directory                   = var.zips_directory
}

# This resource owns the whole notification configuration of the bucket. Add its other notifications here. If another
# configuration owns them already, remove this resource and set `eventbridge = true` there.

resource "aws_s3_bucket_notification" "videos" {
  bucket      = var.bucket
  eventbridge = true
}

output "backfill_commands" {
  description = "The commands that list the videos that were in the bucket before, and the cost of their analysis."
  value       = module.facereel.backfill_commands
}

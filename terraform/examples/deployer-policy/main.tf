# The IAM policy of the principal that applies and destroys a stack. tests/apply_test.py compares it with the calls that
# Terraform makes.

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

variable "name" {
  description = "The variable `name` of the stack, the prefix of all resource names."
  type        = string
  default     = "facereel"
}

variable "iam_path" {
  description = "The variable `iam_path` of the stack."
  type        = string
  default     = "/"
}

variable "permissions_boundary_arn" {
  description = "If it is set, the deployer can create only roles with this permissions boundary."
  type        = string
  default     = null
}

variable "upload_bucket" {
  description = "The existing upload bucket, if there is one."
  type        = string
  default     = null
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  suffix   = "${data.aws_region.current.id}:${data.aws_caller_identity.current.account_id}"
  account  = data.aws_caller_identity.current.account_id
  arn      = "arn:${data.aws_partition.current.partition}"
  boundary = var.permissions_boundary_arn[*]
  database = replace(var.name, "-", "_")

  statements = concat([
    {
      Sid    = "Buckets"
      Effect = "Allow"
      Action = [
        "s3:CreateBucket",
        "s3:DeleteBucket",
        "s3:DeleteBucketPolicy",
        "s3:GetAccelerateConfiguration",
        "s3:GetBucketAcl",
        "s3:GetBucketCORS",
        "s3:GetBucketLogging",
        "s3:GetBucketNotification",
        "s3:GetBucketObjectLockConfiguration",
        "s3:GetBucketOwnershipControls",
        "s3:GetBucketPolicy",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketRequestPayment",
        "s3:GetBucketTagging",
        "s3:GetBucketVersioning",
        "s3:GetBucketWebsite",
        "s3:GetEncryptionConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:GetReplicationConfiguration",
        "s3:ListBucket",
        "s3:ListTagsForResource",
        "s3:PutBucketNotification",
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketPolicy",
        "s3:PutBucketPublicAccessBlock",
        "s3:PutBucketTagging",
        "s3:PutBucketVersioning",
        "s3:PutEncryptionConfiguration",
        "s3:PutLifecycleConfiguration",
        "s3:TagResource",
        "s3:UntagResource",
      ]
      Resource = ["${local.arn}:s3:::${var.name}-*"]
    },
    {
      # Only for force_destroy.
      Sid      = "DeleteObjects"
      Effect   = "Allow"
      Action   = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ListBucketVersions"]
      Resource = ["${local.arn}:s3:::${var.name}-*"]
    },
    {
      Sid    = "Functions"
      Effect = "Allow"
      Action = [
        "lambda:AddPermission",
        "lambda:CreateFunction",
        "lambda:DeleteFunction",
        "lambda:DeleteFunctionEventInvokeConfig",
        "lambda:GetFunction",
        "lambda:GetFunctionCodeSigningConfig",
        "lambda:GetFunctionEventInvokeConfig",
        "lambda:GetPolicy",
        "lambda:ListTags",
        "lambda:ListVersionsByFunction",
        "lambda:PutFunctionEventInvokeConfig",
        "lambda:RemovePermission",
        "lambda:TagResource",
        "lambda:UntagResource",
        "lambda:UpdateFunctionCode",
        "lambda:UpdateFunctionConfiguration",
      ]
      Resource = ["${local.arn}:lambda:${local.suffix}:function:${var.name}-*"]
    },
    {
      Sid    = "StateMachines"
      Effect = "Allow"
      Action = [
        "states:CreateStateMachine",
        "states:DeleteStateMachine",
        "states:DescribeStateMachine",
        "states:ListStateMachineVersions",
        "states:ListTagsForResource",
        "states:TagResource",
        "states:UntagResource",
        "states:UpdateStateMachine",
      ]
      Resource = ["${local.arn}:states:${local.suffix}:stateMachine:${var.name}-*"]
    },
    {
      Sid    = "Rules"
      Effect = "Allow"
      Action = [
        "events:DeleteRule",
        "events:DescribeRule",
        "events:ListTagsForResource",
        "events:ListTargetsByRule",
        "events:PutRule",
        "events:PutTargets",
        "events:RemoveTargets",
        "events:TagResource",
        "events:UntagResource",
      ]
      Resource = ["${local.arn}:events:${local.suffix}:rule/${var.name}-*"]
    },
    {
      # Only for create_athena_tables.
      Sid    = "Tables"
      Effect = "Allow"
      Action = [
        "glue:CreateDatabase",
        "glue:CreateTable",
        "glue:DeleteDatabase",
        "glue:DeleteTable",
        "glue:GetDatabase",
        "glue:GetPartitionIndexes",
        "glue:GetTable",
        "glue:GetTags",
        "glue:TagResource",
        "glue:UntagResource",
        "glue:UpdateDatabase",
        "glue:UpdateTable",
      ]
      Resource = [
        "${local.arn}:glue:${local.suffix}:catalog",
        "${local.arn}:glue:${local.suffix}:database/${local.database}",
        "${local.arn}:glue:${local.suffix}:table/${local.database}/*",
      ]
    },
    {
      Sid    = "Topics"
      Effect = "Allow"
      Action = [
        "sns:CreateTopic",
        "sns:DeleteTopic",
        "sns:GetSubscriptionAttributes",
        "sns:GetTopicAttributes",
        "sns:ListSubscriptionsByTopic",
        "sns:ListTagsForResource",
        "sns:SetSubscriptionAttributes",
        "sns:SetTopicAttributes",
        "sns:Subscribe",
        "sns:TagResource",
        "sns:Unsubscribe",
        "sns:UntagResource",
      ]
      Resource = ["${local.arn}:sns:${local.suffix}:${var.name}-*"]
    },
    {
      Sid    = "Queues"
      Effect = "Allow"
      Action = [
        "sqs:CreateQueue",
        "sqs:DeleteQueue",
        "sqs:GetQueueAttributes",
        "sqs:ListQueueTags",
        "sqs:SetQueueAttributes",
        "sqs:TagQueue",
        "sqs:UntagQueue",
      ]
      Resource = ["${local.arn}:sqs:${local.suffix}:${var.name}-*"]
    },
    {
      Sid    = "LogGroups"
      Effect = "Allow"
      Action = [
        "logs:AssociateKmsKey",
        "logs:CreateLogGroup",
        "logs:DeleteLogGroup",
        "logs:DeleteRetentionPolicy",
        "logs:DisassociateKmsKey",
        "logs:ListTagsForResource",
        "logs:PutRetentionPolicy",
        "logs:TagResource",
        "logs:UntagResource",
      ]
      Resource = [
        "${local.arn}:logs:${local.suffix}:log-group:/aws/lambda/${var.name}-*",
        "${local.arn}:logs:${local.suffix}:log-group:/aws/vendedlogs/states/${var.name}-*",
      ]
    },
    {
      Sid    = "AlarmsAndDashboard"
      Effect = "Allow"
      Action = [
        "cloudwatch:DeleteAlarms",
        "cloudwatch:DeleteDashboards",
        "cloudwatch:GetDashboard",
        "cloudwatch:ListTagsForResource",
        "cloudwatch:PutDashboard",
        "cloudwatch:PutMetricAlarm",
        "cloudwatch:TagResource",
        "cloudwatch:UntagResource",
      ]
      Resource = [
        "${local.arn}:cloudwatch:${local.suffix}:alarm:${var.name}-*",
        "${local.arn}:cloudwatch::${local.account}:dashboard/${var.name}-*",
      ]
    },
    {
      Sid    = "Roles"
      Effect = "Allow"
      Action = [
        "iam:DeleteRole",
        "iam:DeleteRolePolicy",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListAttachedRolePolicies",
        "iam:ListInstanceProfilesForRole",
        "iam:ListRolePolicies",
        "iam:TagRole",
        "iam:UntagRole",
        "iam:UpdateAssumeRolePolicy",
        "iam:UpdateRole",
        "iam:UpdateRoleDescription",
      ]
      Resource = ["${local.arn}:iam::${local.account}:role${var.iam_path}${var.name}-*"]
    },
    {
      Sid       = "PermissionsOfRoles"
      Effect    = "Allow"
      Action    = ["iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"]
      Resource  = ["${local.arn}:iam::${local.account}:role${var.iam_path}${var.name}-*"]
      Condition = { for arn in local.boundary : "StringEquals" => { "iam:PermissionsBoundary" = arn } }
    },
    {
      Sid       = "PassRoles"
      Effect    = "Allow"
      Action    = ["iam:PassRole"]
      Resource  = ["${local.arn}:iam::${local.account}:role${var.iam_path}${var.name}-*"]
      Condition = { StringEquals = { "iam:PassedToService" = ["events.amazonaws.com", "lambda.amazonaws.com", "states.amazonaws.com"] } }
    },
    {
      # These actions have no resource types, or AWS checks them for all resources. EC2: only with a VPC.
      Sid    = "AllResources"
      Effect = "Allow"
      Action = [
        "cloudwatch:DescribeAlarms",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "logs:DescribeLogGroups",
        "states:ValidateStateMachineDefinition",
      ]
      Resource = ["*"]
    },
    {
      # Only for customer_managed_key. A key has no name, so that its ARN is not known before.
      Sid    = "CreateKey"
      Effect = "Allow"
      Action = [
        "kms:CreateAlias",
        "kms:CreateKey",
        "kms:DeleteAlias",
        "kms:EnableKeyRotation",
        "kms:GetKeyPolicy",
        "kms:GetKeyRotationStatus",
        "kms:ListAliases",
        "kms:ListResourceTags",
        "kms:PutKeyPolicy",
        "kms:ScheduleKeyDeletion",
        "kms:TagResource",
        "kms:UntagResource",
        "kms:UpdateAlias",
      ]
      Resource = ["*"]
    },
    {
      # Only for customer_managed_key and kms_key_arn: Lambda, Step Functions and CloudWatch Logs check that the caller may use
      # the key.
      Sid      = "UseKey"
      Effect   = "Allow"
      Action   = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"]
      Resource = ["*"]
    },
    ],
    [for bucket in var.upload_bucket[*] : {
      # GetBucketNotification and PutBucketNotification: only for upload_bucket_take_notifications.
      Sid      = "ExistingBucket"
      Effect   = "Allow"
      Action   = ["s3:GetBucketNotification", "s3:ListBucket", "s3:PutBucketNotification"]
      Resource = ["${local.arn}:s3:::${bucket}"]
    }],
  )
}

resource "aws_iam_policy" "deployer" {
  name        = "${var.name}-deployer"
  description = "Applies and destroys the stack ${var.name}"

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = local.statements
  })
}

output "policy_arn" {
  description = "The ARN of the policy."
  value       = aws_iam_policy.deployer.arn
}

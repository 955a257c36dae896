# With customer_managed_key, one KMS key encrypts all data of the stack. The roles' own policies grant its use to the roles.
# The policy of the key grants it only to the services that use the key without a role.

resource "aws_kms_key" "key" {
  count = var.customer_managed_key ? 1 : 0

  description         = "Encrypts all data of the stack ${var.name}"
  enable_key_rotation = true
  policy              = jsonencode({ Version = "2012-10-17", Statement = local.key_policy_statements })
}

resource "aws_kms_alias" "key" {
  count = length(aws_kms_key.key)

  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.key[count.index].key_id
}

locals {
  key_arn = one(aws_kms_key.key[*].arn)

  key_policy_statements = [
    {
      # Lets the account's IAM policies grant access to the key. Without this statement no principal could manage the key.
      Sid       = "Account"
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
      Action    = "kms:*"
      Resource  = "*"
    },
    {
      Sid       = "LogGroups"
      Effect    = "Allow"
      Principal = { Service = "logs.${var.region}.amazonaws.com" }
      Action    = ["kms:Decrypt*", "kms:Describe*", "kms:Encrypt*", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
      Resource  = "*"
      Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = [
        "arn:${local.partition}:logs:${var.region}:${local.account}:log-group:/aws/lambda/${var.name}-*",
        "arn:${local.partition}:logs:${var.region}:${local.account}:log-group:/aws/vendedlogs/states/${var.name}-*",
      ] } }
    },
    {
      # Step Functions encrypts its logs before it delivers them to CloudWatch Logs.
      Sid       = "LogDelivery"
      Effect    = "Allow"
      Principal = { Service = "delivery.logs.amazonaws.com" }
      Action    = "kms:Decrypt*"
      Resource  = "*"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    },
    {
      Sid       = "DeadLetters"
      Effect    = "Allow"
      Principal = { Service = ["events.amazonaws.com", "sns.amazonaws.com"] }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = "*"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    },
  ]

  # The statements that a role's policy needs to use the key, by what is encrypted.
  key_statements = {
    for purpose, condition in {
      objects      = local.via.s3
      queues       = local.via.sqs
      topic        = local.via.sns
      executions   = { StringEquals = { "kms:EncryptionContext:aws:states:stateMachineArn" = values(local.state_machine_arns) } }
      log_delivery = { StringLike = { "kms:EncryptionContext:SourceArn" = "arn:${local.partition}:logs:${var.region}:${local.account}:*" } }
      environment  = { StringLike = { "kms:EncryptionContext:aws:lambda:FunctionArn" = "arn:${local.partition}:lambda:${var.region}:${local.account}:function:${var.name}-*" } }
    } :
    purpose => [for key in local.key_arn[*] : {
      Sid       = "UseKeyFor${replace(title(replace(purpose, "_", " ")), " ", "")}"
      Effect    = "Allow"
      Action    = purpose == "environment" ? ["kms:Decrypt"] : ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = key
      Condition = condition
    }]
  }

  via = { for service in ["s3", "sns", "sqs"] :
    service => { StringEquals = { "kms:ViaService" = "${service}.${var.region}.amazonaws.com" } }
  }

  read_encrypted_videos = [for key in var.upload_bucket_kms_key_arn[*] : {
    Sid       = "ReadEncryptedVideos"
    Effect    = "Allow"
    Action    = ["kms:Decrypt"]
    Resource  = key
    Condition = local.via.s3
  }]
}

# With customer_managed_key or kms_key_arn, one KMS key encrypts all data of the stack. The roles' own policies grant its use to
# the roles. The policy of the key grants it only to the services that use the key without a role.

resource "aws_kms_key" "key" {
  count = var.customer_managed_key ? 1 : 0

  description         = "Encrypts all data of the stack ${var.name}"
  enable_key_rotation = true

  policy = jsonencode({ Version = "2012-10-17", Statement = concat(
    [{
      # Lets the account's IAM policies grant access to the key. Without this statement no principal could manage the key.
      Sid       = "Account"
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }],
    local.key_policy_statements,
  ) })
  tags = var.tags
}

resource "aws_kms_alias" "key" {
  count = length(aws_kms_key.key)

  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.key[count.index].key_id
}

locals {
  key_arn = one(concat(aws_kms_key.key[*].arn, var.kms_key_arn[*]))

  key_policy_statements = concat(
    [{
      Sid       = "LogGroups"
      Effect    = "Allow"
      Principal = { Service = "logs.${local.region}.amazonaws.com" }
      Action    = ["kms:Decrypt*", "kms:Describe*", "kms:Encrypt*", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
      Resource  = "*"
      Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = [
        "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/aws/lambda/${var.name}-*",
        "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/aws/vendedlogs/states/${var.name}-*",
      ] } }
      },
      {
        # Step Functions encrypts its logs before it delivers them to CloudWatch Logs. AWS's statement has no condition, and
        # service principals do not always send aws:SourceAccount. The encryption context is always sent, because the data key
        # was generated with it: https://docs.aws.amazon.com/step-functions/latest/dg/encryption-at-rest.html (step 3)
        Sid       = "LogDelivery"
        Effect    = "Allow"
        Principal = { Service = "delivery.logs.amazonaws.com" }
        Action    = "kms:Decrypt"
        Resource  = "*"
        Condition = { StringLike = { "kms:EncryptionContext:SourceArn" = local.log_delivery_source } }
      },
      {
        # SNS does not support aws:SourceAccount for EventBridge in the policy of a key, and AWS's statement for queues has no
        # condition either. SQS always sends the ARN of the queue as encryption context:
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
        # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
        Sid       = "DeadLetters"
        Effect    = "Allow"
        Principal = { Service = ["events.amazonaws.com", "sns.amazonaws.com"] }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "*"
        Condition = { StringLike = { "kms:EncryptionContext:aws:sqs:arn" = "arn:${local.partition}:sqs:${local.region}:${local.account}:${var.name}-undelivered-*" } }
    }],
    var.create_results_topic ? [{
      Sid       = "Results"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
      Resource  = "*"
      Condition = { StringEquals = { "kms:EncryptionContext:aws:sns:topicArn" = "arn:${local.partition}:sns:${local.region}:${local.account}:${var.name}-results" } }
    }] : [],
  )

  log_delivery_source = "arn:${local.partition}:logs:${local.region}:${local.account}:*"

  # The statements that a role's policy needs to use the key, by purpose. Callers of StartExecution, RedriveExecution and
  # SendTask* need no permission to use the key; callers of DescribeExecution need kms:Decrypt:
  # https://docs.aws.amazon.com/step-functions/latest/dg/encryption-at-rest.html#using-api-with-encryption-required-permissions
  key_statements = {
    for purpose, use in merge(
      {
        read_objects   = { actions = ["kms:Decrypt"], condition = local.via.s3 }
        write_objects  = { actions = ["kms:GenerateDataKey"], condition = local.via.s3 }
        objects        = { actions = ["kms:Decrypt", "kms:GenerateDataKey"], condition = local.via.s3 }
        queues         = { actions = ["kms:Decrypt", "kms:GenerateDataKey"], condition = local.via.sqs }
        topic          = { actions = ["kms:Decrypt", "kms:GenerateDataKey"], condition = local.via.sns }
        log_delivery   = { actions = ["kms:GenerateDataKey"], condition = { StringLike = { "kms:EncryptionContext:SourceArn" = local.log_delivery_source } } }
        environment    = { actions = ["kms:Decrypt"], condition = { StringLike = { "kms:EncryptionContext:aws:lambda:FunctionArn" = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}-*" } } }
        describe_video = { actions = ["kms:Decrypt"], condition = { StringEquals = { "kms:EncryptionContext:aws:states:stateMachineArn" = local.state_machine_arn } } }
      },
      # The executions of each state machine, for its own role.
      { for name, sources in local.state_machine_sources :
        name => { actions = ["kms:Decrypt", "kms:GenerateDataKey"], condition = { StringLike = { "kms:EncryptionContext:aws:states:stateMachineArn" = sources } } }
      },
    ) :
    purpose => [for key in local.key_arn[*] : {
      Sid       = "UseKeyFor${replace(title(replace(purpose, "/[-_]/", " ")), " ", "")}"
      Effect    = "Allow"
      Action    = use.actions
      Resource  = key
      Condition = use.condition
    }]
  }

  via = { for service in ["s3", "sns", "sqs"] :
    service => { StringEquals = { "kms:ViaService" = "${service}.${local.region}.amazonaws.com" } }
  }

  read_encrypted_videos = [for key in var.upload_bucket_kms_key_arn[*] : {
    Sid       = "ReadEncryptedVideos"
    Effect    = "Allow"
    Action    = ["kms:Decrypt"]
    Resource  = key
    Condition = local.via.s3
  }]
}

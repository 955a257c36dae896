# Every upload starts an execution, whether by PutObject, multipart upload, copy or form. EventBridge passes the whole event
# to the state machine, because an input transformer does not escape a quotation mark in the key.

locals {
  # The empty prefix matches all keys.
  upload_prefixes = length(var.upload_prefixes) == 0 ? [""] : var.upload_prefixes

  video_suffixes = [".mp4", ".mov"]

  # A `suffix` pattern can ignore case, but EventBridge cannot combine it with a prefix. A `wildcard` pattern can contain
  # both, but is case-sensitive. EventBridge rejects a rule with more than four or five wildcards ("Rule is too complex").
  # A rule with a prefix therefore matches the lower-case and the upper-case spelling only, and each prefix has its own rule.
  video_keys = { for prefix in local.upload_prefixes : prefix => concat(
    [for suffix in local.video_suffixes : { suffix = { equals-ignore-case = suffix } } if prefix == ""],
    [for suffix in flatten([for suffix in local.video_suffixes : [suffix, upper(suffix)]]) :
      { wildcard = "${prefix}*${suffix}" } if prefix != ""
    ],
  ) }
}

resource "aws_cloudwatch_event_rule" "uploads" {
  for_each = local.video_keys

  name        = each.key == "" ? "${var.name}-uploads" : "${var.name}-uploads-${substr(sha256(each.key), 0, 8)}"
  description = "Videos that are uploaded to ${local.upload_bucket}${each.key == "" ? "" : ", with a prefix"}"
  tags        = var.tags

  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Created"]
    detail = {
      bucket = { name = [local.upload_bucket] }
      object = {
        key = each.value
        # Some clients create an empty object before they upload the file.
        size = [{ numeric = [">", 0] }]
      }
    }
  })
}

resource "aws_cloudwatch_event_target" "uploads" {
  for_each = local.video_keys

  rule      = aws_cloudwatch_event_rule.uploads[each.key].name
  target_id = "analyze-video"
  arn       = aws_sfn_state_machine.analyze_video.arn
  role_arn  = aws_iam_role.events.arn

  retry_policy {
    maximum_event_age_in_seconds = 86400
    maximum_retry_attempts       = 185
  }

  dead_letter_config {
    arn = aws_sqs_queue.undelivered["uploads"].arn
  }

  # The first upload can follow immediately, and its execution needs these permissions.
  depends_on = [aws_iam_role_policy.events, aws_iam_role_policy.function]
}

resource "aws_iam_role" "events" {
  name                 = "${var.name}-events${local.role_suffix}"
  description          = "EventBridge assumes this role to start executions"
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary_arn
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnEquals    = { "aws:SourceArn" = concat(values(aws_cloudwatch_event_rule.uploads)[*].arn, [aws_cloudwatch_event_rule.running_executions.arn], aws_cloudwatch_event_rule.add_partitions[*].arn) }
      }
    }]
  })
}

resource "aws_iam_role_policy" "events" {
  name = "start-executions"
  role = aws_iam_role.events.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "StartExecutions"
      Effect   = "Allow"
      Action   = "states:StartExecution"
      Resource = concat([aws_sfn_state_machine.analyze_video.arn, aws_sfn_state_machine.running_executions.arn], aws_sfn_state_machine.add_partitions[*].arn)
    }]
  })
}

# Dead-letter queues for an operator: events of uploads for which EventBridge could not start an execution, and completion
# messages that SNS could not deliver to resume-execution or that resume-execution failed to process.

resource "aws_sqs_queue" "undelivered" {
  for_each = toset(["completions", "uploads"])

  name                      = "${var.name}-undelivered-${each.key}"
  message_retention_seconds = 14 * 86400
  sqs_managed_sse_enabled   = local.key_arn == null ? true : null
  kms_master_key_id         = local.key_arn
  tags                      = var.tags
}

locals {
  undelivered_from = {
    completions = { service = "sns.amazonaws.com", arns = [aws_sns_topic.completions.arn] }
    uploads     = { service = "events.amazonaws.com", arns = values(aws_cloudwatch_event_rule.uploads)[*].arn }
  }
}

resource "aws_sqs_queue_policy" "undelivered" {
  for_each = local.undelivered_from

  queue_url = aws_sqs_queue.undelivered[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "ReceiveUndelivered"
      Effect    = "Allow"
      Principal = { Service = each.value.service }
      Action    = "sqs:SendMessage"
      Resource  = aws_sqs_queue.undelivered[each.key].arn
      Condition = { ArnEquals = { "aws:SourceArn" = each.value.arns } }
    }]
  })
}

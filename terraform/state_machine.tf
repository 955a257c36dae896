# The state machine itself is drawn in ../statemachine/analyze-video.asl.json, for AWS and for one machine alike.

resource "aws_sfn_state_machine" "analyze_video" {
  #checkov:skip=CKV_AWS_285:Execution data holds task tokens; log_execution_data logs it where that is wanted.
  name     = "${var.name}-analyze-video"
  role_arn = aws_iam_role.state_machine["analyze-video"].arn

  definition = templatefile("${path.module}/../statemachine/analyze-video.asl.json", merge(
    { partition = local.partition },
    { for name in ["start-detection", "list-pages", "fetch-page", "summarize"] :
      "${replace(name, "-", "_")}_arn" => aws_lambda_function.function[name].arn
    },
  ))

  logging_configuration {
    log_destination        = "${aws_cloudwatch_log_group.state_machine["analyze-video"].arn}:*"
    level                  = "ALL"
    include_execution_data = var.log_execution_data
  }

  tracing_configuration {
    enabled = true
  }

  dynamic "encryption_configuration" {
    for_each = local.key_arn[*]

    content {
      type                              = "CUSTOMER_MANAGED_KMS_KEY"
      kms_key_id                        = encryption_configuration.value
      kms_data_key_reuse_period_seconds = 300
    }
  }

  # Step Functions tries the role's way to the log when the state machine is made.
  depends_on = [aws_iam_role_policy.state_machine]
}

resource "aws_iam_role_policy" "state_machine" {
  name = "call-functions"
  role = aws_iam_role.state_machine["analyze-video"].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid      = "CallFunctions"
        Effect   = "Allow"
        Action   = "lambda:InvokeFunction"
        Resource = [for name in ["start-detection", "list-pages", "fetch-page", "summarize"] : aws_lambda_function.function[name].arn]
      }],
      local.deliver_logs,
      local.trace_executions,
      local.key_statements.executions,
      local.key_statements.log_delivery,
    )
  })
}

# What every state machine has, those of backfill.tf and running_executions.tf as well: a log, and a role that it alone takes.

resource "aws_cloudwatch_log_group" "state_machine" {
  #checkov:skip=CKV_AWS_338:log_retention_days says how long; a year is for whoever needs it.
  for_each = local.state_machine_arns

  # A name of this form needs no entry in the account's log resource policy, which is short of room.
  name              = "/aws/vendedlogs/states/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.key_arn
}

resource "aws_iam_role" "state_machine" {
  for_each = local.state_machine_arns

  name        = "${var.name}-${each.key}${local.role_suffix}"
  description = "The role of the state machine ${var.name}-${each.key}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "states.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnEquals    = { "aws:SourceArn" = each.value }
      }
    }]
  })
}

# What Step Functions itself does with a state machine's role. None of these actions has a resource type.

locals {
  deliver_logs = [{
    Sid    = "DeliverLogs"
    Effect = "Allow"
    Action = [
      "logs:CreateLogDelivery",
      "logs:DeleteLogDelivery",
      "logs:DescribeLogGroups",
      "logs:DescribeResourcePolicies",
      "logs:GetLogDelivery",
      "logs:ListLogDeliveries",
      "logs:PutResourcePolicy",
      "logs:UpdateLogDelivery",
    ]
    Resource = "*"
  }]

  trace_executions = [{
    Sid    = "Trace"
    Effect = "Allow"
    Action = [
      "xray:GetSamplingRules",
      "xray:GetSamplingTargets",
      "xray:PutTelemetryRecords",
      "xray:PutTraceSegments",
    ]
    Resource = "*"
  }]
}

# The state machine that analyses a video. AWS and the emulator run the same definition,
# ../statemachine/analyze-video.asl.json.

locals {
  # The functions that the states call. The other functions are invoked by the topic and by a schedule.
  called_functions = ["inspect-video", "start-detection", "list-pages", "fetch-page", "summarize"]

  # Log groups under /aws/vendedlogs/ need no separate entry in the account's CloudWatch Logs resource policy, which
  # is limited to 5,120 characters: https://docs.aws.amazon.com/step-functions/latest/dg/bp-cwl.html
  state_machine_log_groups = { for name in keys(local.state_machine_arns) : name => "/aws/vendedlogs/states/${var.name}-${name}" }
}

resource "aws_sfn_state_machine" "analyze_video" {
  #checkov:skip=CKV_AWS_285:Execution data contains task tokens; log_execution_data switches its logging on.
  name     = "${var.name}-analyze-video"
  role_arn = aws_iam_role.state_machine["analyze-video"].arn
  tags     = var.tags

  definition = templatefile("${path.module}/../statemachine/analyze-video.asl.json", merge(
    { partition = local.partition },
    { for name in local.called_functions :
      "${replace(name, "-", "_")}_arn" => aws_lambda_function.function[name].arn
    },
  ))

  logging_configuration {
    log_destination        = "${local.log_groups_arn}:${local.state_machine_log_groups["analyze-video"]}:*"
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

  timeouts {
    delete = local.state_machine_deletion_timeout
  }

  # Step Functions checks the role's permission to deliver logs when the state machine is created.
  depends_on = [aws_iam_role_policy.state_machine, aws_cloudwatch_log_group.state_machine]
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
        Resource = [for name in local.called_functions : aws_lambda_function.function[name].arn]
      }],
      local.deliver_logs,
      local.trace_executions,
      local.key_statements["analyze-video"],
      local.key_statements.log_delivery,
    )
  })
}

# The log group and the role of every state machine, including those in athena.tf, backfill.tf and
# running_executions.tf. Only its own
# state machine can assume a role.

resource "aws_cloudwatch_log_group" "state_machine" {
  #checkov:skip=CKV_AWS_338:log_retention_days sets the retention; set it to 365 or more if a year is required.
  for_each = var.create_log_groups ? local.state_machine_log_groups : {}

  name              = each.value
  retention_in_days = var.log_retention_days
  kms_key_id        = local.key_arn
  tags              = var.tags
}

resource "aws_iam_role" "state_machine" {
  for_each = local.state_machine_arns

  name                 = "${var.name}-${each.key}${local.role_suffix}"
  description          = "The role of the state machine ${var.name}-${each.key}"
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary_arn
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "states.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = local.state_machine_sources[each.key] }
      }
    }]
  })
}

# The calls that the Step Functions service makes with a state machine's role. None of these actions has a resource type.

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

# Step Functions publishes metrics of executions that start and end, but neither the number of running executions nor their
# age. An express state machine lists the running executions every five minutes and publishes both metrics, which the alarm
# `stuck` and the dashboard read. The definition is ../statemachine/running-executions.asl.json.

locals {
  namespace = "Facereel"
}

resource "aws_sfn_state_machine" "running_executions" {
  #checkov:skip=CKV_AWS_284:It makes two calls, so a trace adds no information.
  #checkov:skip=CKV_AWS_285:Its errors are logged; its data are the two numbers that it publishes.
  name     = "${var.name}-running-executions"
  type     = "EXPRESS"
  role_arn = aws_iam_role.state_machine["running-executions"].arn
  tags     = var.tags

  definition = templatefile("${path.module}/../statemachine/running-executions.asl.json", {
    partition         = local.partition
    namespace         = local.namespace
    state_machine     = aws_sfn_state_machine.analyze_video.name
    state_machine_arn = aws_sfn_state_machine.analyze_video.arn
  })

  logging_configuration {
    log_destination = "${local.log_groups_arn}:${local.state_machine_log_groups["running-executions"]}:*"
    level           = "ERROR"
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

  depends_on = [aws_iam_role_policy.running_executions, aws_cloudwatch_log_group.state_machine]
}

resource "aws_cloudwatch_event_rule" "running_executions" {
  name                = "${var.name}-running-executions"
  description         = "Publishes the number and the age of the running executions of ${var.name}-analyze-video"
  schedule_expression = "rate(5 minutes)"
  tags                = var.tags
}

# No dead-letter queue: the next invocation, five minutes later, measures again.
resource "aws_cloudwatch_event_target" "running_executions" {
  rule      = aws_cloudwatch_event_rule.running_executions.name
  target_id = "running-executions"
  arn       = aws_sfn_state_machine.running_executions.arn
  role_arn  = aws_iam_role.events.arn

  depends_on = [aws_iam_role_policy.events]
}

resource "aws_iam_role_policy" "running_executions" {
  name = "publish-metrics"
  role = aws_iam_role.state_machine["running-executions"].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "ListExecutions"
          Effect   = "Allow"
          Action   = "states:ListExecutions"
          Resource = local.state_machine_arn
        },
        {
          # The action has no resource types; the condition limits it to the namespace.
          Sid       = "PublishMetrics"
          Effect    = "Allow"
          Action    = "cloudwatch:PutMetricData"
          Resource  = "*"
          Condition = { StringEquals = { "cloudwatch:namespace" = local.namespace } }
        },
      ],
      local.deliver_logs,
      local.key_statements["running-executions"],
      local.key_statements.log_delivery,
    )
  })
}

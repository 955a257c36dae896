# `facereel backfill` analyses videos that were in the bucket before the deployment, or whose upload started no execution.
# It writes a list of them to the results bucket, and this state machine processes the list. The definition is
# ../statemachine/backfill.asl.json.

resource "aws_sfn_state_machine" "backfill" {
  #checkov:skip=CKV_AWS_284:X-Ray traces the execution of each video; this state machine only starts those executions.
  #checkov:skip=CKV_AWS_285:The executions that it starts are logged, and its list in S3 names their videos.
  count = var.create_backfill ? 1 : 0

  name     = "${var.name}-backfill"
  role_arn = aws_iam_role.state_machine["backfill"].arn
  tags     = var.tags

  definition = templatefile("${path.module}/../statemachine/backfill.asl.json", {
    partition         = local.partition
    analyze_video_arn = aws_sfn_state_machine.analyze_video.arn
    results_bucket    = aws_s3_bucket.results.id
  })

  logging_configuration {
    log_destination = "${local.log_groups_arn}:${local.state_machine_log_groups["backfill"]}:*"
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

  depends_on = [aws_iam_role_policy.backfill, aws_cloudwatch_log_group.state_machine]
}

resource "aws_iam_role_policy" "backfill" {
  count = var.create_backfill ? 1 : 0

  name = "start-executions"
  role = aws_iam_role.state_machine["backfill"].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          # The distributed Map starts a child execution of this state machine for each video. The child execution starts an
          # execution of analyze-video.
          Sid      = "StartExecutions"
          Effect   = "Allow"
          Action   = "states:StartExecution"
          Resource = [local.state_machine_arns["backfill"], local.state_machine_arn]
        },
        {
          Sid    = "WaitForAndStopExecutions"
          Effect = "Allow"
          Action = ["states:DescribeExecution", "states:StopExecution"]
          Resource = [
            "${local.executions_arn}:${var.name}-analyze-video:*",
            "${local.executions_arn}:${var.name}-backfill:*",
            "${local.executions_arn}:${var.name}-backfill/*",
          ]
        },
        {
          Sid      = "RedriveChildExecutions"
          Effect   = "Allow"
          Action   = "states:RedriveExecution"
          Resource = "${local.executions_arn}:${var.name}-backfill/*"
        },
        {
          # Step Functions receives the end of an execution that it waits for (.sync) through this managed rule:
          # https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html
          Sid      = "ManageExecutionEventsRule"
          Effect   = "Allow"
          Action   = ["events:DescribeRule", "events:PutRule", "events:PutTargets"]
          Resource = "arn:${local.partition}:events:${local.region}:${local.account}:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"
        },
        {
          Sid      = "ReadListAndWriteResults"
          Effect   = "Allow"
          Action   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
          Resource = "${local.results_bucket_arn}/backfill/*"
        },
      ],
      local.deliver_logs,
      local.key_statements.objects,
      local.key_statements["backfill"],
      local.key_statements.describe_video,
      local.key_statements.log_delivery,
    )
  })
}

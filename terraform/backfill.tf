# `facereel backfill` analyses videos that were there before, or were missed: it leaves their list in the results bucket,
# and this state machine works it off. The definition is ../statemachine/backfill.asl.json.

resource "aws_sfn_state_machine" "backfill" {
  #checkov:skip=CKV_AWS_284:Each video's own execution is traced; this one only starts them.
  #checkov:skip=CKV_AWS_285:The executions that it starts are logged; which videos they are says its list in S3.
  name     = "${var.name}-backfill"
  role_arn = aws_iam_role.state_machine["backfill"].arn

  definition = templatefile("${path.module}/../statemachine/backfill.asl.json", {
    partition         = local.partition
    analyze_video_arn = aws_sfn_state_machine.analyze_video.arn
    results_bucket    = aws_s3_bucket.results.id
  })

  logging_configuration {
    log_destination = "${aws_cloudwatch_log_group.state_machine["backfill"].arn}:*"
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

  depends_on = [aws_iam_role_policy.backfill]
}

resource "aws_iam_role_policy" "backfill" {
  name = "start-executions"
  role = aws_iam_role.state_machine["backfill"].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          # A distributed Map starts a child of this very state machine for each video, and that one the analysis.
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
          Sid      = "RedriveChildren"
          Effect   = "Allow"
          Action   = "states:RedriveExecution"
          Resource = "${local.executions_arn}:${var.name}-backfill/*"
        },
        {
          # How Step Functions hears that an execution that it waits for has ended.
          Sid      = "HearOfEnds"
          Effect   = "Allow"
          Action   = ["events:DescribeRule", "events:PutRule", "events:PutTargets"]
          Resource = "arn:${local.partition}:events:${var.region}:${local.account}:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"
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
      local.key_statements.executions,
      local.key_statements.log_delivery,
    )
  })
}

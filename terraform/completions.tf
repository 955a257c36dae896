# Rekognition publishes a message to the topic when a job ends, and the topic invokes resume-execution. The message is a
# hint: resume-execution reads the status of the job from GetFaceDetection.

resource "aws_sns_topic" "completions" {
  name = "${var.name}-completions"
  # Other services cannot use the AWS managed key of SNS.
  kms_master_key_id = local.key_arn
  tags              = var.tags
}

resource "aws_sns_topic_policy" "completions" {
  arn = aws_sns_topic.completions.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AllowRekognitionToPublish"
      Effect    = "Allow"
      Principal = { AWS = aws_iam_role.publish.arn }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.completions.arn
    }]
  })
}

resource "aws_sns_topic_subscription" "completions" {
  topic_arn = aws_sns_topic.completions.arn
  protocol  = "lambda"
  endpoint  = aws_lambda_function.function["resume-execution"].arn

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.undelivered["completions"].arn
  })

  depends_on = [aws_sqs_queue_policy.undelivered]
}

resource "aws_lambda_permission" "completions" {
  statement_id  = "completions"
  function_name = aws_lambda_function.function["resume-execution"].function_name
  action        = "lambda:InvokeFunction"
  principal     = "sns.amazonaws.com"
  source_arn    = aws_sns_topic.completions.arn

  lifecycle {
    # Lambda deletes it together with the function.
    replace_triggered_by = [aws_lambda_function.function["resume-execution"].id]
  }
}

resource "aws_lambda_function_event_invoke_config" "resume_execution" {
  function_name                = aws_lambda_function.function["resume-execution"].function_name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 21600

  destination_config {
    on_failure {
      destination = aws_sqs_queue.undelivered["completions"].arn
    }
  }

  # Lambda checks the role's permission to send to the queue when this resource is created.
  depends_on = [aws_iam_role_policy.function]

  lifecycle {
    # Lambda deletes it together with the function.
    replace_triggered_by = [aws_lambda_function.function["resume-execution"].id]
  }
}

resource "aws_iam_role" "publish" {
  name                 = "${var.name}-publish${local.role_suffix}"
  description          = "Rekognition assumes this role to publish completion messages"
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary_arn
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "rekognition.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "publish" {
  name = "publish-completions"
  role = aws_iam_role.publish.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid      = "PublishCompletions"
        Effect   = "Allow"
        Action   = "sns:Publish"
        Resource = aws_sns_topic.completions.arn
      }],
      local.key_statements.topic,
    )
  })
}

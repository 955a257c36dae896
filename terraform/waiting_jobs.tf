# A completion message starts the next jobs. Other job slots become free without a message: another workload or another stack
# released them, a message was lost, or a function was ended before it had started all jobs. Every five minutes,
# start-waiting-jobs therefore starts the jobs of waiting videos while slots are free.

resource "aws_cloudwatch_event_rule" "waiting_jobs" {
  name                = "${var.name}-start-waiting-jobs"
  description         = "Starts the jobs of videos that wait for a job slot"
  schedule_expression = "rate(5 minutes)"
  tags                = var.tags
}

# No dead-letter queue: the next invocation, five minutes later, does the same.
resource "aws_cloudwatch_event_target" "waiting_jobs" {
  rule      = aws_cloudwatch_event_rule.waiting_jobs.name
  target_id = "start-waiting-jobs"
  arn       = aws_lambda_function.function["start-waiting-jobs"].arn

  depends_on = [aws_lambda_permission.waiting_jobs]
}

resource "aws_lambda_permission" "waiting_jobs" {
  statement_id  = "waiting-jobs"
  function_name = aws_lambda_function.function["start-waiting-jobs"].function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.waiting_jobs.arn

  lifecycle {
    # Lambda deletes it together with the function.
    replace_triggered_by = [aws_lambda_function.function["start-waiting-jobs"].id]
  }
}

resource "aws_lambda_function_event_invoke_config" "waiting_jobs" {
  function_name                = aws_lambda_function.function["start-waiting-jobs"].function_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 300

  lifecycle {
    # Lambda deletes it together with the function.
    replace_triggered_by = [aws_lambda_function.function["start-waiting-jobs"].id]
  }
}

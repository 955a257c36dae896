# Each alarm says one thing that somebody should look at. All go to alarm_topic_arn, if there is one.

locals {
  state_machine_dimension = { StateMachineArn = aws_sfn_state_machine.analyze_video.arn }

  alarms = {
    failed = {
      description = "An execution failed. Open it in the console: its error and cause say why, and docs/operations.md what to do for each error; then Redrive it."
      namespace   = "AWS/States"
      metric      = "ExecutionsFailed"
      dimensions  = local.state_machine_dimension
      statistic   = "Sum"
      threshold   = 0
      missing     = "notBreaching"
    }
    timed-out = {
      description = "An execution ran out of time: 7 days have passed since its video landed. Start a new execution with the same input; if the alarm stuck was on before, do first what it says."
      namespace   = "AWS/States"
      metric      = "ExecutionsTimedOut"
      dimensions  = local.state_machine_dimension
      statistic   = "Sum"
      threshold   = 0
      missing     = "notBreaching"
    }
    stuck = {
      description = "An execution has been running for more than ${var.stuck_after_hours} hours. If the dashboard shows that videos are still being done, the queue is only long: wait, or raise the quota of concurrent stored video jobs. If none are, look at the errors of ${var.name}-resume-execution. No data means that nobody measures: see the state machine ${var.name}-running-executions."
      namespace   = local.namespace
      metric      = "OldestExecutionAge"
      dimensions  = { StateMachine = aws_sfn_state_machine.analyze_video.name }
      statistic   = "Maximum"
      threshold   = var.stuck_after_hours * 3600
      missing     = "missing"
    }
    undelivered-uploads = {
      description = "EventBridge could not start executions for uploads; their events wait for 14 days in the queue ${aws_sqs_queue.undelivered["uploads"].name}: start an execution with each as its input, then delete it."
      namespace   = "AWS/SQS"
      metric      = "ApproximateNumberOfMessagesVisible"
      dimensions  = { QueueName = aws_sqs_queue.undelivered["uploads"].name }
      statistic   = "Maximum"
      threshold   = 0
      missing     = "notBreaching"
    }
    undelivered-completions = {
      description = "Completions of jobs could not be handled; they wait in the queue ${aws_sqs_queue.undelivered["completions"].name}. Look at the errors of ${var.name}-resume-execution. Nothing is lost: the executions ask again by themselves, after 15 minutes at first and after 4 hours at most; then purge the queue."
      namespace   = "AWS/SQS"
      metric      = "ApproximateNumberOfMessagesVisible"
      dimensions  = { QueueName = aws_sqs_queue.undelivered["completions"].name }
      statistic   = "Maximum"
      threshold   = 0
      missing     = "notBreaching"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "alarm" {
  for_each = local.alarms

  alarm_name                = "${var.name}-${each.key}"
  alarm_description         = each.value.description
  namespace                 = each.value.namespace
  metric_name               = each.value.metric
  dimensions                = each.value.dimensions
  statistic                 = each.value.statistic
  period                    = 300
  evaluation_periods        = 1
  comparison_operator       = "GreaterThanThreshold"
  threshold                 = each.value.threshold
  treat_missing_data        = each.value.missing
  alarm_actions             = var.alarm_topic_arn[*]
  ok_actions                = var.alarm_topic_arn[*]
  insufficient_data_actions = each.value.missing == "missing" ? var.alarm_topic_arn[*] : []
}

# Throttling here and there is retried; that it goes on for a quarter of an hour is a limit to be raised.
resource "aws_cloudwatch_metric_alarm" "throttled" {
  alarm_name          = "${var.name}-throttled"
  alarm_description   = "AWS has throttled Lambda functions, Step Functions or Rekognition for 15 minutes on end. Nothing is lost, all is tried again. The dashboard shows which; raise its quota in Service Quotas if this lasts."
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arn[*]
  ok_actions          = var.alarm_topic_arn[*]

  metric_query {
    id          = "throttled"
    expression  = "SUM(METRICS())"
    label       = "Throttled calls"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = merge(
      { for name, function in aws_lambda_function.function : replace(name, "-", "_") => {
        namespace  = "AWS/Lambda"
        metric     = "Throttles"
        dimensions = { FunctionName = function.function_name }
      } },
      { executions = {
        namespace  = "AWS/States"
        metric     = "ExecutionThrottled"
        dimensions = local.state_machine_dimension
      } },
      { for operation in ["StartFaceDetection", "GetFaceDetection"] : "rekognition_${operation}" => {
        namespace  = "AWS/Rekognition"
        metric     = "ThrottledCount"
        dimensions = { Operation = operation }
      } },
    )

    content {
      id          = metric_query.key
      return_data = false

      metric {
        namespace   = metric_query.value.namespace
        metric_name = metric_query.value.metric
        dimensions  = metric_query.value.dimensions
        stat        = "Sum"
        period      = 300
      }
    }
  }
}

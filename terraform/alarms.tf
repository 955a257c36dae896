# Each alarm reports one condition that needs an operator. All alarms publish to alarm_topic_arn if it is set.

locals {
  state_machine_dimension = { StateMachineArn = aws_sfn_state_machine.analyze_video.arn }

  alarms = { for name, alarm in local.all_alarms :
    name => alarm if var.create_alarms && (var.create_backfill || !startswith(name, "backfill-")) && (var.create_athena_tables || name != "add-partitions-failed")
  }

  all_alarms = {
    failed = {
      description = "An execution failed. Open it in the console and read its error and cause. docs/operations.md lists the remedy for each error. Apply it, then redrive the execution."
      namespace   = "AWS/States"
      metric      = "ExecutionsFailed"
      dimensions  = local.state_machine_dimension
      statistic   = "Sum"
      threshold   = 0
      missing     = "notBreaching"
    }
    timed-out = {
      description = "An execution timed out 7 days after it started. If the alarm ${var.name}-stuck was raised before, follow its description first. Then start a new execution with the same input."
      namespace   = "AWS/States"
      metric      = "ExecutionsTimedOut"
      dimensions  = local.state_machine_dimension
      statistic   = "Sum"
      threshold   = 0
      missing     = "notBreaching"
    }
    stuck = {
      description = "An execution has been running for more than ${var.stuck_after_hours} hours since it was started or redriven. If the dashboard shows that executions still succeed, the queue is long: wait, or request a higher quota of concurrent stored-video jobs. If none succeed, check the errors of ${var.name}-resume-execution. Insufficient data means that the metric is not published: check the state machine ${var.name}-running-executions."
      namespace   = local.namespace
      metric      = "OldestExecutionAge"
      dimensions  = { StateMachine = aws_sfn_state_machine.analyze_video.name }
      statistic   = "Maximum"
      threshold   = var.stuck_after_hours * 3600
      missing     = "missing"
    }
    undelivered-uploads = {
      description = "EventBridge could not start executions for uploads. The queue ${aws_sqs_queue.undelivered["uploads"].name} keeps their events for 14 days. Start an execution with each event as its input, then delete the message."
      namespace   = "AWS/SQS"
      metric      = "ApproximateNumberOfMessagesVisible"
      dimensions  = { QueueName = aws_sqs_queue.undelivered["uploads"].name }
      statistic   = "Maximum"
      threshold   = 0
      missing     = "notBreaching"
    }
    undelivered-completions = {
      description = "Completion messages of jobs could not be processed. They are in the queue ${aws_sqs_queue.undelivered["completions"].name}. Check the errors of ${var.name}-resume-execution. No result is lost: each execution reads the status of its job again after its heartbeat timeout, which is 15 minutes at first and 4 hours at most. Purge the queue when these executions have continued."
      namespace   = "AWS/SQS"
      metric      = "ApproximateNumberOfMessagesVisible"
      dimensions  = { QueueName = aws_sqs_queue.undelivered["completions"].name }
      statistic   = "Maximum"
      threshold   = 0
      missing     = "notBreaching"
    }
    backfill-failed = {
      description = "A backfill failed: it could not read its list or write its outcome. Open the execution of ${var.name}-backfill in the console and read its error and cause. Then run facereel backfill again: it leaves out the videos that have a result. Videos that fail do not fail the backfill; they raise the alarm ${var.name}-failed."
      namespace   = "AWS/States"
      metric      = "ExecutionsFailed"
      dimensions  = { StateMachineArn = lookup(local.state_machine_arns, "backfill", null) }
      statistic   = "Sum"
      threshold   = 0
      missing     = "notBreaching"
    }
    backfill-timed-out = {
      description = "A backfill timed out 90 days after it started. Run facereel backfill again: it leaves out the videos that have a result."
      namespace   = "AWS/States"
      metric      = "ExecutionsTimedOut"
      dimensions  = { StateMachineArn = lookup(local.state_machine_arns, "backfill", null) }
      statistic   = "Sum"
      threshold   = 0
      missing     = "notBreaching"
    }
    add-partitions-failed = {
      description = "A result was not added to the tables of Athena, so queries do not include it. Open the execution of ${var.name}-add-partitions in the console and read its error and cause. Then redrive it."
      namespace   = "AWS/States"
      metric      = "ExecutionsFailed"
      dimensions  = { StateMachineArn = lookup(local.state_machine_arns, "add-partitions", null) }
      statistic   = "Sum"
      threshold   = 0
      missing     = "notBreaching"
    }
    waiting-jobs = {
      description = "${var.name}-start-waiting-jobs has failed for 15 minutes. Read its log. Waiting videos are still started when a job completes, and each execution tries again after its heartbeat timeout, which is 15 minutes at first and 4 hours at most."
      namespace   = "AWS/Lambda"
      metric      = "Errors"
      dimensions  = { FunctionName = aws_lambda_function.function["start-waiting-jobs"].function_name }
      statistic   = "Sum"
      threshold   = 0
      missing     = "notBreaching"
      periods     = 3
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
  evaluation_periods        = try(each.value.periods, 1)
  comparison_operator       = "GreaterThanThreshold"
  threshold                 = each.value.threshold
  treat_missing_data        = each.value.missing
  alarm_actions             = var.alarm_topic_arn[*]
  ok_actions                = var.alarm_topic_arn[*]
  insufficient_data_actions = each.value.missing == "missing" ? var.alarm_topic_arn[*] : []
  tags                      = var.tags
}

# An alarm can read at most 10 metrics, and this one reads 10:
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html
# Single throttled calls are retried. Throttling in three consecutive periods of 5 minutes means that a quota is too low.
resource "aws_cloudwatch_metric_alarm" "throttled" {
  count = var.create_alarms ? 1 : 0

  alarm_name          = "${var.name}-throttled"
  alarm_description   = "AWS has throttled Lambda, Step Functions or Rekognition for 15 minutes. No work is lost: throttled calls are retried. The metrics of this alarm show which service is affected. If throttling continues, request a higher quota in Service Quotas."
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arn[*]
  ok_actions          = var.alarm_topic_arn[*]
  tags                = var.tags

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

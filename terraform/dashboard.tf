# Throughput, queueing and errors of the stack, in widgets of 5-minute periods.

resource "aws_cloudwatch_dashboard" "dashboard" {
  count = var.create_dashboard ? 1 : 0

  dashboard_name = "${var.name}-${local.region}"
  dashboard_body = jsonencode({ widgets = [for index, widget in local.widgets : {
    type   = "metric"
    x      = index % 2 * 12
    y      = floor(index / 2) * 6
    width  = 12
    height = 6
    properties = merge({
      region = local.region
      view   = "timeSeries"
      period = 300
      stat   = "Sum"
    }, widget)
  }] })
}

locals {
  widgets = [
    {
      title = "Executions started / succeeded"
      metrics = [
        ["AWS/States", "ExecutionsStarted", "StateMachineArn", local.state_machine_arn, { label = "Started" }],
        ["AWS/States", "ExecutionsSucceeded", "StateMachineArn", local.state_machine_arn, { label = "Succeeded" }],
      ]
    },
    {
      title = "Running executions"
      stat  = "Maximum"
      metrics = [
        [local.namespace, "RunningExecutions", "StateMachine", aws_sfn_state_machine.analyze_video.name, { label = "Running" }],
        [local.namespace, "OldestExecutionAge", "StateMachine", aws_sfn_state_machine.analyze_video.name, { label = "Age of the oldest (s)", yAxis = "right" }],
      ]
    },
    {
      title = "Failures"
      metrics = concat(
        [
          ["AWS/States", "ExecutionsFailed", "StateMachineArn", local.state_machine_arn, { label = "Executions failed" }],
          ["AWS/States", "ExecutionsTimedOut", "StateMachineArn", local.state_machine_arn, { label = "Executions timed out" }],
        ],
        [for arn in lookup(local.state_machine_arns, "backfill", null)[*] :
          ["AWS/States", "ExecutionsFailed", "StateMachineArn", arn, { label = "Backfills failed" }]
        ],
        [for name, function in aws_lambda_function.function :
          ["AWS/Lambda", "Errors", "FunctionName", function.function_name, { label = "${name} errors" }]
        ],
      )
    },
    {
      title = "Undelivered messages"
      stat  = "Maximum"
      metrics = [for kind, queue in aws_sqs_queue.undelivered :
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue.name, { label = title(kind) }]
      ]
    },
    {
      title = "fetch-page invocations"
      metrics = [
        ["AWS/Lambda", "Invocations", "FunctionName", aws_lambda_function.function["fetch-page"].function_name, { label = "Invocations" }],
        ["AWS/Lambda", "Duration", "FunctionName", aws_lambda_function.function["fetch-page"].function_name, { label = "Duration p90 (ms)", stat = "p90", yAxis = "right" }],
      ]
    },
    {
      title = "Results: videos, faces, pages"
      metrics = [for metric in ["Videos", "Faces", "Pages"] :
        [local.namespace, metric, "FunctionName", aws_lambda_function.function["summarize"].function_name, { label = metric }]
      ]
    },
    {
      title = "Wait for a job slot (s)"
      stat  = "Maximum"
      metrics = [for name in local.job_starters :
        [local.namespace, "SecondsWaitedForSlot", "FunctionName", aws_lambda_function.function[name].function_name, { label = "Started by ${name}" }]
      ]
    },
    {
      title = "Jobs found again / late callbacks"
      metrics = concat(
        [[local.namespace, "JobsReattached", "FunctionName", aws_lambda_function.function["start-detection"].function_name, { label = "Jobs found again" }]],
        [for name in local.job_starters :
          [local.namespace, "LateCallbacks", "FunctionName", aws_lambda_function.function[name].function_name, { label = "Late callbacks from ${name}" }]
        ],
      )
    },
    {
      title = "Time from upload to result"
      metrics = [
        ["AWS/States", "ExecutionTime", "StateMachineArn", local.state_machine_arn, { label = "p50 (ms)", stat = "p50" }],
        ["AWS/States", "ExecutionTime", "StateMachineArn", local.state_machine_arn, { label = "p90 (ms)", stat = "p90" }],
      ]
    },
    {
      title = "Rekognition calls"
      metrics = concat([for operation in ["StartFaceDetection", "GetFaceDetection"] : [
        ["AWS/Rekognition", "SuccessfulRequestCount", "Operation", operation, { label = operation }],
        ["AWS/Rekognition", "ThrottledCount", "Operation", operation, { label = "${operation} throttled" }],
      ]]...)
    },
    {
      title = "Concurrent function invocations"
      stat  = "Maximum"
      metrics = [for name, function in aws_lambda_function.function :
        ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", function.function_name, { label = name }]
      ]
    },
  ]
}

# Is it working, what is waiting, what went wrong.

resource "aws_cloudwatch_dashboard" "dashboard" {
  dashboard_name = "${var.name}-${var.region}"
  dashboard_body = jsonencode({ widgets = [for index, widget in local.widgets : {
    type   = "metric"
    x      = index % 2 * 12
    y      = floor(index / 2) * 6
    width  = 12
    height = 6
    properties = merge({
      region = var.region
      view   = "timeSeries"
      period = 300
      stat   = "Sum"
    }, widget)
  }] })
}

locals {
  widgets = [
    {
      title = "Videos: landed and done"
      metrics = [
        ["AWS/States", "ExecutionsStarted", "StateMachineArn", local.state_machine_arn, { label = "Landed" }],
        ["AWS/States", "ExecutionsSucceeded", "StateMachineArn", local.state_machine_arn, { label = "Done" }],
      ]
    },
    {
      title = "Videos waiting for their faces"
      stat  = "Maximum"
      metrics = [
        [local.namespace, "RunningExecutions", "StateMachine", aws_sfn_state_machine.analyze_video.name, { label = "Running executions" }],
        [local.namespace, "OldestExecutionAge", "StateMachine", aws_sfn_state_machine.analyze_video.name, { label = "Age of the oldest, s", yAxis = "right" }],
      ]
    },
    {
      title = "Failures"
      metrics = concat(
        [
          ["AWS/States", "ExecutionsFailed", "StateMachineArn", local.state_machine_arn, { label = "Executions failed" }],
          ["AWS/States", "ExecutionsTimedOut", "StateMachineArn", local.state_machine_arn, { label = "Executions timed out" }],
        ],
        [for name, function in aws_lambda_function.function :
          ["AWS/Lambda", "Errors", "FunctionName", function.function_name, { label = "Errors of ${name}" }]
        ],
      )
    },
    {
      title = "Undelivered"
      stat  = "Maximum"
      metrics = [for of, queue in aws_sqs_queue.undelivered :
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue.name, { label = title(of) }]
      ]
    },
    {
      title = "Pages"
      metrics = [
        ["AWS/Lambda", "Invocations", "FunctionName", aws_lambda_function.function["fetch-page"].function_name, { label = "Calls of fetch-page" }],
        ["AWS/Lambda", "Duration", "FunctionName", aws_lambda_function.function["fetch-page"].function_name, { label = "Duration, ms", stat = "p90", yAxis = "right" }],
      ]
    },
    {
      title = "Results"
      metrics = [for metric in ["Videos", "Faces", "Pages"] :
        [local.namespace, metric, "FunctionName", aws_lambda_function.function["summarize"].function_name, { label = metric }]
      ]
    },
    {
      title = "Waited for a job slot, s"
      stat  = "Maximum"
      metrics = [for name in ["start-detection", "resume-execution"] :
        [local.namespace, "SecondsWaitedForSlot", "FunctionName", aws_lambda_function.function[name].function_name, { label = "Started by ${name}" }]
      ]
    },
    {
      title = "Not paid again, and heard twice"
      metrics = concat(
        [[local.namespace, "JobsReattached", "FunctionName", aws_lambda_function.function["start-detection"].function_name, { label = "Jobs found again" }]],
        [for name in ["start-detection", "resume-execution"] :
          [local.namespace, "CallbacksTooLate", "FunctionName", aws_lambda_function.function[name].function_name, { label = "Late callbacks of ${name}" }]
        ],
      )
    },
    {
      title = "Time from upload to faces"
      metrics = [
        ["AWS/States", "ExecutionTime", "StateMachineArn", local.state_machine_arn, { label = "Half of the videos, ms", stat = "p50" }],
        ["AWS/States", "ExecutionTime", "StateMachineArn", local.state_machine_arn, { label = "Nine of ten, ms", stat = "p90" }],
      ]
    },
    {
      title = "Rekognition"
      metrics = concat([for operation in ["StartFaceDetection", "GetFaceDetection"] : [
        ["AWS/Rekognition", "SuccessfulRequestCount", "Operation", operation, { label = operation }],
        ["AWS/Rekognition", "ThrottledCount", "Operation", operation, { label = "${operation} throttled" }],
      ]]...)
    },
    {
      title = "Functions at once"
      stat  = "Maximum"
      metrics = [for name, function in aws_lambda_function.function :
        ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", function.function_name, { label = name }]
      ]
    },
  ]
}

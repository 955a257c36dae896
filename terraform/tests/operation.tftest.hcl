# Functions, state machine, alarms, dashboard and outputs.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region         = "eu-west-1"
  zips_directory = "tests/zips"
}

run "functions_get_what_they_need" {
  assert {
    condition     = toset(keys(aws_lambda_function.function)) == toset(["start-detection", "resume-execution", "list-pages", "fetch-page", "summarize"])
    error_message = "There are five functions."
  }
  assert {
    condition     = alltrue([for function in aws_lambda_function.function : function.runtime == "provided.al2023" && function.handler == "bootstrap" && function.architectures == tolist(["arm64"]) && function.logging_config[0].log_format == "JSON"])
    error_message = "Every function is a bootstrap that logs JSON."
  }
  assert {
    condition = jsonencode({ for name, function in aws_lambda_function.function : name => keys(function.environment[0].variables) if length(function.environment[0].variables) > 0 }) == jsonencode({
      start-detection  = ["COMPLETION_TOPIC_ARN", "FACE_ATTRIBUTES", "PUBLISH_ROLE_ARN", "RESULTS_BUCKET"]
      resume-execution = ["RESULTS_BUCKET"]
      fetch-page       = ["RESULTS_BUCKET"]
      summarize        = ["RESULTS_BUCKET"]
    })
    error_message = "A function's environment is its Config in lambdas/src, no more and no less."
  }
  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.function : group.retention_in_days == 90])
    error_message = "Every function's log ends some day."
  }
}

run "no_state_gives_up_before_its_function" {
  assert {
    condition = alltrue([for state, function in {
      ListPages = { state = jsondecode(aws_sfn_state_machine.analyze_video.definition).States.ListPages, function = "list-pages" }
      FetchPage = { state = jsondecode(aws_sfn_state_machine.analyze_video.definition).States.FetchPages.ItemProcessor.States.FetchPage, function = "fetch-page" }
      Summarize = { state = jsondecode(aws_sfn_state_machine.analyze_video.definition).States.Summarize, function = "summarize" }
    } : aws_lambda_function.function[function.function].timeout <= function.state.TimeoutSeconds])
    error_message = "A function may run no longer than its state waits."
  }
  assert {
    condition     = !strcontains(aws_sfn_state_machine.analyze_video.definition, "$${")
    error_message = "A place in the state machine's definition was not filled in."
  }
}

run "the_state_machine_logs_no_task_tokens" {
  assert {
    condition     = aws_sfn_state_machine.analyze_video.logging_configuration[0].level == "ALL" && !aws_sfn_state_machine.analyze_video.logging_configuration[0].include_execution_data
    error_message = "Everything is logged but data."
  }
  assert {
    condition     = endswith(aws_sfn_state_machine.analyze_video.logging_configuration[0].log_destination, ":*")
    error_message = "Step Functions takes a log group's ARN with :* at its end."
  }
  assert {
    condition     = aws_sfn_state_machine.analyze_video.tracing_configuration[0].enabled
    error_message = "X-Ray must be on."
  }
}

run "completions_are_never_lost" {
  assert {
    condition     = jsondecode(aws_sns_topic_subscription.completions.redrive_policy).deadLetterTargetArn == aws_sqs_queue.undelivered["completions"].arn
    error_message = "What SNS cannot deliver must be kept."
  }
  assert {
    condition     = aws_lambda_function_event_invoke_config.resume_execution.destination_config[0].on_failure[0].destination == aws_sqs_queue.undelivered["completions"].arn
    error_message = "What resume-execution cannot handle must be kept."
  }
}

run "every_failure_raises_an_alarm" {
  variables {
    alarm_topic_arn   = "arn:aws:sns:eu-west-1:123456789012:alarms"
    stuck_after_hours = 3
  }

  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.alarm)) == toset(["failed", "timed-out", "stuck", "undelivered-completions", "undelivered-uploads"])
    error_message = "An alarm is missing."
  }
  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.alarm), [aws_cloudwatch_metric_alarm.throttled]) : alarm.alarm_actions == toset(["arn:aws:sns:eu-west-1:123456789012:alarms"])])
    error_message = "Every alarm must go to the topic."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.alarm["stuck"].threshold == 10800 && aws_cloudwatch_metric_alarm.alarm["stuck"].insufficient_data_actions == toset(["arn:aws:sns:eu-west-1:123456789012:alarms"])
    error_message = "Stuck is 3 hours, or nobody measuring."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.throttled.metric_query) == 9
    error_message = "Throttled looks at five functions, the state machine and Rekognition's two calls."
  }
}

run "the_stuck_alarm_reads_the_published_running_executions_metric" {
  assert {
    condition = anytrue([for metric in jsondecode(aws_sfn_state_machine.running_executions.definition).States.Publish.Arguments.MetricData :
      metric.MetricName == aws_cloudwatch_metric_alarm.alarm["stuck"].metric_name
      && tomap({ for dimension in metric.Dimensions : dimension.Name => dimension.Value }) == tomap(aws_cloudwatch_metric_alarm.alarm["stuck"].dimensions)
    ]) && jsondecode(aws_sfn_state_machine.running_executions.definition).States.Publish.Arguments.Namespace == aws_cloudwatch_metric_alarm.alarm["stuck"].namespace
    error_message = "The alarm reads a metric that nobody publishes."
  }
  assert {
    condition     = strcontains(jsondecode(aws_sfn_state_machine.running_executions.definition).States.ListRunning.Arguments, aws_sfn_state_machine.analyze_video.arn)
    error_message = "ListRunning lists the executions of another state machine."
  }
}

run "the_dashboard_shows_what_matters" {
  assert {
    condition     = [for widget in jsondecode(aws_cloudwatch_dashboard.dashboard.dashboard_body).widgets : widget.properties.title] == ["Videos: landed and done", "Videos waiting for their faces", "Failures", "Undelivered", "Pages", "Results", "Waited for a job slot, s", "Not paid again, and heard twice", "Time from upload to faces", "Rekognition", "Functions at once"]
    error_message = "A widget is missing."
  }
}

run "outputs_lead_on" {
  assert {
    condition     = output.upload_command == "aws s3 cp VIDEO.mp4 s3://facereel-uploads-123456789012-eu-west-1/ --region eu-west-1"
    error_message = "The upload command does not name the bucket."
  }
  assert {
    condition     = output.state_machine_url == "https://eu-west-1.console.aws.amazon.com/states/home?region=eu-west-1#/statemachines/view/arn%3Aaws%3Astates%3Aeu-west-1%3A123456789012%3AstateMachine%3Afacereel-analyze-video"
    error_message = "The console's address of the state machine is wrong."
  }
}

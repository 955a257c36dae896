# The functions, the state machine, the alarms, the dashboard and the outputs.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  zips_directory = "tests/zips"
}

run "functions_have_runtime_environment_and_log_retention" {
  assert {
    condition     = toset(keys(aws_lambda_function.function)) == toset(["inspect-video", "start-detection", "resume-execution", "start-waiting-jobs", "list-pages", "fetch-page", "summarize"])
    error_message = "The stack must have exactly seven functions."
  }
  assert {
    condition     = alltrue([for function in aws_lambda_function.function : function.runtime == "provided.al2023" && function.handler == "bootstrap" && function.architectures == tolist(["arm64"]) && function.logging_config[0].log_format == "JSON"])
    error_message = "Every function must run a bootstrap on provided.al2023 (arm64) and log JSON."
  }
  assert {
    condition = jsonencode({ for name, function in aws_lambda_function.function : name => keys(function.environment[0].variables) if length(function.environment) > 0 }) == jsonencode({
      start-detection    = ["COMPLETION_TOPIC_ARN", "FACE_ATTRIBUTES", "PUBLISH_ROLE_ARN", "RESULTS_BUCKET"]
      resume-execution   = ["RESULTS_BUCKET"]
      start-waiting-jobs = ["RESULTS_BUCKET"]
      fetch-page         = ["RESULTS_BUCKET"]
      summarize          = ["RESULTS_BUCKET"]
    })
    error_message = "The environment of a function must match its Config in lambdas/src."
  }
  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.function : group.retention_in_days == 90])
    error_message = "The log of every function must expire."
  }
}

run "a_function_times_out_no_later_than_its_state" {
  assert {
    # The template names the function of each state, because all mocked functions have the same ARN.
    condition = alltrue([for state in concat(
      values(jsondecode(file("../statemachine/analyze-video.asl.json")).States),
      values(jsondecode(file("../statemachine/analyze-video.asl.json")).States.ReadPages.ItemProcessor.States),
      ) : aws_lambda_function.function[replace(regex("^[$]{(.*)_arn}$", state.Arguments.FunctionName)[0], "_", "-")].timeout <= state.TimeoutSeconds
      if can(state.Arguments.FunctionName)
    ])
    error_message = "The timeout of a function must be at most the TimeoutSeconds of its state."
  }
  assert {
    condition     = !strcontains(aws_sfn_state_machine.analyze_video.definition, "$${")
    error_message = "The definition of analyze-video still contains a template placeholder."
  }
}

run "the_state_machine_logs_no_task_tokens" {
  assert {
    condition     = aws_sfn_state_machine.analyze_video.logging_configuration[0].level == "ALL" && !aws_sfn_state_machine.analyze_video.logging_configuration[0].include_execution_data
    error_message = "All events must be logged, without execution data."
  }
  assert {
    condition     = endswith(aws_sfn_state_machine.analyze_video.logging_configuration[0].log_destination, ":*")
    error_message = "Step Functions requires the ARN of the log group with the suffix :*."
  }
  assert {
    condition     = aws_sfn_state_machine.analyze_video.tracing_configuration[0].enabled
    error_message = "X-Ray tracing must be enabled."
  }
  assert {
    condition     = alltrue([for machine in [aws_sfn_state_machine.analyze_video, aws_sfn_state_machine.backfill[0], aws_sfn_state_machine.running_executions] : machine.timeouts.delete == "10m"])
    error_message = "The deletion of a state machine whose executions wait must fail after 10 minutes."
  }
}

run "undelivered_completion_messages_go_to_a_dead_letter_queue" {
  assert {
    condition     = jsondecode(aws_sns_topic_subscription.completions.redrive_policy).deadLetterTargetArn == aws_sqs_queue.undelivered["completions"].arn
    error_message = "Messages that SNS cannot deliver must go to the dead-letter queue."
  }
  assert {
    condition     = aws_lambda_function_event_invoke_config.resume_execution.destination_config[0].on_failure[0].destination == aws_sqs_queue.undelivered["completions"].arn
    error_message = "Messages that resume-execution fails to process must go to the dead-letter queue."
  }
}

run "every_failure_raises_an_alarm" {
  variables {
    alarm_topic_arn   = "arn:aws:sns:eu-west-1:123456789012:alarms"
    stuck_after_hours = 3
  }

  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.alarm)) == toset(["failed", "timed-out", "stuck", "undelivered-completions", "undelivered-uploads", "waiting-jobs", "backfill-failed", "backfill-timed-out"])
    error_message = "An alarm is missing."
  }
  assert {
    condition = { for name in ["backfill-failed", "backfill-timed-out"] : name => [aws_cloudwatch_metric_alarm.alarm[name].metric_name, aws_cloudwatch_metric_alarm.alarm[name].dimensions.StateMachineArn] } == {
      backfill-failed    = ["ExecutionsFailed", "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-backfill"]
      backfill-timed-out = ["ExecutionsTimedOut", "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-backfill"]
    }
    error_message = "A backfill that fails or times out must raise an alarm."
  }
  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.alarm), aws_cloudwatch_metric_alarm.throttled) : alarm.alarm_actions == toset(["arn:aws:sns:eu-west-1:123456789012:alarms"])])
    error_message = "Every alarm must publish to the topic."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.alarm["stuck"].threshold == 10800 && aws_cloudwatch_metric_alarm.alarm["stuck"].insufficient_data_actions == toset(["arn:aws:sns:eu-west-1:123456789012:alarms"])
    error_message = "The alarm stuck must be raised after 3 hours and when its metric is missing."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.throttled[0].metric_query) == 11
    error_message = "The alarm throttled must sum the seven functions, the state machine and the two Rekognition calls, and have one expression. CloudWatch allows no more than 10 metrics."
  }
}

run "a_schedule_starts_the_jobs_of_waiting_videos" {
  assert {
    condition     = aws_cloudwatch_event_rule.waiting_jobs.schedule_expression == "rate(5 minutes)"
    error_message = "Waiting jobs must be started every five minutes."
  }
  assert {
    condition     = aws_cloudwatch_event_target.waiting_jobs.arn == aws_lambda_function.function["start-waiting-jobs"].arn && aws_cloudwatch_event_target.waiting_jobs.input == null
    error_message = "The schedule must invoke start-waiting-jobs with the scheduled event, whose id names the owner of the lease."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.alarm["waiting-jobs"].evaluation_periods == 3 && aws_cloudwatch_metric_alarm.alarm["waiting-jobs"].dimensions == tomap({ FunctionName = "facereel-start-waiting-jobs" })
    error_message = "The alarm waiting-jobs must be raised after 15 minutes of errors."
  }
}

run "the_stuck_alarm_reads_the_published_running_executions_metric" {
  assert {
    condition = anytrue([for metric in jsondecode(aws_sfn_state_machine.running_executions.definition).States.Publish.Arguments.MetricData :
      metric.MetricName == aws_cloudwatch_metric_alarm.alarm["stuck"].metric_name
      && tomap({ for dimension in metric.Dimensions : dimension.Name => dimension.Value }) == tomap(aws_cloudwatch_metric_alarm.alarm["stuck"].dimensions)
    ]) && jsondecode(aws_sfn_state_machine.running_executions.definition).States.Publish.Arguments.Namespace == aws_cloudwatch_metric_alarm.alarm["stuck"].namespace
    error_message = "The alarm stuck must read a metric that running-executions publishes."
  }
  assert {
    condition     = strcontains(jsondecode(aws_sfn_state_machine.running_executions.definition).States.ListRunning.Arguments, aws_sfn_state_machine.analyze_video.arn)
    error_message = "ListRunning must list the executions of analyze-video."
  }
  assert {
    condition     = strcontains(jsondecode(aws_sfn_state_machine.running_executions.definition).States.ListRunning.Assign.oldest, "RedriveDate ? RedriveDate : StartDate")
    error_message = "A redriven execution must be as old as its redrive, so that a redrive of an old execution raises no alarm."
  }
}

run "the_dashboard_has_all_widgets" {
  assert {
    condition = [for widget in jsondecode(aws_cloudwatch_dashboard.dashboard[0].dashboard_body).widgets : widget.properties.title] == [
      "Executions started / succeeded",
      "Running executions",
      "Failures",
      "Undelivered messages",
      "fetch-page invocations",
      "Results: videos, faces, pages",
      "Wait for a job slot (s)",
      "Jobs found again / late callbacks",
      "Time from upload to result",
      "Rekognition calls",
      "Concurrent function invocations",
    ]
    error_message = "The widgets of the dashboard have changed."
  }
  assert {
    condition     = strcontains(aws_cloudwatch_dashboard.dashboard[0].dashboard_body, "\"LateCallbacks\"")
    error_message = "The dashboard must show the metric LateCallbacks."
  }
}

run "outputs_name_the_upload_bucket_and_the_console_url" {
  assert {
    condition     = output.upload_command == "aws s3 cp VIDEO.mp4 s3://facereel-uploads-123456789012-eu-west-1/ --region eu-west-1"
    error_message = "The upload command must name the upload bucket."
  }
  assert {
    condition     = output.state_machine_url == "https://eu-west-1.console.aws.amazon.com/states/home?region=eu-west-1#/statemachines/view/arn%3Aaws%3Astates%3Aeu-west-1%3A123456789012%3AstateMachine%3Afacereel-analyze-video"
    error_message = "The URL of the state machine in the console is wrong."
  }
}

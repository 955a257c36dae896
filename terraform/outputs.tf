output "upload_command" {
  description = "The command that uploads a video, which starts its analysis."
  value       = "aws s3 cp VIDEO.mp4 s3://${local.upload_bucket}/${local.upload_prefixes[0]} --region ${local.region}"
}

output "results_command" {
  description = "The command that lists the results of all videos. A result with a `manifest.json` is complete."
  value       = "aws s3 ls --recursive s3://${local.results_bucket}/results/ --region ${local.region}"
}

output "upload_bucket" {
  description = "The name of the upload bucket."
  value       = local.upload_bucket
}

output "upload_bucket_arn" {
  description = "The ARN of the upload bucket."
  value       = local.upload_bucket_arn
}

output "results_bucket" {
  description = "The name of the bucket that stores results, under `results/<key of the video>/`."
  value       = aws_s3_bucket.results.id
}

output "results_bucket_arn" {
  description = "The ARN of the results bucket."
  value       = local.results_bucket_arn
}

output "state_machine_arn" {
  description = "The ARN of the state machine that analyses a video, for `aws stepfunctions start-execution`."
  value       = aws_sfn_state_machine.analyze_video.arn
}

output "state_machine_arns" {
  description = "The ARNs of all state machines, by name: `analyze-video`, `running-executions`, `backfill` and `add-partitions`."
  value       = local.state_machine_arns
}

output "state_machine_url" {
  description = "The URL of the state machine in the console, with its executions, their graphs and *Redrive*."
  value       = "https://${local.region}.${local.console}/states/home?region=${local.region}#/statemachines/view/${urlencode(aws_sfn_state_machine.analyze_video.arn)}"
}

output "backfill_commands" {
  description = "For each prefix, the command that lists the videos in the upload bucket without a result, and the cost of their analysis."
  value       = [for prefix in local.upload_prefixes : "facereel backfill s3://${local.upload_bucket}/${prefix} --state-machine ${aws_sfn_state_machine.analyze_video.arn} --dry-run" if var.create_backfill]
}

output "dashboard_url" {
  description = "The URL of the dashboard in the console; null without `create_dashboard`."
  value       = var.create_dashboard ? "https://${local.region}.${local.console}/cloudwatch/home?region=${local.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.dashboard[0].dashboard_name}" : null
}

output "undelivered_queues" {
  description = "The URLs of the dead-letter queues: `uploads` for events of uploads, `completions` for completion messages of jobs."
  value       = { for kind, queue in aws_sqs_queue.undelivered : kind => queue.url }
}

output "completion_topic_arn" {
  description = "The ARN of the topic to which Rekognition publishes completion messages. You can add subscribers."
  value       = aws_sns_topic.completions.arn
}

output "results_topic_arn" {
  description = "The ARN of the topic with a message for each completed result and each failed execution; null without `create_results_topic`."
  value       = one(aws_sns_topic.results[*].arn)
}

output "athena_database" {
  description = "The name of the Glue database with the tables `faces` and `tracks`; null without `create_athena_tables`."
  value       = one(aws_glue_catalog_database.results[*].name)
}

output "function_names" {
  description = "The names of the Lambda functions, by function."
  value       = { for name, function in aws_lambda_function.function : name => function.function_name }
}

output "function_arns" {
  description = "The ARNs of the Lambda functions, by function."
  value       = { for name, function in aws_lambda_function.function : name => function.arn }
}

output "role_arns" {
  description = "The ARNs of the roles, by function, by state machine, and of `events` (EventBridge) and `publish` (Rekognition)."
  value = { for name, role in merge(aws_iam_role.function, aws_iam_role.state_machine, { events = aws_iam_role.events, publish = aws_iam_role.publish }) :
    name => role.arn
  }
}

output "log_group_names" {
  description = "The names of the log groups, by function and by state machine."
  value       = merge(local.log_groups, local.state_machine_log_groups)
}

output "key_arn" {
  description = "The ARN of the key that encrypts the data of the stack; null without `customer_managed_key` and `kms_key_arn`."
  value       = local.key_arn
}

output "key_policy_statements" {
  description = "The statements that the policy of an existing key (`kms_key_arn`) needs for the services of the stack. They do not depend on the key."
  value       = local.key_policy_statements
}

locals {
  console = lookup({
    aws-cn     = "console.amazonaws.cn"
    aws-us-gov = "console.amazonaws-us-gov.com"
  }, local.partition, "console.aws.amazon.com")
}

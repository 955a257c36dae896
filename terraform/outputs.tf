output "upload_command" {
  description = "Analyses a video."
  value       = "aws s3 cp VIDEO.mp4 s3://${local.upload_bucket}/${var.upload_prefix} --region ${var.region}"
}

output "results_command" {
  description = "Lists the results of all videos; a `manifest.json` says that a result is complete."
  value       = "aws s3 ls --recursive s3://${local.results_bucket}/results/ --region ${var.region}"
}

output "upload_bucket" {
  description = "The bucket that videos land in."
  value       = local.upload_bucket
}

output "results_bucket" {
  description = "The bucket that results lie in, under `results/<key of the video>/`."
  value       = aws_s3_bucket.results.id
}

output "state_machine_arn" {
  description = "The ARN of the state machine, for `aws stepfunctions start-execution`."
  value       = aws_sfn_state_machine.analyze_video.arn
}

output "state_machine_url" {
  description = "The state machine in the console: executions, their graphs, Redrive."
  value       = "https://${var.region}.${local.console}/states/home?region=${var.region}#/statemachines/view/${urlencode(aws_sfn_state_machine.analyze_video.arn)}"
}

output "backfill_command" {
  description = "Says which videos in the upload bucket have no result yet, and what their analysis costs."
  value       = "facereel backfill s3://${local.upload_bucket}/${var.upload_prefix} --state-machine ${aws_sfn_state_machine.analyze_video.arn} --dry-run"
}

output "dashboard_url" {
  description = "The dashboard in the console."
  value       = "https://${var.region}.${local.console}/cloudwatch/home?region=${var.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.dashboard.dashboard_name}"
}

output "undelivered_queues" {
  description = "The queues that hold what could not be delivered: uploads' events and jobs' completions."
  value       = { for of, queue in aws_sqs_queue.undelivered : of => queue.url }
}

output "completion_topic_arn" {
  description = "The topic that Rekognition reports ended jobs to; further subscribers are welcome."
  value       = aws_sns_topic.completions.arn
}

output "functions" {
  description = "The functions' names."
  value       = { for name, function in aws_lambda_function.function : name => function.function_name }
}

output "key_arn" {
  description = "The customer-managed key, if there is one."
  value       = local.key_arn
}

locals {
  console = lookup({
    aws-cn     = "console.amazonaws.cn"
    aws-us-gov = "console.amazonaws-us-gov.com"
  }, local.partition, "console.aws.amazon.com")
}

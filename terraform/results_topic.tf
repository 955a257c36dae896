# The optional topic for consumers of results. Each message is the event that EventBridge received: of S3 for a completed
# result, whose manifest.json was written, and of Step Functions for an execution that failed.

locals {
  results_events = {
    # The state machine backfill writes another manifest.json, under backfill/.
    completed = jsonencode({
      source      = ["aws.s3"]
      detail-type = ["Object Created"]
      detail = {
        bucket = { name = [local.results_bucket] }
        object = { key = [{ wildcard = "results/*/manifest.json" }] }
      }
    })
    failed = jsonencode({
      source      = ["aws.states"]
      detail-type = ["Step Functions Execution Status Change"]
      detail = {
        stateMachineArn = [local.state_machine_arn]
        status          = ["ABORTED", "FAILED", "TIMED_OUT"]
      }
    })
  }
}

resource "aws_sns_topic" "results" {
  #checkov:skip=CKV_AWS_26:With a customer-managed key the topic is encrypted. EventBridge cannot use the AWS managed key of SNS.
  count = var.create_results_topic ? 1 : 0

  name              = "${var.name}-results"
  kms_master_key_id = local.key_arn
  tags              = var.tags
}

resource "aws_sns_topic_policy" "results" {
  count = length(aws_sns_topic.results)

  arn = aws_sns_topic.results[count.index].arn

  # EventBridge does not support conditions in the policy of a topic:
  # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sns-permissions
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AllowEventBridgeToPublish"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.results[count.index].arn
    }]
  })
}

resource "aws_cloudwatch_event_rule" "results" {
  for_each = { for outcome, pattern in local.results_events : outcome => pattern if var.create_results_topic }

  name          = "${var.name}-results-${each.key}"
  description   = "Results of ${var.name} that are ${each.key}"
  tags          = var.tags
  event_pattern = each.value
}

resource "aws_cloudwatch_event_target" "results" {
  for_each = aws_cloudwatch_event_rule.results

  rule      = each.value.name
  target_id = "results"
  arn       = aws_sns_topic.results[0].arn

  depends_on = [aws_sns_topic_policy.results]
}

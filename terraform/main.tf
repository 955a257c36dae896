# Detects the faces in every video that is uploaded to a bucket:
#
#   buckets.tf             the upload bucket and the results bucket
#   upload_events.tf       the rule that starts an execution for each upload
#   state_machine.tf       the state machine; its definition is in ../statemachine
#   functions.tf           the Lambda functions that the states call
#   permissions.tf         the functions' roles
#   completions.tf         the topic for Rekognition's completion messages
#   waiting_jobs.tf        the schedule that starts the jobs of waiting videos
#   encryption.tf          the optional customer-managed key
#   backfill.tf            the analysis of videos that were in the bucket before the deployment
#   running_executions.tf  the number of running executions and the age of the oldest, as metrics
#   alarms.tf              the alarms
#   dashboard.tf           the dashboard

provider "aws" {
  region = var.region

  default_tags {
    tags = var.tags
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition

  # Role names and bucket names are not scoped to a Region, so they contain it.
  role_suffix    = "-${var.region}"
  upload_bucket  = coalesce(var.upload_bucket, "${var.name}-uploads-${local.account}-${var.region}")
  results_bucket = coalesce(var.results_bucket, "${var.name}-results-${local.account}-${var.region}")

  upload_bucket_arn  = "arn:${local.partition}:s3:::${local.upload_bucket}"
  results_bucket_arn = "arn:${local.partition}:s3:::${local.results_bucket}"

  # The ARNs are composed and not read from the resources: a state machine needs its role, and the role's policies contain
  # the state machine's ARN, so references would form a cycle.
  state_machine_arns = {
    for name in ["analyze-video", "backfill", "running-executions"] :
    name => "arn:${local.partition}:states:${var.region}:${local.account}:stateMachine:${var.name}-${name}"
  }
  state_machine_arn = local.state_machine_arns["analyze-video"]

  # The ARNs with which a state machine assumes its role and uses the key. The child executions of a distributed Map belong to
  # a state machine `<name>/<label>`. AWS does not document which of the two ARNs they send, so both are allowed.
  state_machine_sources = {
    for name, arn in local.state_machine_arns : name => name == "backfill" ? [arn, "${arn}/*"] : [arn]
  }
  executions_arn = "arn:${local.partition}:states:${var.region}:${local.account}:execution"

  # Longer than a task can wait (7 days) and longer than an execution can be redriven (14 days).
  temporary_objects_expire_after_days = 15
}

# Faces in every video that lands in a bucket:
#
#   buckets.tf        the upload bucket and the results bucket
#   upload_events.tf  an upload starts an execution
#   state_machine.tf  the execution's states, out of ../statemachine
#   functions.tf      the Lambda functions behind the states
#   permissions.tf    what each function may do
#   completions.tf    Rekognition's word that a job has ended
#   encryption.tf     one key for everything, if asked for
#   backfill.tf       videos that were there before
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

  # Roles and buckets share one namespace across Regions.
  role_suffix    = "-${var.region}"
  upload_bucket  = coalesce(var.upload_bucket, "${var.name}-uploads-${local.account}-${var.region}")
  results_bucket = coalesce(var.results_bucket, "${var.name}-results-${local.account}-${var.region}")

  upload_bucket_arn  = "arn:${local.partition}:s3:::${local.upload_bucket}"
  results_bucket_arn = "arn:${local.partition}:s3:::${local.results_bucket}"

  # Put together rather than asked for: the functions may answer this state machine, and it may call them.
  state_machine_arns = {
    for name in ["analyze-video", "backfill", "running-executions"] :
    name => "arn:${local.partition}:states:${var.region}:${local.account}:stateMachine:${var.name}-${name}"
  }
  state_machine_arn = local.state_machine_arns["analyze-video"]
  executions_arn    = "arn:${local.partition}:states:${var.region}:${local.account}:execution"

  # Longer than a task can wait (7 days) or an execution can be redriven (14 days).
  leftovers_expire_after_days = 15
}

# Detects the faces in every video that is uploaded to a bucket:
#
#   buckets.tf             the upload bucket and the results bucket
#   upload_events.tf       the rules that start an execution for each upload
#   state_machine.tf       the state machine; its definition is in ../statemachine
#   functions.tf           the Lambda functions
#   permissions.tf         the functions' roles
#   completions.tf         the topic for Rekognition's completion messages
#   waiting_jobs.tf        the schedule that starts the jobs of waiting videos
#   results_topic.tf       the optional topic for completed and failed results
#   athena.tf              the optional tables for Athena, and the state machine that adds the results to them
#   encryption.tf          the optional customer-managed key
#   backfill.tf            the analysis of videos that were in the bucket before the deployment
#   running_executions.tf  the number of running executions and the age of the oldest, as metrics
#   alarms.tf              the alarms
#   dashboard.tf           the dashboard

# The module has no provider block, so that it can be used with count, for_each and the caller's provider. As a root module it
# uses the Region and the credentials of the environment (AWS_REGION, AWS_PROFILE).

data "aws_region" "current" {
  lifecycle {
    postcondition {
      condition     = contains(local.rekognition_regions, self.id)
      error_message = "Amazon Rekognition is not available in ${self.id}. Select another Region with AWS_REGION or in the provider. If https://docs.aws.amazon.com/general/latest/gr/rekognition.html lists the Region, add it to rekognition_regions in main.tf of this module."
    }
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  # The Regions of the Rekognition API in November 2026:
  # https://docs.aws.amazon.com/general/latest/gr/rekognition.html
  rekognition_regions = [
    "ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ap-southeast-5", "ap-southeast-7",
    "ca-central-1", "eu-central-1", "eu-south-2", "eu-west-1", "eu-west-2", "il-central-1", "sa-east-1",
    "us-east-1", "us-east-2", "us-gov-west-1", "us-west-1", "us-west-2",
  ]

  region    = data.aws_region.current.id
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition

  # Role names and bucket names are not scoped to a Region, so they contain it.
  role_suffix    = "-${local.region}"
  upload_bucket  = coalesce(var.upload_bucket, "${var.name}-uploads-${local.account}-${local.region}")
  results_bucket = coalesce(var.results_bucket, "${var.name}-results-${local.account}-${local.region}")

  upload_bucket_arn  = "arn:${local.partition}:s3:::${local.upload_bucket}"
  results_bucket_arn = "arn:${local.partition}:s3:::${local.results_bucket}"

  # The ARNs are composed and not read from the resources: a state machine needs its role, and the role's policies contain
  # the state machine's ARN, so references would form a cycle.
  state_machine_arns = {
    for name in concat(["analyze-video", "running-executions"], var.create_backfill ? ["backfill"] : [], var.create_athena_tables ? ["add-partitions"] : []) :
    name => "arn:${local.partition}:states:${local.region}:${local.account}:stateMachine:${var.name}-${name}"
  }
  state_machine_arn = local.state_machine_arns["analyze-video"]

  # The ARNs with which a state machine assumes its role and uses the key. The child executions of a distributed Map belong to
  # a state machine `<name>/<label>`. AWS does not document which of the two ARNs they send, so both are allowed.
  state_machine_sources = {
    for name, arn in local.state_machine_arns : name => name == "backfill" ? [arn, "${arn}/*"] : [arn]
  }

  log_groups_arn = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group"
  executions_arn = "arn:${local.partition}:states:${local.region}:${local.account}:execution"

  # Step Functions deletes a state machine only after its executions have ended. An execution can wait for days, so Terraform
  # fails instead of waiting for it: https://docs.aws.amazon.com/step-functions/latest/apireference/API_DeleteStateMachine.html
  # README.md describes how to stop the executions.
  state_machine_deletion_timeout = "10m"

  # Longer than a task can wait (7 days) and longer than an execution can be redriven (14 days).
  temporary_objects_expire_after_days = 15
}

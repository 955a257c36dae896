# The Lambda functions. scripts/build-lambdas builds their zip files.

locals {
  log_groups = {
    for name in keys(local.functions) : name => "/aws/lambda/${var.name}-${name}"
  }

  environments = { for name, function in local.functions : name => merge(var.function_environment, function.environment) }

  # The functions that start Rekognition jobs.
  job_starters = ["start-detection", "resume-execution", "start-waiting-jobs"]

  # Beside the module in a bundle; else where scripts/build-lambdas writes them.
  bundles        = [for name in ["arm64", "x86_64"] : name if fileexists("${path.module}/../functions/${name}/start-detection.zip")]
  architecture   = coalesce(var.architecture, concat(local.bundles, ["arm64"])[0])
  zips_of_bundle = "${path.module}/../functions/${local.architecture}"
  zips_of_clone  = "${path.module}/../target/lambda/${local.architecture}"
  zips_directory = coalesce(
    var.zips_directory,
    contains(local.bundles, local.architecture) ? local.zips_of_bundle : local.zips_of_clone,
  )

  # timeout: in seconds, at most the TimeoutSeconds of the state that calls the function. memory: in MB; Lambda allocates
  # processor time in proportion to it.
  functions = {
    inspect-video = {
      description = "Checks that the object is a video that Rekognition accepts, and returns its version, ETag and size"
      timeout     = 180
      memory      = 256 # Reads the first bytes of the object; with half the memory, a first invocation takes about twice as long.
      environment = {}
    }
    start-detection = {
      description = "Stores the task token, adds the video to the queue and starts Rekognition jobs while job slots are free"
      timeout     = 600
      memory      = 256 # Uses 10 MB and mostly waits for AWS; as for inspect-video.
      environment = {
        RESULTS_BUCKET       = local.results_bucket
        COMPLETION_TOPIC_ARN = aws_sns_topic.completions.arn
        PUBLISH_ROLE_ARN     = aws_iam_role.publish.arn
        FACE_ATTRIBUTES      = var.face_attributes
      }
    }
    resume-execution = {
      description = "Sends the outcome of a job to the executions that wait for it, and starts the next jobs"
      timeout     = 600
      memory      = 256 # As for start-detection.
      environment = { RESULTS_BUCKET = local.results_bucket }
    }
    start-waiting-jobs = {
      description = "Starts the jobs of waiting videos every five minutes"
      timeout     = 600
      memory      = 256 # As for start-detection.
      environment = { RESULTS_BUCKET = local.results_bucket }
    }
    list-pages = {
      description = "Lists the page tokens of a result"
      timeout     = 300
      memory      = 512 # A page with ALL attributes needs 5 ms of a full processor, so 20 ms here, in sequence, while Rekognition takes 300 ms.
      environment = {}
    }
    fetch-page = {
      description = "Fetches pages of faces from Rekognition and writes them to S3"
      timeout     = 900
      memory      = 256 # Uses 20 MB; a page with ALL attributes needs 15 ms of a full processor, so 100 ms here, and 10 invocations of an execution run in parallel.
      environment = { RESULTS_BUCKET = local.results_bucket }
    }
    summarize = {
      description = "Counts the faces and writes the summary, the report and the manifest"
      timeout     = 900
      memory      = 1024 # The largest result, 4,320 pages with ALL attributes, needs 90 s of a full processor: less than 3 of the 15 minutes here.
      environment = { RESULTS_BUCKET = local.results_bucket }
    }
  }
}

resource "aws_lambda_function" "function" {
  #checkov:skip=CKV_AWS_115:Reserved concurrency reduces the account's pool for other functions; Rekognition's job quota limits these.
  #checkov:skip=CKV_AWS_116:resume-execution has an on-failure destination; Step Functions receives the errors of the others, except for start-waiting-jobs, which runs again after five minutes.
  #checkov:skip=CKV_AWS_117:The functions call only public AWS APIs; the variable vpc puts them into a VPC.
  #checkov:skip=CKV_AWS_272:The person who deploys the stack builds the zip files from this repository.
  for_each = local.functions

  function_name    = "${var.name}-${each.key}"
  description      = each.value.description
  role             = aws_iam_role.function[each.key].arn
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [local.architecture]
  filename         = "${local.zips_directory}/${each.key}.zip"
  source_code_hash = filebase64sha256("${local.zips_directory}/${each.key}.zip")
  timeout          = each.value.timeout
  memory_size      = each.value.memory
  layers           = var.function_layers
  # Lambda does not keep the key of a function without an environment, so that every plan would set it again:
  # https://registry.terraform.io/providers/hashicorp/aws/5.100.0/docs/resources/lambda_function#kms_key_arn-1
  kms_key_arn = length(local.environments[each.key]) == 0 ? null : local.key_arn
  tags        = var.tags

  dynamic "environment" {
    for_each = length(local.environments[each.key]) == 0 ? [] : [local.environments[each.key]]

    content {
      variables = environment.value
    }
  }

  dynamic "vpc_config" {
    for_each = var.vpc[*]

    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  logging_config {
    log_group             = local.log_groups[each.key]
    log_format            = "JSON"
    application_log_level = "INFO"
    system_log_level      = "WARN"
  }

  tracing_config {
    mode = "Active"
  }

  # With a VPC, Lambda checks the role's permission to create network interfaces when the function is created.
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.function]

  lifecycle {
    # Lambda grants the key for the environment to the role by the role's id, and not by its name. With a new role of the same
    # name, a function could not decrypt its environment.
    replace_triggered_by = [aws_iam_role.function[each.key].unique_id]

    precondition {
      condition     = fileexists("${local.zips_directory}/${each.key}.zip")
      error_message = "${local.zips_directory}/${each.key}.zip does not exist. Build the functions first: scripts/build-lambdas ${local.architecture}"
    }
  }
}

resource "aws_cloudwatch_log_group" "function" {
  #checkov:skip=CKV_AWS_338:log_retention_days sets the retention; set it to 365 or more if a year is required.
  for_each = var.create_log_groups ? local.log_groups : {}

  name              = each.value
  retention_in_days = var.log_retention_days
  kms_key_id        = local.key_arn
  tags              = var.tags
}

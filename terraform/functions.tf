# The Lambda functions. scripts/build-lambdas makes their zips.

locals {
  zips_directory = coalesce(var.zips_directory, "${path.module}/../target/lambda/${var.architecture}")

  # Seconds: never longer than the state that calls the function waits for it. Memory in MB also buys processor time.
  functions = {
    start-detection = {
      description = "Takes a video, leaves a task token waiting and starts Rekognition jobs while there are slots"
      timeout     = 300
      memory      = 256 # It needs 10 MB and waits for others; less would make every TLS handshake slower.
      environment = {
        RESULTS_BUCKET       = local.results_bucket
        COMPLETION_TOPIC_ARN = aws_sns_topic.completions.arn
        PUBLISH_ROLE_ARN     = aws_iam_role.publish.arn
        FACE_ATTRIBUTES      = var.face_attributes
      }
    }
    resume-execution = {
      description = "Tells the executions that wait for a job how it ended, and starts the next jobs"
      timeout     = 300
      memory      = 256 # As start-detection.
      environment = { RESULTS_BUCKET = local.results_bucket }
    }
    list-pages = {
      description = "Walks the chain of a result's pages"
      timeout     = 300
      memory      = 512 # A page of ALL attributes takes 5 ms of a processor: 20 here, one after the other, beside Rekognition's 300.
      environment = {}
    }
    fetch-page = {
      description = "Writes pages of faces to S3"
      timeout     = 900
      memory      = 256 # It needs 20 MB; a page of ALL attributes takes 15 ms of a processor: 100 here, and twenty run side by side.
      environment = { RESULTS_BUCKET = local.results_bucket }
    }
    summarize = {
      description = "Counts the faces and writes summary, report and manifest"
      timeout     = 900
      memory      = 1024 # The largest result, 4,320 pages of ALL attributes, takes 90 s of a processor: under 3 minutes of the 15 here.
      environment = { RESULTS_BUCKET = local.results_bucket }
    }
  }
}

resource "aws_lambda_function" "function" {
  #checkov:skip=CKV_AWS_115:Reserving concurrency takes it from the account's other functions; Rekognition's job quota bounds these.
  #checkov:skip=CKV_AWS_116:Step Functions calls four of them and sees their errors; resume-execution has an on-failure destination.
  #checkov:skip=CKV_AWS_117:They call nothing but AWS's public APIs; a VPC would only add its endpoints' cost.
  #checkov:skip=CKV_AWS_272:Zips are built from this repository by whoever deploys it.
  for_each = local.functions

  function_name    = "${var.name}-${each.key}"
  description      = each.value.description
  role             = aws_iam_role.function[each.key].arn
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.architecture]
  filename         = "${local.zips_directory}/${each.key}.zip"
  source_code_hash = filebase64sha256("${local.zips_directory}/${each.key}.zip")
  timeout          = each.value.timeout
  memory_size      = each.value.memory
  kms_key_arn      = local.key_arn

  environment {
    variables = each.value.environment
  }

  logging_config {
    log_group             = aws_cloudwatch_log_group.function[each.key].name
    log_format            = "JSON"
    application_log_level = "INFO"
    system_log_level      = "WARN"
  }

  tracing_config {
    mode = "Active"
  }

  lifecycle {
    precondition {
      condition     = fileexists("${local.zips_directory}/${each.key}.zip")
      error_message = "${local.zips_directory}/${each.key}.zip is not there. Build the functions first: scripts/build-lambdas ${var.architecture}"
    }
  }
}

resource "aws_cloudwatch_log_group" "function" {
  #checkov:skip=CKV_AWS_338:log_retention_days says how long; a year is for whoever needs it.
  for_each = local.functions

  name              = "/aws/lambda/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.key_arn
}

# The functions' roles. Each policy allows exactly the calls that its function makes: the end-to-end tests record every call
# and compare it with the policy (tests/terraform.rs).

resource "aws_iam_role" "function" {
  for_each = local.functions

  name                 = "${var.name}-${each.key}${local.role_suffix}"
  description          = "The role of the function ${var.name}-${each.key}"
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary_arn
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "function" {
  for_each = local.functions

  name = each.key
  role = aws_iam_role.function[each.key].id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.function_statements[each.key], local.runtime_statements[each.key])
  })
}

locals {
  read_videos = concat(
    [
      {
        Sid      = "ReadVideos"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource = [for prefix in local.upload_prefixes : "${local.upload_bucket_arn}/${prefix}*"]
      },
      {
        # Without s3:ListBucket, S3 answers 403 (access denied) instead of 404 for a missing video.
        Sid       = "DetectMissingVideos"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.upload_bucket_arn
        Condition = { StringLikeIfExists = { "s3:prefix" = [for prefix in local.upload_prefixes : "${prefix}*"] } }
      },
    ],
    local.read_encrypted_videos,
  )

  # The permissions of the functions that start jobs. Rekognition reads the video with the permissions of the caller.
  start_jobs = concat(
    local.read_videos,
    [
      {
        # These actions have no resource types.
        Sid      = "DetectFaces"
        Effect   = "Allow"
        Action   = ["rekognition:GetFaceDetection", "rekognition:StartFaceDetection"]
        Resource = "*"
      },
      {
        Sid       = "PassPublishRole"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = aws_iam_role.publish.arn
        Condition = { StringEquals = { "iam:PassedToService" = "rekognition.amazonaws.com" } }
      },
      {
        Sid      = "ReadAndDeleteCallbacksAndQueue"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:GetObject"]
        Resource = ["${local.results_bucket_arn}/callbacks/*", "${local.results_bucket_arn}/queue/*"]
      },
      {
        Sid      = "WriteQueue"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${local.results_bucket_arn}/queue/*"
      },
      {
        # results/: before a job is started again, the function checks whether an earlier analysis wrote the result's folder.
        # IfExists: S3 checks this permission also for GetObject of a missing object, and that request has no prefix.
        Sid       = "ListCallbacksQueueAndResults"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.results_bucket_arn
        Condition = { StringLikeIfExists = { "s3:prefix" = ["callbacks/*", "queue/*", "results/*"] } }
      },
      {
        Sid      = "SendTaskResults"
        Effect   = "Allow"
        Action   = ["states:SendTaskFailure", "states:SendTaskHeartbeat", "states:SendTaskSuccess"]
        Resource = local.state_machine_arn
      },
    ],
    local.key_statements.objects,
  )

  read_job = [{
    # The action has no resource types.
    Sid      = "ReadFaces"
    Effect   = "Allow"
    Action   = "rekognition:GetFaceDetection"
    Resource = "*"
  }]

  function_statements = merge({ for name in local.job_starters : name => local.start_jobs }, {
    inspect-video = concat(local.read_videos, local.key_statements.read_objects)
    start-detection = concat(local.start_jobs, [{
      Sid      = "StoreCallbacks"
      Effect   = "Allow"
      Action   = "s3:PutObject"
      Resource = "${local.results_bucket_arn}/callbacks/*"
    }])
    list-pages = local.read_job
    fetch-page = concat(
      local.read_job,
      [{
        Sid      = "WritePages"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${local.results_bucket_arn}/results/*"
      }],
      local.key_statements.write_objects,
    )
    summarize = concat(
      [
        {
          Sid      = "ReadPagesAndWriteSummary"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:PutObject"]
          Resource = "${local.results_bucket_arn}/results/*"
        },
        {
          # Without s3:ListBucket, S3 answers 403 (access denied) instead of 404 for a missing page.
          Sid       = "DetectMissingPages"
          Effect    = "Allow"
          Action    = "s3:ListBucket"
          Resource  = local.results_bucket_arn
          Condition = { StringLikeIfExists = { "s3:prefix" = "results/*" } }
        },
      ],
      local.key_statements.objects,
    )
  })

  manage_network_interfaces = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
  ]

  # The calls that the Lambda service makes with a function's role.
  runtime_statements = { for name in keys(local.functions) : name => concat(
    [
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${local.log_groups_arn}:${local.log_groups[name]}:*"
      },
      {
        # These actions have no resource types.
        Sid      = "Trace"
        Effect   = "Allow"
        Action   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
        Resource = "*"
      },
    ],
    [for queue in [aws_sqs_queue.undelivered["completions"].arn] : {
      Sid      = "SendToDeadLetterQueue"
      Effect   = "Allow"
      Action   = "sqs:SendMessage"
      Resource = queue
    } if name == "resume-execution"],
    length(local.environments[name]) == 0 ? [] : local.key_statements.environment,
    [for _ in var.vpc[*] : {
      # Lambda creates and deletes the network interfaces of the function with its role:
      # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
      Sid      = "ManageNetworkInterfaces"
      Effect   = "Allow"
      Action   = local.manage_network_interfaces
      Resource = "*"
    }],
    [for _ in var.vpc[*] : {
      # The code of the function cannot.
      Sid       = "DenyNetworkInterfacesToCode"
      Effect    = "Deny"
      Action    = local.manage_network_interfaces
      Resource  = "*"
      Condition = { ArnEquals = { "lambda:SourceFunctionArn" = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}-${name}" } }
    }],
    name == "resume-execution" ? local.key_statements.queues : [],
  ) }
}

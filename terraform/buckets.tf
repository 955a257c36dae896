# Videos land in the upload bucket. It is created here, or an existing one is used.

# The name stands in the provider's own message, which for a bucket of another Region is only "empty result" or
# "moved permanently".

data "aws_s3_bucket" "upload_bucket_in_this_region" {
  count  = var.upload_bucket == null ? 0 : 1
  bucket = var.upload_bucket

  lifecycle {
    postcondition {
      # Not its attribute for the Region, which provider 6 names otherwise than 5.
      condition     = strcontains(self.bucket_regional_domain_name, ".${var.region}.")
      error_message = "The bucket ${var.upload_bucket} lies in another Region than ${var.region} (its address is ${self.bucket_regional_domain_name}). Rekognition reads videos in its own Region only: set region to the bucket's, or copy the videos."
    }
  }
}

resource "aws_s3_bucket" "upload" {
  #checkov:skip=CKV_AWS_18:Access logging needs a third bucket and a policy of the company; CloudTrail data events do without.
  #checkov:skip=CKV_AWS_144:A copy in another Region would be analysed, and paid for, by nobody.
  #checkov:skip=CKV_AWS_145:customer_managed_key encrypts with KMS; without it S3's own key does.
  count         = var.upload_bucket == null ? 1 : 0
  bucket        = local.upload_bucket
  force_destroy = var.force_destroy

  # Terraform destroys against the direction of the dependencies. A bucket with objects in it cannot be destroyed, and
  # what it depends on is then left: without this, the key's deletion would be scheduled all the same, and the objects
  # would become unreadable. The bucket's own settings (policy, public access block, encryption, versioning and so on)
  # depend on the bucket, since they cannot be created before it, and so they are removed before its destruction fails.
  depends_on = [aws_kms_key.key, aws_kms_alias.key]
}

resource "aws_s3_bucket_versioning" "upload" {
  count  = length(aws_s3_bucket.upload)
  bucket = aws_s3_bucket.upload[count.index].id

  # A video that is uploaded anew under the same key does not change the one that is being analysed.
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "upload" {
  count  = length(aws_s3_bucket.upload)
  bucket = aws_s3_bucket.upload[count.index].id

  rule {
    id     = "leftovers"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    noncurrent_version_expiration {
      noncurrent_days = local.leftovers_expire_after_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.upload]
}

resource "aws_s3_bucket_notification" "upload" {
  count       = var.upload_bucket == null || var.upload_bucket_take_notifications == true ? 1 : 0
  bucket      = var.upload_bucket == null ? aws_s3_bucket.upload[0].id : data.aws_s3_bucket.upload_bucket_in_this_region[0].id
  eventbridge = true
}

# Results, and what the functions have to remember: waiting/ holds task tokens, queue/ the videos that wait for a job,
# backfill/ lists of videos and what became of them.

resource "aws_s3_bucket" "results" {
  #checkov:skip=CKV_AWS_18:Access logging needs a third bucket and a policy of the company; CloudTrail data events do without.
  #checkov:skip=CKV_AWS_21:Versions would keep task tokens that were deleted; results can be made anew from their video.
  #checkov:skip=CKV_AWS_144:Results can be made anew from their video.
  #checkov:skip=CKV_AWS_145:customer_managed_key encrypts with KMS; without it S3's own key does.
  bucket        = local.results_bucket
  force_destroy = var.force_destroy

  # The key outlasts the bucket, as it does for the upload bucket.
  depends_on = [aws_kms_key.key, aws_kms_alias.key]

  lifecycle {
    precondition {
      condition     = local.results_bucket != local.upload_bucket
      error_message = "results_bucket and upload_bucket are both ${local.results_bucket}. Give results a bucket of their own: results must not look like uploads."
    }
  }
}

# Consumers of results start on the creation of manifest.json. These events start nothing in this stack: the rule in
# upload_events.tf matches the upload bucket's name only.

resource "aws_s3_bucket_notification" "results" {
  bucket      = aws_s3_bucket.results.id
  eventbridge = true
}

resource "aws_s3_bucket_lifecycle_configuration" "results" {
  bucket = aws_s3_bucket.results.id

  rule {
    id     = "incomplete-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  dynamic "rule" {
    for_each = toset(["backfill", "queue", "waiting"])

    content {
      id     = "${rule.value}-leftovers"
      status = "Enabled"

      filter {
        prefix = "${rule.value}/"
      }

      expiration {
        days = local.leftovers_expire_after_days
      }
    }
  }

  dynamic "rule" {
    for_each = var.results_expiration_days[*]

    content {
      id     = "results"
      status = "Enabled"

      filter {
        prefix = "results/"
      }

      expiration {
        days = rule.value
      }
    }
  }
}

# What both need, where they are made here.

locals {
  created_buckets = merge(
    { results = aws_s3_bucket.results.id },
    { for bucket in aws_s3_bucket.upload : "upload" => bucket.id },
  )
}

resource "aws_s3_bucket_public_access_block" "created" {
  for_each = local.created_buckets

  bucket                  = each.value
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "created" {
  for_each = local.created_buckets

  bucket = each.value

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "created" {
  for_each = local.created_buckets

  bucket = each.value

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.customer_managed_key ? "aws:kms" : "AES256"
      kms_master_key_id = local.key_arn
    }

    # One call to KMS for many objects.
    bucket_key_enabled = var.customer_managed_key
  }
}

resource "aws_s3_bucket_policy" "created" {
  for_each = local.created_buckets

  bucket = each.value
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyEncryptedConnections"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource = [
        "arn:${local.partition}:s3:::${each.value}",
        "arn:${local.partition}:s3:::${each.value}/*",
      ]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  # S3 refuses two changes of a bucket's access at once.
  depends_on = [aws_s3_bucket_public_access_block.created]
}

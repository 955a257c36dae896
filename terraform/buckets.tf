# The upload bucket receives the videos. This module creates it, or uses the existing bucket var.upload_bucket.

# For a bucket in another Region the provider reports only "empty result" or "moved permanently", followed by the name of
# the data source. The name therefore states the requirement.

data "aws_s3_bucket" "upload_bucket_in_this_region" {
  count  = var.upload_bucket == null ? 0 : 1
  bucket = var.upload_bucket

  lifecycle {
    postcondition {
      # The bucket's own attribute for the Region has different names in provider versions 5 and 6.
      condition     = strcontains(self.bucket_regional_domain_name, ".${local.region}.")
      error_message = "The bucket ${var.upload_bucket} is not in the Region ${local.region}: its endpoint is ${self.bucket_regional_domain_name}. Rekognition reads videos in its own Region only. Deploy in the Region of the bucket (set AWS_REGION or the region of the provider), or copy the videos to a bucket in ${local.region}."
    }
  }
}

resource "aws_s3_bucket" "upload" {
  #checkov:skip=CKV_AWS_18:Access logging needs a third bucket and a company policy; CloudTrail data events need neither.
  #checkov:skip=CKV_AWS_144:No stack analyses a replica in another Region, so a replica would only add cost.
  #checkov:skip=CKV_AWS_145:With a customer-managed key the objects are encrypted with KMS, otherwise with the key of S3.
  count         = var.upload_bucket == null ? 1 : 0
  bucket        = local.upload_bucket
  force_destroy = var.force_destroy
  tags          = var.tags

  # Terraform destroys a resource before the resources that it depends on. S3 does not delete a bucket that has objects, and
  # Terraform then keeps the dependencies of the bucket. Without this dependency, Terraform would still schedule the
  # deletion of the key, and the objects would become unreadable. The settings of the bucket (policy, public access block,
  # encryption, versioning and so on) depend on the bucket, because they cannot be created before it. Terraform therefore
  # removes them before it fails to delete the bucket.
  depends_on = [aws_kms_key.key, aws_kms_alias.key]

  lifecycle {
    # S3 returns the key with which it encrypts new objects, so this is the key of the last apply.
    postcondition {
      condition     = var.force_destroy || contains(["", local.key_arn], try(coalesce(self.server_side_encryption_configuration[0].rule[0].apply_server_side_encryption_by_default[0].kms_master_key_id), ""))
      error_message = "Objects in the bucket ${self.bucket} are encrypted with the key ${try(self.server_side_encryption_configuration[0].rule[0].apply_server_side_encryption_by_default[0].kms_master_key_id, "")}, which this configuration no longer uses: the functions could not read them, and a key that the stack created would be deleted. Set customer_managed_key or kms_key_arn back to this key. If the objects are not needed, set force_destroy = true in the same apply."
    }
  }
}

resource "aws_s3_bucket_versioning" "upload" {
  count  = length(aws_s3_bucket.upload)
  bucket = aws_s3_bucket.upload[count.index].id

  # With versions, a second upload to the same key does not replace the video that is being analysed.
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "upload" {
  count  = length(aws_s3_bucket.upload)
  bucket = aws_s3_bucket.upload[count.index].id

  rule {
    id     = "incomplete-uploads-and-noncurrent-versions"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    noncurrent_version_expiration {
      noncurrent_days = local.temporary_objects_expire_after_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.upload]
}

resource "aws_s3_bucket_notification" "upload" {
  count       = var.upload_bucket == null || var.upload_bucket_take_notifications == true ? 1 : 0
  bucket      = var.upload_bucket == null ? aws_s3_bucket.upload[0].id : data.aws_s3_bucket.upload_bucket_in_this_region[0].id
  eventbridge = true
}

# The results bucket stores the results and the state of the functions: callbacks/ contains task tokens, queue/ the videos
# that wait for a job and the lease, backfill/ the lists of videos and the outcome of each video.

resource "aws_s3_bucket" "results" {
  #checkov:skip=CKV_AWS_18:Access logging needs a third bucket and a company policy; CloudTrail data events need neither.
  #checkov:skip=CKV_AWS_21:Versions would keep deleted task tokens; results can be created again from their video.
  #checkov:skip=CKV_AWS_144:Results can be created again from their video.
  #checkov:skip=CKV_AWS_145:With a customer-managed key the objects are encrypted with KMS, otherwise with the key of S3.
  bucket        = local.results_bucket
  force_destroy = var.force_destroy
  tags          = var.tags

  # Terraform deletes the key after the bucket, for the reason given at the upload bucket.
  depends_on = [aws_kms_key.key, aws_kms_alias.key]

  lifecycle {
    precondition {
      condition     = local.results_bucket != local.upload_bucket
      error_message = "results_bucket and upload_bucket are both ${local.results_bucket}. Set results_bucket to the name of another bucket: objects in the upload bucket start executions."
    }

    # S3 returns the key with which it encrypts new objects, so this is the key of the last apply.
    postcondition {
      condition     = var.force_destroy || contains(["", local.key_arn], try(coalesce(self.server_side_encryption_configuration[0].rule[0].apply_server_side_encryption_by_default[0].kms_master_key_id), ""))
      error_message = "Objects in the bucket ${self.bucket} are encrypted with the key ${try(self.server_side_encryption_configuration[0].rule[0].apply_server_side_encryption_by_default[0].kms_master_key_id, "")}, which this configuration no longer uses: the functions could not read them, and a key that the stack created would be deleted. Set customer_managed_key or kms_key_arn back to this key. If the objects are not needed, set force_destroy = true in the same apply."
    }
  }
}

# Consumers of results subscribe to the creation of manifest.json. These events start no execution: the rule in
# upload_events.tf matches the name of the upload bucket only.

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
    for_each = toset(["backfill", "callbacks", "queue"])

    content {
      id     = "temporary-objects-${rule.value}"
      status = "Enabled"

      filter {
        prefix = "${rule.value}/"
      }

      expiration {
        days = local.temporary_objects_expire_after_days
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

# Settings of both buckets; an existing upload bucket gets none of them.

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
      sse_algorithm     = local.key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = local.key_arn
    }

    # With a bucket key, S3 makes one call to KMS for many objects.
    bucket_key_enabled = local.key_arn != null
  }
}

resource "aws_s3_bucket_policy" "created" {
  for_each = local.created_buckets

  bucket = each.value
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "DenyUnencryptedConnections"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource = [
          "arn:${local.partition}:s3:::${each.value}",
          "arn:${local.partition}:s3:::${each.value}/*",
        ]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }],
      { upload = var.upload_bucket_policy_statements, results = var.results_bucket_policy_statements }[each.key],
    )
  })

  # S3 rejects concurrent changes of a bucket's access settings.
  depends_on = [aws_s3_bucket_public_access_block.created]
}

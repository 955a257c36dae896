# With create_athena_tables, Athena can query the results of all videos: a database of the Glue Data Catalog with the tables
# `faces` and `tracks`. A result is a partition of each table, because Athena reads every object below a location, and a result
# has other objects as well. A projection of the partitions could not be queried for all videos: Athena knows the values of an
# `injected` column only from the query
# (https://docs.aws.amazon.com/athena/latest/ug/partition-projection-dynamic-id-partitioning.html). So a state machine adds the
# partitions when a result is complete. The definition is ../statemachine/add-partitions.asl.json.

locals {
  # Athena accepts no hyphen in the name of a database:
  # https://docs.aws.amazon.com/athena/latest/ug/tables-databases-columns-names.html
  athena_database = replace(var.name, "-", "_")

  athena_value = "struct<value:boolean,confidence:double>"

  # The lines of the objects: docs/schema/face.schema.json and docs/schema/track.schema.json. tests/athena_tables_test.py
  # compares them. A new column is added at the end: the partitions keep the columns that the tables had.
  athena_tables = {
    faces = {
      description = "The detections of faces, as Rekognition returned them"
      columns = [
        ["timestamp", "bigint"],
        ["face", join("", ["struct<", join(",", [
          "boundingbox:struct<left:double,top:double,width:double,height:double>",
          "confidence:double",
          "landmarks:array<struct<type:string,x:double,y:double>>",
          "pose:struct<roll:double,yaw:double,pitch:double>",
          "quality:struct<brightness:double,sharpness:double>",
          "agerange:struct<low:int,high:int>",
          "emotions:array<struct<type:string,confidence:double>>",
          "smile:${local.athena_value}",
          "eyeglasses:${local.athena_value}",
          "sunglasses:${local.athena_value}",
          "gender:struct<value:string,confidence:double>",
          "beard:${local.athena_value}",
          "mustache:${local.athena_value}",
          "eyesopen:${local.athena_value}",
          "mouthopen:${local.athena_value}",
        ]), ">"])],
      ]
    }
    tracks = {
      description = "The tracks: detections of one face through time, which is not a person"
      columns = [
        ["id", "bigint"],
        ["part", "int"],
        ["continues", "boolean"],
        ["first_ms", "bigint"],
        ["last_ms", "bigint"],
        ["detections", "int"],
        ["mean_confidence", "double"],
        ["best", "struct<timestamp_ms:bigint,face:bigint,box:array<double>>"],
        ["timestamps_ms", "array<bigint>"],
        ["faces", "array<bigint>"],
        ["boxes", "array<array<double>>"],
      ]
    }
  }
}

resource "aws_glue_catalog_database" "results" {
  count = var.create_athena_tables ? 1 : 0

  name        = local.athena_database
  description = "The results of the stack ${var.name}"
  tags        = var.tags
}

resource "aws_glue_catalog_table" "results" {
  for_each = { for name, table in local.athena_tables : name => table if var.create_athena_tables }

  database_name = aws_glue_catalog_database.results[0].name
  name          = each.key
  description   = each.value.description
  table_type    = "EXTERNAL_TABLE"

  parameters = {
    EXTERNAL       = "TRUE"
    classification = "json"
  }

  partition_keys {
    name    = "video"
    type    = "string"
    comment = "The key of the video"
  }

  partition_keys {
    name    = "idempotency_key"
    type    = "string"
    comment = "The idempotency key of the job"
  }

  storage_descriptor {
    location      = "s3://${aws_s3_bucket.results.id}/results/"
    input_format  = "org.apache.hadoop.mapred.TextInputFormat"
    output_format = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"

    # The SerDe of Hive matches the names of columns and members in any case. The results of queries with the OpenX SerDe can be
    # non-deterministic: https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html
    ser_de_info {
      serialization_library = "org.apache.hive.hcatalog.data.JsonSerDe"
    }

    dynamic "columns" {
      for_each = each.value.columns

      content {
        name = columns.value[0]
        type = columns.value[1]
      }
    }
  }
}

resource "aws_sfn_state_machine" "add_partitions" {
  #checkov:skip=CKV_AWS_284:It makes four calls, so a trace adds no information.
  #checkov:skip=CKV_AWS_285:Its errors are logged; its history shows its data.
  count = var.create_athena_tables ? 1 : 0

  name     = "${var.name}-add-partitions"
  role_arn = aws_iam_role.state_machine["add-partitions"].arn
  tags     = var.tags

  definition = templatefile("${path.module}/../statemachine/add-partitions.asl.json", {
    partition      = local.partition
    database       = aws_glue_catalog_database.results[0].name
    results_bucket = aws_s3_bucket.results.id
  })

  logging_configuration {
    log_destination = "${local.log_groups_arn}:${local.state_machine_log_groups["add-partitions"]}:*"
    level           = "ERROR"
  }

  dynamic "encryption_configuration" {
    for_each = local.key_arn[*]

    content {
      type                              = "CUSTOMER_MANAGED_KMS_KEY"
      kms_key_id                        = encryption_configuration.value
      kms_data_key_reuse_period_seconds = 300
    }
  }

  timeouts {
    delete = local.state_machine_deletion_timeout
  }

  depends_on = [aws_iam_role_policy.add_partitions, aws_cloudwatch_log_group.state_machine]
}

resource "aws_iam_role_policy" "add_partitions" {
  count = var.create_athena_tables ? 1 : 0

  name = "add-partitions"
  role = aws_iam_role.state_machine["add-partitions"].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        # Glue checks an action on a table for the catalog and the database as well:
        # https://docs.aws.amazon.com/glue/latest/dg/glue-specifying-resource-arns.html
        Sid    = "AddPartitions"
        Effect = "Allow"
        Action = ["glue:CreatePartition", "glue:GetTable"]
        Resource = concat(
          ["${local.glue_arn}:catalog", "${local.glue_arn}:database/${local.athena_database}"],
          [for name in keys(local.athena_tables) : "${local.glue_arn}:table/${local.athena_database}/${name}"],
        )
      }],
      local.deliver_logs,
      local.key_statements["add-partitions"],
      local.key_statements.log_delivery,
    )
  })
}

locals {
  glue_arn = "arn:${local.partition}:glue:${local.region}:${local.account}"
}

resource "aws_cloudwatch_event_rule" "add_partitions" {
  count = var.create_athena_tables ? 1 : 0

  name          = "${var.name}-add-partitions"
  description   = "Adds the complete results of ${var.name} to the tables of Athena"
  event_pattern = local.results_events.completed
  tags          = var.tags
}

# No dead-letter queue: EventBridge tries for a day, and docs/results.md has a command that adds the partitions of all results.
resource "aws_cloudwatch_event_target" "add_partitions" {
  count = length(aws_cloudwatch_event_rule.add_partitions)

  rule      = aws_cloudwatch_event_rule.add_partitions[count.index].name
  target_id = "add-partitions"
  arn       = aws_sfn_state_machine.add_partitions[0].arn
  role_arn  = aws_iam_role.events.arn

  depends_on = [aws_iam_role_policy.events]
}

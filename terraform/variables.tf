variable "name" {
  description = "The prefix of all resource names. Two stacks in the same account and Region need different names."
  type        = string
  default     = "facereel"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "name must have 2 to 20 characters of a-z, 0-9 and -, begin with a letter and not end with a hyphen, because bucket names contain it."
  }
}

variable "tags" {
  description = "The tags of all resources."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(lower(key), "aws:")])
    error_message = "The keys of tags must not begin with aws:, which AWS reserves."
  }
}

variable "upload_bucket" {
  description = "The name of an existing bucket whose videos are to be analysed. By default the stack creates a bucket."
  type        = string
  default     = null

  validation {
    condition     = var.upload_bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.upload_bucket)) && !can(regex("[.][.]|^([0-9]{1,3}[.]){3}[0-9]{1,3}$", var.upload_bucket))
    error_message = "upload_bucket must be the name of a bucket, not an ARN, a URL or an IP address."
  }

  validation {
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html
    condition     = var.upload_bucket == null || !can(regex("(-s3alias|--ol-s3)$", var.upload_bucket))
    error_message = "upload_bucket is the alias of an access point. Set the name of its bucket: events contain this name."
  }
}

variable "upload_bucket_take_notifications" {
  description = "Required with `upload_bucket`: whether this stack manages the bucket's notification configuration. `true` switches EventBridge on and **removes every other notification of the bucket**. `false` does not change the bucket, and you switch EventBridge on yourself."
  type        = bool
  default     = null

  validation {
    condition     = var.upload_bucket == null || var.upload_bucket_take_notifications != null
    error_message = "upload_bucket is set, but upload_bucket_take_notifications is not. Set it to true to switch EventBridge on for the bucket and remove its other notifications, or to false to keep them and switch EventBridge on yourself (S3 console, Properties, Amazon EventBridge)."
  }
}

variable "upload_bucket_kms_key_arn" {
  description = "The ARN of the customer-managed key that encrypts the objects of an existing upload bucket, if there is one."
  type        = string
  default     = null

  validation {
    condition     = var.upload_bucket_kms_key_arn == null || can(regex("^arn:[^:]+:kms:[^:]+:[0-9]{12}:key/", var.upload_bucket_kms_key_arn))
    error_message = "upload_bucket_kms_key_arn must be the ARN of a key, not of an alias."
  }

  validation {
    condition     = var.upload_bucket_kms_key_arn == null || var.upload_bucket != null
    error_message = "upload_bucket_kms_key_arn needs an existing upload_bucket. For a bucket that the stack creates, set customer_managed_key."
  }
}

variable "upload_bucket_policy_statements" {
  description = "Further statements of the policy of the upload bucket that the stack creates, as objects with the elements of IAM. The policy denies connections without TLS."
  type        = any
  default     = []
  nullable    = false

  validation {
    condition     = can([for statement in var.upload_bucket_policy_statements : statement.Effect])
    error_message = "upload_bucket_policy_statements must be a list of statements, each an object with Effect, Principal, Action and Resource."
  }

  validation {
    condition     = var.upload_bucket == null || length(var.upload_bucket_policy_statements) == 0
    error_message = "upload_bucket_policy_statements apply to a bucket that the stack creates. Change the policy of the existing bucket ${coalesce(var.upload_bucket, "-")} where it is managed."
  }
}

variable "upload_prefixes" {
  description = "Only videos whose keys begin with one of these prefixes are analysed; without prefixes, all videos. With prefixes, keys must end in `.mp4`, `.MP4`, `.mov` or `.MOV`; without prefixes, in `.mp4` or `.mov` in any mix of cases."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for prefix in var.upload_prefixes : prefix != "" && !can(regex("[*\\\\?$]", prefix)) && !startswith(prefix, "/")])
    error_message = "A prefix must not be empty, and must not contain *, ?, $ or a backslash, which have a meaning in event patterns and IAM policies. It must not begin with a slash, because the keys of objects do not begin with one."
  }

  validation {
    condition     = alltrue([for prefix in var.upload_prefixes : can(regex("^[\\x{20}-\\x{ff}]*$", prefix))])
    error_message = "A prefix must contain characters from U+0020 to U+00FF only, because IAM policies accept no others. Use a shorter prefix that ends before the first other character."
  }

  validation {
    # Each prefix has a separate rule, which contains it four times, encoded as JSON. The limit of a pattern is 2,048
    # characters. The policies of the functions contain all prefixes, and the limit of a role's policies is 10,240 characters.
    condition     = length(var.upload_prefixes) <= 10 && alltrue([for prefix in var.upload_prefixes : length(jsonencode(prefix)) - 2 <= 400]) && length(jsonencode(join("", var.upload_prefixes))) - 2 <= 1000
    error_message = "There can be at most 10 prefixes, each at most 400 characters long and all together at most 1,000, because EventBridge limits the pattern of a rule and IAM the policies of a role. A quotation mark counts as 2 characters; <, > and & count as 6."
  }

  validation {
    condition     = alltrue(flatten([for index, prefix in var.upload_prefixes : [for other_index, other in var.upload_prefixes : index == other_index || !startswith(prefix, other)]]))
    error_message = "No prefix must begin with another one, because an upload would start an execution for each of them. Remove the longer of the two."
  }
}

variable "results_bucket" {
  description = "The name of the bucket that the stack creates for results. By default it consists of `name`, account and Region."
  type        = string
  default     = null

  validation {
    # S3's certificate does not cover names with dots: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    condition     = var.results_bucket == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.results_bucket))
    error_message = "results_bucket must be the name of a bucket: 3 to 63 characters of a-z, 0-9 and -, not an ARN or a URL. It must not contain dots, because S3's certificate does not cover such names."
  }
}

variable "results_bucket_policy_statements" {
  description = "Further statements of the policy of the results bucket, for example to let another account read `results/*`. Do not grant access to `callbacks/*`, which contains task tokens."
  type        = any
  default     = []
  nullable    = false

  validation {
    condition     = can([for statement in var.results_bucket_policy_statements : statement.Effect])
    error_message = "results_bucket_policy_statements must be a list of statements, each an object with Effect, Principal, Action and Resource."
  }
}

variable "results_expiration_days" {
  description = "The number of days after which results are deleted. By default they are kept."
  type        = number
  default     = null

  validation {
    condition     = var.results_expiration_days == null || try(var.results_expiration_days >= 1 && floor(var.results_expiration_days) == var.results_expiration_days, false)
    error_message = "results_expiration_days must be a whole number of days, at least 1."
  }
}

variable "force_destroy" {
  description = "Whether `terraform destroy` deletes the buckets that the stack created, with all videos and results in them. It also allows a change of the key that makes the objects unreadable."
  type        = bool
  default     = false
  nullable    = false
}

variable "face_attributes" {
  description = "The attributes that Rekognition returns for each face: `DEFAULT` is box, confidence, landmarks, pose and quality; `ALL` adds age, emotions and all others. The price is the same."
  type        = string
  default     = "DEFAULT"
  nullable    = false

  validation {
    condition     = contains(["DEFAULT", "ALL"], var.face_attributes)
    error_message = "face_attributes must be DEFAULT or ALL."
  }
}

variable "architecture" {
  description = "The processor architecture of the functions: `arm64` (20% cheaper) or `x86_64`. `scripts/build-lambdas` builds both. By default that of the functions in the bundle, or `arm64` in a clone."
  type        = string
  default     = null

  validation {
    condition     = var.architecture == null ? true : contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "zips_directory" {
  description = "The directory of the functions' zip files. By default `functions` beside the module in a bundle, or the directory to which `scripts/build-lambdas` writes them in a clone."
  type        = string
  default     = null
}

variable "function_environment" {
  description = "Further environment variables of all functions, for example `SSL_CERT_FILE` with the path of a CA bundle in a layer, or `AWS_ENDPOINT_URL_S3`."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.function_environment), ["COMPLETION_TOPIC_ARN", "FACE_ATTRIBUTES", "PUBLISH_ROLE_ARN", "RESULTS_BUCKET"])) == 0
    error_message = "function_environment must not contain COMPLETION_TOPIC_ARN, FACE_ATTRIBUTES, PUBLISH_ROLE_ARN or RESULTS_BUCKET, which the stack sets."
  }
}

variable "function_layers" {
  description = "The ARNs of the versions of Lambda layers that all functions get, for example a layer with a CA bundle. Lambda unpacks them to `/opt`."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    # https://docs.aws.amazon.com/lambda/latest/dg/chapter-layers.html
    condition     = length(var.function_layers) <= 5 && alltrue([for layer in var.function_layers : can(regex("^arn:[^:]+:lambda:[^:]+:[0-9]{12}:layer:[^:]+:[0-9]+$", layer))])
    error_message = "function_layers must be at most five ARNs of versions of layers, which end in the number of the version."
  }
}

variable "vpc" {
  description = "The subnets and security groups of the functions, if they are to run in a VPC. The subnets need a route to S3, Rekognition and Step Functions: a NAT gateway or VPC endpoints."
  type        = object({ subnet_ids = set(string), security_group_ids = set(string) })
  default     = null

  validation {
    condition     = var.vpc == null || try(length(var.vpc.subnet_ids) > 0 && length(var.vpc.security_group_ids) > 0, false)
    error_message = "vpc needs at least one subnet and one security group."
  }
}

variable "iam_path" {
  description = "The path of all roles, such as `/platform/`. The path is part of a role's ARN. A change replaces the roles, and gives videos that are analysed again a new job, which is billed."
  type        = string
  default     = "/"
  nullable    = false

  validation {
    # The ARN of a role that a state machine can have is at most 256 characters long:
    # https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html
    condition     = can(regex("^/([A-Za-z0-9.,+@=_-]+/)*$", var.iam_path)) && length(var.iam_path) <= 128
    error_message = "iam_path must begin and end with a slash, contain only A-Z, a-z, 0-9 and .,+@=_- between slashes, and be at most 128 characters long."
  }
}

variable "permissions_boundary_arn" {
  description = "The ARN of the policy that is the permissions boundary of all roles. It must allow what the roles' policies allow."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[^:]+:iam::(aws|[0-9]{12}):policy/", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of an IAM policy."
  }
}

variable "create_log_groups" {
  description = "Whether the stack creates the log groups. With `false` they must exist: `/aws/lambda/<name>-<function>` for each function, and `/aws/vendedlogs/states/<name>-<state machine>` for each state machine."
  type        = bool
  default     = true
  nullable    = false
}

variable "log_retention_days" {
  description = "The number of days for which CloudWatch keeps logs; 0 keeps them without a limit. It has no effect on log groups that the stack does not create."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = contains([0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a retention period that CloudWatch supports, such as 7, 30, 90 or 365, or 0 to keep logs without a limit."
  }
}

variable "log_execution_data" {
  description = "Whether the state machine logs inputs and outputs. They contain task tokens, with which a reader of the log can resume executions."
  type        = bool
  default     = false
  nullable    = false
}

variable "customer_managed_key" {
  description = "Whether to create a KMS key that encrypts buckets, topic, queues, logs, environments of functions, and executions. Otherwise the services' own keys encrypt them."
  type        = bool
  default     = false
  nullable    = false
}

variable "kms_key_arn" {
  description = "The ARN of an existing key that encrypts what `customer_managed_key` would encrypt. Its policy needs the statements of the output `key_policy_statements`."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[^:]+:kms:${local.region}:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key in the Region of the stack, not of an alias, and not in another Region."
  }

  validation {
    condition     = var.kms_key_arn == null || !var.customer_managed_key
    error_message = "Set either kms_key_arn, to use an existing key, or customer_managed_key, to create one."
  }
}

variable "create_backfill" {
  description = "Whether the stack has the state machine that analyses videos that were in the bucket before the deployment (`facereel backfill`)."
  type        = bool
  default     = true
  nullable    = false
}

variable "create_results_topic" {
  description = "Whether the stack has an SNS topic with a message for each completed result and each failed execution."
  type        = bool
  default     = false
  nullable    = false
}

variable "create_athena_tables" {
  description = "Whether the stack has a Glue database, named `name` with `_` instead of `-`, whose tables `faces` and `tracks` Athena can query, and a state machine that adds each completed result to them."
  type        = bool
  default     = false
  nullable    = false
}

variable "create_dashboard" {
  description = "Whether the stack has a CloudWatch dashboard."
  type        = bool
  default     = true
  nullable    = false
}

variable "create_alarms" {
  description = "Whether the stack has CloudWatch alarms."
  type        = bool
  default     = true
  nullable    = false
}

variable "alarm_topic_arn" {
  description = "The ARN of the SNS topic to which alarms are published. Without it, alarms are visible only in the console."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_topic_arn == null || can(regex("^arn:[^:]+:sns:[^:]+:[0-9]{12}:[^:]+$", var.alarm_topic_arn))
    error_message = "alarm_topic_arn must be the ARN of an SNS topic, not of a subscription."
  }

  validation {
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-actions.html
    condition     = var.alarm_topic_arn == null || try(split(":", var.alarm_topic_arn)[3] == local.region, true)
    error_message = "alarm_topic_arn is in another Region than the stack. An alarm can publish only to a topic in its own Region: create a topic there."
  }
}

variable "stuck_after_hours" {
  description = "The number of hours after which a running execution raises the alarm `stuck`. A long queue of videos can take hours."
  type        = number
  default     = 12
  nullable    = false

  validation {
    condition     = var.stuck_after_hours >= 1 && var.stuck_after_hours <= 168
    error_message = "stuck_after_hours must be 1 to 168, because an execution times out after 7 days (168 hours)."
  }
}

variable "region" {
  description = "The Region that everything lies in, for example `eu-west-1`. Rekognition Video must be offered there."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be a Region's code, such as eu-west-1."
  }
}

variable "name" {
  description = "What every resource's name begins with. Two stacks in one account and Region need two names."
  type        = string
  default     = "facereel"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 20 characters of a-z, 0-9 and -, begin with a letter and not end with a hyphen: bucket names are made of it."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(lower(key), "aws:")])
    error_message = "tags must not begin with aws:, which AWS keeps for itself."
  }
}

variable "upload_bucket" {
  description = "An existing bucket whose videos are to be analysed. Without it, one is created."
  type        = string
  default     = null

  validation {
    condition     = var.upload_bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.upload_bucket))
    error_message = "upload_bucket must be the name of a bucket: neither an ARN nor a URL."
  }
}

variable "upload_bucket_take_notifications" {
  description = "For an existing upload bucket, say whether this stack may own its notification configuration: `true` switches EventBridge on and **removes every other notification of the bucket**; `false` leaves the bucket alone, and EventBridge must be switched on elsewhere."
  type        = bool
  default     = null

  validation {
    condition     = var.upload_bucket == null || var.upload_bucket_take_notifications != null
    error_message = "With upload_bucket, set upload_bucket_take_notifications: true switches EventBridge on for the bucket and removes its other notifications; false leaves them as they are, and you switch EventBridge on yourself (S3 console, Properties, Amazon EventBridge)."
  }
}

variable "upload_bucket_kms_key_arn" {
  description = "The customer-managed key that an existing upload bucket's objects are encrypted with, if there is one."
  type        = string
  default     = null

  validation {
    condition     = var.upload_bucket_kms_key_arn == null || can(regex("^arn:[^:]+:kms:[^:]+:[0-9]{12}:key/", var.upload_bucket_kms_key_arn))
    error_message = "upload_bucket_kms_key_arn must be the ARN of a key (not of an alias)."
  }

  validation {
    condition     = var.upload_bucket_kms_key_arn == null || var.upload_bucket != null
    error_message = "upload_bucket_kms_key_arn is for an existing upload_bucket; for a created one, set customer_managed_key."
  }
}

variable "upload_prefix" {
  description = "Only videos whose keys begin with this are analysed. Empty means all. With a prefix, keys must end in `.mp4`, `.MP4`, `.mov` or `.MOV`; without one, in `.mp4` or `.mov` in any mix of cases."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = !can(regex("[*\\\\?$]", var.upload_prefix)) && !startswith(var.upload_prefix, "/")
    error_message = "upload_prefix must not hold *, ?, $ or a backslash, which patterns and policies read as signs, nor begin with a slash, which S3 keys do not."
  }

  validation {
    # The rule's pattern holds the prefix four times, as JSON, and takes 2,048 characters.
    condition     = length(jsonencode(var.upload_prefix)) - 2 <= 400
    error_message = "upload_prefix must be at most 400 characters long, because EventBridge limits the length of a rule's pattern. A quotation mark counts as 2 characters; <, > and & count as 6."
  }

  validation {
    condition     = can(regex("^[\\x{20}-\\x{ff}]*$", var.upload_prefix))
    error_message = "upload_prefix must hold characters from U+0020 to U+00FF only, because IAM policies take no others. Use a shorter prefix that ends before the first other character."
  }
}

variable "results_bucket" {
  description = "The name of the bucket to create for results. By default it is made of name, account and Region."
  type        = string
  default     = null

  validation {
    condition     = var.results_bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.results_bucket))
    error_message = "results_bucket must be a valid bucket name: 3 to 63 characters of a-z, 0-9, - and ."
  }
}

variable "results_expiration_days" {
  description = "Results are deleted after so many days. Null keeps them."
  type        = number
  default     = null

  validation {
    condition     = var.results_expiration_days == null || try(var.results_expiration_days >= 1 && floor(var.results_expiration_days) == var.results_expiration_days, false)
    error_message = "results_expiration_days must be a whole number of days, at least 1."
  }
}

variable "force_destroy" {
  description = "Whether `terraform destroy` may delete the created buckets with the videos and results in them."
  type        = bool
  default     = false
  nullable    = false
}

variable "face_attributes" {
  description = "What Rekognition tells of a face: `DEFAULT` is box, confidence, landmarks, pose and quality; `ALL` adds age, emotions and the rest. The price is the same."
  type        = string
  default     = "DEFAULT"
  nullable    = false

  validation {
    condition     = contains(["DEFAULT", "ALL"], var.face_attributes)
    error_message = "face_attributes must be DEFAULT or ALL."
  }
}

variable "architecture" {
  description = "The functions' processor: `arm64` (a fifth cheaper) or `x86_64`. `scripts/build-lambdas` builds either."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "zips_directory" {
  description = "Where the functions' zips lie. By default where `scripts/build-lambdas` puts those of the architecture."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps logs."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number of days that CloudWatch knows, such as 7, 30, 90 or 365."
  }
}

variable "log_execution_data" {
  description = "Whether the state machine logs inputs and outputs. They hold task tokens: whoever reads the log can resume executions."
  type        = bool
  default     = false
  nullable    = false
}

variable "customer_managed_key" {
  description = "Whether to create a KMS key and encrypt everything with it: buckets, topic, queues, logs, functions' environments, executions. Otherwise the services' own keys do."
  type        = bool
  default     = false
  nullable    = false
}

variable "alarm_topic_arn" {
  description = "The SNS topic that alarms go to. Without it they show in the console only."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_topic_arn == null || can(regex("^arn:[^:]+:sns:[^:]+:[0-9]{12}:", var.alarm_topic_arn))
    error_message = "alarm_topic_arn must be the ARN of an SNS topic."
  }
}

variable "stuck_after_hours" {
  description = "An execution that runs longer than this raises the alarm `stuck`. A queue of many videos may take hours to work off."
  type        = number
  default     = 12
  nullable    = false

  validation {
    condition     = var.stuck_after_hours >= 1 && var.stuck_after_hours <= 168
    error_message = "stuck_after_hours must be 1 to 168: after 7 days an execution times out."
  }
}

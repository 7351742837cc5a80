# What an environment must say.

variable "environment" {
  description = "Name of the environment; stands in every resource's name."
  type        = string

  validation {
    condition     = contains(["development", "production"], var.environment)
    error_message = "The environment is development or production."
  }
}

variable "account_id" {
  description = "The AWS account to deploy to; a plan with the credentials of another one is refused."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account id has twelve digits."
  }
}

variable "region" {
  description = "The AWS region to deploy to."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region looks like eu-west-2."
  }
}

variable "allowed_origin" {
  description = "The web origin whose pages may call the API, such as https://pay.example.com."
  type        = string

  validation {
    # A wildcard would let every page send a signed-in user's payments; a quote would end the header's literal.
    condition     = can(regex("^https://[a-z0-9.-]+(:[0-9]+)?$", var.allowed_origin)) || can(regex("^http://localhost(:[0-9]+)?$", var.allowed_origin))
    error_message = "An origin is https:// and a host without a path, or http://localhost; never a wildcard."
  }
}

variable "callback_urls" {
  description = "Where the user pool may send a user back to after signing in."
  type        = list(string)

  validation {
    condition = length(var.callback_urls) > 0 && alltrue([
      for url in var.callback_urls : can(regex("^(https://|http://localhost[:/])", url))
    ])
    error_message = "Callback URLs are https, or http on localhost, and there is at least one."
  }
}

variable "sign_in_domain_prefix" {
  description = "First label of the user pool's sign-in domain; unique in its region among all accounts."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$", var.sign_in_domain_prefix)) && !can(regex("aws|amazon|cognito", var.sign_in_domain_prefix))
    error_message = "A label of lower-case letters, digits and hyphens, without aws, amazon or cognito."
  }
}

variable "operator_user_arns" {
  description = "IAM users that may take the operator's role when they have signed in with a second factor."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.operator_user_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:user/[\\w+=,.@/-]+$", arn))])
    error_message = "Each IAM user by its whole ARN, arn:aws:iam::<account>:user/<name>; roles go into operator_role_arns."
  }
}

variable "operator_role_arns" {
  description = "Roles that may take the operator's role. List only roles that the identity provider gives to nobody without a second factor: AWS cannot ask a role for one. The role needs a permission of its own for sts:AssumeRole, too. Of a role of IAM Identity Center the end may be left open: arn:aws:iam::<account>:role/aws-reserved/sso.amazonaws.com/<region>/AWSReservedSSO_<permission set>_*."
  type        = list(string)
  default     = []

  validation {
    # The only wildcard is the end that IAM Identity Center invents; any other could admit a stranger's role.
    condition = alltrue([for arn in var.operator_role_arns :
      can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/([\\w+=,.@/-]+|aws-reserved/sso\\.amazonaws\\.com/([a-z0-9-]+/)?AWSReservedSSO_[\\w+=,.@-]+_\\*)$", arn))
    ])
    error_message = "Each role by its whole ARN, arn:aws:iam::<account>:role/<name>; only the end of an AWSReservedSSO role may be _*. Not the ARN of a session (sts)."
  }
}

variable "operator_session_tag" {
  description = "A session tag that the identity provider sets on its operators, demanded of operator_role_arns besides. Null: none."
  type = object({
    key   = string
    value = string
  })
  default = null

  validation {
    condition     = var.operator_session_tag == null ? true : can(regex("^[\\w.:/=+@-]{1,128}$", var.operator_session_tag.key)) && can(regex("^[\\w.:/=+@ -]{1,256}$", var.operator_session_tag.value))
    error_message = "A key and a value as IAM takes them, without wildcards."
  }
}

variable "custom_domain" {
  description = "A domain of our own for the API: its name, a certificate for it in the same region, and, where Terraform shall make the DNS record, the hosted zone. The API's default endpoint is closed then."
  type = object({
    name            = string
    certificate_arn = string
    hosted_zone_id  = optional(string)
  })
  default = null

  validation {
    condition     = var.custom_domain == null || can(regex("^arn:[a-z-]+:acm:", var.custom_domain.certificate_arn))
    error_message = "The certificate is one of AWS Certificate Manager."
  }
}

# Intake.

variable "intake_stopped" {
  description = "Stops PUT /submit: throttled to zero and answered 503 with Retry-After. What is queued is still processed."
  type        = bool
  default     = false
}

variable "throttle_rate" {
  description = "Submissions a second, steady."
  type        = number
  default     = 500

  validation {
    condition     = var.throttle_rate > 0
    error_message = "Zero would stop intake; that is what intake_stopped is for."
  }
}

variable "throttle_burst" {
  description = "Submissions at once above the steady rate."
  type        = number
  default     = 1000

  validation {
    condition     = var.throttle_burst >= var.throttle_rate
    error_message = "A burst smaller than the rate would make the rate unreachable."
  }
}

variable "address_requests_max" {
  # A bank's back end calls from one address for all its customers. The default is what throttle_rate lets
  # through in five minutes: until then one client may use the whole API, and above it this is a flood.
  description = "Requests that one address may make in five minutes; more are answered 429 with Retry-After."
  type        = number
  default     = 150000

  validation {
    condition     = var.address_requests_max >= 100 && var.address_requests_max <= 2000000000
    error_message = "WAF takes 100 to 2,000,000,000."
  }
}

# The queue of payments, submit-payment-queue, and its dead-letter queue, submit-payment-dlq.

variable "submit_payment_queue_retention_seconds" {
  description = "How long an unprocessed payment stays on the queue."
  type        = number
  default     = 7 * 24 * 60 * 60

  validation {
    condition     = var.submit_payment_queue_retention_seconds >= 24 * 60 * 60 && var.submit_payment_queue_retention_seconds <= 14 * 24 * 60 * 60
    error_message = "One to fourteen days: less would lose payments over a weekend, and SQS takes no more."
  }
}

variable "submit_payment_dlq_retention_seconds" {
  description = "How long a dead letter stays on its queue, counted from its first enqueueing. Expiry is loss."
  type        = number
  default     = 14 * 24 * 60 * 60

  validation {
    condition     = var.submit_payment_dlq_retention_seconds <= 14 * 24 * 60 * 60
    error_message = "SQS takes at most fourteen days."
  }
}

variable "submit_payment_queue_visibility_timeout_seconds" {
  description = "How long a received message is hidden from other receivers. At least six function timeouts and the batch window."
  type        = number
  default     = 2 * 60

  validation {
    condition     = var.submit_payment_queue_visibility_timeout_seconds <= 12 * 60 * 60
    error_message = "SQS takes at most twelve hours."
  }
}

variable "submit_payment_queue_receive_count_max" {
  # AWS advises five or more for queues that feed Lambda. In a model with at most three passing faults a
  # healthy payment reached the dead-letter queue with 3 and never with 5.
  description = "Receives after which a message becomes a dead letter."
  type        = number
  default     = 5

  validation {
    condition     = var.submit_payment_queue_receive_count_max >= 5 && var.submit_payment_queue_receive_count_max <= 1000
    error_message = "5 to 1,000: fewer turn passing faults into dead letters."
  }
}

# All functions.

variable "architecture" {
  description = "Processor of the functions; their packages are built for it."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "Lambda has arm64 and x86_64."
  }
}

variable "package_directory" {
  description = "Where scripts/package put the functions' packages."
  type        = string
  default     = "../target/package"
}

# submit-payments, which takes from that queue.

variable "submit_payments_memory_megabytes" {
  # 1,769 MB buys one whole core, which is what the function's one thread can use.
  description = "Memory of the function; processor time comes in proportion."
  type        = number
  default     = 1769

  validation {
    condition     = var.submit_payments_memory_megabytes >= 128 && var.submit_payments_memory_megabytes <= 10240
    error_message = "Lambda takes 128 to 10,240 MB."
  }
}

variable "submit_payments_timeout_seconds" {
  description = "Time for one batch."
  type        = number
  default     = 15

  validation {
    condition     = var.submit_payments_timeout_seconds >= 5 && var.submit_payments_timeout_seconds <= 15 * 60
    error_message = "5 seconds to Lambda's 15 minutes."
  }
}

variable "submit_payments_deadline_margin_ms" {
  description = "Time before the end of an invocation at which the function starts no more work."
  type        = number
  default     = 3000

  validation {
    condition     = var.submit_payments_deadline_margin_ms >= 1000 && var.submit_payments_deadline_margin_ms < var.submit_payments_timeout_seconds * 1000
    error_message = "At least a second, and less than the function's whole time."
  }
}

variable "submit_payments_retry_delay_seconds" {
  description = "Delay before a record's first retry; later ones wait longer."
  type        = number
  default     = 30

  validation {
    condition     = var.submit_payments_retry_delay_seconds >= 1 && var.submit_payments_retry_delay_seconds <= 15 * 60
    error_message = "1 second to 15 minutes: retries without a delay outlast no outage."
  }
}

variable "submit_payments_record_concurrency" {
  # A whole batch of the default size, and measured: at 5 ms a put, 1,000 records take 133 ms with 64, 101 with
  # 128 and no less with 256, which takes half as much memory again.
  description = "Records of one batch in progress at once."
  type        = number
  default     = 128

  validation {
    condition     = var.submit_payments_record_concurrency >= 1 && var.submit_payments_record_concurrency <= 512
    error_message = "1 to 512: above that connections are made anew instead of reused."
  }
}

variable "submit_payments_batch_size" {
  # A record is under 10 KiB because the firewall refuses bodies over 8 KiB, so this stays below the 6 MB
  # that one invocation may carry.
  description = "Records of a batch at most."
  type        = number
  default     = 100

  validation {
    condition     = var.submit_payments_batch_size >= 1 && var.submit_payments_batch_size <= 500
    error_message = "1 to 500: more could exceed an invocation's 6 MB."
  }
}

variable "submit_payments_batch_window_seconds" {
  # Under load batches fill before it is over, so a longer one saves hardly anything, and at low rates every
  # client waits for it. The original design says 20.
  description = "How long a batch is gathered."
  type        = number
  default     = 1

  validation {
    condition     = var.submit_payments_batch_window_seconds >= 0 && var.submit_payments_batch_window_seconds <= 300
    error_message = "Lambda takes 0 to 300 seconds."
  }
}

variable "submit_payments_maximum_concurrency" {
  description = "Batches in progress at once. Bounds the pollers: a receive that the function refuses for want of concurrency counts towards the dead-letter queue."
  type        = number
  default     = 10

  validation {
    condition     = var.submit_payments_maximum_concurrency >= 2 && var.submit_payments_maximum_concurrency <= 1000
    error_message = "Lambda takes 2 to 1,000."
  }
}

variable "submit_payments_reserved_concurrency" {
  description = "Concurrency kept for the function, and its bound. Null: none kept, for accounts whose quota (10 to 50 in new ones) is too small to divide."
  type        = number
  default     = null

  validation {
    condition     = var.submit_payments_reserved_concurrency == null ? true : var.submit_payments_reserved_concurrency >= 1
    error_message = "Zero would stop the function while messages are received, until all are dead letters."
  }
}

# query-payments, behind the gateway.

variable "query_payments_memory_megabytes" {
  description = "Memory of the function; processor time comes in proportion."
  type        = number
  default     = 512

  validation {
    condition     = var.query_payments_memory_megabytes >= 128 && var.query_payments_memory_megabytes <= 10240
    error_message = "Lambda takes 128 to 10,240 MB."
  }
}

variable "query_payments_reserved_concurrency" {
  # A waiting client holds one environment for up to 25 s; a question without a wait takes milliseconds.
  description = "Concurrency kept for the function, and its bound: so many clients can wait at once. Null: none kept, for accounts whose quota (10 to 50 in new ones) is too small to divide."
  type        = number
  default     = null

  validation {
    condition     = var.query_payments_reserved_concurrency == null ? true : var.query_payments_reserved_concurrency >= 1
    error_message = "Zero would refuse every question."
  }
}

# The tables.

variable "table_capacity" {
  # Of every write that the throttle lets through, the payments' table and its index take one unit each (two
  # for a payment over 1 KB): 715 is 500 a second at 70 % use. Scaling needs minutes, in which a smaller
  # minimum would turn a sudden peak into dead letters. The refusals' minimum fits one submission in five.
  description = "Null: on demand. {}: provisioned, each table and each of its indexes scaled between these bounds at 70 % use."
  type = object({
    payments = optional(object({
      read_min  = optional(number, 100)
      read_max  = optional(number, 2000)
      write_min = optional(number, 715)
      write_max = optional(number, 2000)
    }), {})
    refusals = optional(object({
      read_min  = optional(number, 100)
      read_max  = optional(number, 2000)
      write_min = optional(number, 145)
      write_max = optional(number, 2000)
    }), {})
  })
  default = null

  validation {
    condition = var.table_capacity == null ? true : alltrue([for bounds in values(var.table_capacity) :
      bounds.read_min >= 1 && bounds.read_max >= bounds.read_min && bounds.write_min >= 1 && bounds.write_max >= bounds.write_min
    ])
    error_message = "Each maximum is at least its minimum, and each minimum at least 1."
  }
  validation {
    condition     = var.table_capacity == null ? true : var.table_capacity.payments.write_min * 0.7 >= var.throttle_rate
    error_message = "70 % of the payments' write_min must carry throttle_rate: otherwise payments that the gateway accepts become dead letters while the table scales."
  }
}

variable "deletion_protection" {
  description = "Keeps tables, queues, keys and the user pool from being deleted. Set it to false, and apply, only to destroy an environment."
  type        = bool
  default     = true
}

# Operations.

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 400

  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827], var.log_retention_days)
    error_message = "One of CloudWatch's periods from 30 days on."
  }
}

variable "manage_account_log_role" {
  description = "Whether to set the account's role through which API Gateway writes logs. One setting for all APIs of a region: exactly one environment of an account manages it."
  type        = bool
  default     = true
}

variable "canary" {
  description = "How CodeDeploy shifts batches to a new version of a function."
  type        = string
  default     = "CodeDeployDefault.LambdaCanary10Percent5Minutes"

  validation {
    # The longest of these takes 30 minutes; scripts/release waits longer than that, and not for ever.
    condition     = can(regex("^CodeDeployDefault\\.Lambda(Canary10Percent(5|10|15|30)Minutes|Linear10PercentEvery(1|2|3)Minutes?)$", var.canary))
    error_message = "A canary or linear configuration of CodeDeploy for Lambda of at most 30 minutes; never all at once."
  }
}

variable "page_emails" {
  description = "Addresses that get pages. Each must be confirmed by the mail that AWS sends to it."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.page_emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address)) && !can(regex("[@.]example\\.(com|net|org)$", address))])
    error_message = "Addresses that somebody reads; those of the example domains are nobody's."
  }
}

variable "page_urls" {
  description = "Endpoints of paging services that get pages and confirm their subscription by themselves. Such a URL is often a secret: give it as TF_VAR_page_urls, not in a file."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for url in var.page_urls : can(regex("^https://[^/]+", url)) && !can(regex("^https://([^/]+\\.)?example\\.(com|net|org)([:/]|$)", url))])
    error_message = "https URLs of services that somebody answers; the example domains are nobody's."
  }
}

variable "runbooks_url" {
  description = "Where the runbooks are, as every alarm's description names them. The default is their path in the repository."
  type        = string
  default     = "infra/RUNBOOKS.md"
}

variable "ticket_emails" {
  description = "Addresses that get tickets."
  type        = list(string)
  default     = []
}

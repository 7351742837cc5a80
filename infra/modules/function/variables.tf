variable "name" {
  description = "Name of the function and its deployment group."
  type        = string
}

variable "role_name" {
  description = "Name of the function's role, of which an account has one for all its Regions."
  type        = string
}

variable "description" {
  description = "What the function is for."
  type        = string
}

variable "package" {
  description = "Path of the zip that scripts/package built."
  type        = string
}

variable "architecture" {
  description = "Processor that the package was built for."
  type        = string
}

variable "memory_megabytes" {
  description = "Memory; processor time comes in proportion."
  type        = number
}

variable "timeout_seconds" {
  description = "Time for one invocation."
  type        = number
}

variable "reserved_concurrency" {
  description = "Concurrency kept for the function, and its bound. Null: none is kept, and the account's bounds it."
  type        = number
  default     = null
}

variable "variables" {
  description = "The function's environment variables."
  type        = map(string)
}

variable "variables_key_arn" {
  description = "Key that encrypts the variables."
  type        = string
}

variable "variables_key_via" {
  description = "Lambda's service name in the conditions of key policies."
  type        = string
}

variable "policy_statements" {
  description = "What the function may do, besides writing logs and traces and reading its variables."
  type        = any
}

variable "log_key_arn" {
  description = "Key that encrypts the logs; its policy must already serve them."
  type        = string
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
}

variable "release" {
  description = "How versions are released: CodeDeploy's application, configuration and role, and the alarms that roll back."
  type = object({
    application   = string
    configuration = string
    role_arn      = string
    alarms        = list(string)
  })
}

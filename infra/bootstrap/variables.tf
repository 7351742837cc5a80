variable "account_id" {
  description = "The AWS account to prepare; a plan with the credentials of another one is refused."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account id has twelve digits."
  }
}

variable "region" {
  description = "Where the bucket of states stands."
  type        = string
  default     = "eu-west-2"
}

variable "stack_regions" {
  description = "Regions in which the roles may deploy the stack."
  type        = set(string)
  default     = ["eu-west-2"]

  validation {
    condition     = length(var.stack_regions) > 0
    error_message = "At least one Region."
  }
}

variable "environments" {
  description = "Environments that this account holds; each gets a role that plans and a role that deploys."
  type        = set(string)
  default     = ["development", "production"]

  validation {
    condition     = length(var.environments) > 0 && length(setsubtract(var.environments, ["development", "production"])) == 0
    error_message = "The environments are development and production."
  }
}

variable "repository" {
  description = "The GitHub repository whose deploy workflow takes the roles, as owner/name."
  type        = string

  validation {
    # A wildcard would let workflows of other repositories in.
    condition     = can(regex("^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", var.repository))
    error_message = "A repository is owner/name, without a wildcard."
  }
}

variable "make_identity_provider" {
  description = "Whether to make GitHub's identity provider, of which an account has one. False: it is there already."
  type        = bool
  default     = true
}

variable "budget_dollars" {
  description = "What the account may cost in a month before somebody is told. README.md says what the stack costs."
  type        = number
  default     = 100

  validation {
    condition     = var.budget_dollars > 0
    error_message = "More than nothing."
  }
}

variable "budget_emails" {
  description = "Who is told of the budget: at 80 % spent, and when the month is forecast to exceed it."
  type        = list(string)

  validation {
    condition     = length(var.budget_emails) > 0
    error_message = "A budget that tells nobody is none."
  }
}

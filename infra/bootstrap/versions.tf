# What an account needs before the stack can be deployed to it: a bucket for the states, roles for the deploy
# workflow, a budget. Applied once for an account, by an administrator, from their own machine: README.md
# one folder up says how, and how this root's own state gets into the bucket that it makes.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id]

  default_tags {
    tags = {
      project    = "remit"
      managed_by = "terraform"
    }
  }
}

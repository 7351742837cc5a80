terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Where the state is stands in environments/<environment>.s3.tfbackend; the bucket comes from whoever
  # runs `terraform init`. A lock file beside the state keeps two runs apart.
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region

  # A plan with the credentials of another account is refused.
  allowed_account_ids = [var.account_id]

  default_tags {
    tags = {
      project     = "remit"
      environment = var.environment
      managed_by  = "terraform"
    }
  }
}

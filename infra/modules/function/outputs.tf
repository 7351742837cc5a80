output "name" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "timeout_seconds" {
  description = "Time for one invocation."
  value       = aws_lambda_function.this.timeout
}

output "reserved_concurrency" {
  description = "Concurrency kept for the function."
  value       = aws_lambda_function.this.reserved_concurrent_executions
}

output "variables" {
  description = "The function's environment variables."
  value       = aws_lambda_function.this.environment[0].variables
}

output "role_name" {
  description = "Name of the function's role."
  value       = aws_iam_role.this.name
}

output "role_arn" {
  description = "The function's role."
  value       = aws_iam_role.this.arn
}

output "arn" {
  description = "The function itself, for those who move its alias."
  value       = aws_lambda_function.this.arn
}

output "alias_arn" {
  description = "The alias `live`, which callers invoke."
  value       = aws_lambda_alias.live.arn
}

output "log_group_name" {
  description = "Where the function logs."
  value       = aws_cloudwatch_log_group.this.name
}

output "deployment_group_name" {
  description = "CodeDeploy's group for the function."
  value       = aws_codedeploy_deployment_group.this.deployment_group_name
}

output "release_alarms" {
  description = "The alarms that take the function's release back."
  value       = toset(flatten(aws_codedeploy_deployment_group.this.alarm_configuration[*].alarms))
}

output "policy_statements" {
  description = "All that the function may do."
  value       = jsondecode(aws_iam_role_policy.this.policy).Statement
}

output "log_retention_days" {
  description = "How long the function's logs are kept."
  value       = aws_cloudwatch_log_group.this.retention_in_days
}

output "api_url" {
  description = "Where clients send payments, PUT <api_url>/submit, and ask what became of them, GET <api_url>/payments."
  value       = var.custom_domain == null ? aws_api_gateway_stage.live.invoke_url : "https://${var.custom_domain.name}"
}

output "queue_url" {
  description = "The queue of accepted payments, for operators."
  value       = module.submit_payment_queue.main.url
}

output "dead_letter_queue_url" {
  description = "The queue of dead payments, for operators."
  value       = module.submit_payment_queue.dead_letter.url
}

output "queues" {
  description = "Every queue with its dead-letter queue, and the function that takes from it."
  value = { for name, queue in local.queues : name => {
    function        = module.function[queue.function].name
    url             = queue.main.url
    dead_letter_url = queue.dead_letter.url
  } }
}

output "payments_table" {
  description = "Name of the table of payments."
  value       = aws_dynamodb_table.payments.name
}

output "refusals_table" {
  description = "Name of the table of refused and held payments."
  value       = aws_dynamodb_table.refusals.name
}

output "user_pool_id" {
  description = "The user pool, in which users are made."
  value       = aws_cognito_user_pool.users.id
}

output "user_pool_client_id" {
  description = "The client as which users sign in; scripts/smoke takes it."
  value       = aws_cognito_user_pool_client.web.id
}

output "sign_in_url" {
  description = "Where users sign in and tokens are issued; scripts/smoke takes it."
  value       = "https://${aws_cognito_user_pool_domain.users.domain}.auth.${var.region}.amazoncognito.com"
}

output "operator_role_arn" {
  description = "The role that operators take, with MFA, to work on dead letters; null where nobody may."
  value       = one(aws_iam_role.operator[*].arn)

  precondition {
    condition     = var.environment != "production" || local.operators_exist
    error_message = "Production needs an operator: set operator_user_arns or operator_role_arns, or nobody can take dead letters back in the first outage."
  }
}

output "page_topic_arn" {
  description = "Where a paging service subscribes."
  value       = aws_sns_topic.page.arn
}

output "ticket_topic_arn" {
  description = "Where a ticket system subscribes."
  value       = aws_sns_topic.ticket.arn
}

output "dashboard_url" {
  description = "The dashboard with the accounting equation."
  value       = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#dashboards:name=${aws_cloudwatch_dashboard.this.dashboard_name}"
}

output "releases" {
  description = "What scripts/release needs to shift each function to its newest version."
  value = {
    application = aws_codedeploy_app.this.name
    functions   = { for function in module.function : function.name => function.deployment_group_name }
  }
}

# The functions' log groups stand in modules/function.

resource "aws_cloudwatch_log_group" "access" {
  name              = "/aws/apigateway/${local.api_name}/access"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.operations.arn
}

# API Gateway makes its execution log under this name itself, without an end and without our key, unless
# it is there already.
resource "aws_cloudwatch_log_group" "execution" {
  name              = "API-Gateway-Execution-Logs_${aws_api_gateway_rest_api.payments.id}/${local.stage_name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.operations.arn
}

# The firewall takes no other beginning of a name.
resource "aws_cloudwatch_log_group" "firewall" {
  name              = "aws-waf-logs-${local.api_name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.operations.arn
}

resource "aws_cloudwatch_query_definition" "one_payment" {
  name            = "${local.prefix}/what became of a request"
  log_group_names = concat([aws_cloudwatch_log_group.access.name], [for function in module.function : function.log_group_name])
  query_string    = <<-EOT
    fields @timestamp, status, outcome, reason, receiveCount, sinceAcceptedMs, messageId
    | filter requestId = "PUT THE REQUEST ID HERE"
    | sort @timestamp asc
  EOT
}

resource "aws_cloudwatch_query_definition" "outcomes" {
  name            = "${local.prefix}/outcomes by reason"
  log_group_names = [for name in local.queue_functions : module.function[name].log_group_name]
  query_string    = <<-EOT
    filter ispresent(outcome)
    | stats count(*) as records, max(sinceAcceptedMs) as slowestMs by outcome, reason
    | sort records desc
  EOT
}

# Each queue stands here with who may send to it. Which function takes from it stands in functions.tf.

module "submit_payment_queue" {
  source = "./modules/queue"

  name                          = "${local.prefix}-submit-payment"
  key_arn                       = aws_kms_key.queues.arn
  retention_seconds             = var.submit_payment_queue_retention_seconds
  dead_letter_retention_seconds = var.submit_payment_dlq_retention_seconds
  visibility_timeout_seconds    = var.submit_payment_queue_visibility_timeout_seconds
  receive_count_max             = var.submit_payment_queue_receive_count_max
  sender_arns                   = concat([aws_iam_role.gateway.arn], aws_iam_role.operator[*].arn)
  dead_letter_sender_arns       = [module.function["submit-payments"].role_arn]
}

output "main" {
  description = "The queue, with all its attributes."
  value       = aws_sqs_queue.main
}

output "dead_letter" {
  description = "The dead-letter queue, with all its attributes."
  value       = aws_sqs_queue.dead_letter
}

output "policies" {
  description = "Who may send, and who may die here: the policies of both queues, and which queue's messages the second takes."
  value = {
    main          = jsondecode(aws_sqs_queue_policy.main.policy).Statement
    dead_letter   = jsondecode(aws_sqs_queue_policy.dead_letter.policy).Statement
    redrive_allow = jsondecode(aws_sqs_queue_redrive_allow_policy.dead_letter.redrive_allow_policy)
  }
}

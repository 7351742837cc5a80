variable "name" {
  description = "What the names of both queues begin with: <name>-queue and <name>-dlq."
  type        = string
}

variable "key_arn" {
  description = "Key that encrypts the messages of both."
  type        = string
}

variable "retention_seconds" {
  description = "How long an unprocessed message stays on the queue."
  type        = number
}

variable "dead_letter_retention_seconds" {
  description = "How long a dead letter stays on its queue, counted from its first enqueueing."
  type        = number
}

variable "visibility_timeout_seconds" {
  description = "How long a received message is hidden from other receivers."
  type        = number
}

variable "receive_count_max" {
  description = "Receives after which a message becomes a dead letter."
  type        = number
}

variable "sender_arns" {
  description = "Roles that may send to the queue; all others are denied."
  type        = list(string)
}

variable "dead_letter_sender_arns" {
  description = "Roles that may send to the dead-letter queue; all others are denied."
  type        = list(string)
}

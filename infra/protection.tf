# What keeps queues and keys from being deleted or replaced: AWS offers no deletion protection for them, and
# Terraform's prevent_destroy takes no variable, so it would forbid the documented `destroy` as well. Tables
# and the user pool have AWS's own protection (tables.tf, identity.tf).
#
# Each of these depends on one queue or key, so Terraform destroys it first, and fails there. It remembers
# deletion_protection from the last apply: setting the variable to false in the same run does not help.
resource "terraform_data" "protection" {
  for_each = merge(
    {
      queues-key     = aws_kms_key.queues.id
      tables-key     = aws_kms_key.tables.id
      functions-key  = aws_kms_key.functions.id
      operations-key = aws_kms_key.operations.id
    },
    { for name, queue in local.queues : "${name}-queue" => queue.main.id },
    { for name, queue in local.queues : "${name}-dlq" => queue.dead_letter.id },
  )

  input            = var.deletion_protection
  triggers_replace = each.value

  provisioner "local-exec" {
    when    = destroy
    command = "${self.output} && { echo 'deletion_protection is set: see infra/README.md, Destroy an environment' >&2; exit 1; } || exit 0"
  }
}

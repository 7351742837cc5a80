# A new version takes a part of the batches first; an alarm of its function takes it back. Old and new versions
# share the queue meanwhile, so the message contract is compatible both ways.

resource "aws_codedeploy_app" "this" {
  name             = local.prefix
  compute_platform = "Lambda"
}

locals {
  release = {
    application   = aws_codedeploy_app.this.name
    configuration = var.canary
    role_arn      = aws_iam_role.release.arn
  }

  # The alarms that take a function's release back: its own, or one function's trouble would take back another's
  # release. By name, because the alarms themselves name functions.
  release_alarms = { for name in keys(local.functions) : name => [
    for key, alarm in local.alarms : "${local.prefix}-${key}" if alarm.rolls_back && try(alarm.function, null) == name
  ] }
}

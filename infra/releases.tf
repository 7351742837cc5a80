# A new version takes a part of the batches first; an alarm takes it back. Old and new versions share the
# queue meanwhile, so the message contract is compatible both ways.

resource "aws_codedeploy_app" "this" {
  name             = local.prefix
  compute_platform = "Lambda"
}

locals {
  release = {
    application   = aws_codedeploy_app.this.name
    configuration = var.canary
    role_arn      = aws_iam_role.release.arn
    # By name, from what the alarms are made of: the alarms themselves name the function.
    alarms = [for key, alarm in local.alarms : "${local.prefix}-${key}" if alarm.rolls_back]
  }
}

# What the workflow's roles may do: on resources whose names begin as the environment's do, and on those without
# a name of ours (APIs, user pools, keys, mappings) by their tags, where the service knows tags.
#
# scripts/check-infra compares this with every call that Terraform makes when it applies the stack.

locals {
  arn = { for environment in var.environments : environment => {
    prefix = "remit-${environment}"
    # Our names in a service: any of the Regions, this account.
    of = { for service in ["application-autoscaling", "cloudwatch", "codedeploy", "cognito-idp", "dynamodb", "kms", "lambda", "logs", "sns", "sqs", "wafv2"] :
      service => "arn:${local.partition}:${service}:*:${var.account_id}"
    }
    state = "${aws_s3_bucket.states.arn}/remit/${environment}.tfstate"
  } }

  here = { StringEquals = { "aws:RequestedRegion" = var.stack_regions } }

  # Made by this environment: the provider tags all that can be tagged.
  own = { for environment in var.environments : environment => {
    "aws:ResourceTag/project" = "remit", "aws:ResourceTag/environment" = environment
  } }
  requested = { for environment in var.environments : environment => {
    "aws:RequestTag/project" = "remit", "aws:RequestTag/environment" = environment
  } }

  apis = [for path in ["account", "domainnames", "domainnames/*", "restapis", "restapis/*", "tags/*"] :
    "arn:${local.partition}:apigateway:*::/${path}"
  ]
}

resource "aws_iam_policy" "read" {
  # checkov:skip=CKV_AWS_355:The statement that names no resource has only actions that know none.
  for_each = var.environments

  name        = "read-remit-${each.key}"
  description = "Reads the configuration of the stack ${each.key} and its state, and no payment"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "ReadByName"
        Effect = "Allow"
        Action = [
          "cloudwatch:DescribeAlarms", "cloudwatch:ListTagsForResource",
          "codedeploy:Get*", "codedeploy:List*", "codedeploy:BatchGet*",
          "dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:ListTagsOfResource",
          "lambda:GetAlias", "lambda:GetFunction*", "lambda:ListAliases", "lambda:ListTags", "lambda:ListVersionsByFunction",
          "logs:ListTagsForResource",
          "sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic", "sns:ListTagsForResource",
          "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags",
          "wafv2:GetLoggingConfiguration", "wafv2:GetWebACL", "wafv2:ListTagsForResource",
        ]
        Resource = [
          "${local.arn[each.key].of.cloudwatch}:alarm:${local.arn[each.key].prefix}-*",
          "${local.arn[each.key].of.codedeploy}:application:${local.arn[each.key].prefix}",
          "${local.arn[each.key].of.codedeploy}:deploymentgroup:${local.arn[each.key].prefix}/*",
          "${local.arn[each.key].of.codedeploy}:deploymentconfig:*",
          "${local.arn[each.key].of.dynamodb}:table/${local.arn[each.key].prefix}-*",
          "${local.arn[each.key].of.lambda}:function:${local.arn[each.key].prefix}-*",
          "${local.arn[each.key].of.logs}:log-group:*",
          "${local.arn[each.key].of.sns}:${local.arn[each.key].prefix}-*",
          "${local.arn[each.key].of.sqs}:${local.arn[each.key].prefix}-*",
          "${local.arn[each.key].of.wafv2}:regional/webacl/${local.arn[each.key].prefix}-*",
        ]
        Condition = local.here
      },
      {
        Sid    = "ReadByTag"
        Effect = "Allow"
        Action = [
          "cognito-idp:DescribeResourceServer", "cognito-idp:DescribeUserPool", "cognito-idp:DescribeUserPoolClient",
          "cognito-idp:GetUserPoolMfaConfig", "cognito-idp:ListTagsForResource",
          "kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags",
        ]
        Resource  = ["${local.arn[each.key].of["cognito-idp"]}:userpool/*", "${local.arn[each.key].of.kms}:key/*"]
        Condition = { StringEquals = merge(local.here.StringEquals, local.own[each.key]) }
      },
      {
        # Lambda decrypts a function's variables for whoever reads its configuration.
        Sid       = "ReadVariables"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = "${local.arn[each.key].of.kms}:key/*"
        Condition = { StringEquals = local.own[each.key], StringLike = { "kms:ViaService" = "lambda.*.amazonaws.com" } }
      },
      {
        Sid      = "ReadApis"
        Effect   = "Allow"
        Action   = "apigateway:GET"
        Resource = local.apis
      },
      {
        # These know no resources, or none with a name of ours.
        Sid    = "ReadUnnamed"
        Effect = "Allow"
        Action = [
          "application-autoscaling:Describe*", "application-autoscaling:ListTagsForResource",
          "cognito-idp:DescribeUserPoolDomain", "kms:ListAliases", "lambda:GetEventSourceMapping", "lambda:ListEventSourceMappings",
          "lambda:GetAccountSettings", "logs:DescribeLogGroups", "logs:DescribeQueryDefinitions", "logs:DescribeResourcePolicies",
          "secretsmanager:GetRandomPassword", "sns:GetSubscriptionAttributes", "wafv2:GetWebACLForResource",
        ]
        Resource  = "*"
        Condition = local.here
      },
      {
        Sid    = "ReadGlobal"
        Effect = "Allow"
        Action = [
          "cloudwatch:GetDashboard", "iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies",
          "iam:ListInstanceProfilesForRole", "iam:ListRolePolicies",
          "route53:GetChange", "route53:GetHostedZone", "route53:ListResourceRecordSets", "route53:ListTagsForResource",
        ]
        Resource = [
          "arn:${local.partition}:cloudwatch::${var.account_id}:dashboard/${local.arn[each.key].prefix}-*",
          "arn:${local.partition}:iam::${var.account_id}:role/${local.arn[each.key].prefix}-*",
          "arn:${local.partition}:route53:::change/*", "arn:${local.partition}:route53:::hostedzone/*",
        ]
      },
      {
        Sid      = "ReadState"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:ListBucket"]
        Resource = [aws_s3_bucket.states.arn, local.arn[each.key].state]
      },
      {
        Sid      = "DecryptState"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.states.arn
      },
    ]
  })
}

resource "aws_iam_policy" "change" {
  # checkov:skip=CKV_AWS_290:The statement that names no resource has only actions that know none.
  # checkov:skip=CKV_AWS_355:For the same reason as CKV_AWS_290.
  for_each = var.environments

  name        = "change-remit-${each.key}"
  description = "Changes the stack ${each.key}, but for deleting what holds payments"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "ChangeByName"
        Effect = "Allow"
        Action = [
          "cloudwatch:DeleteAlarms", "cloudwatch:PutCompositeAlarm", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource", "cloudwatch:UntagResource",
          "codedeploy:Create*", "codedeploy:DeleteApplication", "codedeploy:DeleteDeploymentGroup", "codedeploy:RegisterApplicationRevision",
          "codedeploy:StopDeployment", "codedeploy:TagResource", "codedeploy:UntagResource", "codedeploy:Update*",
          "dynamodb:CreateTable", "dynamodb:TagResource", "dynamodb:UntagResource", "dynamodb:UpdateContinuousBackups", "dynamodb:UpdateTable", "dynamodb:UpdateTimeToLive",
          "lambda:CreateAlias", "lambda:CreateFunction", "lambda:DeleteAlias", "lambda:DeleteFunction", "lambda:DeleteFunctionConcurrency", "lambda:PublishVersion",
          "lambda:PutFunctionConcurrency", "lambda:TagResource", "lambda:UntagResource", "lambda:UpdateAlias", "lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration",
          "sns:CreateTopic", "sns:DeleteTopic", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource", "sns:UntagResource",
          "sqs:CreateQueue", "sqs:SetQueueAttributes", "sqs:TagQueue", "sqs:UntagQueue",
          "wafv2:AssociateWebACL", "wafv2:CreateWebACL", "wafv2:DeleteLoggingConfiguration", "wafv2:DeleteWebACL", "wafv2:DisassociateWebACL",
          "wafv2:PutLoggingConfiguration", "wafv2:TagResource", "wafv2:UntagResource", "wafv2:UpdateWebACL",
        ]
        Resource = [
          "${local.arn[each.key].of.cloudwatch}:alarm:${local.arn[each.key].prefix}-*",
          "${local.arn[each.key].of.codedeploy}:application:${local.arn[each.key].prefix}",
          "${local.arn[each.key].of.codedeploy}:deploymentgroup:${local.arn[each.key].prefix}/*",
          "${local.arn[each.key].of.dynamodb}:table/${local.arn[each.key].prefix}-*",
          "${local.arn[each.key].of.lambda}:function:${local.arn[each.key].prefix}-*",
          "${local.arn[each.key].of.sns}:${local.arn[each.key].prefix}-*",
          "${local.arn[each.key].of.sqs}:${local.arn[each.key].prefix}-*",
          "${local.arn[each.key].of.wafv2}:regional/webacl/${local.arn[each.key].prefix}-*",
          "${local.arn[each.key].of.wafv2}:regional/managedruleset/*",
          "arn:${local.partition}:apigateway:*::/restapis/*/stages/*",
        ]
        Condition = local.here
      },
      {
        Sid    = "ChangeLogGroups"
        Effect = "Allow"
        Action = ["logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:TagResource", "logs:UntagResource"]
        Resource = [for group in [
          "/aws/apigateway/${local.arn[each.key].prefix}-*", "/aws/lambda/${local.arn[each.key].prefix}-*",
          "API-Gateway-Execution-Logs_*", "aws-waf-logs-${local.arn[each.key].prefix}-*",
        ] : "${local.arn[each.key].of.logs}:log-group:${group}"]
        Condition = local.here
      },
      {
        Sid      = "ChangeApis"
        Effect   = "Allow"
        Action   = ["apigateway:DELETE", "apigateway:PATCH", "apigateway:POST", "apigateway:PUT", "apigateway:SetWebACL"]
        Resource = local.apis
      },
      {
        Sid       = "ChangeMappings"
        Effect    = "Allow"
        Action    = ["lambda:CreateEventSourceMapping", "lambda:DeleteEventSourceMapping", "lambda:UpdateEventSourceMapping"]
        Resource  = "*"
        Condition = merge(local.here, { ArnLike = { "lambda:FunctionArn" = "${local.arn[each.key].of.lambda}:function:${local.arn[each.key].prefix}-*" } })
      },
      {
        # These know no resources, or none with a name of ours.
        Sid    = "ChangeUnnamed"
        Effect = "Allow"
        Action = [
          "application-autoscaling:DeleteScalingPolicy", "application-autoscaling:DeregisterScalableTarget", "application-autoscaling:PutScalingPolicy",
          "application-autoscaling:RegisterScalableTarget", "application-autoscaling:TagResource",
          "lambda:TagResource", "logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DeleteQueryDefinition", "logs:PutQueryDefinition", "logs:PutResourcePolicy",
          "sns:Unsubscribe",
        ]
        Resource  = "*"
        Condition = local.here
      },
    ]
  })

  lifecycle {
    postcondition {
      condition     = length(self.policy) <= 6144
      error_message = "IAM takes policies of at most 6,144 characters."
    }
  }
}

# Apart, because one policy would be too long.
resource "aws_iam_policy" "entrust" {
  # checkov:skip=CKV_AWS_286:The roles of the stack are this role's to write; github.tf says what protects it.
  # checkov:skip=CKV_AWS_289:For the same reason as CKV_AWS_286.
  # checkov:skip=CKV_AWS_290:What does not exist yet has no name to be named by; its tags are demanded.
  # checkov:skip=CKV_AWS_355:For the same reason as CKV_AWS_290.
  for_each = var.environments

  name        = "entrust-remit-${each.key}"
  description = "Changes the keys, roles, users' pool and state of the stack ${each.key}"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "ChangeByTag"
        Effect = "Allow"
        Action = [
          "cognito-idp:CreateResourceServer", "cognito-idp:CreateUserPoolClient", "cognito-idp:CreateUserPoolDomain", "cognito-idp:DeleteResourceServer",
          "cognito-idp:DeleteUserPoolClient", "cognito-idp:DeleteUserPoolDomain", "cognito-idp:SetUserPoolMfaConfig", "cognito-idp:TagResource",
          "cognito-idp:UntagResource", "cognito-idp:Update*",
          "kms:EnableKeyRotation", "kms:PutKeyPolicy", "kms:TagResource", "kms:UntagResource", "kms:UpdateKeyDescription",
        ]
        Resource  = ["${local.arn[each.key].of["cognito-idp"]}:userpool/*", "${local.arn[each.key].of.kms}:key/*"]
        Condition = { StringEquals = merge(local.here.StringEquals, local.own[each.key]) }
      },
      {
        Sid       = "MakeWithTag"
        Effect    = "Allow"
        Action    = ["cognito-idp:CreateUserPool", "cognito-idp:TagResource", "kms:CreateKey", "kms:TagResource"]
        Resource  = "*"
        Condition = { StringEquals = merge(local.here.StringEquals, local.requested[each.key]) }
      },
      {
        Sid       = "NameKeys"
        Effect    = "Allow"
        Action    = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
        Resource  = ["${local.arn[each.key].of.kms}:alias/${local.arn[each.key].prefix}-*", "${local.arn[each.key].of.kms}:key/*"]
        Condition = local.here
      },
      {
        # A table or function takes up its key on behalf of whoever makes it.
        Sid       = "HandKeysToServices"
        Effect    = "Allow"
        Action    = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*"]
        Resource  = "${local.arn[each.key].of.kms}:key/*"
        Condition = { StringEquals = local.own[each.key], StringLike = { "kms:ViaService" = ["dynamodb.*.amazonaws.com", "lambda.*.amazonaws.com"] } }
      },
      {
        Sid    = "ChangeGlobal"
        Effect = "Allow"
        Action = [
          "cloudwatch:DeleteDashboards", "cloudwatch:PutDashboard",
          "iam:CreateRole", "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:PutRolePolicy", "iam:TagRole", "iam:UntagRole",
          "iam:UpdateAssumeRolePolicy", "iam:UpdateRole",
          "route53:ChangeResourceRecordSets",
        ]
        Resource = [
          "arn:${local.partition}:cloudwatch::${var.account_id}:dashboard/${local.arn[each.key].prefix}-*",
          "arn:${local.partition}:iam::${var.account_id}:role/${local.arn[each.key].prefix}-*",
          "arn:${local.partition}:route53:::hostedzone/*",
        ]
      },
      {
        Sid       = "LetGatewayWriteLogs"
        Effect    = "Allow"
        Action    = ["iam:AttachRolePolicy", "iam:DetachRolePolicy"]
        Resource  = "arn:${local.partition}:iam::${var.account_id}:role/${local.arn[each.key].prefix}-*"
        Condition = { ArnEquals = { "iam:PolicyARN" = "arn:${local.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs" } }
      },
      {
        Sid       = "PassRoles"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = "arn:${local.partition}:iam::${var.account_id}:role/${local.arn[each.key].prefix}-*"
        Condition = { StringEquals = { "iam:PassedToService" = ["apigateway.amazonaws.com", "codedeploy.amazonaws.com", "lambda.amazonaws.com"] } }
      },
      {
        Sid       = "MakeRolesOfServices"
        Effect    = "Allow"
        Action    = "iam:CreateServiceLinkedRole"
        Resource  = "arn:${local.partition}:iam::${var.account_id}:role/aws-service-role/*"
        Condition = { StringEquals = { "iam:AWSServiceName" = ["dynamodb.application-autoscaling.amazonaws.com", "ops.apigateway.amazonaws.com", "wafv2.amazonaws.com"] } }
      },
      {
        Sid      = "WriteState"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = [local.arn[each.key].state, "${local.arn[each.key].state}.tflock"]
      },
      {
        Sid      = "Lock"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:GetObject"]
        Resource = "${local.arn[each.key].state}.tflock"
      },
      {
        Sid      = "EncryptState"
        Effect   = "Allow"
        Action   = "kms:GenerateDataKey"
        Resource = aws_kms_key.states.arn
      },
    ]
  })

  lifecycle {
    postcondition {
      condition     = length(self.policy) <= 6144
      error_message = "IAM takes policies of at most 6,144 characters."
    }
  }
}

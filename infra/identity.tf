resource "aws_cognito_user_pool" "users" {
  name                     = "${local.prefix}-users"
  deletion_protection      = var.deletion_protection ? "ACTIVE" : "INACTIVE"
  username_attributes      = ["email"]
  auto_verified_attributes = ["email"]
  mfa_configuration        = "ON"

  software_token_mfa_configuration {
    enabled = true
  }

  # Who may pay is decided by whoever runs this, not by whoever finds the sign-up page.
  admin_create_user_config {
    allow_admin_create_user_only = true
  }

  password_policy {
    minimum_length                   = 14
    require_lowercase                = true
    require_numbers                  = true
    require_symbols                  = true
    require_uppercase                = true
    temporary_password_validity_days = 1
  }

  account_recovery_setting {
    recovery_mechanism {
      name     = "verified_email"
      priority = 1
    }
  }

  username_configuration {
    case_sensitive = false
  }
}

resource "aws_cognito_user_pool_domain" "users" {
  domain       = var.sign_in_domain_prefix
  user_pool_id = aws_cognito_user_pool.users.id
}

# The scopes that the API document asks for.
resource "aws_cognito_resource_server" "payments" {
  user_pool_id = aws_cognito_user_pool.users.id
  identifier   = "payments"
  name         = "Payments"

  scope {
    scope_name        = "submit"
    scope_description = "Submit payments"
  }
  scope {
    scope_name        = "read"
    scope_description = "Read one's own payments"
  }
}

resource "aws_cognito_user_pool_client" "web" {
  name         = "${local.prefix}-web"
  user_pool_id = aws_cognito_user_pool.users.id

  # A public client: code with PKCE. Only the OAuth endpoints issue tokens with our scopes.
  generate_secret                      = false
  allowed_oauth_flows_user_pool_client = true
  allowed_oauth_flows                  = ["code"]
  allowed_oauth_scopes                 = concat(["openid"], aws_cognito_resource_server.payments.scope_identifiers)
  callback_urls                        = var.callback_urls
  supported_identity_providers         = ["COGNITO"]
  explicit_auth_flows                  = ["ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_SRP_AUTH"]
  prevent_user_existence_errors        = "ENABLED"
  enable_token_revocation              = true

  # A stolen access token cannot be revoked at the gateway, so it is short.
  access_token_validity  = 5
  id_token_validity      = 5
  refresh_token_validity = 8

  token_validity_units {
    access_token  = "minutes"
    id_token      = "minutes"
    refresh_token = "hours"
  }
}

# The account comes from TF_VAR_account_id: it is nobody's business but the deployer's.
environment           = "production"
region                = "eu-west-2"
allowed_origin        = "https://pay.example.com"
callback_urls         = ["https://pay.example.com/signed-in"]
sign_in_domain_prefix = "remit-production-example"

# So many clients can wait at once, apart from what submissions need.
query_payments_reserved_concurrency = 300
# Twice submit_payments_maximum_concurrency: what the pollers bring is never refused.
submit_payments_reserved_concurrency = 20

# Left out on purpose, and a plan without them is refused: who is paged (page_emails or page_urls) and who may
# work on dead letters (operator_user_arns or operator_role_arns). They are yours; write them here.

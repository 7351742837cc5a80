# The account comes from TF_VAR_account_id: it is nobody's business but the deployer's.
environment           = "development"
region                = "eu-west-2"
allowed_origin        = "http://localhost:3000"
callback_urls         = ["http://localhost:3000/signed-in", "http://localhost:8976/"]
sign_in_domain_prefix = "remit-development-example"

# Little is sent, nothing is precious, and waiting is dull.
submit_payments_memory_megabytes    = 512
submit_payments_maximum_concurrency = 2
throttle_rate                       = 20
throttle_burst                      = 40
log_retention_days                  = 30
deletion_protection                 = false

# A new account has 10 to 50 concurrent executions: nothing is reserved of so few.
query_payments_reserved_concurrency = null

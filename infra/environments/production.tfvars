# The account comes from TF_VAR_account_id: it is nobody's business but the deployer's.
environment           = "production"
region                = "eu-west-2"
allowed_origin        = "https://pay.example.com"
callback_urls         = ["https://pay.example.com/signed-in"]
sign_in_domain_prefix = "remit-production-example"

# So many clients can wait at once, apart from what submissions need.
query_reserved_concurrency = 300

"""Azure serverless fine-tuning: sign-in, readiness, data, jobs, endpoints, prices."""

"""Amazon's services as its own models describe them: S3 and IAM by moto, the rest by hand."""

"""Amazon Web Services: CodeBuild makes the image, ECR keeps it, Lambda runs it behind a Function URL."""

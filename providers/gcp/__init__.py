"""Google Cloud: Cloud Build makes the image, Artifact Registry keeps it, Cloud Run runs it."""

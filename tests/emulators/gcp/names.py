"""What things are called in the customer's project."""

from __future__ import annotations

PROJECT, NUMBER, REGION = "acme-prod", "123456789012", "europe-west1"
POOL, PROVIDER, BUCKET, REPOSITORY = "dcf-pool", "dcf-provider", "acme-functions", "functions"
POOL_NAME = f"projects/{NUMBER}/locations/global/workloadIdentityPools/{POOL}"
EMAIL = f"dcf@{PROJECT}.iam.gserviceaccount.com"

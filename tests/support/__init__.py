"""What tests are told with: scenarios, facts, services."""

"""The services that may hold the operator's master key: one file each, behind one port (`process/key_service.py`)."""
